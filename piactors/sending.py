"""How messages get into an isolate's mailbox and on their way: on the threads of their senders, under its lock."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from piactors import dead, trusting, waiting
from piactors._lifecycle.mailbox import Doubt, Message
from piactors._lifecycle.states import State
from piactors._platform.reentry import Reentered
from piactors.errors import MailboxFull, Timeout
from piactors.pihost import wire
from piactors.pihost.segments import Parcel
from piactors.sinks import CallFuture

if TYPE_CHECKING:
    from piactors._host.generation import Generation
    from piactors.isolate import Isolate

_FRAME_KINDS = {"call": wire.CALL, "tell": wire.TELL, "stop": wire.STOP}


def put(isolate: Isolate, message: Message, *, may_block: bool = True, until: float | None = None) -> None:
    """Take a message into the mailbox, and send it where there is room on the way.

    Args:
        until: until when to wait for room in the mailbox, on the monotonic clock; None for as long as it takes.

    Raises:
        ActorDeadError: where the isolate takes none (any more).
        MailboxFull: where the mailbox is full and the options say to fail.
        Timeout: where it is full for too long.
        RuntimeError: in a signal handler that has interrupted this very function, or another one that holds the lock.
    """
    payload = message.payload
    if type(payload) is Parcel or len(payload) > isolate.options.max_frame:
        _check_size(isolate, payload)
    if message.call_timeout is not None or isolate.options.call_timeout is not None:
        _set_timeout(isolate, message)
    place: Any = True
    while place:
        if isolate.is_mine():
            raise Reentered(f"isolate {isolate.spec.name}")
        with isolate.lock:
            if isolate.state is not State.RUNNING:
                _refuse_if_closed(isolate)
            generation, mailbox = isolate.process, isolate.mailbox
            place = None
            try:
                if isolate.capacity is not None and message.kind != "stop":
                    place = _make_room(isolate, isolate.capacity, may_block)
                if place:
                    pass
                elif generation is None or not _may_send(isolate):
                    mailbox.put(message)
                elif mailbox.put_and_send(message):
                    _send(isolate, generation, message)
                if isolate.clock.runs:
                    isolate.clock.note()
            except BaseException as error:  # a KeyboardInterrupt: it may be numbered, and not sent
                _mend(isolate, generation)
                if isinstance(error, Reentered):
                    mailbox.give_up(message)
                raise
            others = mailbox.count_on_way() > 1
        if place:
            _wait_for_room(isolate, message, place, until)
    if others and generation is not None:
        generation.watch()  # whoever sends one after the other may not ask for the answers for a while


def pump(isolate: Isolate) -> None:
    """Send what has room on its way.  Called under the lock, so messages leave in their order."""
    generation = isolate.process
    if generation is None or isolate.state is not State.RUNNING:
        return
    try:
        if _may_send(isolate):
            while (message := isolate.mailbox.next_to_send()) is not None:
                _send(isolate, generation, message)
        if isolate.clock.runs:
            isolate.clock.note()
    except BaseException:
        _mend(isolate, generation)
        raise


def _mend(isolate: Isolate, generation: Generation | None) -> None:
    """Under the lock: the sending of messages was interrupted, by a KeyboardInterrupt at any step of it."""
    isolate.loop.call_soon(_go_on, isolate)
    message = isolate.mailbox.in_hand
    taken = message is not None and generation is not None and generation.has_taken(message)
    isolate.mailbox.mend(taken=taken)


def _go_on(isolate: Isolate) -> None:
    """On the loop: do what somebody was kept from who was interrupted."""
    with isolate.lock:
        isolate.room.notify_all()
        pump(isolate)
    isolate.watch()


def _check_size(isolate: Isolate, payload: Any) -> None:
    most = isolate.options.max_frame
    size = payload.nbytes if type(payload) is Parcel else len(payload)
    if size > most:
        raise ValueError(f"{isolate.spec.name}: a message of {size:,} bytes, and max_frame is {most:,}")


def _set_timeout(isolate: Isolate, message: Message) -> None:
    if message.call_timeout is None:
        message.call_timeout = isolate.options.call_timeout
    elif message.call_timeout == math.inf:
        message.call_timeout = None
    if message.call_timeout is not None:
        isolate.clock.runs = True


def _refuse_if_closed(isolate: Isolate) -> None:
    if isolate.state in (State.STOPPED, State.STOPPING) and not isolate.is_alive():
        raise dead.takes_nothing(isolate)
    if isolate.state is State.RESTARTING and isolate.options.while_restarting == "fail":
        raise dead.restarts(isolate)


def _make_room(isolate: Isolate, capacity: int, may_block: bool) -> threading.Lock | None:
    """See to it that there is room for one more message; return where to wait where there is none."""
    mailbox = isolate.mailbox
    if len(mailbox) < capacity:
        return None
    if isolate.options.overflow == "drop_oldest":
        oldest = mailbox.oldest()
        if oldest is not None:
            isolate.loop.call_soon(_tell_of_drop, isolate, oldest)
            mailbox.give_up(oldest)
        return None
    if isolate.options.overflow == "fail" or not may_block or in_event_loop():
        raise MailboxFull(f"{isolate.spec.name}: the mailbox holds {len(mailbox)} messages, its capacity")
    return isolate.room.enter()


def _tell_of_drop(isolate: Isolate, message: Message) -> None:
    with isolate.lock:
        if message in isolate.mailbox:  # it was to be dropped, and somebody was interrupted
            return
    text = f"{isolate.spec.name}: dropped for a newer message, as overflow='drop_oldest' says"
    if message.sink is not None:
        message.sink.fail(MailboxFull(text))


def _wait_for_room(isolate: Isolate, message: Message, place: threading.Lock, until: float | None) -> None:
    """Wait until there may be room.

    Raises:
        Timeout: where there is none in time; the message is not sent.
    """
    began = time.monotonic()
    try:
        found = place.acquire(timeout=-1.0 if until is None else max(0.0, min(until - began, threading.TIMEOUT_MAX)))
    except BaseException:
        isolate.loop.call_soon(_go_on, isolate)  # somebody else may have to look
        raise
    message.waited += time.monotonic() - began
    if found:
        return
    with isolate.lock:
        isolate.room.leave(place)
    text = f"{isolate.spec.name}: no room for {message.what} in the mailbox, which holds {isolate.capacity} messages"
    raise Timeout(f"{text}, its capacity, within {waiting.told(message.waited)}; it was not sent")


def _may_send(isolate: Isolate) -> bool:
    """Whether messages leave: what is about to be ended, or replaced, gets nothing more; it is for the next one."""
    return isolate.state is State.RUNNING and isolate.current.intent is None and not isolate.recycler.draining


def _send(isolate: Isolate, generation: Generation, message: Message) -> None:
    kind, payload = _FRAME_KINDS[message.kind], message.payload
    if message.needs is not None or generation.knowledge.forgotten:
        generation.define(message.needs)
    sink = message.sink
    flags = wire.PICKLE if type(sink) is CallFuture else trusting.flags_of(isolate, sink)
    if type(payload) is Parcel:
        generation.send_parcel(flags, kind, message.seq, payload, isolate.outbox.dropped())
    elif isolate.mailbox.count_on_way() == 1:
        generation.send(kind, flags, message.seq, payload)
    else:
        generation.send_soon(kind, flags, message.seq, payload)


def recall(isolate: Isolate, why: Doubt) -> list[Message]:
    """Give up on everything on its way that has not begun; return it in its order.

    The last one first: else the isolate could skip one that was given up on, and begin the next one before that is.

    Args:
        why: what becomes of a message that is skipped though it counts as begun.
    """
    generation, recalled = isolate.process, []
    for message in reversed(list(isolate.mailbox.unanswered())):
        if generation is not None and message.kind != "stop" and not message.given_up:
            message.given_up = generation.give_up(message.seq)
            message.doubt = "" if message.given_up else why
            recalled += [message] if message.given_up else []
    return recalled[::-1]


def take_back(isolate: Isolate) -> None:
    """Let everything wait again that is on its way and has not begun."""
    recalled = recall(isolate, "waits")
    for message in recalled:
        message.given_up = False
    in_doubt = max((message.seq for message in isolate.mailbox.unanswered() if message.doubt), default=0)
    isolate.mailbox.recall(recalled, in_doubt)


def in_event_loop() -> bool:
    """Whether the calling thread runs an event loop, which must not be blocked."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

"""One isolate: what joins the pure rules (mailbox, states, restarts) to the processes.

Calls of users come in on their own threads and hold the lock for a few steps.  News of processes
comes in on the I/O thread.  The lock is never held while foreign code runs: outcomes and events are
collected under it and given out after it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from pykka import ActorDeadError, ActorRegistry

from piactors import arrivals, endings, events, questions, requests, starting, stopping
from piactors._host import relay, runtime, serialise
from piactors._host.confining import Plan
from piactors._host.generation import End, Generation
from piactors._host.loop import Timer
from piactors._host.parcels import Outbox, bound
from piactors._host.spin import Spin, several_cores
from piactors._lifecycle.mailbox import Mailbox, Message
from piactors._lifecycle.states import State
from piactors._platform.wake import Waker
from piactors._policies import heart
from piactors._policies.call_clock import CallClock
from piactors._policies.recycling import Recycler
from piactors._supervision import restart
from piactors.errors import MailboxFull, ProtocolError, StartError
from piactors.exit_reason import ExitReason, Kind
from piactors.future import Future, run_callbacks_with
from piactors.keeper import Keeper
from piactors.pihost import page, wire
from piactors.pihost.segments import Parcel
from piactors.shape import Described
from piactors.sinks import CallFuture
from piactors.spec import Current, Spec

logger = logging.getLogger("piactors")

WINDOW_BYTES = 1 << 20

Job = Callable[[], object]


class Isolate:
    """One supervised process and its mailbox; see the module's text for who calls what."""

    answers_anywhere = True

    def __init__(self, spec: Spec, ref: Any, keeper: Keeper | None = None) -> None:
        self.spec = spec
        self.keeper = keeper
        self.options = spec.options
        self.ref = ref
        self.actor_stopped = threading.Event()
        self.generation_number = 0
        self.last_reason: ExitReason | None = None
        self.decoder = serialise.Decoder(
            spec.name, spec.code, {f"{cls.__module__}:{cls.__qualname__}": cls for cls in spec.options.accept},
            spec.options.max_frame, self._requested_future,
        )  # fmt: skip
        self.state = State.STARTING
        self.data: dict[str, bytes] = {}
        self.requests = requests.Requests(self)
        self.runtime = runtime.current()
        run_callbacks_with(self.runtime.dispatcher.submit)
        self.loop = self.runtime.loop
        self.lock = threading.Lock()
        self.room = threading.Condition(self.lock)
        self.mailbox = Mailbox(page.WINDOW, WINDOW_BYTES)
        self.outbox = Outbox(bound(spec.options))
        self._capacity = spec.options.mailbox_capacity
        self._spin = Spin(spec.options.spin and several_cores())
        self.process: Generation | None = None
        self.current = Current()
        self.stop_requested = False
        self.halting = False
        self.held = False
        self.final = False
        self.told_exit = False
        self.history = restart.History()
        self.restart_timer: Timer | None = None
        self.started: Future[None] = Future()
        self.ended = threading.Event()
        self.registered = False
        self.launchers_lost = 0
        self.raw_description: bytes | None = None
        self.plan: Plan | None = None
        self.recycler = Recycler(self)
        self.clock = CallClock(self)
        self.relay = relay.Relay(self.runtime.dispatcher, spec.name, spec.options.output)

    # For users, on their threads

    @property
    def pid(self) -> int | None:
        """The pid of the process that runs, or None."""
        generation = self.process
        return None if generation is None else generation.pid

    @property
    def mailbox_size(self) -> int:
        """How many messages wait or are on their way."""
        with self.lock:
            return len(self.mailbox)

    def held_bytes(self) -> int:
        """About how much memory the messages that wait take."""
        with self.lock:
            return self.mailbox.held_bytes()

    def is_alive(self) -> bool:
        """Whether messages are taken."""
        return not self.actor_stopped.is_set()

    def start(self) -> None:
        """Start the first generation and return when it is ready.

        Raises:
            StartError: where it does not become ready; the cause is what its code raised.
        """
        self.begin()
        try:
            self.started.get()
        except StartError:
            raise
        except BaseException:
            self.terminate()
            raise

    def begin(self) -> None:
        """Begin to start the first generation; `started` tells what came of it."""
        if self.options.limits is not None:
            self.plan = self.runtime.confiner.plan(self.options.limits)
            self._tell_of_missing(self.plan)
        self.runtime.add(self)
        ActorRegistry.register(self.ref)
        self.registered = True
        self.ref._ends.begin_again()
        self.loop.call_soon(self.launch)

    def _tell_of_missing(self, plan: Plan) -> None:
        for found in plan.missing if plan.refusal is None else ():
            self.log(logging.WARNING, "isolate %s: %s", self.spec.name, found)

    def put(self, message: Message, *, may_block: bool = True) -> None:
        """Take a message into the mailbox, and send it where there is room on the way.

        Raises:
            ActorDeadError: where the isolate takes none (any more).
            MailboxFull: where the mailbox is full and the options say to fail.
        """
        size = message.payload.nbytes if type(message.payload) is Parcel else len(message.payload)
        if size > self.options.max_frame:
            raise ValueError(f"{self.ref}: a message of {size:,} bytes, and max_frame is {self.options.max_frame:,}")
        dropped = None
        if message.call_timeout is not None or self.options.call_timeout is not None:
            self._set_timeout(message)
        with self.lock:
            if self.state is not State.RUNNING:
                self._refuse_if_closed()
            if self._capacity is not None and message.kind != "stop":
                dropped = self._make_room(may_block)
            generation = self.process
            try:
                mailbox = self.mailbox
                others = mailbox.count_on_way() > 0
                if generation is None or not self._may_send():
                    mailbox.put(message)
                elif mailbox.put_and_send(message):
                    send = generation.send_soon if others else generation.send
                    send(_FRAME_KINDS[message.kind], wire.PICKLE, message.seq, message.payload)
                if self.clock.runs:
                    self.clock.note()
            except BaseException as error:  # a KeyboardInterrupt: it may be numbered, and not sent
                self.loop.call_soon(self._interrupted, generation, error)
                raise
        if others and generation is not None:
            generation.watch()  # whoever sends one after the other may not ask for the answers for a while
        if dropped is not None and dropped.sink is not None:
            dropped.sink.fail(MailboxFull(f"{self.ref}: dropped for a newer message, as overflow='drop_oldest' says"))

    def _set_timeout(self, message: Message) -> None:
        if message.call_timeout is None:
            message.call_timeout = self.options.call_timeout
        elif message.call_timeout == math.inf:
            message.call_timeout = None
        if message.call_timeout is not None:
            self.clock.runs = True

    def lend(self, future: Future[Any], waker: Waker, deadline: float | None) -> None:
        """Let the caller that waits for `future` read the answers of the process that runs now."""
        generation = self.process
        if generation is not None:
            generation.lend(future, waker, self._spin, deadline, self.mailbox.count_on_way)

    def watch(self) -> None:
        """See to it that answers are read that no caller reads."""
        generation = self.process
        if generation is not None:
            generation.watch()

    def give_up(self, message: Message) -> bool:
        """The caller of a message gave up on it: True where it will never begin."""
        with self.lock:
            if self.mailbox.give_up(message):
                self.room.notify()
                return True
            generation = self.process
            if generation is None or not self.mailbox.is_on_way(message) or not generation.give_up(message.seq):
                message.doubtful = self.mailbox.is_on_way(message)
                return False
            message.given_up = True
            return True

    def stop(self, future: Future[bool]) -> None:
        """See `stopping.stop`."""
        stopping.stop(self, future)

    def shut_down(self) -> None:
        """See `stopping.shut_down`."""
        stopping.shut_down(self)

    def terminate(self) -> None:
        """See `stopping.terminate`."""
        stopping.terminate(self)

    kill_now = terminate

    # For its supervisor (see also `supervised`)

    def wants_restart(self, reason: ExitReason) -> bool:
        """Whether another generation may follow such an exit; the budget is another matter."""
        if self.stop_requested or self.final:
            return False
        if self.keeper is None:
            return restart.wants_restart(self.options.restart, reason)
        return self.halting or self.keeper.wants_restart(reason)

    def wait_ended(self, timeout: float | None) -> bool:
        """Wait until the isolate has ended for good, its whole process tree included."""
        return self.ended.wait(timeout)

    def control(self, operation: str, *args: Any) -> Future[Any]:
        """See `questions.ask`."""
        return questions.ask(self, operation, *args)

    def description(self) -> Described:
        """See `questions.description`."""
        return questions.description(self)

    def _refuse_if_closed(self) -> None:
        if self.state in (State.STOPPED, State.STOPPING) and not self.is_alive():
            raise ActorDeadError(f"{self.ref} not found")
        if self.state is State.RESTARTING and self.options.while_restarting == "fail":
            raise ActorDeadError(f"{self.ref} is restarting, and while_restarting is 'fail'")

    def _make_room(self, may_block: bool) -> Message | None:
        capacity = self._capacity
        while capacity is not None and len(self.mailbox) >= capacity:
            if self.options.overflow == "drop_oldest":
                return self.mailbox.drop_oldest()
            if self.options.overflow == "fail" or not may_block or in_event_loop():
                raise MailboxFull(f"{self.ref}: the mailbox holds {len(self.mailbox)} messages, its capacity")
            self.room.wait()
            self._refuse_if_closed()
        return None

    def recall(self) -> list[Message]:
        """Give up on everything on its way that has not begun; return it in its order.

        The last one first: else the isolate could skip one that was given up on, and begin the next one before that is.
        """
        generation, recalled = self.process, []
        for message in reversed(list(self.mailbox.unanswered())):
            if generation is not None and message.kind != "stop" and not message.given_up:
                message.given_up = generation.give_up(message.seq)
                message.doubtful = not message.given_up
                recalled += [message] if message.given_up else []
        return recalled[::-1]

    def take_back(self) -> None:
        """Let everything wait again that is on its way and has not begun."""
        recalled = self.recall()
        for message in recalled:
            message.given_up = False
        self.mailbox.recall(recalled)

    def pump(self) -> None:
        """Send what has room on its way.  Called under the lock, so messages leave in their order."""
        generation = self.process
        if generation is None or self.state is not State.RUNNING:
            return
        if self._may_send():
            while (message := self.mailbox.next_to_send()) is not None:
                self._send(generation, message)
        if self.clock.runs:
            self.clock.note()

    def _may_send(self) -> bool:
        """Whether messages leave: what is about to be ended, or replaced, gets nothing more; it is for the next one."""
        return self.state is State.RUNNING and self.current.intent is None and not self.recycler.draining

    def _send(self, generation: Generation, message: Message) -> None:
        kind, payload = _FRAME_KINDS[message.kind], message.payload
        flags = wire.PICKLE if type(message.sink) is CallFuture else wire.PICKLE | wire.INLINE
        if type(payload) is Parcel:
            generation.send_parcel(flags, kind, message.seq, payload, self.outbox.dropped())
        elif self.mailbox.on_way == 1:
            generation.send(kind, flags, message.seq, payload)
        else:
            generation.send_soon(kind, flags, message.seq, payload)

    def _interrupted(self, generation: Generation | None, error: BaseException) -> None:
        if generation is not None and generation is self.process:
            self.on_fault(ProtocolError(f"a {type(error).__name__} came while a message was sent to it"))

    # On the I/O thread

    def policies_begin(self) -> None:
        """A generation has become ready: hold it to what the options say."""
        self.recycler.generation_ready()
        heart.start(self, self.process)

    def launch(self) -> None:
        """Begin to make the next generation."""
        starting.launch(self)

    def after(self, seconds: float, callback: Job) -> Timer:
        """Have `callback()` called later, unless this generation has ended by then."""
        number = self.generation_number
        timer = self.loop.call_later(seconds, lambda: callback() if number == self.generation_number else None)
        self.current.timers.append(timer)
        return timer

    def intend(self, kind: Kind, detail: str) -> None:
        """Record why the process is about to be killed, before it is; the first reason stands."""
        if self.current.intent is None:
            self.current.intent, self.current.detail = kind, detail

    # What generations tell (see `_host.generation.Owner`)

    def on_launched(self, generation: Generation) -> None:
        """See `Owner`."""
        if self.current.confined is not None:
            self.current.confined.launched(generation, self.current)

    def on_lines(self, stream: str, lines: list[str]) -> None:
        """See `Owner`."""
        self.relay.lines(self.pid, self.generation_number, stream, lines)

    def wants_output(self) -> bool:
        """See `Owner`."""
        return self.relay.has_room()

    def on_frame(self, frame: wire.Frame) -> None:
        """See `Owner`."""
        arrivals.handle(self, frame)

    on_answer = arrivals.answered

    def on_fault(self, error: Exception) -> None:
        """See `Owner`."""
        if not isinstance(error, ProtocolError):
            self.runtime.dispatcher.submit(_log_defect, self.spec.name, error)
        with self.lock:
            self.intend(endings.kind_of_fault(error), f"{type(error).__name__}: {error}")
            generation = self.process
        if generation is not None:
            generation.kill()

    def on_refused(self, text: str) -> None:
        """See `Owner`."""
        endings.ended_without_process(self, text)

    def on_end(self, end: End) -> None:
        """See `Owner`."""
        endings.ended(self, end)

    def _requested_future(self, number: int) -> Future[Any]:
        return self.requests.future(number)

    # For the runtime

    def io_failed(self, error: BaseException) -> None:
        """See `Member`."""
        endings.io_failed(self, error)

    def abandon(self) -> None:
        """See `Member`."""
        self.lock = threading.Lock()
        self.room = threading.Condition(self.lock)
        self.state = State.STOPPED
        self.actor_stopped = threading.Event()
        self.actor_stopped.set()
        self.ended = threading.Event()
        self.ended.set()
        self.unregister()
        left = [*self.mailbox.unanswered(), *self.mailbox.close()]
        generation, self.process = self.process, None
        if generation is not None:
            generation.abandon()
        self.recycler.abandon()
        text = f"{self.ref} belongs to the process that this one was forked from"
        endings.fail_all(left, lambda: ActorDeadError(text))

    def unregister(self) -> None:
        """Leave pykka's registry, once."""
        if self.registered:
            self.registered = False
            ActorRegistry.unregister(self.ref)

    def publish(self, cls: type[events.Event], **fields: Any) -> None:
        if events.bus.is_wanted(cls):
            fields = {"pid": self.pid, "generation": self.generation_number, **fields}
            self.post(cls(name=self.spec.name, time=time.time(), **fields))

    def post(self, event: events.Event) -> None:
        """Have the subscribers of an event called."""
        if events.bus.is_wanted(type(event)):
            self.runtime.dispatcher.submit(relay.publish, event)

    def tell_user(self, callback: Callable[[Any], object], event: events.Event) -> None:
        """Have a callback of the options called."""
        self.runtime.dispatcher.submit(relay.call_guarded, callback, event)

    def log(self, level: int, message: str, *args: object) -> None:
        self.runtime.dispatcher.submit(logger.log, level, message, *args)


def _renew_registry_lock() -> None:
    """In a forked copy of the host: another thread may have held the lock of pykka's registry."""
    ActorRegistry._actor_refs_lock = threading.RLock()


runtime.after_fork(_renew_registry_lock)


def _log_defect(name: str, error: Exception) -> None:
    logger.error("piactors failed on what isolate %s sent", name, exc_info=error)


def in_event_loop() -> bool:
    """Whether the calling thread runs an event loop, which must not be blocked."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


_FRAME_KINDS = {"call": wire.CALL, "tell": wire.TELL, "stop": wire.STOP}

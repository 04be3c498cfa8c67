"""Messages out, on the threads of callers: into the mailbox, and to the process if they may leave."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from piactors._codec.decode import Decoder
from piactors._codec.shared_memory import Outbox, bound
from piactors._io.loop import Share
from piactors._isolate import capacity, trusting
from piactors._isolate.reply_ports import CallFuture, ReplyPort
from piactors._platform import reentry
from piactors._platform.reentry import Reentered
from piactors._rules.mailbox import Mailbox
from piactors._rules.message import Message
from piactors.pihost.memory.segments import Parcel
from piactors.pihost.wire import page, wire

if TYPE_CHECKING:
    from piactors._isolate.spec import IsolateSpec
    from piactors._process.placement import Process
    from piactors.options import IsolationOptions

WINDOW_BYTES = 1 << 20
"""Bytes of messages that may be in flight; more would only wait in the kernel instead of here."""
_FRAME_KINDS = {"call": wire.CALL, "tell": wire.TELL, "stop": wire.STOP}
_INLINE = wire.PICKLE | wire.INLINE
MakeError = Callable[[], BaseException]


class CallClockPort(Protocol):
    """What wants to know when calls begin."""

    runs: bool
    """Whether any call has a time limit, or a stop is wanted; until then nothing is noted."""

    def run(self) -> None:
        """A call has a time limit, or a stop is wanted."""

    def note(self) -> None:
        """Something was sent or answered; under the lock."""


class _NoClock:
    """Nobody wants to know when calls begin."""

    runs = False

    def run(self) -> None:
        """A call has a time limit, or a stop is wanted."""

    def note(self) -> None:
        """Something was sent or answered; under the lock."""


_NO_CLOCK = _NoClock()


class Sending:
    """The mailbox of one isolate, and the process that it goes to, if there is one; `Delivery` is the rest of it.

    Attributes:
        process: what messages go to, or None.
        flows: whether they leave.
        refusal: makes the error of whatever is put, or None: it is taken.
        named: whether code may have run in the isolate that was called by name (see `trusting`).
    """

    def __init__(self, spec: IsolateSpec, loop: Share, decoder: Decoder) -> None:
        options = spec.options
        self.name = spec.name
        self.decoder = decoder
        self.named = not spec.trusts_objects
        self._use(options)
        self.outbox = Outbox(bound(options))
        self.mailbox = Mailbox(page.WINDOW, WINDOW_BYTES)
        self.loop = loop
        self.process: Process | None = None
        self.flows = False
        self.refusal: MakeError | None = None
        self._clock: CallClockPort = _NO_CLOCK
        self._on_done: Callable[[], object] | None = None
        self.renew_locks()

    def use_options(self, options: IsolationOptions) -> None:
        """These hold from the next process on; on the loop."""
        self._use(options)
        self.go_on()  # there may be more room

    def _use(self, options: IsolationOptions) -> None:
        self.concurrency = options.concurrency
        self.max_frame = options.max_frame
        self.capacity = options.mailbox_capacity
        self.overflow = options.overflow
        self._call_timeout = options.call_timeout

    def renew_locks(self) -> None:
        """Make the locks, once more in a forked copy of the host, where somebody else may have held them."""
        # Taken before the locks of channels, never after; a signal handler must not wait for its own thread.
        self.lock = reentry.lock()
        self.is_mine: Callable[[], bool] = self.lock._is_owned
        """Whether this thread has the lock: then this is a signal handler that has interrupted it."""
        self.room = capacity.Room()

    @functools.cached_property
    def code_decoder(self) -> Decoder:
        """What decodes the answers of functions that were handed over."""
        return attrs.evolve(self.decoder, code=True)

    def note_call_by_name(self) -> None:
        """From now on code runs in the isolate that was called by name."""
        self.named = True
        if self.concurrency > 1:  # otherwise what was sent before is answered before this begins
            trusting.take_back(self.mailbox.unanswered())

    def watch_calls(self, clock: CallClockPort, on_done: Callable[[], object] | None) -> None:
        """Have a clock know when calls begin, and have `on_done` called when one is done, under the lock."""
        self._clock, self._on_done = clock, on_done

    # Messages out, on the threads of callers

    def put(self, message: Message, *, may_block: bool = True, until: float | None = None) -> None:
        """Take a message into the mailbox, and send it if there is room in flight.

        Args:
            until: until when to wait for room in the mailbox, on the monotonic clock; None for as long as it takes.

        Raises:
            ActorDeadError: if the isolate takes none (any more).
            MailboxFull: if the mailbox is full and the options say to fail.
            Timeout: if it is full for too long.
            RuntimeError: in a signal handler that has interrupted this very function, or another one that holds the
                lock.
        """
        payload = message.payload
        if type(payload) is Parcel or len(payload) > self.max_frame:
            capacity.check_size(self, payload)
        if message.call_timeout is not None or self._call_timeout is not None:
            self._set_timeout(message)
        place: Any = True
        while place:
            if self.is_mine():
                raise Reentered(f"isolate {self.name}")
            with self.lock:  # that there is room, its number, and its place in the channel are one step for others
                place, busy = self._take(message, may_block)
            if place:
                capacity.wait_for_room(self, message, place, until)
        if busy is not None:
            busy.watch()  # whoever sends one after the other may not ask for the answers for a while

    def _take(self, message: Message, may_block: bool) -> tuple[Any, Process | None]:
        """Under the lock: take a message, and send it if there is room in flight.

        Returns where to wait if the mailbox is full, and the process if other messages are in flight.
        """
        if self.refusal is not None:
            raise self.refusal()
        process, mailbox = self.process, self.mailbox
        try:
            if self.capacity is not None and message.kind != "stop":
                place = capacity.make_room(self, may_block)
                if place is not None:
                    return place, None
            if not self.flows:
                mailbox.put(message)
            elif mailbox.put_and_send(message):
                self._send(process, message)
            if self._clock.runs:
                self._clock.note()
        except BaseException as error:  # a KeyboardInterrupt: it may be numbered, and not sent
            self._mend(process)
            if isinstance(error, Reentered):
                mailbox.give_up(message)
            raise
        return None, process if mailbox.count_in_flight() > 1 else None

    def _set_timeout(self, message: Message) -> None:
        message.limit_to(self._call_timeout if message.call_timeout is None else message.call_timeout, math.inf)
        if message.call_timeout is not None:
            self._clock.run()

    def pump(self) -> None:
        """Send what has room in flight; under the lock, so messages leave in order."""
        process = self.process
        if process is None:
            return
        try:
            if self.flows:
                while (message := self.mailbox.next_to_send()) is not None:
                    self._send(process, message)
            if self._clock.runs:
                self._clock.note()
        except BaseException:
            self._mend(process)
            raise

    def _send(self, process: Any, message: Message) -> None:
        kind, payload = _FRAME_KINDS[message.kind], message.payload
        if message.needs is not None or process.knowledge.forgotten:
            process.define(message.needs)
        reply_to: ReplyPort | None = message.reply_to
        flags = wire.PICKLE if type(reply_to) is CallFuture else _INLINE if reply_to is None else reply_to.flags(self)
        if type(payload) is Parcel:
            process.send_parcel(flags, kind, message.seq, payload, self.outbox.dropped())
        elif self.mailbox.count_in_flight() == 1:
            process.send(kind, flags, message.seq, payload)
        else:
            process.send_soon(kind, flags, message.seq, payload)

    def _mend(self, process: Process | None) -> None:
        """Under the lock: the sending of messages was interrupted, by a KeyboardInterrupt at any step of it."""
        self.loop.call_soon(self.go_on)
        message = self.mailbox.in_hand
        taken = message is not None and process is not None and process.has_taken(message)
        self.mailbox.mend(taken=taken)

    def go_on(self) -> None:
        """On the loop: do what an interrupted sender did not get to."""
        with self.lock:  # the interrupted sender may have left a message that was numbered and not sent
            self.room.notify_all()
            self.pump()
        self.watch()

    def watch(self) -> None:
        """See to it that answers are read that no caller reads."""
        process = self.process
        if process is not None:
            process.watch()

    def __len__(self) -> int:
        """How many messages wait or are in flight."""
        with self.lock:  # two counts, which a message changes one after the other
            return len(self.mailbox)

    def held_bytes(self) -> int:
        """About how much memory the messages that wait take."""
        with self.lock:  # as in `__len__`
            return self.mailbox.held_bytes()

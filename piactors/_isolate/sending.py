"""Messages out, on the threads of callers: into the mailbox, and to the process if they may leave.

Most calls have nothing special about them, and nothing in their way: these are numbered and sent by `post`, in as few
steps as there can be.  All others go through `put`.  Of many that are sent in a row, some are held for a moment, so
that they leave in one piece; and whoever sends them reads the answers that have come, so that no other thread has to.
"""

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
from piactors._isolate.call import Call
from piactors._isolate.reply_ports import ReplyPort
from piactors._platform import reentry
from piactors._platform.reentry import Reentered
from piactors._rules.mailbox import Mailbox
from piactors._rules.message import Message
from piactors.pihost.memory.chunks import LEAST
from piactors.pihost.memory.segments import Parcel
from piactors.pihost.wire import page, wire

if TYPE_CHECKING:
    from piactors._isolate.spec import IsolateSpec
    from piactors._process.placement import Process
    from piactors.options import IsolationOptions

WINDOW_BYTES = 1 << 20
"""Bytes of messages that may be in flight; more would only wait in the kernel instead of here."""
_JOINED = 16
"""Messages that leave together at most."""
_FEW = 3
"""Messages in flight up to which each leaves at once: the process may wait for it."""
_HELD_BYTES = 2048
"""What is larger leaves at once, with all that was held before it."""
_HELD_SECONDS = 0.001
"""After that what is held leaves, whatever its sender does."""
_AHEAD = 32
"""Each time so many messages were sent, their sender reads what has come."""
_pack = wire.HEADER.pack
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
        sails: whether they leave at once, as nothing but the room in flight has to be looked at.
        held: what counts as sent, and leaves together with what follows it.
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
        self.flows = self.sails = False
        self.held: list[bytes] = []
        self._generation = 0
        self._flush_due = False
        self._wanted: list[int] = []
        """Numbers whose answers somebody wants who does not read, the highest ones last."""
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

    def _let_flow(self, flows: bool) -> None:
        """Have messages leave, or not, from now on; under the lock, after whatever else has changed."""
        self.flows = flows
        free = self.refusal is None and self.capacity is None and self._call_timeout is None
        self.sails = flows and free and self.max_frame >= LEAST

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

    def post(self, call: Call) -> bool:
        """Send a call about which nothing is special, if nothing is in its way; else it has to be `put`.

        Raises:
            RuntimeError: as `put`.
        """
        if self.is_mine():
            raise Reentered(f"isolate {self.name}")
        payload = call.payload
        size = len(payload)
        with self.lock:  # that there is room, its number, and its place in the channel are one step for others
            process: Any = self.process
            if not self.sails or self._clock.runs or process.knowledge.forgotten:
                return False
            try:
                seq = self.mailbox.number(call, size)
                if not seq:
                    return False
                held = self.held
                held.append(_pack(size, wire.CALL, wire.PICKLE, self._generation, seq) + payload)
                if len(held) < _JOINED and size <= _HELD_BYTES and self.mailbox.count_in_flight() > _FEW:
                    if not self._flush_due:
                        self._flush_due = True
                        self.loop.call_soon(self._flush_later)
                else:
                    process.send_frames(held, seq)
                    held.clear()
            except BaseException:  # a KeyboardInterrupt: it may be numbered, and not sent
                self._mend(process)
                raise
        if not seq % _AHEAD:
            process.read_ahead(self.answers_wanted)
        return True

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
            mailbox.put(message)
            while self.flows and (first := mailbox.next_to_send()) is not None:
                self._send(process, first)
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
            self._flush()
            process.define(message.needs)
        reply_to: ReplyPort | None = message.reply_to
        flags = wire.PICKLE if type(reply_to) is Call else _INLINE if reply_to is None else reply_to.flags(self)
        if type(payload) is Parcel:
            self._flush()
            process.send_parcel(flags, kind, message.seq, payload, self.outbox.dropped())
        elif len(payload) > _HELD_BYTES:
            self._flush()
            process.send(kind, flags, message.seq, payload)
        else:
            self._hold(_pack(len(payload), kind, flags, self._generation, message.seq) + payload)

    def _hold(self, frame: bytes) -> None:
        """Hold the frame of a message that was numbered, or send it with all that is held; under the lock."""
        held = self.held
        held.append(frame)
        if len(held) >= _JOINED or self.mailbox.count_in_flight() <= _FEW:
            self._flush()
        elif not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush_later)

    def _flush(self) -> None:
        """Send what is held; under the lock."""
        held = self.held
        if held and self.process is not None:
            self.process.send_frames(held, _seq_of(held[-1]))
            held.clear()

    def flush(self) -> None:
        """Send what is held, as somebody waits for it; from any thread."""
        if self.held and not self.is_mine():
            with self.lock:  # what follows it must not overtake it
                try:
                    self._flush()
                except BaseException:
                    self._mend(self.process)
                    raise

    def _flush_later(self) -> None:
        self.loop.call_later(_HELD_SECONDS, self._flush_held)

    def _flush_held(self) -> None:
        self._flush_due = False  # from here on the next one that is held has this called again
        if self.held:
            self._flush_due = True
            self.flush()
            self._flush_later()

    def _mend(self, process: Process | None) -> None:
        """Under the lock: the sending of messages was interrupted, by a KeyboardInterrupt at any step of it."""
        self.loop.call_soon(self.go_on)
        held, message = self.held, self.mailbox.in_hand
        taken = message is not None and bool(held) and _seq_of(held[-1]) == message.seq
        if process is not None:
            if held and process.has_taken(_seq_of(held[-1]), b""):
                held.clear()
            taken = taken or (message is not None and process.has_taken(message.seq, _sent_of(message)))
        self.mailbox.mend(taken=taken)

    def go_on(self) -> None:
        """On the loop: do what an interrupted sender did not get to."""
        with self.lock:  # the interrupted sender may have left a message that was numbered and not sent
            self._flush_due = False
            self._let_flow(self.flows)
            self.room.notify_all()
            self._flush()
            self.pump()
        self.watch()

    def watch(self) -> None:
        """See to it that answers are read that no caller reads."""
        self.flush()
        process = self.process
        if process is not None:
            process.watch()

    def watch_for(self, call: Message) -> None:
        """See to it that the answer to this call is read soon, though nobody waits who reads it."""
        mailbox, wanted = self.mailbox, self._wanted
        number = call.seq or mailbox.last_seq + len(mailbox)  # one that waits here gets one of those up to this
        if not wanted or wanted[-1] < number:
            wanted.append(number)
        self.watch()

    def answers_wanted(self) -> bool:
        """Whether answers are due that somebody wants soon who does not read them; from any thread."""
        mailbox = self.mailbox
        if not mailbox.count_in_flight():
            return False
        if mailbox.waiting or not self.sails or self._clock.runs:
            return True
        wanted = self._wanted
        try:
            oldest = next(iter(mailbox.by_number), 0)
            while wanted and wanted[-1] < oldest:
                wanted.pop()
            return bool(wanted)
        except (RuntimeError, IndexError):  # another thread has just put one in, or taken one out
            return True

    def wake_reader(self) -> None:
        """Have the caller look that reads the answers, if one does: its own may have come in some other way."""
        process = self.process
        if process is not None:
            process.wake_reader()

    def __len__(self) -> int:
        """How many messages wait or are in flight."""
        with self.lock:  # two counts, which a message changes one after the other
            return len(self.mailbox)

    def held_bytes(self) -> int:
        """About how much memory the messages that wait take."""
        with self.lock:  # as in `__len__`
            return self.mailbox.held_bytes()


def _seq_of(frame: bytes) -> int:
    found: int = wire.HEADER.unpack_from(frame)[-1]
    return found


def _sent_of(message: Message) -> Any:
    """Return what of a message goes through the data channel."""
    return message.payload.table if type(message.payload) is Parcel else message.payload

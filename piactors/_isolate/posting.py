"""Messages out in as few steps as there can be: calls about which nothing is special, and nothing in their way.

They are numbered and sent by `post`; all others go through `Sending.put`.  Of many that are sent in a row, some are
held for a moment, so that they leave in one piece; and whoever sends them reads the answers that have come, so that no
other thread has to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from piactors._codec.decode import Decoder
from piactors._codec.shared_memory import Outbox, bound
from piactors._io.loop import Share
from piactors._io.spin import Spin, several_cores
from piactors._isolate import capacity, trusting
from piactors._isolate.call import Call
from piactors._isolate.direct_port import NO_CHANNELS, DirectPort
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
_JOINED = 32
"""Messages that leave together at most."""
_FEW = 3
"""Messages in flight up to which each leaves at once: the process may wait for it."""
HELD_BYTES = 2048
"""What is larger leaves at once, with all that was held before it."""
_HELD_SECONDS = 0.001
"""After that what is held leaves, whatever its sender does."""
AHEAD = 64
"""Each time so many messages were sent, their sender reads what has come."""
_pack = wire.HEADER.pack
_SIMPLE = wire.PICKLE | wire.QUICK
MakeError = Callable[[], BaseException]


class CallClockPort(Protocol):
    """What wants to know when calls begin."""

    runs: bool
    """Whether any call has a time limit, or a stop is wanted; until then nothing is noted."""

    def run(self) -> None:
        """A call has a time limit, or a stop is wanted."""

    def note(self) -> None:
        """Something was sent or answered; under the lock."""


class CancellingPort(Protocol):
    """What cancels calls that have begun."""

    def cancel(self, message: Any, kill_after: float | None) -> None:
        """Tell a call that it is not wanted any more, and end its process if it still runs after so many seconds."""

    def expire(self, message: Any, text: str) -> None:
        """The time of a call is over."""


class _NoClock:
    """Nobody wants to know when calls begin."""

    runs = False

    def run(self) -> None:
        """A call has a time limit, or a stop is wanted."""

    def note(self) -> None:
        """Something was sent or answered; under the lock."""


_NO_CLOCK = _NoClock()


class Posting:
    """The mailbox of one isolate, and the process that it goes to, if there is one; `Delivery` is all of it.

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
        self._is_foreign = not spec.own_interpreter
        self.asks: dict[int, Any] = {}
        """What its processes have asked for and were not answered, by number (see `cycles`)."""
        self.look_for_circles: Callable[[], object] = _nothing
        self.is_reentrant: Callable[[tuple[str, ...]], bool] = _unmarked
        self.has_marks: Callable[[], bool] = _no_marks
        self.direct: DirectPort = NO_CHANNELS
        self.cancel_begun: Callable[[Any, float | None], object]
        self.expire: Callable[[Any, str], object]
        self._process_changed: Callable[[Process | None], object] = _ignore
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
        self.spin = Spin(options.spin and several_cores())
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
        self.on_cycle = options.on_cycle
        self.channels = options.channels

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

    def cancel_with(self, cancelling: CancellingPort) -> None:
        """Say what cancels calls that have begun."""
        self.cancel_begun, self.expire = cancelling.cancel, cancelling.expire

    def tell_of_processes(self, changed: Callable[[Process | None], object]) -> None:
        """Have `changed` called with each process that messages go to from then on, or None; on the I/O thread."""
        self._process_changed = changed

    def find_marks_with(self, is_reentrant: Callable[[tuple[str, ...]], bool], has_marks: Callable[[], bool]) -> None:
        """Say which methods their authors have marked as `reentrant`, and whether any is."""
        self.is_reentrant, self.has_marks = is_reentrant, has_marks

    def reach_with(self, channels: DirectPort) -> None:
        """Say what the direct channels are."""
        self.direct = channels

    def may_be_reached(self, has_defaults: bool) -> bool:
        """Whether other isolates may send directly: if there is nothing that only the host can see to.

        Args:
            has_defaults: whether the authors of its methods have said how long they may take, or how often to try.
        """
        bounded = self.capacity is not None or self._call_timeout is not None or self._on_done is not None
        is_ours = self.decoder.code and not self._is_foreign
        is_entered = self.on_cycle == "reenter" or self.has_marks()
        is_plain = self.concurrency == 1 and not (bounded or has_defaults or is_entered)
        return is_ours and is_plain and self.channels != "routed"

    def call_of(self, number: int) -> Message | None:
        """Return the message with a number that is with the process; None if there is none that is known."""
        found: Message | None = self.mailbox.by_number.get(number)
        return self.direct.find(number) if found is None and number else found

    def look_for_circles_with(self, look: Callable[[], object]) -> None:
        """Have `look()` called if somebody begins to wait for a call that may not be able to begin; from any thread."""
        self.look_for_circles = look

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
                if size > HELD_BYTES:
                    self._flush()
                    process.send(wire.CALL, _SIMPLE, seq, payload)
                    return True
                held.append(_pack(size, wire.CALL, _SIMPLE, self._generation, seq) + payload)
                if len(held) < _JOINED and self.mailbox.count_in_flight() > _FEW:
                    if not self._flush_due:
                        self._flush_due = True
                        self.loop.call_soon(self._flush_later)
                else:
                    process.send_frames(held, seq)
                    held.clear()
            except BaseException:  # a KeyboardInterrupt: it may be numbered, and not sent
                self._mend(process)
                raise
        if not seq % AHEAD:
            process.read_ahead(self.answers_wanted)
        return True

    def post_many(self, calls: list[Any], payload: bytes) -> bool:
        """Send calls as `post` does, in one frame; False if they have to go one by one: there is not room for all."""
        if self.is_mine():
            raise Reentered(f"isolate {self.name}")
        if len(payload) >= LEAST:
            return False
        with self.lock:  # as in `post`
            process: Any = self.process
            if not self.sails or self._clock.runs or process.knowledge.forgotten:
                return False
            try:
                seq = self.mailbox.number_many(calls, len(payload) // len(calls) + 1)
                if not seq:
                    return False
                self.held.append(_pack(len(payload), wire.BULK, _SIMPLE, self._generation, seq) + payload)
                self._flush()
            except BaseException:  # as in `post`
                self._mend(process)
                raise
        return True

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

    def answers_wanted(self) -> bool:
        """Whether answers are due that somebody wants soon who does not read them; from any thread."""
        raise NotImplementedError

    def go_on(self) -> None:
        """On the loop: do what an interrupted sender did not get to."""
        raise NotImplementedError


def _ignore(_: object) -> None:
    """Nobody wants to know which process runs the messages."""


def _nothing() -> None:
    """Nobody looks."""


def _no_marks() -> bool:
    """Nothing is known of any method."""
    return False


def _unmarked(_: tuple[str, ...]) -> bool:
    """Nothing is known of any method."""
    return False


def _seq_of(frame: bytes) -> int:
    found: int = wire.HEADER.unpack_from(frame)[-1]
    return found


def _sent_of(message: Message) -> Any:
    """Return what of a message goes through the data channel."""
    return message.payload.table if type(message.payload) is Parcel else message.payload

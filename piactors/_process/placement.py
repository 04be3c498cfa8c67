"""The port to processes, wherever they run: what is asked of whatever places them, what can be done with one of them,
and what its owner hears of it.

Opening the wires to a process belongs to its placement.  A process that is not of this machine has a `node` and no pid:
a number that means nothing here is never looked up, signalled or shown as one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import attrs

from piactors._codec.definitions import Needs
from piactors._codec.encode import Whole
from piactors._codec.knowledge import Knowledge
from piactors._codec.lending import Ledger, Loan
from piactors._codec.passing import PassedOn
from piactors._codec.shared_objects import Lent
from piactors._io.caller_turns import Waiting
from piactors._io.channel import Take
from piactors._io.output import Taker
from piactors._io.spin import Spin
from piactors._platform.wake import Waker
from piactors._process.backend import Order
from piactors._process.control_channel import Answer
from piactors._rules.mailbox import Evidence
from piactors._text.record import ByAttributes
from piactors.exit_reason import Rusage
from piactors.pihost.memory import segments
from piactors.pihost.wire import wire

if TYPE_CHECKING:
    import asyncio


class ThreadState(NamedTuple):
    """What a thread of a process does, as its page says.

    Attributes:
        seq: the message that it has begun last.
        request: the request whose answer it waits for; 0: none.
        reads: whether it waits at the data channel, and so may run another call meanwhile.
    """

    seq: int
    request: int
    reads: bool


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ProcessOrder(ByAttributes):
    """One process of an isolate, to be placed.

    Attributes:
        number: of which generation it is.
        how: what is made: the interpreter, its environment, what it does to itself.
        init: the payload of the first frame that it gets.
        needs: the definitions that go with that.
        lends: what of this program is lent with it.
        owner: the number of the process as one that lends things itself.
        name: of whom it is.
        preload: modules that its maker imports beforehand.
        own_interpreter: whether it runs in this program's interpreter.
        concurrency: how many calls may run in it at once.
        output: ``inherit``, ``discard``, or anything else: its owner takes the lines.
        max_frame: how many bytes a frame may have.
        shares: whether large messages go through shared memory.
        on_large: is called if an answer has come in shared memory, on the thread that reads it.
        fell_back: is told why it is made in a slower way than was asked for.
        lock: is held by whoever calls `Process.send_frames`; None if nobody does.
    """

    number: int
    how: Order
    init: bytes
    needs: Needs | None = None
    lends: tuple[Loan, ...] = ()
    owner: int = 0
    name: str = ""
    preload: tuple[str, ...] = ()
    own_interpreter: bool = True
    concurrency: int = 1
    output: str = "callable"
    max_frame: int
    shares: bool = True
    fell_back: Callable[[str], object]
    on_large: Callable[[], object]
    lock: threading.RLock | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class End(ByAttributes):
    """What is known when a process and all that it left are gone."""

    status: int | None
    usage: Rusage | None
    lost: bool
    evidence: Evidence
    stderr_tail: str
    fault: str
    note: str = ""
    """What kept the process from ending, or its end from being told."""


class Process(Protocol):
    """One process, from the moment at which it is asked for.

    What sends never blocks, and comes from any thread; so do `kill`, `signal`, `give_up` and `has_begun`.
    """

    number: int
    pid: int | None
    """Of this machine, once it exists; None forever if it runs on another one."""
    node: str
    """Where it runs; empty on this machine."""
    knowledge: Knowledge
    """What it has of this program's definitions."""
    ledger: Ledger
    """What it holds of what was lent to it."""
    owner: int
    """Its number as one that lends things itself."""

    def lends(self, payload: bytes) -> dict[int, Loan]:
        """Return what it says that a request of it lends, or gives back.

        Raises:
            ProtocolError: if that cannot be.
        """

    def ask_of_lent(self, asked: tuple[Any, ...], loans: Sequence[Loan], answer: Answer) -> None:
        """Ask for something to be done to what it has lent; `loans` are what the question names."""

    def ask_of_result(self, asked: tuple[Any, ...], loans: Sequence[Loan], answer: Answer) -> int:
        """Ask for something to be done to what a call of the process returns, now or later; returns its number.

        If it returns nothing that it lends, it answers with nothing.
        """

    def forget_result(self, is_asked: bool, of: int, number: int = 0) -> None:
        """Do not do to what a call returns what was asked with this number; 0: nothing that was asked."""

    def give_back(self, number: int, count: int) -> None:
        """Tell it that nothing here holds what it has lent so often; called by the garbage collector."""

    def set_data(self, key: str, value: Whole, answer: Answer) -> None:
        """Have it know a value; `answer` is called once it does, on the I/O thread."""

    def send(self, kind: int, flags: int, seq: int, payload: wire.Payload) -> None:
        """Send a frame on the data channel."""

    def send_frames(self, frames: list[bytes], seq: int) -> None:
        """Send whole frames on the data channel, in one piece, under the order's lock.

        `has_taken` knows them by `seq`, the number of the last one.
        """

    def send_parcel(self, flags: int, kind: int, seq: int, parcel: segments.Parcel, dropped: list[int]) -> None:
        """Send a message that lies in a segment; `dropped` are segments that are not used any more."""

    def send_control(self, kind: int, seq: int, payload: wire.Payload) -> None:
        """Send a frame on the control channel."""

    def answer(self, kind: int, flags: int, number: int, payload: wire.Payload) -> None:
        """Answer a request of the process."""

    def request(self, operation: str, args: tuple[Any, ...], answer: Answer) -> None:
        """Ask the control thread of the process; `answer` is called once, on the I/O thread."""

    def define(self, needs: Needs | None) -> None:
        """Send ahead what the next message needs and the process does not have."""

    def has_taken(self, seq: int, payload: wire.Payload) -> bool:
        """Whether the last frame that was to be sent will be, or has been: its sending was interrupted."""

    def direct_begun(self) -> tuple[int, ...]:
        """Return the highest number begun, of each place for a direct channel; nothing if it has ended."""

    def begin_direct(self, place: int) -> None:
        """Let another direct channel have a place in the page."""

    def give_up_direct(self, place: int, number: int) -> bool:
        """Publish that who sent it gave up on a message that goes directly; True if it will never begin."""

    def passed(self, table: wire.Payload) -> PassedOn:
        """Return a value of the process that is for another one; on the loop's thread.

        Raises:
            ProtocolError: if there is none.
        """

    def hand(self, lent: Lent) -> None:
        """Send a descriptor, which the process takes by its number."""

    def has_begun(self, seq: int) -> bool:
        """Whether the process says that it has begun this message, or a later one."""

    def threads(self, count: int) -> list[ThreadState]:
        """Return what each of so many threads does."""

    def give_up(self, seq: int) -> bool:
        """Publish that the caller of `seq` gave up; True if the call will never begin."""

    def want_until(self, seq: int, until: float) -> None:
        """Publish when `seq`, which is sent after this, is not wanted any more."""

    def read_until_settled(
        self, future: Waiting, waker: Waker, spin: Spin, deadline: float | None, wanted: Callable[[], bool]
    ) -> None:
        """Let the caller that waits for `future` read its answer itself (see `Reader.read_until_settled`)."""

    def leave_to_caller(self) -> None:
        """What the process asks for is done by the caller that waits for it, which is to read by itself."""

    def read_ahead(self, wanted: Callable[[], bool]) -> None:
        """Handle what has come, for a caller that sends many messages (see `Reader.read_ahead`)."""

    def await_in(self, loop: asyncio.AbstractEventLoop, wanted: Callable[[], bool]) -> bool:
        """Have the event loop of this thread read what its code awaits; False if it cannot (see `loop_watch`)."""

    def wake_reader(self) -> None:
        """Have the caller look that reads, if one does: what it waits for may have come in another way."""

    def watch(self) -> None:
        """See to it that answers are read that no caller reads."""

    def read_now(self) -> None:
        """Handle what has come already, whatever is to read it; on the I/O thread."""

    def hand_over(self, owner: ProcessOwner) -> None:
        """Let another owner have it from here on."""

    def after(self, seconds: float, callback: Callable[[], object]) -> None:
        """Have `callback()` called on the I/O thread later, unless it has ended by then."""

    def unsent_bytes(self) -> int:
        """How much of what was sent on the data channel has not left yet."""

    @property
    def unread(self) -> int:
        """How many bytes on the control channel have not left yet."""

    @property
    def unanswered(self) -> int:
        """How many questions it has not answered that follow from what it has asked for itself."""

    @property
    def unread_frames(self) -> int:
        """How many frames on the data channel have not left yet."""

    def fault_text(self) -> str:
        """Return what faulthandler has written in it so far."""

    def mapped_bytes(self) -> int:
        """How many bytes the segments have that its answers came in."""

    def retract(self, dropped: list[int]) -> None:
        """Tell it of segments that are not used any more."""

    def signal(self, number: int) -> None:
        """Send it a signal."""

    def kill(self) -> None:
        """End it with all that it has started, as soon as there is one."""

    @property
    def is_over(self) -> bool:
        """Whether it is gone, and its owner has been told."""

    def has_ended(self) -> bool:
        """Whether it has ended, as far as is known now; the news of that comes later."""

    def abandon(self) -> None:
        """In a forked copy of the host: close the descriptors, and nothing more."""


class ProcessOwner(Taker, Protocol):
    """Who a process belongs to; called on the loop's thread, except `on_answer`, `on_use` and `on_lends`."""

    @property
    def answers_anywhere(self) -> bool:
        """Whether `on_answer` may be called by other threads than the loop's."""

    @property
    def take_answers(self) -> Take | None:
        """What settles answers many at once, from any thread; None: each comes to `on_answer`."""

    def on_launched(self, process: Process) -> None:
        """The process exists."""

    def on_frame(self, frame: wire.Frame) -> None:
        """A frame has come that the process does not answer itself.

        Raises:
            ProtocolError: if it should not have come.
        """

    def on_answer(self, frame: wire.Frame, again: bool) -> None:
        """An answer to a message has come; `again` if it may have been handled, and was interrupted.

        Called by whatever reads the data channel: the loop, or a caller that waits for an answer.

        Raises:
            ProtocolError: if it should not have come.
        """

    def on_use(self, frame: wire.Frame, again: bool) -> None:
        """Something is asked of a thing that the process holds; as `on_answer`.

        Raises:
            ProtocolError: if it should not have come.
        """

    def on_await(self, number: int) -> None:
        """The answer to a request is waited for by the thread that reads the data channel; as `on_answer`."""

    def on_lends(self, payload: bytes) -> dict[int, Loan]:
        """Return what an answer of the process lends or gives back, by number; on whichever thread reads it.

        Raises:
            ProtocolError: if that cannot be.
        """

    def on_refused(self, text: str, lack: bool) -> None:
        """There will be no process; with `lack`, because there is too little of something."""

    def on_end(self, end: End) -> None:
        """The process is gone."""

    def on_fault(self, error: Exception) -> None:
        """What came from the process is not possible; it should be ended."""

    def on_failure(self, error: BaseException) -> None:
        """The host itself has failed at something that concerns the process, during its life or at its end."""


class Placement(Protocol):
    """Makes processes of one kind, in one place."""

    name: str

    def why_not(self, order: ProcessOrder) -> str | None:
        """Return why no process can be made of this order; None if one can."""

    def launch(self, order: ProcessOrder, owner: ProcessOwner) -> Process:
        """Have a process made and open the wires to it; news of it comes to its owner, on the I/O thread.

        Raises:
            OSError: if the system refuses.
        """

"""What goes to one process, and what it says of how far it is: from any thread, and none of it blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from piactors._codec.definitions import Needs
from piactors._codec.encode import Whole
from piactors._codec.knowledge import Knowledge
from piactors._codec.lending import Ledger, Loan
from piactors._codec.passing import PassedOn
from piactors._codec.shared_objects import Lent
from piactors._io.caller_turns import Waiting
from piactors._io.channel import Channel
from piactors._io.reader import Reader
from piactors._io.spin import Spin
from piactors._io.writer import Writer
from piactors._platform import pidfd
from piactors._platform.wake import Waker
from piactors._process.control_channel import Answer, ControlChannel
from piactors._process.host_page import HostPage
from piactors._process.placement import ProcessOwner, ThreadState
from piactors.pihost.memory import leases, segments
from piactors.pihost.wire import page, wire

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class Wires:
    """The wires to one process, once `LocalProcess` has opened them.

    Attributes:
        knowledge: what the process has of this program's definitions.
        ledger: what it holds of what was lent to it.
    """

    knowledge: Knowledge
    ledger: Ledger
    send: Callable[[int, int, int, wire.Payload], None]
    send_frames: Callable[[list[bytes], int], None]
    read_until_settled: Callable[[Waiting, Waker, Spin, float | None, Callable[[], bool]], None]
    read_ahead: Callable[[Callable[[], bool]], None]
    wake_reader: Callable[[], None]
    await_in: Callable[[AbstractEventLoop, Callable[[], bool]], bool]
    _data: Channel
    _control: ControlChannel
    _reader: Reader
    _data_writer: Writer
    _page: HostPage | None
    _lock: threading.RLock
    _owner: ProcessOwner
    _ended: bool
    _process_fd: int

    def define(self, needs: Needs | None) -> None:
        """Send ahead what the next message needs and the process does not have."""
        news = self.knowledge.missing(needs)
        self.ledger.grant(news.loans)  # before it can use and drop them
        self._data.forget_last()
        try:
            for lent in () if needs is None else needs.lent:
                self._control.hand_over(lent)
            if news.payload:
                self.send(wire.DEFINE, wire.PICKLE, 0, news.payload)
            self.knowledge.note(news)
        except BaseException:
            if not news.payload or self._data_writer.has_taken(0, news.payload):
                self.knowledge.note(news)
            else:
                self.ledger.revoke(news.loans)
            raise

    def has_taken(self, seq: int, payload: wire.Payload) -> bool:
        """Whether the last frame that was to be sent will be, or has been: its sending was interrupted."""
        return self._data_writer.has_taken(seq, payload)

    def send_parcel(self, flags: int, kind: int, seq: int, parcel: segments.Parcel, dropped: list[int]) -> None:
        """Send a message that lies in a segment; `dropped` are segments that are not used any more."""
        segment = parcel.segment
        assert segment is not None
        self._control.announce(segment, dropped)
        segment.mark(leases.SENT)
        self._data_writer.send(kind, flags | wire.SHARED, seq, parcel.table)

    def send_control(self, kind: int, seq: int, payload: wire.Payload) -> None:
        """Send one frame on the control channel; never blocks."""
        self._control.send(kind, wire.PICKLE, seq, payload)

    def answer(self, kind: int, flags: int, number: int, payload: wire.Payload) -> None:
        """Answer a request of the isolate on the control channel; never blocks."""
        self._control.send(kind, flags, number, payload)

    def read_now(self) -> None:
        """Handle what is in the data channel already, whatever is to read it; on the loop's thread."""
        self._reader.read_all()

    def leave_to_caller(self) -> None:
        """What the process asks for is done by the caller that waits for it, which is to read by itself."""
        self._reader.leave_to_caller()

    def watch(self) -> None:
        """See to it that answers are read that no caller reads; never under the isolate's lock."""
        if self._reader.is_unwatched:
            self._reader.watch()

    def lends(self, payload: bytes) -> dict[int, Loan]:
        """Return what the process says that it lends, or gives back, with a request or an answer."""
        return self._owner.on_lends(payload)

    def ask_of_lent(self, asked: tuple[Any, ...], loans: Sequence[Loan], answer: Answer) -> None:
        """Ask for something to be done to what the process has lent; `loans` are what the question names."""
        self._ask("on", asked, loans, answer)

    def ask_of_result(self, asked: tuple[Any, ...], loans: Sequence[Loan], answer: Answer) -> int:
        """Ask for something to be done to what a call of the process returns, now or later; returns its number."""
        return self._ask("then", asked, loans, answer)

    def _ask(self, operation: str, asked: tuple[Any, ...], loans: Sequence[Loan], answer: Answer) -> int:
        self.ledger.grant(loans)
        entries = [loan.entry() for loan in loans]

        def answered(frame: wire.Frame | None, held: Sequence[Loan] = loans) -> None:
            answer(frame)  # until then what the process is given back stays lent

        return self._control.request(operation, (*asked, entries), answered)

    def forget_result(self, is_asked: bool, of: int, number: int = 0) -> None:
        """Do not do to what a call returns what was asked with this number; 0: nothing that was asked."""
        self._control.request("not_then", (is_asked, of, number), _unheard)

    def give_back(self, number: int, count: int) -> None:
        """Tell the process that nothing here holds what it has lent so often; called by the garbage collector."""
        self._control.give_back(number, count)

    def _tell_of_actor(self, number: int, alive: bool) -> None:
        """Tell the process whether an actor takes messages whose ref it holds; on both channels (see `wire.ALIVE`)."""
        payload = b"\1" if alive else b"\0"
        self.answer(wire.ALIVE, 0, number, payload)
        self.send(wire.ALIVE, 0, number, payload)

    def set_data(self, key: str, value: Whole, answer: Answer) -> None:
        """Have the process know a value; `answer` is called once it does, on the loop's thread."""
        self.ledger.grant(value.loans)
        self._control.request("set_data", (key, value.data, [loan.entry() for loan in value.loans]), answer)

    def request(self, operation: str, args: tuple[Any, ...], answer: Answer) -> None:
        """Ask the control thread for something; `answer` is called once, on the loop's thread."""
        self._control.request(operation, args, answer)

    def give_up(self, seq: int) -> bool:
        """Publish that the caller of `seq` gave up; True if the call will never begin."""
        with self._lock:
            return self._page is not None and self._page.give_up(seq)

    def want_until(self, seq: int, until: float) -> None:
        """Publish when `seq`, which is sent after this, is not wanted any more."""
        with self._lock:
            if self._page is not None:
                self._page.want_until(seq, until)

    def direct_begun(self) -> tuple[int, ...]:
        """Return the highest number begun, of each place for a direct channel; nothing if it has ended."""
        with self._lock:
            return () if self._page is None else self._page.direct_begun()

    def begin_direct(self, place: int) -> None:
        """Let another direct channel have a place in the page."""
        with self._lock:
            if self._page is not None:
                self._page.begin_direct(place)

    def give_up_direct(self, place: int, number: int) -> bool:
        """Publish that who sent it gave up on a message that goes directly; True if it will never begin."""
        with self._lock:
            return self._page is not None and self._page.give_up_direct(place, number)

    def passed(self, table: wire.Payload) -> PassedOn:
        """Return a value of the process that is for another one; on the loop's thread.

        Raises:
            ProtocolError: if there is none.
        """
        return self._control.passed(table, self._read_control)

    def _read_control(self) -> None:
        """Read what is in the control channel."""
        raise NotImplementedError

    def hand(self, lent: Lent) -> None:
        """Send a descriptor, which the process takes by its number."""
        self._control.hand_over(lent)

    def has_begun(self, seq: int) -> bool:
        """Whether the isolate says that it has begun this message, or a later one."""
        with self._lock:
            return self._page is not None and self._page.begun() >= seq

    def threads(self, count: int) -> list[ThreadState]:
        """Return what each of so many threads does."""
        with self._lock:
            words = [] if self._page is None else self._page.threads(count)
        return [ThreadState(begun, waits & ~page.READS, bool(waits & page.READS)) for begun, waits in words]

    def unsent_bytes(self) -> int:
        """How much of what was sent on the data channel the kernel has not taken yet."""
        return self._data_writer.unsent_bytes()

    @property
    def unread_frames(self) -> int:
        """How much of what was sent on the data channel waits for the isolate to read, in frames."""
        return len(self._data.out)

    def fault_text(self) -> str:
        """Return what faulthandler has written so far."""
        with self._lock:
            return "" if self._page is None else self._page.fault_text()

    @property
    def unread(self) -> int:
        """How much of what was sent on the control channel waits for the isolate to read."""
        return len(self._control.channel.out)

    @property
    def unanswered(self) -> int:
        """How many questions it has not answered that follow from what it has asked for itself."""
        return self._control.unanswered

    @property
    def is_over(self) -> bool:
        """Whether the process and its channels are gone, and their end has been reported."""
        return self._ended

    def has_ended(self) -> bool:
        """Whether the process has ended, as far as the kernel tells now; the news of that comes later."""
        return self._ended or pidfd.has_ended(self._process_fd)

    @property
    def process_fd(self) -> int:
        """The descriptor of the process, or -1."""
        return self._process_fd


def _unheard(_: wire.Frame | None) -> None:
    """Nobody waits for the answer."""

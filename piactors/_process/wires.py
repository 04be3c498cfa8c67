"""What goes to one process, and what it says of how far it is: from any thread, and none of it blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from piactors._codec.definitions import Needs
from piactors._codec.knowledge import Knowledge
from piactors._io.caller_turns import Waiting
from piactors._io.channel import Channel
from piactors._io.reader import Reader
from piactors._io.spin import Spin
from piactors._io.writer import Writer
from piactors._platform.wake import Waker
from piactors._process.control_channel import Answer, ControlChannel
from piactors._process.host_page import HostPage
from piactors.pihost.memory import leases, segments
from piactors.pihost.wire import wire

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class Wires:
    """The wires to one process, once `LocalProcess` has opened them.

    Attributes:
        knowledge: what the process has of this program's definitions.
    """

    knowledge: Knowledge
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

    def define(self, needs: Needs | None) -> None:
        """Send ahead what the next message needs and the process does not have."""
        records, noted = self.knowledge.missing(needs)
        self._data.forget_last()
        try:
            for lent in () if needs is None else needs.lent:
                self._control.hand_over(lent)
            if records:
                self.send(wire.DEFINE, wire.PICKLE, 0, records)
            self.knowledge.note(noted)
        except BaseException:
            if not records or self._data_writer.has_taken(0, records):
                self.knowledge.note(noted)
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

    def watch(self) -> None:
        """See to it that answers are read that no caller reads; never under the isolate's lock."""
        if self._reader.is_unwatched:
            self._reader.watch()

    def request(self, operation: str, args: tuple[Any, ...], answer: Answer) -> None:
        """Ask the control thread for something; `answer` is called once, on the loop's thread."""
        self._control.request(operation, args, answer)

    def give_up(self, seq: int) -> bool:
        """Publish that the caller of `seq` gave up; True if the call will never begin."""
        with self._lock:
            return self._page is not None and self._page.give_up(seq)

    def has_begun(self, seq: int) -> bool:
        """Whether the isolate says that it has begun this message, or a later one."""
        with self._lock:
            return self._page is not None and self._page.begun() >= seq

    def unsent_bytes(self) -> int:
        """How much of what was sent on the data channel the kernel has not taken yet."""
        return self._data_writer.unsent_bytes()

    def fault_text(self) -> str:
        """Return what faulthandler has written so far."""
        with self._lock:
            return "" if self._page is None else self._page.fault_text()

    @property
    def unread(self) -> int:
        """How much of what was sent on the control channel waits for the isolate to read."""
        return len(self._control.channel.out)

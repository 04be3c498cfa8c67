"""Large messages between host and isolate, through shared memory (see `piactors.pihost.memory.segments`).

Each isolate has segments of its own in each direction: what was written for one must not be read by another.
"""

from __future__ import annotations

import threading

from piactors._platform import taken_away
from piactors.errors import ProtocolError
from piactors.options import IsolationOptions
from piactors.pihost.memory import segments
from piactors.pihost.memory.chunks import Chunks
from piactors.pihost.wire import wire

MOST = 1 << 30
"""Bytes of segments that an isolate may have in each direction, if nothing limits its memory."""
_SHARE_OF_LIMIT = 8
_MOST_LOST = 10_000
"""Segments of one process for which there may be no room: their numbers are remembered."""


def bound(options: IsolationOptions) -> int:
    """Return how many bytes of segments an isolate may have in each direction; 0 if it is to have none.

    Segments count as memory of all that map them.  So if the isolate's memory is limited, they may take a part of
    it.
    """
    if not segments.available() or taken_away("memfd") or taken_away("segments"):
        return 0
    limits, recycle = options.limits, options.recycle
    bounds = [] if limits is None else [limits.max_memory, limits.soft_memory]
    bounds += [] if recycle is None else [recycle.above_memory]
    least = min((found for found in bounds if found is not None), default=None)
    return MOST if least is None else min(MOST, least // _SHARE_OF_LIMIT)


class Outbox:
    """The segments in which messages leave for one isolate."""

    def __init__(self, most: int) -> None:
        self._lock = threading.RLock()  # callers pack, and the loop takes back what the isolate has let go of
        self._dropped: list[int] = []
        self._pool = segments.Pool(most, self._dropped.append)
        self.offers = most > 0
        """Whether there is any shared memory for this isolate."""

    def pack(self, chunks: Chunks) -> segments.Parcel | None:
        """Put a message into a segment; None if it has to go through the socket."""
        if self._lock._is_owned():  # type: ignore[attr-defined]
            return None  # this is a signal handler, and has interrupted this very function
        with self._lock:
            return self._pool.pack(chunks)

    def trim(self, keep: int) -> int:
        """Let go of segments that are not used, beyond `keep` bytes; return how many bytes there are then."""
        with self._lock:
            return self._pool.trim(keep)

    def dropped(self) -> list[int]:
        """Return the numbers of the segments that were let go since this was last asked."""
        if not self._dropped:
            return []
        with self._lock:
            found, self._dropped[:] = list(self._dropped), []
        return found

    def forget(self, number: int) -> None:
        """The process could not take a segment."""
        with self._lock:
            self._pool.forget(number)

    def generation_ended(self) -> None:
        """A process is gone, and with it what it had taken; messages that are still to be sent stay."""
        with self._lock:
            self._pool.keep_pinned()

    def close(self) -> None:
        """No process follows."""
        with self._lock:
            self._pool.close()


class ReplySegments:
    """The segments that one process sends its answers in; input from an isolate, so everything is checked."""

    def __init__(self, max_frame: int) -> None:
        self._table = segments.Table(2 * MOST, wary=True)
        self._max_frame = max_frame
        self._lost: dict[int, str] = {}

    def add(self, number: int, fds: list[int]) -> bool:
        """Map a segment, whose descriptor has come along; False if this process has no room for it now.

        Raises:
            ProtocolError: if it is malformed.
        """
        if not fds:
            raise ProtocolError("it announces a segment and sends no descriptor")
        try:
            self._table.add(number, fds.pop(0))
        except segments.NoRoom as error:
            if len(self._lost) >= _MOST_LOST:
                raise ProtocolError("it announces more segments than there ever was room for") from None
            self._lost[number] = str(error)
            return False
        except segments.BadTable as error:
            raise ProtocolError(f"it announces {error}") from None
        return True

    def drop(self, number: int) -> None:
        """The process has let go of a segment."""
        self._table.drop(number)

    @property
    def nbytes(self) -> int:
        """How many bytes its segments have."""
        return self._table.nbytes

    def close(self) -> None:
        """The process is gone: what is not in use is let go of."""
        self._table.close()

    def knows(self, frame: wire.Frame) -> bool:
        """Whether the segment that a frame refers to is here; true also if it refers to none."""
        try:
            number = segments.parse(frame.payload)[0]
            return number in self._table or number in self._lost
        except segments.BadTable:
            return True

    def unpacked(self, frame: wire.Frame) -> wire.Frame:
        """Return a frame that came in a segment, with what lies there as its payload.

        Raises:
            ProtocolError: if what it says cannot be true.
        """
        received: segments.Received
        try:
            why = self._lost.get(segments.parse(frame.payload)[0])
            received = self._table.receive(frame.payload, self._max_frame) if why is None else segments.Lost(why)
        except segments.BadTable as error:
            raise ProtocolError(f"it refers to {error}") from None
        return frame._replace(flags=frame.flags & ~wire.SHARED, payload=received)

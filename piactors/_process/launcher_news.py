"""What a launcher reports, frame by frame; whatever fails while one is handled, none is lost and none comes twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from piactors.exit_reason import Rusage
from piactors.pihost.wire import wire


class LauncherNews:
    """The bytes that have come and have not been handled."""

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()

    def add(self, data: bytes) -> None:
        """Take what has come."""
        self._buffer += data

    def frames(self) -> Iterator[wire.Frame]:
        """Return the frames that are whole, one by one; each counts as handled once the next one is asked for.

        Raises:
            WireError: if what came is not a frame.
        """
        while (frame := self._first()) is not None:
            yield frame
            del self._buffer[: wire.HEADER_SIZE + len(frame.payload)]

    def _first(self) -> wire.Frame | None:
        if len(self._buffer) < wire.HEADER_SIZE:
            return None
        length, kind, flags, generation, seq = wire.HEADER.unpack_from(self._buffer)
        if length > self._max_frame or kind not in wire.KINDS:
            raise wire.WireError(f"a frame of kind {kind} and {length:,} bytes")
        stop = wire.HEADER_SIZE + length
        if len(self._buffer) < stop:
            return None
        return wire.Frame(kind, flags, generation, seq, bytes(self._buffer[wire.HEADER_SIZE : stop]))


def rusage_of(values: Sequence[float]) -> Rusage | None:
    """Make a `Rusage` of what `wait4` returned; Linux counts memory in KiB there, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    if not values:
        return None  # it cannot be waited for
    return Rusage(float(values[0]), float(values[1]), int(values[2]) * unit)

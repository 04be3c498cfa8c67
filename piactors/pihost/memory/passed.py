"""Large values on their way from one isolate to another: each in a file in memory, whose descriptor goes along.

Who sends fills it, and has no part in it from then on; the host passes the descriptor on; who receives maps it for
itself alone, so that what it changes there is its own.  It is gone with the last of them.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import struct
from typing import Any, List

from . import handed, mapped, segments
from .chunks import LEAST, Chunk, Chunks, bytes_of

_NUMBER = struct.Struct("<Q")
_SEALS = 15
"""F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_WRITE of linux/fcntl.h: it stays as it is."""


class Filled:
    """A file in memory with a message in it, which nobody can change any more.

    Attributes:
        number: what it is called.
        fd: its descriptor, closed with this.
        table: where its parts are.

    Raises:
        OSError: if there is no room for one.
    """

    __slots__ = ("fd", "number", "table")

    def __init__(self, number: int, chunks: Chunks) -> None:
        self.number, self.table = number, b""
        self.fd = os.memfd_create("piactors-passed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        place, parts = 0, []
        groups = [chunks.pieces, *([buffer] for buffer in chunks.apart)]  # type: List[Any]
        for pieces in groups:
            self._write(bytes(-place % segments.ALIGN))
            start = place = place + -place % segments.ALIGN
            for piece in pieces:
                place += self._write(bytes_of(piece))
            parts.append((start, place - start))
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
        self.table = segments.table(number, parts)

    def _write(self, data: Chunk) -> int:
        """Write it all: that makes the pages of the file at once, where a mapping makes each for itself."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]
        return len(data)

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            os.close(self.fd)


class Passing:
    """What this process passes on to others in that way.

    Args:
        most: how many bytes a value may have; 0: none is passed on so.
    """

    def __init__(self, most: int) -> None:
        self._most = most if segments.available() else 0
        self._numbers = itertools.count(1)

    def takes(self, chunks: Chunks) -> bool:
        """Whether a value goes that way."""
        return LEAST <= chunks.nbytes <= self._most and len(chunks.apart) < segments.MOST_CHUNKS

    def file(self, chunks: Chunks) -> Filled:
        """Return a file with a value in it.

        Raises:
            OSError: if there is no room for one.
        """
        number = next(self._numbers)
        return Filled(number, chunks)


def opened(fd: int, table: Chunk) -> segments.Received:
    """Return what lies in a file; the descriptor is closed.

    Raises:
        OSError: if it cannot be mapped.
        segments.BadTable: if the table is not one of it.
    """
    try:
        size = os.fstat(fd).st_size
        memory = mapped.private(fd, size)
    finally:
        os.close(fd)
    _, entries = segments.parse(table)
    if any(start + length > size for start, length in entries):
        raise segments.BadTable("a message that is not within its file")
    return segments.Received(memory, entries)


def with_number(number: int, table: bytes) -> bytes:
    """Return what stands for a value: the number under which its descriptor comes, and where its parts are."""
    return _NUMBER.pack(number) + table


class Arriving:
    """A value whose descriptor comes on the control channel; it is let go of unless somebody reads it."""

    __slots__ = ("_number", "_table")

    def __init__(self, data: Any) -> None:
        (self._number,) = _NUMBER.unpack_from(data)
        self._table = bytes(data[_NUMBER.size :])

    def chunks(self) -> List[memoryview]:
        """Return its chunks, where they lie; once.

        Raises:
            OSError: if this process could not take the descriptor, or has no room.
        """
        return opened(handed.HandedDescriptor(self._number).detach(), self._table).chunks()

    def __del__(self) -> None:
        handed.drop([self._number])

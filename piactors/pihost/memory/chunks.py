"""The pieces of a large message: what a pickler writes, and what an unpickler reads, without copying in between."""

from __future__ import annotations

import io
import pickle
from typing import Any, List, Union

Chunk = Union[bytes, bytearray, memoryview]

LEAST = 262_144
"""Bytes from which on a message goes through a segment, and a buffer in it is kept apart, so that it need not be copied
on arrival; less is quicker through a pipe."""


class Chunks:
    """A message as a pickler writes it: pieces, not copied before they are packed, and large buffers apart."""

    __slots__ = ("apart", "pieces", "write")

    def __init__(self) -> None:
        self.pieces: List[Chunk] = []
        self.write = self.pieces.append
        self.apart: List[memoryview] = []

    @property
    def nbytes(self) -> int:
        """How large the message is."""
        return sum(memoryview(piece).nbytes for piece in [*self.pieces, *self.apart])

    def take(self, buffer: pickle.PickleBuffer) -> bool:
        """Keep a large buffer apart; True if it is to stay in the pickle (see `pickle.Pickler`)."""
        try:
            view = buffer.raw()
        except BufferError:
            return True
        if view.nbytes < LEAST:
            return True
        self.apart.append(view)
        return False

    def gather(self) -> None:
        """Join small pieces that follow each other: a step for each of a million would take seconds."""
        pieces: List[Chunk] = []
        small: List[Chunk] = []
        for piece in self.pieces:
            if type(piece) is bytes and len(piece) < LEAST:
                small.append(piece)
                continue
            pieces += [b"".join(small), piece]
            small = []
        self.pieces[:] = [*pieces, b"".join(small)]


def bytes_of(chunk: Chunk) -> memoryview:
    """Return a piece as its bytes, whatever its items are."""
    view = memoryview(chunk)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


IN_PARTS = 0
"""How a message that begins with a table begins; no pickle begins so."""


def is_heavy(value: Any) -> bool:
    """Whether a value is, or directly holds, so many bytes that its pickle should not be made in one piece."""
    kind = type(value)
    if kind in BLOCKS:
        return len(value) >= LEAST
    if kind in CONTAINERS and len(value) <= FEW:
        for item in value.values() if kind is dict else value:
            if type(item) in BLOCKS and len(item) >= LEAST:
                return True
    return False


BLOCKS = frozenset((bytes, bytearray, str))
CONTAINERS = frozenset((tuple, list, dict))
FEW = 16
"""How many things in a container are looked at."""


def file_over(chunk: Chunk) -> Any:
    """Return a file that an unpickler reads from: one that copies nothing, if it would be much."""
    return io.BytesIO(chunk) if len(chunk) < LEAST else ViewReader(memoryview(chunk))


class ViewReader:
    """What an unpickler reads from: a chunk, without a copy of it."""

    __slots__ = ("_place", "_view")

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._place = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        start, self._place = self._place, self._place + size
        return bytes(self._view[start : self._place])

    def readinto(self, target: Any) -> int:
        """Copy the next bytes to where they belong."""
        view = memoryview(target).cast("B")
        start, self._place = self._place, self._place + view.nbytes
        view[:] = self._view[start : self._place]
        return view.nbytes

    def readline(self) -> bytes:
        """Return the next bytes up to the end of a line."""
        start = self._place
        line = bytes(self._view[start : start + 4096]).split(b"\n", 1)[0] + b"\n"
        self._place += len(line)
        return line

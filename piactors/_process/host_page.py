"""The host's view of a sequence page (`piactors.pihost.wire.page`): mapped if nobody can cut the file short.

A mapping needs no descriptor, and no system call for each look.  A file that an isolate may shorten must not be mapped:
a look beyond its end would end the host.  Such a one is read and written with system calls.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from typing import Protocol

from piactors._platform import taken_away
from piactors.pihost.wire import page
from piactors.pihost.wire.page import FAULT_OFFSET, SIZE, WINDOW, Fence, Snapshot

_WORD = struct.Struct("=Q")


class HostPage(Protocol):
    """What the host does with a page; under a lock of the process that it belongs to."""

    def snapshot(self, threads: int) -> Snapshot:
        """Return what has begun, of so many threads."""

    def begun(self) -> int:
        """Return the highest number begun."""

    def give_up(self, seq: int) -> bool:
        """Write that the caller of `seq` has given up on it; True if that will never begin."""

    def fault_text(self) -> str:
        """Return what faulthandler wrote, or an empty text."""

    def close(self) -> None:
        """Let go of it; it is used no more."""


class MappedPage:
    """By a mapping."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        os.close(fd)
        self._words = memoryview(self._map).cast("Q")
        self._fence = Fence()

    def snapshot(self, threads: int) -> Snapshot:
        """Return what has begun, of so many threads."""
        words = self._words
        return Snapshot(words[page.BEGUN], frozenset(words[page.SLOTS : page.SLOTS + threads]) - {0})

    def begun(self) -> int:
        """Return the highest number begun."""
        return self._words[page.BEGUN]

    def give_up(self, seq: int) -> bool:
        """Write that the caller of `seq` has given up on it; True if that will never begin."""
        self._words[page.CANCELLED + seq % WINDOW] = seq
        self._fence.pass_through()  # the isolate writes and looks in the other order
        return self._words[page.BEGUN] < seq

    def fault_text(self) -> str:
        """Return what faulthandler wrote, or an empty text."""
        return page.text_of(self._map[FAULT_OFFSET:SIZE])

    def close(self) -> None:
        """Let go of it; it is used no more."""
        self._words.release()
        self._map.close()


class FilePage:
    """By system calls."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def snapshot(self, threads: int) -> Snapshot:
        """Return what has begun, of so many threads."""
        size = (page.SLOTS + threads) * 8
        data = os.pread(self._fd, size, 0)
        if len(data) < size:
            return Snapshot(0, frozenset())
        words = memoryview(data).cast("Q")
        return Snapshot(words[page.BEGUN], frozenset(words[page.SLOTS :]) - {0})

    def begun(self) -> int:
        """Return the highest number begun."""
        data = os.pread(self._fd, 8, page.BEGUN * 8)
        return int(_WORD.unpack(data)[0]) if len(data) == 8 else 0

    def give_up(self, seq: int) -> bool:
        """Write that the caller of `seq` has given up on it; True if that will never begin."""
        os.pwrite(self._fd, _WORD.pack(seq), (page.CANCELLED + seq % WINDOW) * 8)
        return self.begun() < seq

    def fault_text(self) -> str:
        """Return what faulthandler wrote, or an empty text."""
        return page.text_of(os.pread(self._fd, SIZE - FAULT_OFFSET, FAULT_OFFSET))

    def close(self) -> None:
        """Let go of it; it is used no more."""
        os.close(self._fd)


def open_page(fd: int) -> HostPage:
    """Return the view of a page, which owns the descriptor from now on."""
    if not taken_away("mapped_page"):
        try:
            if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
                return MappedPage(fd)
        except (AttributeError, OSError, ValueError):  # no seals here, or no room for a mapping
            pass
    return FilePage(fd)

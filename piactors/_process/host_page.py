"""The host's view of a sequence page (`piactors.pihost.wire.page`): mapped if nobody can cut the file short.

A mapping needs no system call for each look.  A file that an isolate may shorten must not be mapped:
a look beyond its end would end the host.  Such a one is read and written with system calls.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import sys
from typing import Any, Protocol

from piactors._platform import taken_away
from piactors._rules.mailbox import Evidence
from piactors.pihost.wire import direct, page
from piactors.pihost.wire.page import FAULT_OFFSET, SIZE, WINDOW, Fence, Snapshot

_WORD = struct.Struct("=Q")
_PAIR = struct.Struct("=Qd")
_WITHOUT_FD: Any = {"trackfd": False} if sys.version_info >= (3, 13) else {}
"""Before, Python keeps a descriptor of its own for each mapping."""


class HostPage(Protocol):
    """What the host does with a page; under a lock of the process that it belongs to."""

    def snapshot(self, threads: int) -> Snapshot:
        """Return what has begun, of so many threads."""

    def begun(self) -> int:
        """Return the highest number begun."""

    def threads(self, count: int) -> list[tuple[int, int]]:
        """Return of so many threads what each has begun last, and what it says that it waits for (see `page`)."""

    def give_up(self, seq: int) -> bool:
        """Write that the caller of `seq` has given up on it; True if that will never begin."""

    def want_until(self, seq: int, until: float) -> None:
        """Write when `seq`, which is sent after this, is not wanted any more."""

    def direct_begun(self) -> tuple[int, ...]:
        """Return the highest number begun, of each place for a direct channel."""

    def begin_direct(self, place: int) -> None:
        """Let another channel have a place: nothing has begun there, or is given up on."""

    def give_up_direct(self, place: int, number: int) -> bool:
        """Do what `give_up` does for a message that goes directly."""

    def fault_text(self) -> str:
        """Return what faulthandler wrote, or an empty text."""

    def close(self) -> None:
        """Let go of it; it is used no more."""


class MappedPage:
    """By a mapping."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE, **_WITHOUT_FD)
        os.close(fd)
        self._words = memoryview(self._map).cast("Q")
        self._fence = Fence()

    def snapshot(self, threads: int) -> Snapshot:
        """Return what has begun, of so many threads."""
        words = self._words
        running = frozenset(words[page.SLOTS : page.SLOTS + threads]) - {0}
        return Snapshot(words[page.BEGUN], running, self.direct_begun())

    def begun(self) -> int:
        """Return the highest number begun."""
        return self._words[page.BEGUN]

    def threads(self, count: int) -> list[tuple[int, int]]:
        """Return of so many threads what each has begun last, and what it says that it waits for (see `page`)."""
        words = self._words
        return list(zip(words[page.SLOTS : page.SLOTS + count], words[page.WAITS : page.WAITS + count], strict=True))

    def give_up(self, seq: int) -> bool:
        """Write that the caller of `seq` has given up on it; True if that will never begin."""
        self._words[page.CANCELLED + seq % WINDOW] = seq
        self._fence.pass_through()  # the isolate writes and looks in the other order
        return self._words[page.BEGUN] < seq

    def want_until(self, seq: int, until: float) -> None:
        """Write when `seq`, which is sent after this, is not wanted any more."""
        place = (page.UNTIL + seq % WINDOW * 2) * 8
        self._map[place : place + _PAIR.size] = _PAIR.pack(seq, until)

    def direct_begun(self) -> tuple[int, ...]:
        """Return the highest number begun, of each place for a direct channel."""
        return tuple(self._words[page.DIRECT_BEGUN : page.DIRECT_BEGUN + page.DIRECT_PLACES])

    def begin_direct(self, place: int) -> None:
        """Let another channel have a place: nothing has begun there, or is given up on."""
        self._words[page.DIRECT_BEGUN + place] = 0
        start = (page.DIRECT_CANCELLED + place * page.DIRECT_WINDOW) * 8
        self._map[start : start + page.DIRECT_WINDOW * 8] = bytes(page.DIRECT_WINDOW * 8)

    def give_up_direct(self, place: int, number: int) -> bool:
        """Do what `give_up` does for a message that goes directly."""
        self._words[_cancelled_at(place, number)] = number
        self._fence.pass_through()
        return self._words[page.DIRECT_BEGUN + place] < number

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
            return Snapshot(0, frozenset(), (0,) * page.DIRECT_PLACES)
        words = memoryview(data).cast("Q")
        return Snapshot(words[page.BEGUN], frozenset(words[page.SLOTS :]) - {0}, self.direct_begun())

    def threads(self, count: int) -> list[tuple[int, int]]:
        """Return of so many threads what each has begun last, and what it says that it waits for (see `page`)."""
        data = os.pread(self._fd, (page.WAITS + count) * 8, 0)
        if len(data) < (page.WAITS + count) * 8:
            return [(0, 0)] * count
        words = memoryview(data).cast("Q")
        return list(zip(words[page.SLOTS : page.SLOTS + count], words[page.WAITS : page.WAITS + count], strict=True))

    def begun(self) -> int:
        """Return the highest number begun."""
        data = os.pread(self._fd, 8, page.BEGUN * 8)
        return int(_WORD.unpack(data)[0]) if len(data) == 8 else 0

    def give_up(self, seq: int) -> bool:
        """Write that the caller of `seq` has given up on it; True if that will never begin."""
        os.pwrite(self._fd, _WORD.pack(seq), (page.CANCELLED + seq % WINDOW) * 8)
        return self.begun() < seq

    def want_until(self, seq: int, until: float) -> None:
        """Write when `seq`, which is sent after this, is not wanted any more."""
        os.pwrite(self._fd, _PAIR.pack(seq, until), (page.UNTIL + seq % WINDOW * 2) * 8)

    def direct_begun(self) -> tuple[int, ...]:
        """Return the highest number begun, of each place for a direct channel."""
        data = os.pread(self._fd, page.DIRECT_PLACES * 8, page.DIRECT_BEGUN * 8)
        return tuple(memoryview(data).cast("Q")) if len(data) == page.DIRECT_PLACES * 8 else (0,) * page.DIRECT_PLACES

    def begin_direct(self, place: int) -> None:
        """Let another channel have a place: nothing has begun there, or is given up on."""
        os.pwrite(self._fd, _WORD.pack(0), (page.DIRECT_BEGUN + place) * 8)
        os.pwrite(self._fd, bytes(page.DIRECT_WINDOW * 8), (page.DIRECT_CANCELLED + place * page.DIRECT_WINDOW) * 8)

    def give_up_direct(self, place: int, number: int) -> bool:
        """Do what `give_up` does for a message that goes directly."""
        os.pwrite(self._fd, _WORD.pack(number), _cancelled_at(place, number) * 8)
        return self.direct_begun()[place] < number

    def fault_text(self) -> str:
        """Return what faulthandler wrote, or an empty text."""
        return page.text_of(os.pread(self._fd, SIZE - FAULT_OFFSET, FAULT_OFFSET))

    def close(self) -> None:
        """Let go of it; it is used no more."""
        os.close(self._fd)


def evidence(found: HostPage, threads: int) -> Evidence:
    """Return what a page of a process that has ended says, of so many threads, and whether that can be."""
    seen = found.snapshot(threads)
    routed = [seq for seq in seen.running if not direct.is_direct(seq)]
    has_run = bool(seen.begun or any(seen.direct))
    return Evidence(
        seen.begun, all(0 < seq <= seen.begun for seq in routed) and bool(seen.running) == has_run, seen.direct
    )


def _cancelled_at(place: int, number: int) -> int:
    return page.DIRECT_CANCELLED + place * page.DIRECT_WINDOW + number % page.DIRECT_WINDOW


def open_page(fd: int) -> HostPage:
    """Return the view of a page, which owns the descriptor from now on."""
    if not taken_away("mapped_page"):
        try:
            if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
                return MappedPage(fd)
        except (AttributeError, OSError, ValueError):  # no seals here, or no room for a mapping
            pass
    return FilePage(fd)

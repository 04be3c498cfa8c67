"""Reading by an event loop of the program: it reads the answers that its own code awaits, in its own thread.

So no other thread is woken for them, which would have to wake the loop in turn.  While code awaits one answer after the
other the loop watches a descriptor of its own for the same channel; a moment after the last one it lets go of that.
Nothing depends on it: if the loop has no time, piactors' own loop reads, after a moment (see `caller_turns`).
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_IDLE_SECONDS = 0.01
"""How long a loop watches a channel from which nothing is awaited."""


class Readable(Protocol):
    """What an event loop reads: a channel's reader."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing comes any more."""

    def read_ahead(self, wanted: Callable[[], bool]) -> None:
        """Handle what has come."""


class LoopWatch:
    """One event loop that watches one channel; used in the thread of that loop alone.

    Args:
        fd: of the channel.  The loop gets a copy, which it closes itself: the channel may end at any time, in another
            thread, and its number be another file's then.
        let_go: is called once the loop watches no more.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reader: Readable,
        fd: int,
        wanted: Callable[[], bool],
        let_go: Callable[[], object],
    ) -> None:
        self.loop = loop
        self._reader = reader
        self._wanted = wanted
        self._let_go = let_go
        self._used = True
        self._fd = os.dup(fd)
        try:
            loop.add_reader(self._fd, self._read)
            loop.call_later(_IDLE_SECONDS, self._look)
        except BaseException:
            self._close()
            raise

    def use(self) -> None:
        """An answer is awaited."""
        self._used = True

    def _read(self) -> None:
        self._used = True
        self._reader.read_ahead(self._wanted)
        if self._reader.is_closed:
            self._stop()

    def _look(self) -> None:
        if self._fd < 0:
            return
        if self._used:
            self._used = False
            self.loop.call_later(_IDLE_SECONDS, self._look)
        else:
            self._stop()

    def _stop(self) -> None:
        if self._fd >= 0:
            self.loop.remove_reader(self._fd)
            self._close()
            self._let_go()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def __del__(self) -> None:
        self._close()  # of a loop that was closed, and has forgotten it


class LoopWatches:
    """The event loops that watch one channel, by their threads."""

    def __init__(self, reader: Readable, fd: int) -> None:
        self._reader = reader
        self._fd = fd
        self._watches: dict[int, LoopWatch] = {}

    def use(self, loop: asyncio.AbstractEventLoop, wanted: Callable[[], bool]) -> bool:
        """An answer is awaited by code of this loop, which runs in this thread; False if it cannot watch."""
        me = threading.get_ident()
        watch = self._watches.get(me)
        if watch is not None and watch.loop is loop:
            watch.use()
            return True
        if self._reader.is_closed:
            return False
        try:
            self._watches[me] = LoopWatch(loop, self._reader, self._fd, wanted, lambda: self._watches.pop(me, None))
        except (OSError, NotImplementedError, RuntimeError):  # no descriptor is left, or it is a loop that watches none
            return False
        return True

"""The monitor: one thread that looks at what isolates use when the kernel does not hold a limit by itself.

It sleeps until the next look is due.  How soon that is, each watch decides at each look: seldom
while nothing runs in an isolate, often near a limit.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import weakref
from typing import Protocol

from piactors._text.logs import logger

_TOGETHER_FROM = 0.04
_AFTER_FAILURE = 1.0


class Watch(Protocol):
    """Something to be looked at again and again, on the monitor's thread."""

    def look(self, now: float) -> float | None:
        """Look once; return the seconds until the next look, or None for no more looks."""

    def end(self) -> None:
        """Let go of everything; the last call, after which there is no look.  It may be called twice."""

    def abandon(self) -> None:
        """In a forked copy of the host: close descriptors, and nothing more."""


class Monitor:
    """The thread, which starts with the first watch.  All methods work from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Watch]] = []
        self._watches: set[Watch] = set()
        self._failed: weakref.WeakSet[Watch] = weakref.WeakSet()
        self._order = itertools.count()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def add(self, watch: Watch) -> None:
        """Begin to look, at once."""
        with self._changed:
            self._watches.add(watch)
            heapq.heappush(self._due, (time.monotonic(), next(self._order), watch))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="piactors-monitor", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, watch: Watch) -> None:
        """Look no more, and end the watch; a look that is under way may still be finished."""
        with self._changed:
            self._watches.discard(watch)
            heapq.heappush(self._due, (0.0, next(self._order), watch))
            self._changed.notify()

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def abandon(self) -> None:
        """In a forked copy of the host, where the thread does not exist."""
        for watch in list(self._watches):
            watch.abandon()

    def _run(self) -> None:
        while batch := self._next():
            again = [(delay, watch) for watch in batch if (delay := self._guarded(watch)) is not None]
            with self._changed:
                now = time.monotonic()
                for delay, watch in again:
                    heapq.heappush(self._due, (_together(now, delay), next(self._order), watch))
                self._watches.difference_update(set(batch) - {watch for _, watch in again})
        for _, _, watch in self._due:
            watch.end()

    def _guarded(self, watch: Watch) -> float | None:
        try:
            delay = watch.look(time.monotonic()) if watch in self._watches else None
            if delay is None:
                watch.end()
            return delay
        except Exception:
            if watch not in self._failed:
                self._failed.add(watch)
                logger.exception("piactors failed to look at what an isolate uses; it keeps trying")
            return _AFTER_FAILURE if watch in self._watches else None

    def _next(self) -> list[Watch]:
        """Wait for watches that are due, and return them all; none at the end."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                batch: dict[Watch, None] = {}
                while self._due and self._due[0][0] <= now:
                    batch[heapq.heappop(self._due)[2]] = None
                if batch:
                    return list(batch)
                self._changed.wait(self._due[0][0] - now if self._due else None)
        return []


def _together(now: float, delay: float) -> float:
    """Return when to look again after `delay`: long delays end at the same moments, so that one wake-up serves many."""
    return now + delay if delay < _TOGETHER_FROM else (now // delay + 1) * delay

"""Waiting for an answer: awake for some microseconds when answers come that fast, asleep otherwise.

A sleeping core takes longer to wake than a small call takes to run.  So a caller looks a few times before it sleeps,
and gives its core up between two looks, in case the isolate has to run on the same one.  It does so only while
the recent answers came in that time, and never on a machine, or in a set of CPUs, with a single core.
"""

from __future__ import annotations

import os
import time

from piactors._platform.wake import Waker

SECONDS = 100e-6
"""How long one wait stays awake: about what it takes to wake a core."""
_MISSES = 3
"""Waits in a row that were too long, after which the next ones sleep at once."""
_TRY_AGAIN = 16
"""Short waits, asleep, after which it is tried again."""
_SHORT = 4 * SECONDS
"""What is short for a wait that was asleep: most of it is the waking of cores, here and at the other end."""
_TAKES_BACK = 4
"""Short waits for which one long wait makes up."""


def several_cores() -> bool:
    """Whether this thread may run on more than one core."""
    try:
        return len(os.sched_getaffinity(0)) > 1
    except AttributeError:
        return (os.cpu_count() or 1) > 1


class Spin:
    """How the waits for one isolate go: learnt from the last ones.  A race between two callers costs a lesson."""

    __slots__ = ("_misses", "_shorts", "allowed")

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed
        self._misses = 0
        self._shorts = 0

    def is_awake(self) -> bool:
        """Whether a wait stays awake for a moment, now."""
        return self.allowed and self._misses < _MISSES

    def goes_on(self, seconds: float) -> bool:
        """Whether a wait that has lasted so long, awake, goes on; if not, that is a lesson."""
        if seconds < SECONDS:
            return True
        self._misses += 1
        return False

    def hit(self) -> None:
        """A wait was short enough."""
        self._misses = 0

    def sleep(self) -> None:
        """Somebody else has something to do before the answer can come: the next waits leave the core to that."""
        self._misses = _MISSES

    def learn(self, seconds: float) -> None:
        """Somebody has waited so long without having stayed awake."""
        if self.allowed and self._misses >= _MISSES:
            self._learn_asleep(seconds)

    def wait(self, waker: Waker, timeout: float | None) -> bool:
        """Wait until there is something to read or somebody wakes the caller; False if the time runs out first."""
        if not self.allowed or waker.nested:
            return waker.wait(timeout)
        begin = time.monotonic()
        if self._misses >= _MISSES:
            found = waker.wait(timeout)
            self._learn_asleep(time.monotonic() - begin)
            return found
        poll, pause, now, end = waker.poll, os.sched_yield, time.monotonic, begin + SECONDS
        while not poll(0):
            pause()
            if now() >= end:
                break
        else:
            self._misses = 0
            return True
        self._misses += 1
        return waker.wait(timeout)

    def _learn_asleep(self, seconds: float) -> None:
        if seconds > _SHORT:
            self._shorts = max(0, self._shorts - _TAKES_BACK)
            return
        self._shorts += 1
        if self._shorts >= _TRY_AGAIN:
            self._shorts = self._misses = 0

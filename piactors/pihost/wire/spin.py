"""Waiting for the next message: awake for some microseconds when messages come that fast, asleep otherwise.

A sleeping core takes longer to wake than a small call takes to run.  So an isolate looks a few times before it sleeps,
and gives its core up between two looks, in case its host has to run on the same one.  It does so only after a
message, and while the recent ones came in that time: an idle isolate sleeps.  (The host's `_io/spin.py` is alike.)
"""

from __future__ import annotations

import os
import select
from time import monotonic

_SECONDS = 100e-6
_TAKEN_AWAY = 8e-6
"""How long giving up a core takes if somebody else then ran on it."""
_MISSES = 3
"""Waits in a row that were too long, or on a shared core, after which the next ones sleep at once."""
_TRY_AGAIN = 16
"""Short waits, asleep, after which it is tried again."""
_SHORT = 4 * _SECONDS
"""What is short for a wait that was asleep: most of it is the waking of cores, here and at the other end."""
_TAKES_BACK = 4
"""Short waits for which one long wait makes up."""


class Spinner:
    """The waits for one descriptor: what was learnt from the last ones."""

    def __init__(self, fd: int) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        self._poller = poll
        self._poll = poll.poll
        self._misses = 0
        self._shorts = 0
        self._begin = 0.0

    def also(self, fd: int) -> None:
        """Wait for another descriptor as well."""
        self._poller.register(fd, select.POLLIN)

    def no_longer(self, fd: int) -> None:
        """Wait for that one no longer."""
        self._poller.unregister(fd)

    def wait(self) -> bool:
        """Wait for a moment; True if the caller is to tell by `came` when there is something to read."""
        begin = monotonic()
        if self._misses >= _MISSES:
            self._begin = begin
            return True
        poll, pause, now, end = self._poll, os.sched_yield, monotonic, begin + _SECONDS
        while not poll(0):
            before = now()
            if before >= end:
                self._misses += 1
                return False
            pause()
            if now() - before > _TAKEN_AWAY and poll(0):
                self._misses += 1  # the sender runs on this very core
                return False
        self._misses = 0
        return False

    def came(self) -> None:
        """Learn from a wait that was asleep from its beginning."""
        if monotonic() - self._begin > _SHORT:
            self._shorts = max(0, self._shorts - _TAKES_BACK)
            return
        self._shorts += 1
        if self._shorts >= _TRY_AGAIN:
            self._shorts = self._misses = 0


def possible() -> bool:
    """Whether this process may run on more than one core, and the system has what it takes."""
    if not (hasattr(os, "sched_yield") and hasattr(select, "poll")):
        return False
    try:
        return len(os.sched_getaffinity(0)) > 1
    except AttributeError:
        return (os.cpu_count() or 1) > 1

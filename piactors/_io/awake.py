"""The loop stays awake for a moment where isolates talk: their next word comes sooner than a core takes to wake."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sized
from typing import Any

from piactors._io.spin import SECONDS, several_cores

_MISSES = 3
"""Looks in a row that found nothing, after which it sleeps at once for a while."""
_PAUSE = 0.01
"""Seconds of that."""
_STAYS = 2 * SECONDS
"""How long it stays awake: a process has to wake, and to do its work."""


class Awake:
    """Whether, and until when, one loop stays awake; on its own thread."""

    __slots__ = ("_after", "_allowed", "_misses", "until")

    def __init__(self) -> None:
        self.until = 0.0
        """Until when it stays awake, on the monotonic clock; 0: it does not."""
        self._allowed = several_cores()
        self._misses = 0
        self._after = 0.0

    def expect(self) -> None:
        """Something is to come soon."""
        if self._allowed:
            now = time.monotonic()
            if now >= self._after:
                self.until = now + _STAYS

    def look(self, wait: Callable[[float], Any], calls: Sized) -> Any:
        """Return what is ready as soon as there is something; nothing once the time is over, or if there are calls."""
        until, self.until = self.until, 0.0
        now, pause = time.monotonic, os.sched_yield
        while not calls:
            found = wait(0.0)
            if found:
                self._misses = 0
                return found
            if now() >= until:
                self._misses += 1
                if self._misses >= _MISSES:
                    self._misses, self._after = 0, until + _PAUSE
                break
            pause()
        return ()

"""Gives back the shared memory of an isolate when no large message has passed for a while.

Segments are kept for the next large message, whose pages are then there already.  What stays when it is quiet is
bounded by `IsolationOptions.keep_shared`, in each direction.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from piactors._io.loop import Share
    from piactors._isolate.delivery import Delivery
    from piactors._process.placement import Process
    from piactors.pihost.wire import wire

IDLE_SECONDS = 1.0
_LONGEST_SECONDS = 60.0
"""Between two looks at what cannot be given back yet, because what lies in it is still held."""


class IdleMemory:
    """Looks after the segments of one isolate; there is a timer only while there is more than may stay."""

    def __init__(self, delivery: Delivery, loop: Share, keep: int) -> None:
        self._delivery = delivery
        self._loop = loop
        self._keep = keep
        self._last_use = 0.0
        self._is_timed = False
        self._pause = IDLE_SECONDS

    def keep(self, nbytes: int) -> None:
        """So much may stay from now on."""
        self._keep = nbytes

    def used(self) -> None:
        """A large message passes, either way; from any thread."""
        self._last_use = time.monotonic()
        self._pause = IDLE_SECONDS
        if not self._is_timed:
            self._is_timed = True
            self._loop.call_later(IDLE_SECONDS, self._look)

    def _look(self) -> None:
        quiet = time.monotonic() - self._last_use
        if quiet < IDLE_SECONDS:
            self._loop.call_later(IDLE_SECONDS - quiet, self._look)
            return
        self._is_timed = False
        delivery, keep = self._delivery, self._keep
        with delivery.lock:  # a sender takes a segment, and tells its process of it, in one step
            left = delivery.outbox.trim(keep)
            process = delivery.process if delivery.flows else None
            if process is not None:
                process.retract(delivery.outbox.dropped())
            pauses = process is None and delivery.process is not None
        if pauses:
            self._look_again(IDLE_SECONDS)
        elif process is not None and self._trim_theirs(process, keep) | (left > keep):
            self._pause = min(2 * self._pause, _LONGEST_SECONDS)
            self._look_again(self._pause)

    def _look_again(self, seconds: float) -> None:
        self._is_timed = True
        self._loop.call_later(seconds, self._look)

    @staticmethod
    def _trim_theirs(process: Process, keep: int) -> bool:
        """Have the process let go of what it sent its answers in; whether there is more of it than may stay."""
        if process.mapped_bytes() <= keep:
            return False
        process.request("trim", (keep,), _done)
        return True


def _done(_: wire.Frame | None) -> None:
    """What the process has let go of, it has said already."""

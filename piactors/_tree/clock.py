"""The time that supervisors live by: the real one, or one of a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from piactors._host import runtime


class Cancellable(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Cancel the call, if it has not begun."""


class Clock(Protocol):
    """Tells the time and makes calls later."""

    def now(self) -> float:
        """Return seconds on a clock that never goes back."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Cancellable:
        """Have `callback()` called after that many seconds; it must be quick."""


class RealClock:
    """The clock of the machine; its calls come on the I/O thread."""

    def now(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Cancellable:
        """Have `callback()` called after that many seconds; it must be quick."""
        return runtime.current().loop.deadline(seconds, callback)

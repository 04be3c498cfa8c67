"""Timers that actors set for themselves, as the actor sees them."""

from __future__ import annotations

import itertools
import math
import reprlib
from collections.abc import Callable
from typing import Any, Protocol

EVERY, COALESCE, PERSISTENT = 1, 2, 4
"""What a timer is, as flags: it ticks again; misses a tick rather than doubling it; outlives its process."""
LEAST, MOST = 1e-3, 1e9
"""Seconds of a period; those of a first tick may be fewer."""
_numbers = itertools.count(1)


class SetsTimers(Protocol):
    """What sets timers: an actor's own ref."""

    def set_timer(self, number: int, seconds: float, how: int, method: str, args: tuple[Any, ...]) -> object:
        """Have a method called after that many seconds."""

    def end_timer(self, number: int) -> bool:
        """Have a timer tick no more; whether it would have."""


class Timer:
    """A timer that an actor has set for itself: see `ProcessActor.after` and `ProcessActor.every`."""

    def __init__(self, clock: SetsTimers, number: int, method: str) -> None:
        self._clock, self._number, self._method = clock, number, method

    def __repr__(self) -> str:
        return f"<piactors.Timer of {self._method}>"

    def cancel(self) -> bool:
        """Have it tick no more: a tick that has not begun never will.

        Returns whether it would have ticked (again).
        """
        return self._clock.end_timer(self._number)


def set_timer(actor: Any, seconds: object, method: str | Callable[..., Any], args: tuple[Any, ...], how: int) -> Timer:
    """Set a timer for an actor.

    Raises:
        TypeError, ValueError: if that is not a number of seconds.
        AttributeError: if the actor has no such public method.
        RuntimeError: if the actor is not in an isolate.
    """
    delay = _seconds(seconds, LEAST if how & EVERY else 0.0)
    name = method if isinstance(method, str) else getattr(method, "__name__", "")
    if not name.isidentifier() or name.startswith("_") or not callable(getattr(actor, name, None)):
        raise AttributeError(f"{reprlib.repr(method)} is not a public method of {type(actor).__name__}")
    clock, number = actor.actor_ref, next(_numbers)
    if not hasattr(clock, "set_timer"):
        raise RuntimeError("only an actor in an isolate, which was started as such, sets timers")
    clock.set_timer(number, delay, how, name, args)
    return Timer(clock, number, name)


def _seconds(seconds: object, least: float) -> float:
    allowed = f"use a number of seconds, at least {least:g} and at most {MOST:g}"
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{reprlib.repr(seconds)} is not a time for a timer; {allowed}")
    if math.isnan(seconds) or not least <= seconds <= MOST:
        raise ValueError(f"{seconds!r} is not a time for a timer; {allowed}")
    return float(seconds)

"""Restart intensity: at most so many restarts within so many seconds, as a sliding window."""

from __future__ import annotations


def add_restart(
    history: tuple[float, ...], now: float, max_restarts: int | None, within: float
) -> tuple[bool, tuple[float, ...]]:
    """Count one restart at `now` (seconds on a monotonic clock).

    Returns whether it is allowed, and the history for the next time.  The window is closed at its
    far end, as in OTP: a restart exactly `within` seconds ago still counts.
    """
    if max_restarts is None:
        return True, ()
    recent = (*(at for at in history if now - at <= within), now)
    return len(recent) <= max_restarts, recent

"""Never comes back from a loop of pure Python."""

from __future__ import annotations

from telling import say


def spin() -> None:
    """Count for ever."""
    say(at="busy")
    count = 0
    while True:
        count += 1

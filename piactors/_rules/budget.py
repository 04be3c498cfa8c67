"""How many restarts are allowed: at most so many within so many seconds, in a sliding window, and whose they were.

A restart that waits (see `Backoff`) is dated to the end of its wait, and the child's earlier ones move along: while a
child waits, nothing of its past grows old.  So a delay longer than the window does not defeat the limit.
"""

from __future__ import annotations

import attrs

from piactors._text.record import ByAttributes

Ledger = tuple[tuple[float, str], ...]
"""When, on a monotonic clock in seconds, and which child."""


@attrs.frozen(eq=False, repr=False)
class Budget(ByAttributes):
    """At most `max_restarts` restarts within `within` seconds; None: any number."""

    max_restarts: int | None
    within: float


def charge(ledger: Ledger, child: str, now: float, budget: Budget) -> tuple[bool, Ledger]:
    """Count one restart of `child`; return whether the budget allows it, and the ledger for the next time.

    The window is closed at its far end, as in OTP: a restart exactly `within` seconds ago still counts.
    """
    if budget.max_restarts is None:
        return True, ()
    recent = (*(entry for entry in ledger if now - entry[0] <= budget.within), (now, child))
    return len(recent) <= budget.max_restarts, recent


def postpone(ledger: Ledger, child: str, delay: float) -> Ledger:
    """Let the past of `child` stay as young as it is for the next `delay` seconds, while it waits."""
    return tuple((at + delay, who) if who == child else (at, who) for at, who in ledger)

"""Whether and when one child starts again, from its restart type, its budget and its backoff.

The one engine for isolates that are alone (`decide`) and for the children of supervisors (`charged_restart`).
"""

from __future__ import annotations

from typing import Literal

import attrs

from piactors._rules.backoff import delay
from piactors._rules.budget import Budget, Ledger, charge, postpone
from piactors._text.record import ByAttributes
from piactors.exit_reason import ExitReason
from piactors.options import Backoff

Restart = Literal["temporary", "transient", "permanent"]


@attrs.frozen(eq=False, repr=False)
class Past(ByAttributes):
    """What a child's past means for its next restart.

    Attributes:
        attempt: restarts since it last ran stably.
        ledger: the restarts that count against its budget, which may be one that it shares with its siblings.
    """

    attempt: int = 0
    ledger: Ledger = ()


@attrs.frozen(eq=False, repr=False)
class Again(ByAttributes):
    """Launch the next process after `delay` seconds; `attempt` counts restarts since it last ran stably."""

    delay: float
    attempt: int


@attrs.frozen(eq=False, repr=False)
class StayDown(ByAttributes):
    """No other process follows."""


@attrs.frozen(eq=False, repr=False)
class Exhausted(ByAttributes):
    """Another process should follow, and is not allowed: by the budget, or else by the backoff's `max_attempts`."""

    by_budget: bool = True


@attrs.frozen(eq=False, repr=False)
class Policy(ByAttributes):
    """What the options of an isolate that is alone say about restarts."""

    restart: Restart
    budget: Budget
    backoff: Backoff | None = None


def wants_restart(restart: Restart, reason: ExitReason) -> bool:
    """Whether a child of this restart type starts again after such an exit."""
    if restart == "permanent":
        return True
    if restart == "transient":
        return not reason.is_normal
    return False


def decide(
    policy: Policy, past: Past, reason: ExitReason, *, now: float, ran_for: float, uniform: float, charged: bool = True
) -> tuple[Again | StayDown | Exhausted, Past]:
    """Decide on one exit of an isolate that is alone.

    Args:
        now: seconds on a monotonic clock.
        ran_for: seconds that the process was ready for; 0 if it never was.
        uniform: a random number in [0, 1), for the jitter.
        charged: False if the exit was not the isolate's fault, so that it costs no budget.
    """
    if not wants_restart(policy.restart, reason):
        return StayDown(), past
    if not charged:
        return Again(0.0, max(1, past.attempt)), past
    past = attrs.evolve(past, attempt=attempts_after(past.attempt, policy.backoff, ran_for))
    return charged_restart(policy.budget, policy.backoff, past, "", now=now, uniform=uniform)


def attempts_after(attempt: int, backoff: Backoff | None, ran_for: float) -> int:
    """Return how many restarts in a row there were once a run is over: none, if that was long enough."""
    is_stable = backoff is not None and backoff.reset_after is not None and ran_for >= backoff.reset_after
    return 0 if is_stable else attempt


def charged_restart(
    budget: Budget, backoff: Backoff | None, past: Past, child: str, *, now: float, uniform: float
) -> tuple[Again | Exhausted, Past]:
    """Count one restart of a child, and say when it comes; if it waits, its past does not grow old meanwhile."""
    attempt = past.attempt + 1
    allowed, ledger = charge(past.ledger, child, now, budget)
    if not allowed or (backoff is not None and backoff.max_attempts is not None and attempt > backoff.max_attempts):
        return Exhausted(by_budget=not allowed), Past(attempt, ledger)
    seconds = delay(backoff, attempt, uniform)
    return Again(seconds, attempt), Past(attempt, postpone(ledger, child, seconds) if seconds > 0 else ledger)

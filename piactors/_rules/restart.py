"""Whether and when one child starts again, from its restart type, its budget and its backoff."""

from __future__ import annotations

from typing import Literal

import attrs

from piactors._rules.backoff import delay
from piactors._rules.intensity import add_restart
from piactors.exit_reason import ExitReason
from piactors.options import Backoff

Restart = Literal["temporary", "transient", "permanent"]


@attrs.frozen
class Policy:
    """What a child's specification says on restarts; see `IsolationOptions` for the fields."""

    restart: Restart
    max_restarts: int | None
    within: float
    backoff: Backoff | None = None


@attrs.frozen
class History:
    """What a child's past means for its next restart.

    Attributes:
        restarts: when it was restarted, on a clock that stands still while a restart waits, so that
            delays longer than the window do not defeat the limit.
        attempt: restarts since it last ran stably.
        waited: seconds that restarts have waited so far.
    """

    restarts: tuple[float, ...] = ()
    attempt: int = 0
    waited: float = 0.0


@attrs.frozen
class StartAgain:
    """Start the next generation after `delay` seconds."""

    delay: float
    attempt: int


@attrs.frozen
class StayDown:
    """The restart type asks for no restart."""


@attrs.frozen
class Exhausted:
    """A restart was due, and the budget allows no more."""


Decision = StartAgain | StayDown | Exhausted


def wants_restart(restart: Restart, reason: ExitReason) -> bool:
    """Whether a child of this restart type starts again after such an exit."""
    if restart == "permanent":
        return True
    if restart == "transient":
        return not reason.is_normal
    return False


def decide(
    policy: Policy,
    history: History,
    reason: ExitReason,
    *,
    now: float,
    ran_for: float,
    luck: float,
    charged: bool = True,
) -> tuple[Decision, History]:
    """Decide on one exit.

    Args:
        now: seconds on a monotonic clock.
        ran_for: seconds that the generation was ready for; 0 where it never was.
        luck: a random number in [0, 1), for the jitter.
        charged: False where the exit was no fault of the child's, so that it costs no budget.
    """
    if not wants_restart(policy.restart, reason):
        return StayDown(), history
    if not charged:
        return StartAgain(0.0, max(1, history.attempt)), history
    allowed, restarts = add_restart(history.restarts, now - history.waited, policy.max_restarts, policy.within)
    attempt = 1 if _ran_stably(policy.backoff, ran_for) else history.attempt + 1
    if not allowed or _attempts_used_up(policy.backoff, attempt):
        return Exhausted(), attrs.evolve(history, restarts=restarts)
    wait = delay(policy.backoff, attempt, luck)
    return StartAgain(wait, attempt), History(restarts, attempt, history.waited + wait)


def _ran_stably(backoff: Backoff | None, ran_for: float) -> bool:
    return backoff is not None and backoff.reset_after is not None and ran_for >= backoff.reset_after


def _attempts_used_up(backoff: Backoff | None, attempt: int) -> bool:
    return backoff is not None and backoff.max_attempts is not None and attempt > backoff.max_attempts

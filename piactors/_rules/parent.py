"""What whoever decides on restarts may say: an isolate's own options, or its supervisor."""

from __future__ import annotations

from typing import Protocol

import attrs

from piactors._rules.bodies import Ending
from piactors.exit_reason import ExitReason


@attrs.frozen
class Moment:
    """When an input is handled, in seconds on a monotonic clock, and a random number in [0, 1) for jitter."""

    now: float
    uniform: float = 0.5


@attrs.frozen
class Again:
    """Launch the next process after `delay` seconds; `attempt` counts restarts since it last ran stably."""

    delay: float
    attempt: int


@attrs.frozen
class Later:
    """The supervisor decides, and says so by `start_held` or `release`."""


@attrs.frozen
class Down:
    """No other process follows."""


@attrs.frozen
class Exhausted:
    """Another process should follow, and the budget allows no more."""


Decision = Again | Later | Down | Exhausted


class Parent(Protocol):
    """Whoever decides on restarts: the isolate's own options, or its supervisor."""

    def decide(self, moment: Moment, ending: Ending, ran_for: float) -> Decision:
        """Say what follows the end of a process that was ready for `ran_for` seconds."""

    def wants_restart(self, reason: ExitReason) -> bool:
        """Whether another process may follow such an end; the budget is another matter."""

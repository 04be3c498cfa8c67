"""What the one that decides on restarts may say: an isolate's own options, or its supervisor."""

from __future__ import annotations

from typing import Protocol

import attrs

from piactors._rules.bodies import ProcessEnding
from piactors._rules.moment import Moment
from piactors._rules.restart import Again, Exhausted, StayDown
from piactors._text.record import ByAttributes
from piactors.exit_reason import ExitReason


@attrs.frozen(eq=False, repr=False)
class Later(ByAttributes):
    """The supervisor decides, and says so by `start_held` or `release`."""


Decision = Again | Later | StayDown | Exhausted


class Parent(Protocol):
    """What decides on restarts: the isolate's own options, or its supervisor."""

    def decide(self, moment: Moment, ending: ProcessEnding, ran_for: float) -> Decision:
        """Say what follows the end of a process that was ready for `ran_for` seconds."""

    def wants_restart(self, reason: ExitReason) -> bool:
        """Whether another process may follow such an end; the budget is a separate question."""

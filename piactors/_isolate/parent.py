"""What decides on an isolate's restarts: its own options, or the supervisor that it is a child of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from piactors._rules import restart
from piactors._rules.bodies import ProcessEnding
from piactors._rules.budget import Budget
from piactors._rules.moment import Moment
from piactors._rules.parent import Decision, Later
from piactors._rules.restart import StayDown
from piactors._rules.succession import MOST_LAUNCHERS_LOST
from piactors.exit_reason import ExitReason
from piactors.options import IsolationOptions

if TYPE_CHECKING:
    from piactors._rules.exit import Exit

MakeError = Callable[[], BaseException]
"""Makes the error of a failed start, in the thread that asks for it: it may have to decode what isolated code sent."""


def made(error: BaseException) -> MakeError:
    """Return what "makes" an error that is there already."""
    return lambda: error


class ParentLink(Protocol):
    """A supervisor, as one of its children sees it.  Its methods only post news, and are called from any thread."""

    quarantine: bool
    """Whether a death in a call that is tried again is left to that call's retries, and costs no budget."""

    def wants_restart(self, reason: ExitReason) -> bool:
        """Whether the child may start again after such an exit; the budget is a separate question."""

    def started(self) -> None:
        """The child is ready."""

    def start_failed(self, reason: ExitReason, error: MakeError) -> None:
        """The child did not become ready."""

    def exited(self, exit: Exit) -> None:
        """The child ran, and has ended."""

    def terminated(self) -> None:
        """Somebody stops the child through its ref: no restart may follow."""


class Losses:
    """The launchers that an isolate has lost in a row; `counts` says whether it was alone with one of them."""

    def __init__(self, counts: Callable[[], bool]) -> None:
        self._counts = counts
        self._in_a_row = 0

    def note(self, ending: ProcessEnding) -> None:
        """A process has ended."""
        self._in_a_row = self._in_a_row + 1 if ending.lost else 0

    def forget(self) -> None:
        """A start has succeeded."""
        self._in_a_row = 0

    def charged(self, ending: ProcessEnding) -> bool:
        """Whether an end is charged to the isolate: not the loss of its launcher, unless that is its own doing."""
        return not ending.lost or self._in_a_row > MOST_LAUNCHERS_LOST or self._counts()


class Alone:
    """An isolate that is nobody's child: its options decide."""

    def __init__(self, options: IsolationOptions, losses: Losses) -> None:
        budget = Budget(options.max_restarts, options.within)
        self._policy = restart.Policy(options.restart, budget, options.backoff)
        self._losses = losses
        self._past = restart.Past()

    def decide(self, moment: Moment, ending: ProcessEnding, ran_for: float) -> Decision:
        """Restart after the options' pause while they allow it."""
        decision, self._past = restart.decide(
            self._policy,
            self._past,
            ending.reason,
            now=moment.now,
            ran_for=ran_for,
            uniform=moment.uniform,
            charged=self._losses.charged(ending),
        )
        return decision

    def wants_restart(self, reason: ExitReason) -> bool:
        """Whether the options ask for a restart after such an end."""
        return restart.wants_restart(self._policy.restart, reason)


class Supervised:
    """The child of a supervisor, which decides once it has heard of the end."""

    def __init__(self, link: ParentLink) -> None:
        self._link = link

    def decide(self, moment: Moment, ending: ProcessEnding, ran_for: float) -> Decision:
        """Leave a restart to the supervisor; what its restart type does not ask for, stays down."""
        return Later() if not ending.started or self.wants_restart(ending.reason) else StayDown()

    def wants_restart(self, reason: ExitReason) -> bool:
        """Whether the child's restart type asks for one after such an end."""
        return self._link.wants_restart(reason)

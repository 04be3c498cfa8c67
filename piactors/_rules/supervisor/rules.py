"""What a supervisor is told about its children and about itself: the part of a specification that decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs

from piactors._rules.budget import Budget
from piactors._rules.restart import Restart, wants_restart
from piactors.exit_reason import ExitReason
from piactors.options import Backoff

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]
ChildType = Literal["worker", "supervisor"]


@attrs.frozen(kw_only=True)
class ChildRule:
    """What decides about one child; see `ChildSpec` for the fields.

    Attributes:
        budget: its own, or None if it shares that of its supervisor.
        escalates: whether a used-up budget ends the supervisor; if not, only the child stays down.
        restart_on: decides on an exit in place of the restart type, or None.
        runner: whatever runs the child; nothing here looks at it.
        listed: False for one that leaves nothing behind when it ends, as a dynamic supervisor's children do.
    """

    id: str
    restart: Restart = "permanent"
    significant: bool = False
    type: ChildType = "worker"
    backoff: Backoff | None = None
    budget: Budget | None = None
    escalates: bool = True
    restart_on: Callable[[ExitReason], bool] | None = None
    listed: bool = True
    runner: Any = None

    @property
    def leaves_spec(self) -> bool:
        """Whether its specification stays when it has ended: as in OTP, not that of a temporary child."""
        return self.listed and self.restart != "temporary"

    def wants_restart(self, reason: ExitReason) -> bool:
        """Whether it starts again after such an exit, as far as its budget allows."""
        if self.restart == "temporary":
            return False
        return wants_restart(self.restart, reason) if self.restart_on is None else self.restart_on(reason)


@attrs.frozen(kw_only=True)
class TreeRule:
    """What decides about a supervisor; see `Supervisor` for the fields.

    Attributes:
        max_children: how many it may have, or None.
        parallel: whether its children stop all at once when it ends.
    """

    strategy: Strategy = "one_for_one"
    budget: Budget = attrs.field(factory=lambda: Budget(3, 5.0))
    auto_shutdown: AutoShutdown = "never"
    backoff: Backoff | None = None
    max_children: int | None = None
    parallel: bool = False

"""One child as its supervisor sees it.

down ──Start──> starting ──started──> running ──exited──> dead ──decided──┐
 ▲                 │                     │                                │
 │          start_failed               Stop                               │
 │                 ▼                     ▼                                │
 ├───cancelled── waiting ──due──> …   stopping ──exited──> down           │
 └───────────────── stays down, or Start, or waiting <────────────────────┘
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import attrs

from piactors._rules.budget import Ledger
from piactors._rules.supervisor.rules import ChildRule
from piactors.exit_reason import ExitReason

if TYPE_CHECKING:
    from piactors._rules.supervisor.jobs import Job


class ChildPhase(StrEnum):
    """What is happening to a child."""

    DOWN = "down"
    STARTING = "starting"
    RUNNING = "running"
    DEAD = "dead"
    """It has ended by itself, and what follows is not decided yet."""
    WAITING = "waiting"
    """For its next start: for its backoff, or in the supervisor's own mailbox."""
    STOPPING = "stopping"


@attrs.define(eq=False)
class Child:
    """A child and its past.

    Attributes:
        job: what waits for the end of its start or stop.
        announced: False until its first start is complete; `which_children` does not list it before.
        comes_back: it is down because of a restart, and that will start it again.
        unwanted: somebody has stopped it through its ref, so that no restart may start it.
        retry: of a waiting one, whether its last start has failed, so that the next has to be decided on.
        epoch: grows with each start and each cancelled wait, so that late news can be told from new.
        ready_at: when it was last ready, in seconds on a monotonic clock.
        attempt: restarts since it last ran stably.
        ledger: its restarts, if it has a budget of its own.
    """

    rule: ChildRule
    phase: ChildPhase = ChildPhase.DOWN
    job: Job | None = None
    announced: bool = False
    comes_back: bool = False
    unwanted: bool = False
    retry: bool = False
    epoch: int = 0
    restarts: int = 0
    reason: ExitReason | None = None
    ready_at: float | None = None
    waits_until: float | None = None
    attempt: int = 0
    ledger: Ledger = ()

    @property
    def id(self) -> str:
        """Its name among its siblings."""
        return self.rule.id

    @property
    def is_active(self) -> bool:
        """Whether it runs."""
        return self.phase in (ChildPhase.RUNNING, ChildPhase.STOPPING)

    @property
    def state(self) -> Literal["running", "restarting", "stopped"]:
        """``running``, ``restarting`` or ``stopped``, as `which_children` says it."""
        if self.is_active:
            return "running"
        return "restarting" if self.comes_back or self.phase in (ChildPhase.WAITING, ChildPhase.DEAD) else "stopped"

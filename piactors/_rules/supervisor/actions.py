"""What the decisions of a supervisor ask for.  What performs them reports back the outcome."""

from __future__ import annotations

from typing import Any

import attrs

from piactors.errors import PiactorsError
from piactors.exit_reason import ExitReason


@attrs.frozen
class Exit:
    """A child that ran has ended.

    Attributes:
        wanted: somebody has stopped it through its ref, which acts as `terminate_child`.
        charged: whether a restart costs budget.
    """

    reason: ExitReason
    wanted: bool = False
    charged: bool = True


@attrs.frozen
class Start:
    """Start the child; report `started` or `start_failed`.

    `attempt` counts its restarts since it last ran stably; 0 is not a restart after a death of its own.
    """

    id: str
    attempt: int = 0


@attrs.frozen
class Stop:
    """Stop the child within its shutdown time, even if it is still starting; report `exited`.

    `keep`: what waits in its mailbox stays there, since it may start again.
    """

    id: str
    keep: bool


@attrs.frozen
class WaitBeforeStart:
    """Report `due` with this ticket after `delay` seconds; 0 means behind what the supervisor has in its mailbox."""

    id: str
    delay: float
    ticket: int
    attempt: int


@attrs.frozen
class Release:
    """The child stays down: fail what waits for it."""

    id: str


@attrs.frozen
class Forget:
    """The child no longer exists: fail what waits for it, and keep nothing."""

    id: str


@attrs.frozen
class Answer:
    """Answer the call: with `id` of a child (or None), or with an error."""

    call: Any
    id: str | None = None
    error: PiactorsError | None = None


@attrs.frozen
class StartRefused:
    """Answer the call: the child did not start, for this reason."""

    call: Any
    id: str
    reason: ExitReason


@attrs.frozen
class BudgetExceeded:
    """The budget does not allow another restart of the child; `escalates`: the supervisor ends for it."""

    id: str
    escalates: bool


@attrs.frozen
class Up:
    """The supervisor has started, with all its children."""


@attrs.frozen
class Ended:
    """The supervisor has ended, and all its children before it.

    Attributes:
        failed: the child whose start has failed, if that ended the supervisor's own start.
    """

    reason: ExitReason
    failed: str | None = None


Action = Start | Stop | WaitBeforeStart | Release | Forget | Answer | StartRefused | BudgetExceeded | Up | Ended

"""What the decisions of a supervisor ask for.  What performs them reports back the outcome."""

from __future__ import annotations

from typing import Any

import attrs

from piactors._text.record import ByAttributes
from piactors.errors import PiactorsError
from piactors.exit_reason import ExitReason


@attrs.frozen(eq=False, repr=False)
class Start(ByAttributes):
    """Start the child; report `started` or `start_failed`.

    `attempt` counts its restarts since it last ran stably; 0 is not a restart after a death of its own.
    """

    id: str
    attempt: int = 0


@attrs.frozen(eq=False, repr=False)
class Stop(ByAttributes):
    """Stop the child within its shutdown time, even if it is still starting; report `exited`.

    `keep`: what waits in its mailbox stays there, since it may start again.
    """

    id: str
    keep: bool


@attrs.frozen(eq=False, repr=False)
class WaitBeforeStart(ByAttributes):
    """Report `due` with this ticket after `delay` seconds; 0 means behind what the supervisor has in its mailbox."""

    id: str
    delay: float
    ticket: int
    attempt: int


@attrs.frozen(eq=False, repr=False)
class Release(ByAttributes):
    """The child stays down: fail what waits for it."""

    id: str


@attrs.frozen(eq=False, repr=False)
class Forget(ByAttributes):
    """The child no longer exists: fail what waits for it, and keep nothing."""

    id: str


@attrs.frozen(eq=False, repr=False)
class Answer(ByAttributes):
    """Answer the call: with `id` of a child (or None), or with an error."""

    call: Any
    id: str | None = None
    error: PiactorsError | None = None


@attrs.frozen(eq=False, repr=False)
class StartRefused(ByAttributes):
    """Answer the call: the child did not start, for this reason."""

    call: Any
    id: str
    reason: ExitReason


@attrs.frozen(eq=False, repr=False)
class BudgetExceeded(ByAttributes):
    """The budget does not allow another restart of the child; `escalates`: the supervisor ends for it."""

    id: str
    escalates: bool


@attrs.frozen(eq=False, repr=False)
class Up(ByAttributes):
    """The supervisor has started, with all its children."""


@attrs.frozen(eq=False, repr=False)
class Ended(ByAttributes):
    """The supervisor has ended, and all its children before it.

    Attributes:
        failed: the child whose start has failed, if that ended the supervisor's own start.
    """

    reason: ExitReason
    failed: str | None = None


Action = Start | Stop | WaitBeforeStart | Release | Forget | Answer | StartRefused | BudgetExceeded | Up | Ended

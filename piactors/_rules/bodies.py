"""What the rules of an isolate know of each of its processes."""

from __future__ import annotations

from enum import StrEnum

import attrs

from piactors._text.record import ByAttributes
from piactors.exit_reason import ExitReason


class Role(StrEnum):
    """What a process of an isolate is there for.

    successor ──promoted──> current ──replaced──> retiring
        ▲  │                   ▲                     ▲
        │  └──not needed───────┼─────────────────────┤
        │                      │                     │
    standby ──at a restart─────┘      not needed ────┘
    """

    CURRENT = "current"
    """It runs the calls, or will as soon as it is ready."""
    SUCCESSOR = "successor"
    """It is to take over from the current one, between two calls."""
    STANDBY = "standby"
    """It is kept ready for the next restart or replacement."""
    RETIRING = "retiring"
    """It no longer runs any call and may end in its own time."""


@attrs.define
class Body:
    """One process, from the moment at which it is asked for until it and all that it has started are gone.

    Attributes:
        version: of what it was made; the isolate's own grows when something else is to run in it.
        ready: whether its start is complete.
        doomed: whether it has been decided to kill it: the first reason stands.
        wants_stop: whether its own code has asked for its end.
        ready_at: when it became ready, in seconds on a monotonic clock.
        stop_begun: how it will probably end, if it has said that it stops before it was let run.
    """

    role: Role
    version: int = 0
    ready: bool = False
    doomed: bool = False
    wants_stop: bool = False
    ready_at: float = 0.0
    stop_begun: ExitReason | None = None


@attrs.frozen(eq=False, repr=False)
class ProcessEnding(ByAttributes):
    """The fact that a process, and all that it has started, is gone.

    Attributes:
        started: whether it had become ready.
        made: whether there was a process at all.
        lost: whether that is because of the loss of its launcher, and nothing else.
        lacked: whether it did not start because there was too little of something, and not by what its code did.
        by_own_word: whether only the process itself says that it lacked something.
    """

    reason: ExitReason
    started: bool = True
    made: bool = True
    lost: bool = False
    lacked: bool = False
    by_own_word: bool = False

"""Where an isolate is in its life, what its users wish, and how far a replacement is."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Phase(StrEnum):
    """What happens to an isolate."""

    NEW = "new"
    STARTING = "starting"
    """A process is to run the calls and does not yet, the first one or a later one."""
    RUNNING = "running"
    STOPPING = "stopping"
    """The process has said that it stops."""
    WAITING = "waiting"
    """For its next start."""
    LEAVING = "leaving"
    """Its supervisor ends this process, and hears of the end once nothing of it is there."""
    HELD = "held"
    """Its supervisor decides what follows."""
    CLOSING = "closing"
    STOPPED = "stopped"


class Wish(IntEnum):
    """What users have asked for; nothing takes it back."""

    NONE = 0
    STOP = 1
    """To end once what waits has run."""
    END = 2
    """To end, and to run nothing that has not begun."""


class Swap(StrEnum):
    """How far a replacement is."""

    NONE = "none"
    STARTING = "starting"
    DRAINING = "draining"
    HANDING_OVER = "handing over"
    COLD_DRAINING = "cold draining"
    COLD = "cold"

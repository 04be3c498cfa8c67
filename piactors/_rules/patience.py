"""How long news of a launcher is waited for, and what follows if it does not come.

A launcher on a busy machine is slow and must not be ended for that; one that is stopped, traced or frozen will never
answer.  The letter of its state in /proc tells these apart, and a frozen one, which looks as if it slept, gets an F.
"""

from __future__ import annotations

import enum

import attrs

from piactors._text.record import ByAttributes

FIRST_LOOK = 0.25
"""Seconds after which to check why news does not come; as a rule it takes milliseconds."""
HALTED = frozenset("TtF")
"""Letters of a launcher that is stopped, traced or frozen."""
_HALTED = 1.0
"""Seconds in which a launcher may be found so at every look, though it is told to continue at each."""
_ASLEEP = 10.0
"""Seconds in which a launcher may sleep or wait for a disk, and not answer."""
_BUSY = 30.0
"""Seconds in which it may run, or wait for a processor."""
_HELD = 2.0
"""Seconds for a process that is being traced: it does not end before its tracer lets it."""


class Step(enum.Enum):
    """What to do now."""

    WAIT = "wait"
    WAKE = "wake"
    CONCLUDE = "conclude"
    """The launcher works, and cannot end the process: its owner is told what is known."""
    REPLACE = "replace"
    """The launcher does not work: it is ended, and all its isolates with it."""


@attrs.frozen(eq=False, repr=False)
class Seen(ByAttributes):
    """What is known while news is due.

    Attributes:
        waited: for how many seconds it has been due.
        halted: for how many seconds the launcher was found stopped, traced or frozen at each look.
        launcher: the letter of the launcher's state in /proc, "" if it is gone or there is no /proc.
        process: that of the process, as the launcher has reported since; None if it has not answered since.
    """

    waited: float
    halted: float
    launcher: str
    process: str | None


def decide(seen: Seen) -> Step:
    """Return what to do now."""
    if seen.process is not None and seen.waited >= _patience_with_process(seen.process):
        return Step.CONCLUDE
    if seen.launcher in HALTED:  # also one that has answered: it may be stopped again whenever it goes on
        return Step.WAKE if seen.halted < _HALTED else Step.REPLACE
    if seen.process is not None:
        return Step.WAIT
    return Step.REPLACE if seen.waited >= (_BUSY if seen.launcher == "R" else _ASLEEP) else Step.WAIT


def _patience_with_process(state: str) -> float:
    if state in ("t", "T", "Z"):
        return _HELD
    return _BUSY if state == "R" else _ASLEEP

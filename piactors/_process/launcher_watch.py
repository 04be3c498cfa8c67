"""News of a launcher that is due: what is done if it does not come (see `piactors._rules.patience`)."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from typing import Protocol

import attrs

from piactors._io.loop import Share
from piactors._platform import pidfd, process_stats
from piactors._platform.limits import cgroups
from piactors._rules import patience
from piactors._rules.patience import Seen, Step
from piactors.pihost.process import linux

_WHY = {"T": "is stopped", "t": "is being traced", "F": "is frozen"}
_LATER = 0.25
"""Seconds between two looks."""


class WatchedLauncher(Protocol):
    """What is watched."""

    process_fd: int

    @property
    def pid(self) -> int:
        """Its pid."""

    def ask_to_look(self, launch_id: int, *, kill: bool) -> None:
        """Have it look at one process, and end what has to be ended."""

    def conclude(self, launch_id: int, note: str) -> None:
        """News of one process will not come: its owner has to know what is known."""

    def replace(self, why: str) -> None:
        """It does not work: end it."""


@attrs.define
class _Due:
    """News that is due; `waited` counts only while this program itself runs."""

    looked_at: float
    waited: float = 0.0
    kill: bool = False
    asked: bool = False
    process: str | None = None


class LauncherWatch:
    """Watches one launcher, on the loop's thread; nothing is looked at while no news is due.

    Attributes:
        statuses: how processes ended that had ended before their launcher was lost, as far as the kernel tells.
    """

    def __init__(self, loop: Share, launcher: WatchedLauncher, has_ended: Callable[[int], int | None]) -> None:
        self._loop = loop
        self._launcher = launcher
        self._has_ended = has_ended
        self._due: dict[int, _Due] = {}
        self._armed = False
        self._last_look = 0.0
        self._halted = 0.0
        """For how long the launcher was found stopped, traced or frozen, at each look up to now."""
        self.statuses: dict[int, int | None] = {}

    def expect(self, launch_id: int, *, kill: bool = False) -> None:
        """News of a process is due: of its launch, or of its end, which is wanted if `kill`."""
        due = self._due.get(launch_id)
        if due is None or (kill and not due.kill):
            self._due[launch_id] = _Due(time.monotonic(), kill=kill)
        if not self._armed:
            self._armed, self._halted = True, 0.0
            self._last_look = time.monotonic()
            self._loop.call_later(patience.FIRST_LOOK, self._look)

    def came(self, launch_id: int) -> None:
        """News has come."""
        self._due.pop(launch_id, None)

    def looked(self, launch_id: int, state: str) -> None:
        """The launcher has looked at a process."""
        due = self._due.get(launch_id)
        if due is not None:
            due.process = state

    def close(self) -> None:
        """Nothing is due any more."""
        self._due.clear()

    def _look(self) -> None:
        self._armed = False
        if not self._due:
            return
        state = state_of(self._launcher.pid)
        now = time.monotonic()
        self._halted = self._halted + min(now - self._last_look, 2 * _LATER) if state in patience.HALTED else 0.0
        self._last_look = now
        for launch_id, due in list(self._due.items()):
            due.waited += min(now - due.looked_at, 2 * _LATER)
            due.looked_at = now
            if due.waited >= patience.FIRST_LOOK * 0.9 and not self._step(launch_id, due, state):
                return
        if self._due:
            self._armed = True
            self._loop.call_later(_LATER, self._look)

    def _step(self, launch_id: int, due: _Due, state: str) -> bool:
        """Do what is to be done about one process; False if nothing is left to be done about any."""
        pid = self._has_ended(launch_id)
        if pid is not None and launch_id not in self.statuses:
            self.statuses[launch_id] = linux.state(pid)[1]
        step = patience.decide(Seen(due.waited, self._halted, state, due.process))
        if step is Step.REPLACE:
            self._launcher.replace(_WHY.get(state, "does not answer"))
            return False
        if step is Step.CONCLUDE:
            self._launcher.conclude(launch_id, _note(due.process))
            return True
        if step is Step.WAKE:
            with contextlib.suppress(OSError):
                wake(self._launcher.process_fd)
        if not due.asked:
            due.asked = True
            self._launcher.ask_to_look(launch_id, kill=due.kill)
        return True


def state_of(pid: int) -> str:
    """Return the letter of a process's state, F for a frozen one, or "" if it is gone or cannot be looked at."""
    found = process_stats.stat(pid)
    if found is None:
        return ""
    return "F" if found.state in ("S", "D") and cgroups.is_frozen(pid) else found.state


def wake(process_fd: int) -> None:
    """Let a launcher go on that somebody has stopped; to a running one this is nothing."""
    if process_fd >= 0:
        pidfd.send(process_fd, signal.SIGCONT)


def _note(state: str | None) -> str:
    if state:
        return f"it does not end: its process is in state {state} (see proc(5)), and is left to that"
    return "not all that it has started ends"

"""What a launcher knows of its isolates, and how it ends what dead ones have left."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Callable, Dict, List, NamedTuple, Set, Tuple

from ..process import confine, linux, quell

_LAST_ROUNDS = 1000
"""Rounds of killing at the end; a process stuck in the kernel must not keep the launcher forever."""


class Dead(NamedTuple):
    """An isolate that has ended."""

    launch_id: int
    status: Any
    rusage: Tuple[float, ...]


class Isolates:
    """The isolates of one launcher.

    Attributes:
        spares: returns the pids of spares, which are not isolates yet.
        by_pid: the launches of those that live, as far as is known.
    """

    def __init__(self, spares: Callable[[], List[int]], spare_died: Callable[[int], None]) -> None:
        self._spares = spares
        self._spare_died = spare_died
        self.by_pid: Dict[int, int] = {}
        self._groups: Dict[int, List[str]] = {}
        self._unkillable: Set[int] = set()
        self._dead: List[Dead] = []

    def born(self, pid: int, launch_id: int, groups: List[str]) -> None:
        """There is a new isolate, which joins these control groups."""
        self.by_pid[pid] = launch_id
        self._groups[launch_id] = groups

    def pid_of(self, launch_id: int) -> int:
        """Return the pid of one that lives, or 0."""
        return next((pid for pid, known in self.by_pid.items() if known == launch_id), 0)

    def reap(self) -> List[Dead]:
        """Wait for all children that have ended; return the isolates that are gone with all that they have left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._unkillable.discard(pid)
            self._spare_died(pid)
            if pid in self.by_pid:
                self._dead.append(Dead(self.by_pid.pop(pid), status, tuple(usage)))
        return self._sweep() if self._dead else []

    def _sweep(self) -> List[Dead]:
        """Kill what dead isolates left; once nothing of it is there any more, return them."""
        strangers = {*linux.children()} - {*self.by_pid, *self._spares()} - self._unkillable
        if strangers:
            for news in self._dead:
                quell.close_groups(self._groups.get(news.launch_id, ()))
            self._unkillable |= quell.quell(strangers)
        if strangers - self._unkillable:
            return []  # their deaths wake the loop, and their own children are children here by then
        dead, self._dead = self._dead, []
        for news in dead:
            self._groups.pop(news.launch_id, None)
        return dead

    def look_after(self, launch_id: int) -> Tuple[str, List[Dead]]:
        """Somebody waits for the end of one: help with that, and return its state, and who is gone.

        What traces a process keeps it from being waited for, or from ending, and may be a descendant of it.
        """
        pid = self.pid_of(launch_id)
        if not pid:
            return "", self.reap()
        state, status = linux.state(pid)
        if state in ("Z", "X"):
            gone = self.reap()
            if pid in self.by_pid:  # it cannot be waited for: its tracer has to end, and may be what it left
                del self.by_pid[pid]
                self._unkillable.add(pid)
                self._dead.append(Dead(launch_id, status, ()))
                gone += self._sweep()
            return state, gone
        return state, self.reap()

    def kill(self, launch_id: int) -> None:
        """End one with all that it has started."""
        pid = self.pid_of(launch_id)
        if pid:
            quell.close_groups(self._groups.get(launch_id, ()))
            quell.quell([pid])

    def end_all(self, launcher_cgroup: str) -> None:
        """Kill every child until none is left."""
        for groups in self._groups.values():
            quell.close_groups(groups)
        if launcher_cgroup:
            with contextlib.suppress(OSError):  # this process has to leave it first
                confine.join(os.path.dirname(os.path.dirname(launcher_cgroup)))
                quell.kill_group(launcher_cgroup)
        for _ in range(_LAST_ROUNDS):
            pids = {*linux.children(), *self.by_pid} - self._unkillable
            if not pids:
                break
            self._unkillable |= quell.quell(pids)
            for pid in pids - self._unkillable:
                quell.wait(pid)
                self.by_pid.pop(pid, None)

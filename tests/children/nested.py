"""A program that is a host itself: it starts isolates of its own, which may be such programs again."""

from __future__ import annotations

import os
from typing import Any

import piactors
from piactors._host import runtime

KINDS = ("forked", "cleared", "child")


class Nest:
    """Has an isolate of its own, which leaves processes behind, and `depth` - 1 further levels within another one."""

    def __init__(self, depth: int, start_method: Any, restart: Any = "temporary", kinds: Any = KINDS) -> None:
        options = piactors.IsolationOptions(output="inherit", start_method=start_method, restart=restart)
        self._daemons = piactors.spawn("daemons:Daemons", options=options)
        self._left = self._daemons.proxy().leave(*kinds).get(timeout=20)
        self._next: Any = None
        if depth > 1:
            self._next = piactors.spawn("nested:Nest", depth - 1, start_method, restart, kinds, options=options)

    def pids(self) -> list[int]:
        """Return the pids of all processes from here down: isolates, launchers and daemons."""
        pids = [os.getpid(), self._daemons.pid, *self._left, *runtime.current().launcher_pids()]
        return pids + ([] if self._next is None else self._next.proxy().pids().get(timeout=20))

    def launchers(self) -> list[int]:
        """Return the pids of the launchers of this level."""
        return runtime.current().launcher_pids()

    def ask_daemons(self) -> tuple[int, int]:
        """Return the generation and the pid of the isolate of this level, as it says itself."""
        pid = self._daemons.proxy().pid().get(timeout=20)
        return self._daemons.generation, pid

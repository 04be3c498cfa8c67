"""Finding processes by a mark in the environment that they were started with (Linux: /proc).

A launcher and all that it ever forks carry one variable whose name nobody else uses.  When the
launcher dies alone, what its isolates have left no longer has a parent that we know; the mark still
tells.  A process that has cleared its environment, and what it starts then, escapes this.
If there is no /proc, nothing is found.
"""

from __future__ import annotations

import os
import time

from piactors._platform import quelling

_END_SECONDS = 1.0
"""A killed process loses its environment a moment before it is gone."""


def marked(name: str) -> list[int]:
    """Return the pids of all living processes that were started with the variable `name`."""
    return [pid for pid in _pids() if pid != os.getpid() and is_marked(pid, name)]


def is_marked(pid: int, name: str) -> bool:
    """Whether a process was started with the variable `name`; no longer known once it has ended."""
    needle = name.encode() + b"="
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = file.read()
    except OSError:
        return False
    return environ.startswith(needle) or b"\0" + needle in environ


def kill_marked(name: str, seconds: float) -> list[int]:
    """Kill all marked processes until there is none, for at most `seconds`; return those left."""
    deadline = time.monotonic() + seconds
    while True:
        found = quelling.quell(lambda: marked(name), lambda pid: is_marked(pid, name), _END_SECONDS)
        if not found or time.monotonic() > deadline:
            return found


def _pids() -> list[int]:
    try:
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    except OSError:
        return []

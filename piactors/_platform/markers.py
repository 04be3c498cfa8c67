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
    needle = name.encode() + b"="
    return [pid for pid in _pids() if pid != os.getpid() and _carries(pid, needle)]


def kill_marked(name: str, seconds: float) -> list[int]:
    """Kill all marked processes until there is none, for at most `seconds`; return those left."""
    deadline = time.monotonic() + seconds
    needle = name.encode() + b"="
    while True:
        found = quelling.quell(lambda: marked(name), lambda pid: _carries(pid, needle), _END_SECONDS)
        if not found or time.monotonic() > deadline:
            return found


def _pids() -> list[int]:
    try:
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    except OSError:
        return []


def _carries(pid: int, needle: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = file.read()
    except OSError:
        return False
    return environ.startswith(needle) or b"\0" + needle in environ

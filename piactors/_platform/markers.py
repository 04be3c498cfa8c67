"""Finding processes by a mark in the environment that they were started with (Linux: /proc).

A launcher and all that it ever forks carry one variable of a name that nobody else uses.  When the
launcher dies alone, what its isolates have left has no parent any more that we know; the mark still
tells.  A process that has cleared its environment, and what it starts then, escapes this.
Where there is no /proc, nothing is found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil

from piactors._platform import pidfd
from piactors._platform.identity import Identity


def marked(name: str) -> list[int]:
    """Return the pids of all living processes that were started with the variable `name`."""
    needle = name.encode() + b"="
    return [pid for pid in _pids() if pid != os.getpid() and _carries(pid, needle)]


def kill_marked(name: str, seconds: float) -> list[int]:
    """Kill all marked processes until there is none, for at most `seconds`; return those left."""
    deadline = time.monotonic() + seconds
    while True:
        found = marked(name)
        for pid in found:
            _kill(pid, name)
        if not found or time.monotonic() > deadline:
            return found


def _kill(pid: int, name: str) -> None:
    process = pidfd.open_pid(pid)
    if process < 0:
        _kill_without_pidfd(pid, name)
        return
    try:
        # Looked at again through the descriptor's lifetime: the pid may have passed to another since.
        if _carries(pid, name.encode() + b"="):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            pidfd.wait_ended(process, 1.0)  # its environment goes a moment before the process does
    finally:
        os.close(process)


def _kill_without_pidfd(pid: int, name: str) -> None:
    """Kill by pid and creation time: where there are no pidfds, or a filter of system calls forbids them."""
    identity = Identity.of(pid)
    if identity is not None and _carries(pid, name.encode() + b"="):
        with contextlib.suppress(PermissionError, psutil.Error):
            identity.kill()


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

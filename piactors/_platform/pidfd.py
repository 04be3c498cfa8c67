"""Descriptors of processes.  Where there are none, `open_pid` returns -1 and callers use `identity`."""

from __future__ import annotations

import os
import signal

from piactors._platform import taken_away


def open_pid(pid: int) -> int:
    """Return a descriptor of `pid`, readable once that process has ended, or -1."""
    if taken_away("pidfd") or not hasattr(os, "pidfd_open"):
        return -1
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def kill(pidfd: int) -> bool:
    """Send SIGKILL to the process behind `pidfd`; False where it has ended already."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True

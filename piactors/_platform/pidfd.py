"""Descriptors of processes.  If there are none, `open_pid` returns -1 and callers use `identity`."""

from __future__ import annotations

import contextlib
import os
import select
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


def wait_ended(pidfd: int, seconds: float) -> bool:
    """Wait until the process behind `pidfd` has ended, and reap it if it is a child of this one."""
    ended = await_readable(pidfd, seconds)
    with contextlib.suppress(OSError):
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    return ended


def has_ended(pidfd: int) -> bool:
    """Whether the process behind `pidfd` has ended, as far as a descriptor shows; -1 shows nothing.  Reaps nothing."""
    return pidfd >= 0 and await_readable(pidfd, 0)


def await_readable(pidfd: int, seconds: float) -> bool:
    """Wait until the process behind `pidfd` has ended, and reap nothing."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def kill(pidfd: int) -> bool:
    """Send SIGKILL to the process behind `pidfd`; False if it has ended already.

    Raises:
        PermissionError: if it is alive, and not ours to end.
    """
    return send(pidfd, signal.SIGKILL)


def send(pidfd: int, number: int) -> bool:
    """Send a signal to the process behind `pidfd`; False if it has ended already.

    Raises:
        PermissionError: if it is alive, and sending is not allowed.
    """
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        if has_ended(pidfd):
            return False
        raise
    return True

"""What is done when a launcher is lost: it is ended, and so is all that it has ever started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Collection, Sequence

from piactors._platform import markers, pidfd, process_stats
from piactors._platform.limits import cgroups
from piactors._text.logs import logger

_SECONDS = 3.0
"""How long each part may take."""
_AT_ONCE = 0.2
_OF_ONE = 2.0
"""How long the end of the launcher itself may take."""


def own_children(marker: str, groups: Sequence[str]) -> frozenset[int]:
    """Return this process's children, but for those that have come to it from a launcher that is gone already."""
    launched = {pid for folder in groups for pid in cgroups.members(folder)}
    children = process_stats.children(os.getpid())
    return frozenset(pid for pid in children if pid not in launched and not markers.is_marked(pid, marker))


def sweep(
    process: subprocess.Popen[bytes], isolates: Sequence[int], groups: list[str], marker: str, own: Collection[int]
) -> int:
    """End what a launcher has left, and return its exit code; closes `isolates`, the descriptors of its isolates.

    Args:
        own: what `own_children` returned when the launcher was lost.
    """
    code = end_process(process, _OF_ONE)
    for fd in isolates:
        # The kernel's parent-death signal spares a process that has changed its user.
        with contextlib.suppress(PermissionError):
            pidfd.kill(fd)
    deadline = time.monotonic() + _SECONDS
    for fd in isolates:
        pidfd.wait_ended(fd, max(0.0, deadline - time.monotonic()))
        os.close(fd)
    left = cgroups.kill_all(groups, max(0.0, deadline - time.monotonic()))
    left += markers.kill_marked(marker, max(_AT_ONCE, deadline - time.monotonic()))  # who waits for them reaps them
    _reap_adopted(process.pid, own)
    if left:
        logger.error("processes %s of a lost launcher do not end", sorted(set(left)))
    return code


def _reap_adopted(session: int, own: Collection[int]) -> None:
    """Reap what came to this process from the launcher, as it does to the first process of a container.

    A spare may be among it that the launcher had not reported yet.  Most have the launcher's session; what has made
    one of its own is known by being new here, and dead or about to be.
    """
    me, mine = os.getpid(), os.getsid(0)
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        children = [pid for pid in process_stats.children(me) if pid != session]
        adopted = [pid for pid in children if _session(pid) == session]
        strangers = [pid for pid in children if pid not in own and _session(pid) not in (session, mine)]
        ending = [pid for pid in strangers if _is_ending(pid)]
        if not adopted and not ending:
            return
        for pid in (*adopted, *ending):
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)


def _is_ending(pid: int) -> bool:
    """Whether a process has ended, or has begun to: it loses its memory, and with it its mark, a moment before."""
    found = process_stats.stat(pid)
    return found is not None and (found.has_ended or found.vms == 0)


def end_process(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Kill a launcher and return its exit code, as far as that is available.

    One that was started before the host gave up its rights cannot be killed: it ends with its channel, unless
    it has been stopped, and is left to itself then; so is one that is frozen or traced.
    """
    fd = pidfd.open_pid(process.pid) if process.returncode is None else -1
    with contextlib.suppress(PermissionError):
        process.kill()
    try:
        ended = pidfd.await_readable(fd, seconds) if fd >= 0 else False
        return process.wait(_AT_ONCE if fd >= 0 else seconds)
    except subprocess.TimeoutExpired:
        if not ended:  # otherwise it has, but cannot be waited for: it is being traced
            logger.error("the launcher (pid %s) does not end: it is left to itself", process.pid)
        process.returncode = -signal.SIGKILL
        return process.returncode
    finally:
        if fd >= 0:
            os.close(fd)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1

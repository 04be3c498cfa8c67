"""Ending processes that may fork faster than they can be killed.

Killed one by one, each makes room for another one.  So first all are kept from forking, then all are killed: a control
group is left no room, or is killed as a whole; without groups, a tree is stopped until a look at it finds nothing new,
because a process with a pending signal cannot fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
from typing import Dict, Iterable, List, Set

from . import linux

_MOST_LOOKS = 500
"""Looks at a tree that has new processes each time, until those that were found are killed all the same."""
_SYS_PIDFD_SEND_SIGNAL = 424  # the same number on every architecture
_FREEZER = "freezer.state"


def close_groups(groups: Iterable[str]) -> None:
    """Leave no room for forks in these control groups, and kill all that is in them, as far as the kernel can."""
    for group in groups:
        _write(group, "pids.max", "0")
        _write(group, "cgroup.kill", "1")  # version 2, since Linux 5.14: also what they are forking at that moment


def kill_group(group: str) -> None:
    """Kill all that is in a control group and in those within; the caller must not be in it."""
    close_groups([group])
    frozen = _write(group, _FREEZER, "FROZEN")
    try:
        for folder, _, _ in os.walk(group):
            for pid in _members(folder):
                _kill_member(folder, pid)
    finally:
        if frozen:
            _write(group, _FREEZER, "THAWED")  # only now they die, and run nothing of their own before


def quell(pids: Iterable[int]) -> Set[int]:
    """Stop and then kill these children of this process and all that they have started; return what it may not kill.

    They are not waited for, and what is killed leaves its own children, which have been killed too, to this process.
    """
    found = _stop(set(pids))
    refused = set()
    for pid in sorted(found, key=lambda pid: found[pid] != os.getpid()):
        if not _send(pid, found, signal.SIGKILL) and found[pid] == os.getpid():
            refused.add(pid)
    return refused


def wait(pid: int) -> None:
    """Wait for a killed child, at most a second: one stuck in the kernel must not hold the rest."""
    fd = linux.pidfd_open(pid)
    if fd >= 0:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        poller.poll(1000)
        os.close(fd)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG if fd >= 0 else 0)


def _stop(roots: Set[int]) -> Dict[int, int]:
    """Stop trees until no new process is found in them; return all of them, with their parents."""
    me = os.getpid()
    seen: Dict[int, int] = {}
    new = dict.fromkeys(roots, me)
    for _ in range(_MOST_LOOKS):
        if not new:
            break
        seen.update(new)
        for pid in new:
            _send(pid, seen, signal.SIGSTOP)
        known, new = [*seen], {}
        for parent in known:
            for pid in _children(parent):
                if pid not in seen and pid not in new:
                    new[pid] = parent
    return seen


def _send(pid: int, parents: Dict[int, int], number: int) -> bool:
    """Send a signal; False to a process of another user, such as one that `sudo` has started."""
    try:
        if parents[pid] == os.getpid():
            os.kill(pid, number)  # not waited for yet: the pid cannot have passed to another
        else:
            _send_below(pid, parents, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    except OSError:
        pass
    return True


def _send_below(pid: int, parents: Dict[int, int], number: int) -> None:
    """Send a signal to what is not a child of this process: only if it still is what was found."""
    fd = linux.pidfd_open(pid)
    try:
        parent = _parent(pid)
        if parent not in parents and parent != os.getpid():
            return
        if fd >= 0 and hasattr(signal, "pidfd_send_signal"):
            signal.pidfd_send_signal(fd, number)
        elif fd < 0 or not _send_by_descriptor(fd, number):
            os.kill(pid, number)
    finally:
        if fd >= 0:
            os.close(fd)


def _send_by_descriptor(fd: int, number: int) -> bool:
    """Do what `signal.pidfd_send_signal` does, which Python 3.8 does not have."""
    call = linux.syscall
    return call is not None and call(_SYS_PIDFD_SEND_SIGNAL, fd, number, ctypes.c_void_p(None), 0) == 0


def _children(pid: int) -> List[int]:
    """Return the children of a process, of whichever of its threads."""
    found: List[int] = []
    try:
        tasks = os.listdir("/proc/{}/task".format(pid))
    except OSError:
        return found
    for task in tasks:
        with contextlib.suppress(OSError), open("/proc/{}/task/{}/children".format(pid, task), "rb") as file:
            found.extend(map(int, file.read().split()))
    return found


def _parent(pid: int) -> int:
    try:
        with open("/proc/{}/stat".format(pid), "rb", buffering=0) as file:
            return int(file.read(4096).rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return -1


def _members(folder: str) -> List[int]:
    try:
        with open(os.path.join(folder, "cgroup.procs")) as file:
            return [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        return []


def _kill_member(folder: str, pid: int) -> None:
    fd = linux.pidfd_open(pid)
    try:
        if pid in _members(folder):
            if fd >= 0 and hasattr(signal, "pidfd_send_signal"):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
    finally:
        if fd >= 0:
            os.close(fd)


def _write(group: str, name: str, value: str) -> bool:
    path = os.path.join(group, name)
    try:
        fd = os.open(path, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        os.write(fd, value.encode())
        return True
    except OSError:
        return False
    finally:
        os.close(fd)

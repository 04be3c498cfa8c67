"""The few Linux calls that the child side needs and that Python 3.8 does not wrap.

Each returns whether it worked: elsewhere, and on old kernels, the callers go on without.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any, Callable, List, Optional, Tuple

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_SYS_PIDFD_OPEN = 434  # the same number on every architecture
_MESSAGE = 512 << 10
"""Bytes of what a message of middling size takes at most in one piece, a pickler's buffer included, which grows ahead;
larger ones are not sent through the pipe."""


def _libc() -> Optional[ctypes.CDLL]:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except OSError:
        return None


def _function(name: str) -> Optional[Callable[..., int]]:
    # Looked up once, when this module loads: each CDLL makes a class of its own, and a class made
    # after the fork costs an isolate some fifty pages.
    found: Optional[Callable[..., int]] = getattr(_libc(), name, None)
    return found


_libc_prctl = _function("prctl")
syscall = _function("syscall")
"""The C library's, or None."""


def _prctl(option: int, argument: Any) -> bool:
    return _libc_prctl is not None and _libc_prctl(option, argument, 0, 0, 0) == 0


def die_with_parent(on: bool = True) -> bool:
    """Have the kernel kill this process when the thread that forked it ends."""
    return _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL) if on else 0)


def become_subreaper() -> bool:
    """Adopt what descendants leave behind, instead of letting init do so."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def name_process(name: str) -> bool:
    """Set the name that ps and top show."""
    return _prctl(_PR_SET_NAME, name.encode()[:15])


def pidfd_open(pid: int) -> int:
    """Return a descriptor of the process `pid`, or -1 if the kernel has none."""
    try:
        if hasattr(os, "pidfd_open"):
            return os.pidfd_open(pid, 0)
        fd = -1 if syscall is None else int(syscall(_SYS_PIDFD_OPEN, pid, 0))
        if fd >= 0:
            os.set_inheritable(fd, False)
        return fd
    except OSError:
        return -1


def children() -> List[int]:
    """Return the pids of this process's children, zombies included.

    The caller must be the one that reaps them, on this thread: the kernel's list is exact only
    while nothing on it is reaped.  If there is no /proc, the list is empty; so it is if /proc is that
    of another pid namespace, in which the numbers mean other processes.
    """
    found: List[int] = []
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return found
    except OSError:
        return found
    for task in os.listdir("/proc/self/task"):
        with open("/proc/self/task/{}/children".format(task), "rb", buffering=0) as file:
            found.extend(int(word) for word in file.read().split())
    return found


def state(pid: int) -> Tuple[str, Optional[int]]:
    """Return the letter of a process's state, and its wait status if it has ended and the kernel tells; ("", None)."""
    try:
        with open("/proc/{}/stat".format(pid), "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        letter = fields[0].decode("ascii")
        return letter, int(fields[49]) if letter in "ZX" else None
    except (OSError, ValueError, IndexError):
        return "", None


def keep_freed_memory() -> None:
    """Have glibc's allocator keep the memory of messages of middling size for the next ones.

    It gives back what is free above twice the largest block that was mapped for itself alone and let go of, which is
    128 KiB until there is such a block: so one is let go of here, which was never touched.  To give the buffers of a
    message back each time, and to have the kernel make fresh pages for the next one, takes longer than all the rest.
    """
    bytes(_MESSAGE)

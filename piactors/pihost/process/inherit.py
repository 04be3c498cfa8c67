"""What an isolate inherits of its host at its start, whenever its launcher was started.

A child of the host would have it all from the kernel.  An isolate is a child of the launcher, or was forked before
anybody asked for it.  So the host reads what it has now, and the orders of the isolate carry it; the launcher leaves
out what it has itself, which is all of it as a rule, and the isolate takes what is left.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Dict, List, Optional, Tuple

try:
    import resource
except ImportError:  # a system without limits of processes
    resource = None  # type: ignore[assignment]

_LARGEST_STATUS = 8192
_MASK_FIELD = b"\nUmask:\t"


def _names_of_limits() -> List[Tuple[str, int]]:
    """Return the limits that this system knows, each once: some have two names."""
    found = {getattr(resource, name): name for name in dir(resource) if name.startswith("RLIMIT_")}
    return [(name, number) for number, name in found.items()]


_LIMITS = _names_of_limits()


# In the host


def read() -> Dict[str, Any]:
    """Return what an isolate that starts now inherits: umask, niceness, processors and resource limits.

    On Linux niceness and processors belong to threads: those of the main thread count, whoever starts the isolate.
    """
    pid = os.getpid()  # also the number of the main thread
    found: Dict[str, Any] = {"umask": umask(), "rlimits": _rlimits()}
    with contextlib.suppress(OSError):
        found["nice"] = os.getpriority(os.PRIO_PROCESS, pid)
    with contextlib.suppress(OSError, AttributeError):
        found["affinity"] = list(os.sched_getaffinity(pid))
    return found


def umask() -> int:
    """Return the mask of this process; the only call that tells it changes it, for all threads."""
    try:
        fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.read(fd, _LARGEST_STATUS)
        finally:
            os.close(fd)
        start = status.index(_MASK_FIELD) + len(_MASK_FIELD)
        return int(status[start : status.index(b"\n", start)], 8)
    except (OSError, ValueError, AttributeError):
        mask = os.umask(0o077)  # what another thread makes in this moment may be too private, but never too public
        os.umask(mask)
        return mask


def _rlimits() -> Dict[str, Tuple[int, int]]:
    return {name: resource.getrlimit(number) for name, number in _LIMITS}


def folder(wanted: Optional[str] = None) -> str:
    """Return the working directory of an isolate that starts now; a relative one is the host's relative one."""
    try:
        here = os.getcwd()
    except OSError:  # it was removed, and is still there for processes that are in it
        here = "/proc/{}/cwd".format(os.getpid())
    return here if wanted is None else os.path.join(here, wanted)


def absolute(paths: List[str]) -> List[str]:
    """Return the entries of `sys.path` as they lead from here, wherever they are used.

    What is not a path stays as it is: editable installations put names in it that only their own finders know.
    """
    return [_absolute(path) if isinstance(path, str) and not os.path.isabs(path) else path for path in paths]


def _absolute(path: str) -> str:
    if path and os.sep not in path and not os.path.exists(path):
        return path
    try:
        return os.path.abspath(path)
    except OSError:  # there is no working directory any more
        return path


# In the launcher


def without_known(orders: Dict[str, Any], known: Dict[str, Any]) -> Dict[str, Any]:
    """Return the orders of an isolate without what it inherits anyway from a process that has `known`."""
    wanted = orders.get("inherited")
    if not wanted:
        return orders
    rest = {name: value for name, value in orders.items() if name != "inherited"}
    different = {name: value for name, value in wanted.items() if known.get(name) != value}
    return {"inherited": different, **rest} if different else rest


# In the isolate


def take(inherited: Dict[str, Any]) -> None:
    """Make what is different here as it is in the host, as far as the kernel lets this process."""
    if "umask" in inherited:
        os.umask(inherited["umask"])
    nice = inherited.get("nice")
    if nice is not None and os.getpriority(os.PRIO_PROCESS, 0) != nice:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, nice)
    cpus = inherited.get("affinity")
    if cpus is not None and hasattr(os, "sched_setaffinity") and os.sched_getaffinity(0) != set(cpus):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, cpus)
    wanted = inherited.get("rlimits", {})
    for name, number in _LIMITS:
        if name in wanted:
            _limit(number, *wanted[name])


def _limit(number: int, soft: int, hard: int) -> None:
    now = resource.getrlimit(number)
    if now == (soft, hard):
        return
    try:
        resource.setrlimit(number, (soft, hard))
    except (OSError, ValueError):  # more than this process may give itself
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(number, (_lower(soft, now[1]), _lower(hard, now[1])))


def _lower(first: int, second: int) -> int:
    """Return the lower of two limits, of which each may be infinite."""
    if first == resource.RLIM_INFINITY:
        return second
    return first if second == resource.RLIM_INFINITY else min(first, second)

"""What an isolate does to itself before it runs anything else: become like its host, join its cgroups, take its limits.

It works from plain data that the host has made (see `piactors._platform.limits`), in the process that
is to be confined, while that has one thread: priorities belong to threads, and are inherited.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import Any, Callable, Dict, List, Tuple

from . import inherit

_IOPRIO_SET = {"x86_64": 251, "i386": 289, "i686": 289, "ppc64le": 273, "s390x": 282}
_IOPRIO_SET_ELSEWHERE = 30  # the architectures that share the kernel's generic table: aarch64, riscv64, loongarch64
_WHO_PROCESS = 1
_CLASS_SHIFT = 13
_MIDDLE_LEVEL = 4


def confine(orders: Dict[str, Any]) -> List[str]:
    """Carry out the orders; return what went wrong, one line each."""
    wrong = []
    for name, value in orders.items():
        try:
            ORDERS[name](value)
        except (OSError, ValueError, AttributeError, ImportError) as error:
            wrong.append("{}: {}".format(name, error))
    return wrong


def join(group: str) -> None:
    """Move this process into a control group."""
    with open(os.path.join(group, "cgroup.procs"), "w") as file:
        file.write("0")


def _join_all(groups: List[str]) -> None:
    for group in groups:
        join(group)


def _set_rlimits(limits: List[Tuple[str, int, int]]) -> None:
    import resource

    for name, soft, hard in limits:
        number = getattr(resource, name)
        most = resource.getrlimit(number)[1]
        if most != resource.RLIM_INFINITY:
            hard = min(hard, most)
        resource.setrlimit(number, (min(soft, hard), hard))


def _set_affinity(cpus: List[int]) -> None:
    os.sched_setaffinity(0, cpus)


def _set_nice(value: int) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, value)


def set_io_class(io_class: int) -> None:
    """Set the I/O priority of this thread, in the middle of a class (1 real time, 2 best effort, 3 idle)."""
    number = _IOPRIO_SET.get(os.uname().machine, _IOPRIO_SET_ELSEWHERE)
    level = 0 if io_class == 3 else _MIDDLE_LEVEL
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, _WHO_PROCESS, 0, io_class << _CLASS_SHIFT | level) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


ORDERS: Dict[str, Callable[[Any], None]] = {
    "inherited": inherit.take,
    "join": _join_all,
    "affinity": _set_affinity,
    "nice": _set_nice,
    "io_class": set_io_class,
    "rlimits": _set_rlimits,
}
"""What carries out each order; they are carried out one after the other as `confine` gets them."""


# What a launcher does with groups that nobody else can clean up any more.


def remove_groups(bases: List[str]) -> None:
    """Remove these folders of cgroups with the groups in them, as far as no process is left there."""
    for base in bases:
        for folder, _, _ in os.walk(base, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)

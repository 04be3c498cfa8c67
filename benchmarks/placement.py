"""Which cores a host and its isolate run on: it decides what a wake-up costs, and so what a small call costs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

ALL_CORES = os.sched_getaffinity(0)
"""The cores that this process had at first."""


def placements() -> dict[str, tuple[set[int], set[int]]]:
    """Return the cores of host and isolate, by the name of the placement; two cores only where there are two."""
    cores = sorted(ALL_CORES)
    found = {"unpinned": (set(cores), set(cores)), "same_core": ({cores[0]}, {cores[0]})}
    if len(cores) > 1:
        found["two_cores"] = ({cores[0]}, {cores[1]})
    return found


def place(host: Iterable[int], pid: int, other: Iterable[int]) -> None:
    """Have this process run on the cores `host`, and the process `pid` on those of `other`."""
    pin(os.getpid(), host)
    pin(pid, other)


def pin(pid: int, cores: Iterable[int]) -> None:
    """Have all threads of a process run on these cores: each has an affinity of its own."""
    wanted = set(cores)
    for tid in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):  # a thread that has just ended
            os.sched_setaffinity(int(tid), wanted)

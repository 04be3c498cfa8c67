"""What processes use, as the kernel tells: memory that nobody shares, processor time, wake-ups, descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import attrs
import psutil

TICKS = os.sysconf("SC_CLK_TCK")


def uss(pid: int | None = None) -> int:
    """Return the bytes that would be free again if this process alone ended."""
    found: int = psutil.Process(pid).memory_full_info().uss
    return found


def descriptors() -> int:
    """Return how many descriptors this process has open, without the one that this look takes."""
    return len(os.listdir("/proc/self/fd")) - 1


def threads_of_the_kernel() -> int:
    """Return how many threads this process has, those that Python knows nothing of included."""
    return len(os.listdir("/proc/self/task"))


@attrs.frozen
class Activity:
    """What threads have done so far: seconds of processor time, and how often each went to sleep by itself."""

    seconds: float
    wakeups: int

    @classmethod
    def of(cls, pid: int, without: Iterable[int] = ()) -> Self:
        """Return that of the threads of a process, but for those left out."""
        left_out = set(without)
        threads = [int(tid) for tid in os.listdir(f"/proc/{pid}/task")]
        folders = [Path(f"/proc/{pid}/task/{tid}") for tid in threads if tid not in left_out]
        return cls(sum(map(_seconds, folders)), sum(map(_voluntary_switches, folders)))

    def since(self, before: Activity) -> Activity:
        """Return what was done in between."""
        return Activity(self.seconds - before.seconds, self.wakeups - before.wakeups)


def _seconds(thread: Path) -> float:
    try:
        return int((thread / "schedstat").read_text().split()[0]) / 1e9  # nanoseconds on a processor
    except FileNotFoundError:  # a kernel without these statistics: whole ticks
        fields = (thread / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def _voluntary_switches(thread: Path) -> int:
    for line in (thread / "status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    return 0

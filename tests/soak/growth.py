"""What a host takes and what it leaves: measured when nothing runs, judged at the end."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import psutil

from piactors._host import runtime
from tests.support import in_shared_memory, left_in_shared_memory

GROUPS = Path("/sys/fs/cgroup")
_SPARES = 1
"""Processes that a launcher keeps ready."""


@attrs.frozen
class Sample:
    """What there is while no isolate runs.

    Attributes:
        at: seconds since the begin.
        memory: bytes that only this process has (USS), after a garbage collection.
        descriptors, threads, mappings: of this process.
        processes: of ours, besides this one.
        launchers: that live.
        segments: in /dev/shm, groups: control groups of this host, files: in the folder for temporary files.
    """

    at: float
    memory: int
    descriptors: int
    threads: int
    mappings: int
    processes: int
    launchers: int
    segments: int
    groups: int
    files: int

    def __str__(self) -> str:
        return (
            f"{self.memory / 2**20:.1f} MiB, {self.descriptors} descriptors, {self.threads} threads, "
            f"{self.mappings} mappings, {self.processes} processes ({self.launchers} launchers), {self.groups} groups"
        )


@attrs.frozen
class Bound:
    """How much of something may come: per minute over a long run, and between the first samples and the last ones."""

    name: str
    per_minute: float
    in_all: float
    unit: float = 1.0


BOUNDS = (
    Bound("memory", 1.5, 12.0, 2**20),
    Bound("descriptors", 0.5, 3),
    Bound("threads", 0.3, 2),
    Bound("mappings", 6.0, 60),
    Bound("segments", 0.2, 1),
    Bound("groups", 0.3, 3),
    Bound("files", 0.2, 1),
)
ENOUGH_MINUTES = 3.0
"""Minutes after which a rate per minute says something."""


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return how much the second number of the points rises with the first: the line of least squares."""
    count = len(points)
    if count < 2:
        return 0.0
    middle_x, middle_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def judge(samples: Sequence[Sample], bounds: Sequence[Bound] = BOUNDS) -> list[str]:
    """Return what has grown; the first third of the samples, and at least two of them, are the warming up."""
    warm = samples[max(2, len(samples) // 3) :]
    if len(warm) < 4:
        return []
    found = []
    for bound in bounds:
        points = [(sample.at / 60.0, getattr(sample, bound.name) / bound.unit) for sample in warm]
        rate, minutes = slope(points), points[-1][0] - points[0][0]
        third = max(1, len(points) // 3)
        grown = _middle([y for _, y in points[-third:]]) - _middle([y for _, y in points[:third]])
        if minutes >= ENOUGH_MINUTES and rate > bound.per_minute and grown > bound.in_all / 3:
            found.append(f"{bound.name} grows by {rate:.2f} a minute, and {bound.per_minute:g} are allowed")
        elif grown > bound.in_all:
            found.append(f"{bound.name} has grown by {grown:.1f}, and {bound.in_all:g} are allowed")
    return found


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


class Gauge:
    """Measures this host."""

    def __init__(self, token: str) -> None:
        self.token = f"CHAOS_TOKEN={token}".encode()
        self.begun = time.monotonic()
        self.process = psutil.Process()
        self._before = in_shared_memory(), _temporary_files()

    def processes(self) -> dict[int, str]:
        """Return the processes of ours, besides this one, by pid: descendants, and those that carry our token."""
        found = {process.pid: process for process in self.process.children(recursive=True)}
        for process in psutil.process_iter():
            if process.pid not in found and process.pid != self.process.pid and self._is_ours(process.pid):
                found[process.pid] = process
        return {pid: _shown(process) for pid, process in found.items()}

    def _is_ours(self, pid: int) -> bool:
        try:
            return self.token in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def left(self) -> list[str]:
        """Return what there is besides launchers and their spares, once nothing runs."""
        launchers = runtime.current().launcher_pids()
        others = {pid: text for pid, text in self.processes().items() if pid not in launchers}
        spares = len(launchers) * _SPARES
        return [f"{pid}: {text}" for pid, text in others.items()] if len(others) > spares else []

    def sample(self) -> Sample:
        """Measure."""
        gc.collect()
        segments, files = (len(new) for new in self.new_names())
        return Sample(
            at=time.monotonic() - self.begun,
            memory=self.process.memory_full_info().uss,
            descriptors=self.process.num_fds(),
            threads=threading.active_count(),
            mappings=len(Path("/proc/self/maps").read_bytes().splitlines()),
            processes=len(self.processes()),
            launchers=len(runtime.current().launcher_pids()),
            segments=segments,
            groups=len(groups()),
            files=files,
        )

    def descriptors(self) -> list[str]:
        """Return what the descriptors of this process are."""
        found = []
        for number in sorted(map(int, os.listdir("/proc/self/fd"))):
            with contextlib.suppress(OSError):
                found.append(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        return found

    def new_names(self) -> tuple[set[str], set[str]]:
        """Return what has come in /dev/shm, and of piactors among the temporary files."""
        return left_in_shared_memory(self._before[0]), _temporary_files() - self._before[1]


def groups() -> list[str]:
    """Return the control groups that belong to this host."""
    found = (os.path.join(parent, name) for parent, names, _ in os.walk(GROUPS) for name in names)
    return [path for path in found if "piactors" in path and str(os.getpid()) in _owner(path).split("-")]


def _owner(path: str) -> str:
    """Return what the name of a host's folder of groups says of it."""
    return path.rpartition("piactors")[2].split("/")[0]


def _temporary_files() -> set[str]:
    return {str(path) for path in Path(tempfile.gettempdir()).glob("piactors*")}


def _shown(process: psutil.Process) -> str:
    try:
        return f"{process.status()} {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return "(ended)"

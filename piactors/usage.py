"""What a process uses."""

from __future__ import annotations

import attrs
import psutil


@attrs.frozen(kw_only=True)
class ResourceUsage:
    """What one process uses now: times in seconds, sizes in bytes.

    Attributes:
        pid: the process.
        started: when it started, seconds since the epoch.
        user, system: CPU time spent in its own code and in the kernel.
        rss, vms: memory in RAM (shared pages included), and address space.
        threads: of the operating system.
        descriptors: open files, sockets and the like; None where that cannot be read.
        children: its descendants.
    """

    pid: int
    started: float
    user: float
    system: float
    rss: int
    vms: int
    threads: int
    descriptors: int | None
    children: int


def usage_of(pid: int) -> ResourceUsage:
    """Return what the process `pid` uses.

    Raises:
        psutil.Error: where it is gone.
    """
    process = psutil.Process(pid)
    with process.oneshot():
        times, memory = process.cpu_times(), process.memory_info()
        return ResourceUsage(
            pid=pid, started=process.create_time(), user=times.user, system=times.system, rss=memory.rss,
            vms=memory.vms, threads=process.num_threads(), descriptors=_descriptors(process),
            children=len(process.children(recursive=True)),
        )  # fmt: skip


def _descriptors(process: psutil.Process) -> int | None:
    try:
        return int(process.num_fds())
    except (psutil.AccessDenied, AttributeError):
        return None

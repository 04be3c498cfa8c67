"""What processes use, read from Linux's /proc in few system calls; by psutil if there is none, or as `procfs` says.

Nothing here raises for a process that ends meanwhile, or that may not be looked at.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from piactors._platform import taken_away
from piactors._platform.late import LateModule

if TYPE_CHECKING:
    import psutil
else:
    psutil = LateModule("psutil")

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
_CHUNK = 4096
_MAX_COMMAND = 200
_CLOCK_MOVED = 0.05
"""Seconds by which the wall clock has to be set before the boot time is read again."""


@functools.cache
def _gone() -> tuple[type[BaseException], ...]:
    """What psutil raises for a process that has ended or is not ours, and without /proc (an IndexError)."""
    return psutil.Error, OSError, ValueError, OverflowError, AttributeError, NotImplementedError, IndexError


@functools.cache
def _letters() -> dict[str, str]:
    """The letter of /proc for each word of psutil's."""
    letters = {"RUNNING": "R", "DISK_SLEEP": "D", "STOPPED": "T", "IDLE": "I", "TRACING_STOP": "t", "ZOMBIE": "Z"}
    return {getattr(psutil, f"STATUS_{word}"): letter for word, letter in {**letters, "DEAD": "X"}.items()}


class Stat(NamedTuple):
    """One process: times in seconds, sizes in bytes.

    Attributes:
        state: the letter of /proc: R runs, S and D wait, T is stopped, Z has ended and was not waited for.
        user, system: CPU time spent in its own code and in the kernel.
        child_user, child_system: that of its descendants that have ended and were waited for.
        start_ticks: when it started, in ticks of the clock since the machine did.
    """

    pid: int
    ppid: int
    state: str
    user: float
    system: float
    child_user: float
    child_system: float
    threads: int
    start_ticks: int
    vms: int
    rss: int

    @property
    def has_ended(self) -> bool:
        """Whether all that is left of it is what its parent will read."""
        return self.state in "ZXx"


class Memory(NamedTuple):
    """The memory of one process in bytes; None for what the kernel does not tell.

    Attributes:
        pss: with each shared page divided by the number of those who share it.
        uss: what no other process shares.
        anon_pss: as `pss`, without what is a file and could be read again, with what is swapped out;
            `pss` if that cannot be told apart.
    """

    rss: int
    pss: int | None
    uss: int | None
    anon_pss: int | None


class Transferred(NamedTuple):
    """Bytes that a process has had read from and written to storage, so not those that the cache held."""

    read: int
    written: int


def reads_procfs() -> bool:
    """Whether /proc is read; psutil is asked otherwise."""
    return _has("/proc/self/statm") and not taken_away("procfs")


def stat(pid: int) -> Stat | None:
    """Return what the kernel keeps of a process, or None if it is gone."""
    if not reads_procfs():
        return _psutil_stat(pid)
    raw = _read(f"/proc/{pid}/stat")
    return None if raw is None else parse_stat(raw)


def parse_stat(raw: bytes) -> Stat | None:
    """Return what a /proc/<pid>/stat says, or None if it is malformed; a process may have named itself ``") R 1"``."""
    fields = raw[raw.rfind(b")") + 1 :].split()
    try:
        return Stat(
            int(raw[: raw.index(b" (")]),
            int(fields[1]),
            fields[0].decode("ascii"),
            int(fields[11]) / _TICKS,
            int(fields[12]) / _TICKS,
            int(fields[13]) / _TICKS,
            int(fields[14]) / _TICKS,
            int(fields[17]),
            int(fields[19]),
            int(fields[20]),
            int(fields[21]) * _PAGE,
        )
    except (ValueError, IndexError):
        return None


def started(found: Stat) -> float:
    """Return when a process started, in seconds since the epoch, as psutil has it."""
    if not reads_procfs():
        with contextlib.suppress(*_gone()):
            return float(psutil.Process(found.pid).create_time())
    return _boot_time() + found.start_ticks / _TICKS


def cpu_clock(pid: int) -> float | None:
    """Return the CPU seconds of a whole process by the kernel's clock of it; None if that is not available."""
    return clock_source()(pid)


def clock_source() -> Callable[[int], float | None]:
    """Return what `cpu_clock` uses, for callers that ask very often."""
    return _kernel_clock if reads_procfs() else _psutil_clock


def _kernel_clock(pid: int) -> float | None:
    try:
        return time.clock_gettime((~pid << 3) | 2) if pid > 0 else None
    except (OSError, OverflowError):
        return None


def _psutil_clock(pid: int) -> float | None:
    with contextlib.suppress(*_gone()):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return None


def resident(pid: int) -> int:
    """Return the bytes that a process has in RAM, shared pages included; 0 if it is gone."""
    if not reads_procfs():
        with contextlib.suppress(*_gone()):
            return int(psutil.Process(pid).memory_info().rss)
        return 0
    raw = _read(f"/proc/{pid}/statm")
    try:
        return 0 if raw is None else int(raw.split()[1]) * _PAGE
    except (ValueError, IndexError):
        return 0


def memory(pid: int) -> Memory | None:
    """Return the memory of a process, or None if it is gone.  The kernel looks at each of its pages for that."""
    if not (reads_procfs() and _has("/proc/self/smaps_rollup")):
        return _psutil_memory(pid)
    raw = _read(f"/proc/{pid}/smaps_rollup")
    if raw:
        return parse_rollup(raw)
    found = stat(pid)  # gone, or not ours to look at
    return None if found is None or found.has_ended else Memory(found.rss, None, None, None)


def parse_rollup(raw: bytes) -> Memory:
    """Return what a /proc/<pid>/smaps_rollup says."""
    sizes: dict[bytes, int] = {}
    for line in raw.split(b"\n"):
        parts = line.split()
        if len(parts) == 3 and parts[2] == b"kB":
            sizes[parts[0]] = int(parts[1]) * 1024
    pss = sizes.get(b"Pss:")
    private = [size for name, size in sizes.items() if name.startswith(b"Private_")]
    anon = pss
    if b"Pss_Anon:" in sizes:
        anon = sum(sizes.get(name, 0) for name in (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:"))
    return Memory(sizes.get(b"Rss:", 0), pss, sum(private) if private else None, anon)


def descriptors(pid: int) -> int | None:
    """Return how many descriptors a process has open, or None if that cannot be read."""
    if not reads_procfs():
        with contextlib.suppress(*_gone()):
            return int(psutil.Process(pid).num_fds())
        return None
    try:
        folder = f"/proc/{pid}/fd"
        return os.stat(folder).st_size or len(os.listdir(folder))  # Linux 6.2 says it as the folder's size
    except OSError:
        return None


def transferred(pid: int) -> Transferred | None:
    """Return what a process has had read and written, or None if that cannot be read."""
    if not reads_procfs():
        with contextlib.suppress(*_gone()):
            counters = psutil.Process(pid).io_counters()
            return Transferred(int(counters.read_bytes), int(counters.write_bytes))
        return None
    raw = _read(f"/proc/{pid}/io")
    if not raw:
        return None
    try:
        counts = {name: int(value) for name, _, value in (line.partition(b":") for line in raw.splitlines())}
        return Transferred(counts[b"read_bytes"], counts[b"write_bytes"])
    except (ValueError, KeyError):
        return None


def children(pid: int) -> list[int]:
    """Return the pids of the children of a process, of whichever of its threads."""
    if reads_procfs() and _has("/proc/thread-self/children"):
        return _children(pid, None)[0]
    with contextlib.suppress(*_gone()):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def tree(pid: int) -> list[int]:
    """Return `pid` and the pids of all its descendants, breadth first."""
    return trees([pid])[pid]


def trees(pids: Iterable[int], most: int | None = None) -> dict[int, list[int]]:
    """Return the tree of each of `pids`, after one walk.

    Args:
        pids: the roots.
        most: how many threads to look at for their children, in each tree; what is beyond is left out.
    """
    if reads_procfs() and _has("/proc/thread-self/children"):
        return {pid: _walk(pid, most) for pid in pids}
    below = _table()
    return {pid: _walk_table(pid, below) for pid in pids}


def command(pid: int) -> str:
    """Return the command line of a process or its name in brackets, shortened, on one line; "" if it is gone."""
    if reads_procfs():
        raw = _read(f"/proc/{pid}/cmdline")
        text = os.fsdecode(raw or b"").replace("\0", " ").strip()
        if raw is not None and not text:
            name = os.fsdecode(_read(f"/proc/{pid}/comm") or b"").rstrip("\n")
            text = f"[{name}]" if name else ""
    else:
        text = _psutil_command(pid)
    return "".join(char if char.isprintable() else "?" for char in text[:_MAX_COMMAND])


@functools.cache
def _has(path: str) -> bool:
    return sys.platform == "linux" and os.path.exists(path)


def _read(path: str) -> bytes | None:
    """Read a file that the kernel hands out in one piece, or None if it cannot be read."""
    try:
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError):
        return None
    try:
        return os.read(fd, _CHUNK)
    except OSError:
        return None
    finally:
        os.close(fd)


def _read_all(path: str) -> bytes:
    """Read a file that may be longer than one piece, as far as it can be read."""
    try:
        fd = os.open(path, _FLAGS)
    except OSError:
        return b""
    parts: list[bytes] = []
    try:
        while part := os.read(fd, _CHUNK):
            parts.append(part)
    except OSError:
        pass
    finally:
        os.close(fd)
    return b"".join(parts)


def _walk(root: int, most: int | None) -> list[int]:
    found, seen, left = [root], {root}, most
    for pid in found:  # it grows meanwhile
        below, looked_at = _children(pid, left)
        for child in below:
            if child not in seen:
                seen.add(child)
                found.append(child)
        if left is not None:
            left -= looked_at
            if left <= 0:
                break
    return found


def _children(pid: int, most: int | None) -> tuple[list[int], int]:
    """Return the children of a process, and how many of its threads were looked at."""
    try:
        tasks: Sequence[str] = os.listdir(f"/proc/{pid}/task")[:most]
    except OSError:
        tasks = ()
    found: list[int] = []
    for task in tasks:
        found += map(int, _read_all(f"/proc/{pid}/task/{task}/children").split())
    return found, max(1, len(tasks))


def _table() -> dict[int, list[int]]:
    """Return the children of all processes, by one look at each of them."""
    below: dict[int, list[int]] = {}
    with contextlib.suppress(*_gone()):
        for process in psutil.process_iter(["ppid"]):
            below.setdefault(process.info["ppid"], []).append(process.pid)
    return below


def _walk_table(root: int, below: dict[int, list[int]]) -> list[int]:
    found, seen = [root], {root}
    for pid in found:
        new = [child for child in below.get(pid, ()) if child not in seen]
        seen.update(new)
        found += new
    return found


_boot = (-1.0, 0.0)
"""The wall clock less the time since the start of the machine when that was read, and what was read."""


def _boot_time() -> float:
    global _boot
    offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    if abs(offset - _boot[0]) > _CLOCK_MOVED:
        _boot = (offset, float(psutil.boot_time()))
    return _boot[1]


def _psutil_stat(pid: int) -> Stat | None:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times, sizes = process.cpu_times(), process.memory_info()
            state, since = _letters().get(process.status(), "S"), process.create_time() - psutil.boot_time()
            of_children = getattr(times, "children_user", 0.0), getattr(times, "children_system", 0.0)
            threads, ticks = process.num_threads(), round(since * _TICKS)
            cpu = (times.user, times.system, *of_children)
            return Stat(pid, process.ppid(), state, *cpu, threads, ticks, sizes.vms, sizes.rss)
    except _gone():
        return None


def _psutil_memory(pid: int) -> Memory | None:
    try:
        process = psutil.Process(pid)
        rss = int(process.memory_info().rss)
    except _gone():
        return None
    try:
        full = process.memory_full_info()
    except psutil.NoSuchProcess:
        return None
    except _gone():
        return Memory(rss, None, None, None)
    pss = getattr(full, "pss", None)
    return Memory(int(full.rss), pss, getattr(full, "uss", None), pss)


def _psutil_command(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return " ".join(process.cmdline()).strip() or f"[{process.name()}]"
    except _gone():
        return ""

"""What one process and its descendants use of memory, CPU time and tasks, and whether that is too much.

Looking is cheap when nothing happens: the kernel keeps a clock of the CPU time of each process, and
while the clocks of a tree stand still, nothing in it can have grown.  Memory is bounded by what is
resident, which counts shared pages several times; the exact share costs the kernel a walk through
the pages, so it is only asked for near a limit.
"""

from __future__ import annotations

import os
import time
from typing import Protocol

import attrs

from piactors._platform import process_stats
from piactors._platform.limits.groups import Group
from piactors._process.pihost_files import FOLDER
from piactors._text.record import ByAttributes
from piactors.exit_reason import Breach

IDLE_SECONDS = 0.2
ACTIVE_SECONDS = 0.05
LEAST_SECONDS = 0.01
_ROUNDING = 1 << 20
_NEAR = 0.25
"""From this share of a limit on it is worth knowing who uses the memory."""
_RELIEF = 0.9
"""Below this share of a soft limit the next breach of it is news again."""
_EXACT_FOR = 1.0
"""Seconds for which an exact measurement bounds the next ones."""
_MOST_THREADS = 2000
"""Threads that one look goes through in search of children."""
_CPUS = os.cpu_count() or 1


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Bounds(ByAttributes):
    """What to look for: sizes in bytes, times in seconds; None if nobody asks.

    Attributes:
        memory, cpu_time, tasks: the hard limits.
        soft_memory, recycle_memory: what to report, and nothing else.
        held: the names of the hard limits that a control group holds; here the outcome of that is watched.
    """

    memory: int | None = None
    soft_memory: int | None = None
    recycle_memory: int | None = None
    cpu_time: float | None = None
    tasks: int | None = None
    held: frozenset[str] = frozenset()


class UsageListener(Protocol):
    """Who is told; called on the monitor's thread."""

    def broken(self, breach: Breach) -> None:
        """A hard limit is broken: the process is to be ended."""

    def soft_broken(self, breach: Breach) -> None:
        """The soft limit is broken, now and not at the last look."""

    def worth_recycling(self, used: int) -> None:
        """There is more memory in use than a generation should have."""

    def refused(self, breach: Breach) -> None:
        """The kernel has refused a process or thread."""


class UsageWatch:
    """The watch over what all processes of an isolate use: its memory, CPU time and tasks."""

    def __init__(self, pid: int, label: str, bounds: Bounds, group: Group | None, listener: UsageListener) -> None:
        self._pid = pid
        self._clock_of = process_stats.clock_source()
        self._label = label
        self._bounds = bounds
        self._group = group
        self._listener = listener
        self._members = [pid]
        self._clock: float | None = -1.0
        self._largest = (pid, "", 0)
        self._soft_broken = False
        self._refused = 0
        self._resident_at_exact = 0
        self._exact = (0.0, 0)
        self._last = (0.0, 0)

    def look(self, now: float) -> float | None:
        """Look once; return the seconds until the next look, or None for no more looks."""
        clock = self._clocks()
        if clock is not None and clock == self._clock:
            return IDLE_SECONDS
        self._clock = clock
        self._members = process_stats.trees([self._pid], _MOST_THREADS)[self._pid]
        breach = self.kernel_kill() or self._tasks() or self._cpu_time()
        delay = ACTIVE_SECONDS
        if breach is None:
            breach, delay = self._memory(now)
        if breach is not None:
            self._listener.broken(breach)
            return None
        self.tell_refusals()
        return min(delay, self._cpu_time_left())

    def end(self) -> None:
        """Nothing: it holds nothing."""

    abandon = end

    def _clocks(self) -> float | None:
        """Return the CPU time of the known members, or None if one of them is gone or cannot be read."""
        total = 0.0
        for pid in self._members:
            clock = self._clock_of(pid)
            if clock is None:
                return None
            total += clock
        return total

    # Hard limits

    def kernel_kill(self) -> Breach | None:
        """Return the breach if the kernel has ended a process at this limit; to be asked again when all is over."""
        if self._group is None or "max_memory" not in self._bounds.held or not self._group.memory_kills():
            return None
        allowed, peak = self._bounds.memory or 0, self._group.memory_peak()
        if peak is not None and peak < allowed - _ROUNDING:
            return None  # the limit of a group above, or the machine's own memory
        return self._breach("max_memory", allowed, max(allowed, peak or 0))

    def _tasks(self) -> Breach | None:
        if self._bounds.tasks is None or "max_processes" in self._bounds.held:
            return None
        found = [stat for pid in self._members if (stat := process_stats.stat(pid)) is not None]
        tasks = sum(stat.threads for stat in found)
        if tasks <= self._bounds.tasks:
            return None
        most = max(found, key=lambda stat: stat.threads)
        self._largest = (most.pid, self._command(most.pid), 0)
        return self._breach("max_processes", self._bounds.tasks, tasks)

    def _cpu_time(self) -> Breach | None:
        if self._bounds.cpu_time is None or (used := self._cpu_seconds()) <= self._bounds.cpu_time:
            return None
        busiest = max(self._members, key=lambda pid: self._clock_of(pid) or 0.0)
        self._largest = (busiest, self._command(busiest), 0)
        return self._breach("max_cpu_time", self._bounds.cpu_time, used)

    def _cpu_time_left(self) -> float:
        if self._bounds.cpu_time is None:
            return IDLE_SECONDS
        return max(LEAST_SECONDS, (self._bounds.cpu_time - self._cpu_seconds()) / _CPUS)

    def _cpu_seconds(self) -> float:
        counted = None if self._group is None else self._group.cpu_seconds()
        if counted is not None:
            return counted
        found = [stat for pid in self._members if (stat := process_stats.stat(pid)) is not None]
        return sum(stat.user + stat.system + stat.child_user + stat.child_system for stat in found)

    # Memory

    def _memory(self, now: float) -> tuple[Breach | None, float]:
        """Look at the memory; return the breach of the hard limit, and when to look again."""
        bounds = self._bounds
        limits = [limit for limit in (bounds.memory, bounds.soft_memory, bounds.recycle_memory) if limit is not None]
        if not limits:
            return None, ACTIVE_SECONDS
        lowest = min(limits)
        most = self._at_most(now, lowest)
        if most >= _NEAR * lowest:
            self._find_largest()
        used = most if most < lowest else self._measure(now)
        self._tell_soft(used)
        if bounds.recycle_memory is not None and used > bounds.recycle_memory:
            self._listener.worth_recycling(used)
        delay = self._pace(now, used, lowest)
        if bounds.memory is None or used <= bounds.memory or "max_memory" in bounds.held:
            return None, delay
        return self._breach("max_memory", bounds.memory, used), delay

    def _at_most(self, now: float, lowest: int) -> int:
        """Return an upper bound of what is in use, at little cost."""
        charged = None if self._group is None else self._group.memory_charged()
        if charged is not None:
            return charged
        resident = sum(map(process_stats.resident, self._members))
        measured_at, exact = self._exact
        if resident >= lowest and now - measured_at < _EXACT_FOR:
            return exact + max(0, resident - self._resident_at_exact)
        return resident

    def _measure(self, now: float) -> int:
        """Return what is in use: without cached files, and with shared pages counted once."""
        used = None if self._group is None else self._group.memory_used()
        if used is None:
            found = [memory for pid in self._members if (memory := process_stats.memory(pid)) is not None]
            used = sum(memory.rss if memory.anon_pss is None else memory.anon_pss for memory in found)
            self._resident_at_exact = sum(memory.rss for memory in found)
        self._exact = (now, used)
        return used

    def _pace(self, now: float, used: int, lowest: int) -> float:
        """Return when to look again: the sooner, the faster memory grows towards the lowest limit."""
        before, used_before = self._last
        self._last = (now, used)
        growth = (used - used_before) / max(now - before, 1e-3)
        if growth <= 0 or used >= lowest:
            return ACTIVE_SECONDS
        return min(ACTIVE_SECONDS, max(LEAST_SECONDS, (lowest - used) / growth / 2))

    def _tell_soft(self, used: int) -> None:
        soft = self._bounds.soft_memory
        if soft is None:
            return
        if used > soft and not self._soft_broken:
            self._soft_broken = True
            self._listener.soft_broken(self._breach("soft_memory", soft, used))
        elif used < _RELIEF * soft:
            self._soft_broken = False

    def _find_largest(self) -> None:
        size, pid = max((process_stats.resident(pid), pid) for pid in self._members)
        known, command, _ = self._largest
        self._largest = (pid, command if pid == known and command else self._command(pid), size)

    # Refusals

    def tell_refusals(self) -> None:
        """Report tasks that the kernel has refused since the last look; to be asked again when all is over."""
        if self._group is None or "max_processes" not in self._bounds.held:
            return
        count = self._group.refused_tasks()
        if count > self._refused:
            self._refused = count
            self._find_largest()
            allowed = self._bounds.tasks or 0
            self._listener.refused(self._breach("max_processes", allowed, allowed))

    def _breach(self, limit: str, allowed: float, observed: float) -> Breach:
        pid, command, _ = self._largest
        return Breach(
            limit=limit,
            allowed=allowed,
            observed=observed,
            culprit_pid=pid,
            culprit=command or self._command(pid),
            time=time.time(),
        )

    def _command(self, pid: int) -> str:
        """Return what a process is called: one that an isolate has forked still has its launcher's command line."""
        if pid == self._pid:
            return f"isolate {self._label}"
        command = process_stats.command(pid)
        return f"forked by isolate {self._label}" if FOLDER in command else command

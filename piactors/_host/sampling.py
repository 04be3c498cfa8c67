"""What isolates have used over time, for those whose history somebody has asked for.

One `Sampler` for each runtime takes the samples, by timers of its I/O thread; without histories of isolates that
live there is no timer.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Protocol

import attrs

from piactors._host.runtime import Runtime
from piactors._platform import process_stats
from piactors._process.placement import Process
from piactors._text.logs import logger
from piactors._text.record import ByAttributes

INTERVAL = 1.0
SAMPLES = 300
_AT_ONCE = 8
"""Isolates that are looked at before the I/O thread turns to its channels again."""
_MOST_THREADS = 256
"""How many threads of one tree are looked at for their children: no isolate may keep the I/O thread busy."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class UsageSample(ByAttributes):
    """What an isolate used at one time: times in seconds, sizes in bytes.

    Attributes:
        time: seconds since the epoch.
        pid, generation: the process, and which of the isolate's processes it is.
        user, system: CPU time that the process has spent in its own code and in the kernel.
        rss: its memory in RAM, shared pages included.
        tree_rss, processes: the memory, and the number, of it and its descendants.  Of a tree of hundreds of threads
            only the first ones count.
    """

    time: float
    pid: int
    generation: int
    user: float
    system: float
    rss: int
    tree_rss: int
    processes: int


class Subject(Protocol):
    """An isolate, as its history sees it."""

    runtime: Runtime

    @property
    def process(self) -> Process | None:
        """What runs it now."""

    @property
    def ended(self) -> threading.Event:
        """Set once it has ended for good."""


class History:
    """The samples of one isolate: the last ones, for all of its generations."""

    def __init__(self, subject: Callable[[], Subject]) -> None:
        self._subject = subject
        self._samples: deque[UsageSample] = deque(maxlen=SAMPLES)
        self._begun = False

    def samples(self) -> tuple[UsageSample, ...]:
        """Return the samples, the oldest first; the first call takes one, and from then on they are taken."""
        if not self._begun:
            self._begun = True
            _take([self])
        subject = self._subject()
        if not subject.ended.is_set():
            subject.runtime.loop.call_soon(_follow, subject.runtime, self)
        return tuple(self._samples.copy())  # a copy is made in one step, so another thread may append meanwhile

    def generation(self) -> Process | None:
        """Return the process that runs, or None."""
        return self._subject().process

    def is_over(self) -> bool:
        """Whether the isolate has ended for good, as far as can be said now: a supervisor may start it once more."""
        return self._subject().ended.is_set()

    def add(self, sample: UsageSample) -> None:
        """Keep a sample."""
        self._samples.append(sample)


class Sampler:
    """Takes the samples of all histories of one runtime; on its I/O thread only."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._loop = runtime.loop.share(self._failed)
        self._histories: weakref.WeakSet[History] = weakref.WeakSet()
        self._due: float | None = None

    def follow(self, history: History) -> None:
        """Take samples for a history from now on."""
        self._histories.add(history)
        if self._due is None:
            self._due = time.monotonic() + INTERVAL
            self._loop.call_later(INTERVAL, self._tick)

    def _failed(self, error: BaseException) -> None:
        """A look has failed, for lack of descriptors or memory; the next one to ask starts again."""
        self._due = None
        logger.warning("no samples of what isolates use could be taken", exc_info=error)

    def _tick(self) -> None:
        alive = [history for history in self._histories if not history.is_over()]
        if not alive:
            self._due = None
            return
        now = time.monotonic()
        self._due = max(now, (self._due or now) + INTERVAL)
        self._loop.call_later(self._due - now, self._tick)
        # Without /proc, one look at the process table serves all.
        self._take(alive, _AT_ONCE if process_stats.reads_procfs() else len(alive))

    def _take(self, histories: list[History], at_once: int) -> None:
        _take(histories[:at_once])
        if len(histories) > at_once:
            self._loop.call_soon(self._take, histories[at_once:], at_once)


def _take(histories: list[History]) -> None:
    """Take one sample for each isolate that has a process."""
    found_now = [(history, history.generation()) for history in histories]
    roots = [(h, g.number, g.pid) for h, g in found_now if g is not None and g.pid is not None]
    trees = process_stats.trees((pid for _, _, pid in roots), _MOST_THREADS)
    for history, number, pid in roots:
        found = process_stats.stat(pid)
        if found is None or found.has_ended:
            continue
        below = trees[pid][1:]
        history.add(
            UsageSample(
                time=time.time(),
                pid=pid,
                generation=number,
                user=found.user,
                system=found.system,
                rss=found.rss,
                tree_rss=found.rss + sum(map(process_stats.resident, below)),
                processes=1 + len(below),
            )
        )


_sampler: Sampler | None = None


def _follow(runtime: Runtime, history: History) -> None:
    """On the I/O thread: have the runtime's sampler follow a history."""
    global _sampler
    if _sampler is None or _sampler.runtime is not runtime:
        _sampler = Sampler(runtime)
    _sampler.follow(history)

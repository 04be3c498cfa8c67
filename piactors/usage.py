"""What isolates use: as the operating system tells, and as they see themselves."""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeGuard

import attrs
from pykka import ActorRegistry, Timeout

from piactors._host.sampling import UsageSample
from piactors._isolate.isolate import Isolate
from piactors._platform import process_stats
from piactors._platform.process_stats import Stat
from piactors._process.placement import Process
from piactors._text.record import ByAttributes
from piactors.future import Future
from piactors.pihost.plain import decode as plain_decode
from piactors.pihost.wire import wire

__all__ = ["GcStats", "ResourceUsage", "TreeUsage", "UsageSample", "snapshot"]

_ANSWER_SECONDS = 0.2
_MAX_ANSWER = 4096
_BUDGET = 1 << 16
_MOST_GENERATIONS = 8
_TOO_MUCH = 1 << 63


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TreeUsage(ByAttributes):
    """What an isolate's process uses together with its descendants: times in seconds, sizes in bytes.

    Attributes:
        processes: how many they are.
        user, system: their CPU time, with that of descendants that have ended and were waited for.
        rss: the sum of their memory in RAM; what they share counts for each of them.
        pss: the sum of their shares of it, so the memory that they take together; None if that cannot be read.
    """

    processes: int
    user: float
    system: float
    rss: int
    pss: int | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GcStats(ByAttributes):
    """What Python's garbage collector has done in an isolate, each with one number per generation.

    Attributes:
        collections: how often it ran.
        collected, uncollectable: objects that it has removed, and those that it could not.
        counts: what `gc.get_count` tells: how far it is to the next run.
    """

    collections: tuple[int, ...]
    collected: tuple[int, ...]
    uncollectable: tuple[int, ...]
    counts: tuple[int, ...]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResourceUsage(ByAttributes):
    """What one process uses now: times in seconds, sizes in bytes.

    Attributes:
        pid: the process.
        started: when it started, seconds since the epoch.
        user, system: CPU time spent in its own code and in the kernel.
        rss, vms: memory in RAM (shared pages included), and address space.
        threads: of the operating system.
        descriptors: open files, sockets and the like; None if that cannot be read.
        children: its descendants.
        pss, uss: memory with each shared page divided among those who share it, and memory that nobody shares; None
            if the kernel does not tell.
        read_bytes, written_bytes: what was read from and written to storage, the cache aside; None if that cannot
            be read.
        tree: the process with its descendants.
        gc: of its garbage collector; None if its interpreter has nothing like it, or did not answer in time.
        heap_blocks: how many blocks its Python objects take (`sys.getallocatedblocks`); None as for `gc`.
        heap_traced: bytes that tracemalloc knows of; None as for `gc`, and if it does not trace.
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
    pss: int | None = None
    uss: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    tree: TreeUsage = attrs.field()
    gc: GcStats | None = None
    heap_blocks: int | None = None
    heap_traced: int | None = None

    @tree.default
    def _alone(self) -> TreeUsage:
        return TreeUsage(processes=1, user=self.user, system=self.system, rss=self.rss, pss=self.pss)


def snapshot() -> dict[str, ResourceUsage]:
    """Return what each isolate uses now, by its name; those without a process are left out.

    The isolates are asked together, so it takes 0.2 seconds for those that do not answer, however many they are.  If
    several have one name, those after the first are ``name#pid``.
    """
    found = [getattr(ref, "_isolate", None) for ref in ActorRegistry.get_all()]
    isolates = [isolate for isolate in found if isinstance(isolate, Isolate)]
    usages: dict[str, ResourceUsage] = {}
    for isolate, usage in zip(isolates, measured(isolates), strict=True):
        if usage is not None:
            name = isolate.spec.name
            usages[name if name not in usages else f"{name}#{usage.pid}"] = usage
    return usages


def measured(isolates: Sequence[Isolate]) -> list[ResourceUsage | None]:
    """Return what each of `isolates` uses now, or None if it has no process."""
    asked = [_ask(isolate) for isolate in isolates]
    deadline = time.monotonic() + _ANSWER_SECONDS
    pids = [None if generation is None else generation.pid for generation, _ in asked]
    trees = process_stats.trees(pid for pid in pids if pid is not None)
    outside = [None if pid is None else _seen_from_outside(pid, trees[pid][1:]) for pid in pids]
    return [
        None if usage is None else attrs.evolve(usage, **_answer(future, deadline)._asdict())
        for usage, (_, future) in zip(outside, asked, strict=True)
    ]


# From outside


def _seen_from_outside(pid: int, below: list[int]) -> ResourceUsage | None:
    found = process_stats.stat(pid)
    memory = process_stats.memory(pid)
    if found is None or found.has_ended or memory is None:
        return None
    moved = process_stats.transferred(pid)
    return ResourceUsage(
        pid=pid,
        started=process_stats.started(found),
        user=found.user,
        system=found.system,
        rss=memory.rss,
        pss=memory.pss,
        uss=memory.uss,
        vms=found.vms,
        threads=found.threads,
        descriptors=process_stats.descriptors(pid),
        children=len(below),
        read_bytes=None if moved is None else moved.read,
        written_bytes=None if moved is None else moved.written,
        tree=_sum(found, memory, below),
    )


def _sum(root: Stat, memory: process_stats.Memory, below: list[int]) -> TreeUsage:
    stats, memories = [root], [memory]
    for pid in below:
        found = process_stats.stat(pid)
        if found is not None:
            stats.append(found)
            memories.append(process_stats.memory(pid) or process_stats.Memory(0, 0, 0, 0))  # it has just ended
    shares = [memory.pss for memory in memories if memory.pss is not None]
    return TreeUsage(
        processes=1 + len(below),
        user=sum(found.user + found.child_user for found in stats),
        system=sum(found.system + found.child_system for found in stats),
        rss=sum(memory.rss for memory in memories),
        pss=sum(shares) if len(shares) == len(memories) else None,
    )


# From inside


class Inside(NamedTuple):
    """What only the isolate itself knows."""

    gc: GcStats | None = None
    heap_blocks: int | None = None
    heap_traced: int | None = None


_unanswered: weakref.WeakKeyDictionary[Process, Future[Inside]] = weakref.WeakKeyDictionary()
"""The question that a process was asked last: if it does not answer, questions must not pile up."""


def _ask(isolate: Isolate) -> tuple[Process | None, Future[Inside] | None]:
    """Ask an isolate's control thread; return the process asked, and what it will have answered."""
    body = isolate.life.current
    generation = None if body is None else body.process
    ready = body is not None and body.is_ready
    if generation is None or not ready or isolate.loop.is_current():  # on the I/O thread nothing may wait
        return generation, None
    future = _unanswered.get(generation)
    if future is None or future.done():
        future = _unanswered[generation] = Future()
        generation.request("usage", (), partial(_answered, future))
    return generation, future


def _answered(future: Future[Inside], frame: wire.Frame | None) -> None:
    """On the I/O thread: an answer has come; the asking caller decodes it, unless it is too long for that."""
    if frame is None or frame.kind != wire.RESPONSE or len(frame.payload) > _MAX_ANSWER or frame.flags != wire.PLAIN:
        future.set(Inside())
    else:
        future.settle_with(partial(_decoded, bytes(frame.payload)))


def _decoded(payload: bytes) -> Inside:
    return check_inside(plain_decode.decode(payload, budget=_BUDGET))


def _answer(future: Future[Inside] | None, deadline: float) -> Inside:
    if future is None:
        return Inside()
    try:
        return future.get(timeout=max(0.0, deadline - time.monotonic()))
    except Timeout:
        return Inside()
    except Exception:  # whatever the isolate made of its answer
        return Inside()


def check_inside(found: Any) -> Inside:
    """Return what an isolate said of itself, as far as it is plausible: the rest is None."""
    if type(found) is not dict:
        return Inside()
    return Inside(_gc_stats(found), _count(found.get("heap_blocks")), _count(found.get("heap_traced")))


def _gc_stats(found: dict[Any, Any]) -> GcStats | None:
    generations, counts = found.get("gc_stats"), _counts(found.get("gc_counts"))
    if counts is None or not _is_short_list(generations) or any(type(entry) is not dict for entry in generations):
        return None
    done = [_counts([entry.get(name) for entry in generations]) for name in _GC_NAMES]
    if done[0] is None or done[1] is None or done[2] is None:
        return None
    return GcStats(collections=done[0], collected=done[1], uncollectable=done[2], counts=counts)


_GC_NAMES = ("collections", "collected", "uncollectable")


def _counts(found: Any) -> tuple[int, ...] | None:
    if not _is_short_list(found) or any(_count(item) is None for item in found):
        return None
    return tuple(found)


def _count(found: Any) -> int | None:
    return found if type(found) is int and 0 <= found < _TOO_MUCH else None


def _is_short_list(found: Any) -> TypeGuard[list[Any]]:
    return type(found) is list and 0 < len(found) <= _MOST_GENERATIONS

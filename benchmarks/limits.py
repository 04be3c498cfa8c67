"""What do limits cost, and how well do they hold?

    python -m benchmarks.limits
    python -m benchmarks.limits --seconds 2 --isolates 20

For each mechanism that works here: the shares of the processors that busy trees get, and by how much memory goes over
its limit.  For the monitor: what it costs the host to watch idle isolates, next to the same isolates without limits.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import multiprocessing
import resource
import sys
import threading
import time

import attrs
import psutil

import piactors
from piactors import IsolateRef, IsolationLimits, IsolationOptions, LimitExceeded

MIB = 1 << 20
CPU_MECHANISMS = ("cgroup v2", "cgroup v1", "monitor")
LIMIT = 200 * MIB


class Busy(piactors.ProcessActor):
    """Uses what it is given."""

    def work(self, threads: int, processes: int) -> None:
        """Keep threads and child processes busy; returns at once."""
        for _ in range(threads):
            threading.Thread(target=burn, daemon=True).start()
        for _ in range(processes):
            multiprocessing.get_context("fork").Process(target=burn, daemon=True).start()

    def allocate(self, rate: float) -> None:
        """Allocate without end, at so many bytes a second."""
        held, began = [], time.monotonic()
        while True:
            held.append(b"x" * MIB)
            time.sleep(max(0.0, len(held) * MIB / rate - (time.monotonic() - began)))


def burn() -> None:
    """Use the processor forever, mostly without Python's lock."""
    data = bytes(MIB)
    while True:
        hashlib.sha256(data)


def start(limits: IsolationLimits | None) -> IsolateRef:
    """Start an isolate that may be killed."""
    return Busy.with_options(IsolationOptions(limits=limits, restart="temporary")).start()


def used(ref: IsolateRef) -> float:
    """Return the CPU seconds of an isolate and its children."""
    root = psutil.Process(ref.pid)
    return sum(sum(process.cpu_times()[:2]) for process in [root, *root.children(recursive=True)])


def share(mechanism: str, cores: float, threads: int, processes: int, seconds: float) -> float | None:
    """Return the share that a busy tree gets, or None where the mechanism does not work here."""
    ref = start(IsolationLimits(max_cpu=cores, mechanisms=mechanism))
    try:
        if ref.enforcement()["max_cpu"].mechanism is None:
            return None
        ref.proxy().work(threads, processes).get(timeout=10)
        time.sleep(0.5)
        before, began = used(ref), time.perf_counter()
        time.sleep(seconds)
        return (used(ref) - before) / (time.perf_counter() - began)
    finally:
        ref.terminate()


def overshoot(mechanism: str, rate: float) -> tuple[float, float] | None:
    """Return the most memory observed beyond the limit, in MiB, and seconds from the crossing to the error."""
    ref = start(IsolationLimits(max_memory=LIMIT, mechanisms=mechanism))
    try:
        if ref.enforcement()["max_memory"].mechanism is None:
            return None
        free = LIMIT - psutil.Process(ref.pid).memory_full_info().uss
        began = time.perf_counter()
        ref.proxy().allocate(rate).get(timeout=60)
        raise AssertionError("the limit did not hold")
    except LimitExceeded as error:
        return (error.observed - error.allowed) / MIB, time.perf_counter() - began - free / rate
    finally:
        ref.terminate()


def cost(limits: IsolationLimits | None, isolates: int, seconds: float) -> float:
    """Return the host's share of one core with so many idle isolates."""
    refs = [start(limits) for _ in range(isolates)]
    time.sleep(1.0)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    time.sleep(seconds)
    after, passed = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - began
    for ref in refs:
        ref.terminate()
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / passed


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Costs and accuracy of limits.")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--isolates", type=int, default=100)
    given = parser.parse_args()
    logging.getLogger("piactors").setLevel(logging.CRITICAL)
    for mechanism in CPU_MECHANISMS:
        for cores, threads, processes in ((0.25, 1, 0), (0.5, 4, 0), (1.5, 0, 3)):
            got = share(mechanism, cores, threads, processes, given.seconds)
            load = f"{threads} threads" if threads else f"{processes} children"
            told = "does not work here" if got is None else f"{got:.3f} ({got / cores - 1:+.1%})"
            print(f"max_cpu={cores:<5} {load:11} {mechanism:10} {told}")
    for mechanism in CPU_MECHANISMS:
        for rate in (100 * MIB, 1000 * MIB):
            found = overshoot(mechanism, rate)
            told = "does not work here" if found is None else f"{found[0]:+6.1f} MiB, {found[1] * 1e3:+5.0f} ms"
            print(f"max_memory, {rate // MIB:4} MiB/s  {mechanism:10} {told}")
    watched = IsolationLimits(
        max_memory=LIMIT, soft_memory=LIMIT // 2, max_cpu_time=1000, max_processes=100, mechanisms="monitor"
    )
    everything = attrs.evolve(watched, max_cpu=1.0)
    kinds = {"no limits": None, "memory, CPU time, tasks by the monitor": watched, "and max_cpu": everything}
    for name, limits in kinds.items():
        print(f"{given.isolates} idle isolates, {name}: {cost(limits, given.isolates, given.seconds):.2%} of one core")
    return 0


if __name__ == "__main__":
    sys.exit(main())

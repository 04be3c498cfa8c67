"""What does a small blocking call cost, next to a ping-pong through a bare pipe?

    python -m benchmarks.small_calls
    python -m benchmarks.small_calls --calls 5000 --rounds 9 --json result.json

The same small tuple goes to the other process and back, one call at a time: unpinned, with both processes on one core,
and with one core for each.  The figures are percentiles over the calls of a round, and their medians over the rounds.

`pipe_at_work` is the same pipe where both sides compute for some microseconds between two messages, which are not
counted: it tells what it costs to wake a core that had the time to fall asleep.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from benchmarks import frame, placement, subjects
from benchmarks.pipes import RawPipe, keep_busy
from piactors import IsolationOptions, ProcessIsolator

VALUE = (1, "a")
TARGET = "benchmarks.subjects:echo"
WORK = 15.0
"""Microseconds that each side of `pipe_at_work` computes: about what the pickling and accounting of a call takes."""


@attrs.frozen
class Contestant:
    """A way to have a value returned by the process `pid`."""

    pid: int
    call: Callable[[Any], Any]
    work: float = 0.0
    """Microseconds that either side computes between two messages."""


@attrs.frozen
class Times:
    """Percentiles of the calls of one round, in microseconds."""

    p50: float
    p99: float


def actor(stack: contextlib.ExitStack, options: IsolationOptions) -> Contestant:
    """Return a method of an actor, called as programs call it: through the proxy, attribute and all."""
    ref = subjects.Echo.with_options(options).start()
    stack.callback(ref.stop)
    proxy = ref.proxy()
    assert ref.pid is not None
    return Contestant(ref.pid, lambda value: proxy.echo(value).get())


def isolator(stack: contextlib.ExitStack, options: IsolationOptions) -> Contestant:
    """Return a function that is called by its name."""
    found = stack.enter_context(ProcessIsolator(options))
    found.invoke_method(TARGET, VALUE).get(timeout=30)  # its module is imported now, not in a round
    assert found.pid is not None
    return Contestant(found.pid, lambda value: found.invoke_method(TARGET, value).get())


@contextlib.contextmanager
def contestants() -> Iterator[dict[str, Contestant]]:
    """Start all of them, and end them at the end."""
    with contextlib.ExitStack() as stack:
        pipe = stack.enter_context(RawPipe())
        at_work = stack.enter_context(RawPipe(WORK))
        found = {
            "pipe": Contestant(pipe.pid, pipe.call),
            "pipe_at_work": Contestant(at_work.pid, at_work.call, WORK),
        }
        for suffix, options in kinds().items():
            found[f"proxy{suffix}"] = actor(stack, options)
            found[f"invoke{suffix}"] = isolator(stack, options)
        yield found


def kinds() -> dict[str, IsolationOptions]:
    """Return the options to measure with, by a suffix: those of the default, and without spinning."""
    found = {"": IsolationOptions()}
    if frame.has_option("spin"):
        options: dict[str, Any] = {"spin": False}
        found["_no_spin"] = IsolationOptions(**options)
    return found


def one_round(contestant: Contestant, cores: tuple[set[int], set[int]], calls: int) -> Times:
    """Return what the calls of one round took."""
    placement.place(cores[0], contestant.pid, cores[1])
    call, clock, nanoseconds = contestant.call, time.perf_counter_ns, []
    for _ in range(calls // 10):  # caches, and the scheduler's opinion of both processes
        call(VALUE)
    for _ in range(calls):
        began = clock()
        call(VALUE)
        nanoseconds.append(clock() - began)
        if contestant.work:
            keep_busy(contestant.work)
    p50, p99 = (frame.percentile(nanoseconds, one) / 1e3 - contestant.work for one in (50, 99))
    return Times(p50, p99)


def measure(rounds: int, calls: int) -> dict[tuple[str, str], list[Times]]:
    """Return the rounds by placement and contestant; the placements take turns as well."""
    with contestants() as found:
        pairs: dict[tuple[str, str], Callable[[], Times]] = {
            (place, name): lambda one=one, cores=cores: one_round(one, cores, calls)  # type: ignore[misc]
            for place, cores in placement.placements().items()
            for name, one in found.items()
        }
        try:
            return frame.take_turns(rounds, pairs)
        finally:
            placement.pin(os.getpid(), placement.ALL_CORES)


def report_on(report: frame.Report, results: dict[tuple[str, str], list[Times]]) -> None:
    """Take the medians, and the ratios to the pipe on the same cores."""
    for (place, name), times in results.items():
        for percentile in ("p50", "p99"):
            values = [getattr(one, percentile) for one in times]
            report.add(f"{place}.{name}.{percentile}", statistics.median(values), "µs")
            if name != "pipe":
                pipes = [getattr(one, percentile) for one in results[place, "pipe"]]
                report.add_ratio(f"{place}.{name}.{percentile}_over_pipe", values, pipes)
            if name.startswith("proxy"):
                pipes = [getattr(one, percentile) for one in results[place, "pipe_at_work"]]
                report.add_ratio(f"{place}.{name}.{percentile}_over_pipe_at_work", values, pipes)
    if not frame.has_option("spin"):
        report.miss("no_spin", "this piactors has no option 'spin'")
    if "two_cores" not in placement.placements():
        report.miss("two_cores", "there is one core only")


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("A small blocking call, against a bare pipe.")
    parser.add_argument("--calls", type=int, default=2000, help="calls of each contestant in a round")
    given = frame.parsed(parser)
    report = frame.Report("small_calls", given)
    report_on(report, measure(given.rounds, 50 if given.quick else given.calls))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())

"""What does supervision cost a call: to a child of a supervisor, next to an isolate that was started alone?

    python -m benchmarks.supervision_overhead

The child is permanent and has a backoff; the other one is never restarted.  The difference is small, so the rounds are
many.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import frame, subjects
from piactors import Backoff, ChildSpec, Supervisor

VALUE = (1, "a")
ROUNDS = 31


def p50(proxy: Any, calls: int) -> float:
    """Return the median of blocking calls, in microseconds."""
    clock, nanoseconds = time.perf_counter_ns, []
    for _ in range(calls):
        began = clock()
        proxy.echo(VALUE).get()
        nanoseconds.append(clock() - began)
    return frame.percentile(nanoseconds, 50) / 1e3


def measure(rounds: int, calls: int) -> dict[str, list[float]]:
    """Return the medians of each round."""
    alone = subjects.Echo.start()
    spec = ChildSpec("echo", subjects.Echo, restart="permanent", backoff=Backoff())
    with Supervisor.start(children=[spec]) as tree:
        proxies = {"alone": alone.proxy(), "supervised": tree.child("echo").proxy()}
        contestants: dict[str, Callable[[], float]] = {
            name: lambda proxy=proxy: p50(proxy, calls)  # type: ignore[misc]
            for name, proxy in proxies.items()
        }
        frame.take_turns(1, contestants)
        found = frame.take_turns(rounds, contestants)
    alone.stop()
    return found


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("A call to a supervised child, against one to an isolate alone.", rounds=ROUNDS)
    parser.add_argument("--calls", type=int, default=1000, help="calls of each in a round")
    given = frame.parsed(parser)
    report = frame.Report("supervision_overhead", given)
    results = measure(given.rounds, 50 if given.quick else given.calls)
    for name, medians in results.items():
        report.add_median(f"{name}.p50", medians, "µs")
    report.add_ratio("supervised_over_alone", results["supervised"], results["alone"])
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())

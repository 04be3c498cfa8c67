"""What does a start and a stop of one child cost among 10, 100 and 1,000 children of a dynamic supervisor?

    python -m benchmarks.dynamic_children
    python -m benchmarks.dynamic_children --sizes 10 50 --threads

The sizes are measured in one run: at each, some children more are started, and stopped again.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from typing import Any

import pykka

from benchmarks import victims
from piactors import ChildSpec, DynamicSupervisor, SupervisorRef

SAMPLES = 20


class Thread(victims.Plain, pykka.ThreadingActor):
    """The same in a thread."""


def measure(tree: SupervisorRef, size: int) -> tuple[float, float]:
    """Return the median seconds of a start and of a stop among `size` children."""
    while tree.count_children().specs < size:
        tree.start_child()
    started: list[Any] = []
    starts = [timed(lambda: started.append(tree.start_child())) for _ in range(SAMPLES)]
    stops = [timed(lambda ref=ref: tree.terminate_child(ref)) for ref in started]  # type: ignore[misc]
    return statistics.median(starts), statistics.median(stops)


def timed(call: Any) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> int:
    """Print the costs, and what they are times those of the smallest size."""
    parser = argparse.ArgumentParser(description="Costs of a start and a stop by the number of children.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--threads", action="store_true", help="children in threads instead of processes")
    given = parser.parse_args()
    logging.getLogger("piactors").setLevel(logging.CRITICAL)
    target = Thread if given.threads else victims.Victim
    rows = []
    with DynamicSupervisor.start(template=ChildSpec("child", target)) as tree:
        for size in sorted(given.sizes):
            rows.append((size, *measure(tree, size)))
        at_end = timed(tree.stop)
    print(f"{'children':>8} {'start':>10} {'stop':>10}   times the first")
    for size, start, stop in rows:
        ratio = f"{start / rows[0][1]:.1f}, {stop / rows[0][2]:.1f}"
        print(f"{size:8} {start * 1e3:7.2f} ms {stop * 1e3:7.2f} ms   {ratio}")
    print(f"stop of the supervisor with {rows[-1][0]} children: {at_end:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

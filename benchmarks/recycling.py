"""What does recycling cost in the middle of a stream of calls, and how long does it hold calls up?

    python -m benchmarks.recycling
    python -m benchmarks.recycling --calls 50000 --after-calls 500

The same calls are made twice in one run, without recycling and with it.  Every answer is checked; a pause is the time
between two answers in a row.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import deque
from typing import Any

import attrs

import piactors
from piactors import IsolationOptions, Recycle, events

WINDOW = 200
"""Calls that are under way at once."""


class Counter(piactors.ProcessActor):
    """Counts its calls, so that a lost or repeated one shows."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def take(self, number: int) -> tuple[int, int]:
        """Return the number, and how many calls this generation has had."""
        self.calls += 1
        return number, self.calls


@attrs.frozen
class Result:
    """What one run came to: calls a second, the longest pauses in seconds, swaps of generations."""

    rate: float
    pauses: list[float]
    swaps: int


def run(calls: int, recycle: Recycle | None) -> Result:
    """Make the calls; raise where an answer is wrong or out of order."""
    swaps: list[Any] = []
    end = events.subscribe(swaps.append, events.IsolateRecycled)
    ref = Counter.with_options(IsolationOptions(recycle=recycle)).start()
    proxy, waiting, pauses, last_count = ref.proxy(), deque[Any](), [], 0
    began = last = time.perf_counter()
    for number in range(calls + WINDOW):
        if number < calls:
            waiting.append((number, proxy.take(number)))
        if number >= WINDOW:
            expected, future = waiting.popleft()
            answer, count = future.get(timeout=60)
            now = time.perf_counter()
            pauses, last = [*pauses, now - last] if now - last > 0.005 else pauses, now
            if answer != expected or count not in (1, last_count + 1):
                raise AssertionError(f"call {expected} was answered {answer}, the {count}th of its generation")
            last_count = count
    seconds = time.perf_counter() - began
    ref.stop()
    end()
    return Result(calls / seconds, sorted(pauses, reverse=True)[:3], len(swaps))


def main() -> int:
    """Print both runs."""
    parser = argparse.ArgumentParser(description="Calls with and without recycling.")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--after-calls", type=int, default=1000)
    given = parser.parse_args()
    logging.getLogger("piactors").setLevel(logging.CRITICAL)
    plain = run(given.calls, None)
    recycled = run(given.calls, Recycle(after_calls=given.after_calls))
    print(f"{'':12} {'calls/s':>9}  {'swaps':>6}  longest pauses")
    for name, result in (("plain", plain), ("recycled", recycled)):
        pauses = ", ".join(f"{pause * 1e3:.1f} ms" for pause in result.pauses) or "under 5 ms"
        print(f"{name:12} {result.rate:9,.0f}  {result.swaps:6}  {pauses}")
    print(f"recycled / plain: {recycled.rate / plain.rate:.2f}; all {given.calls:,} answers right and in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())

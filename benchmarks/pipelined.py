"""How many calls a second, where the caller does not wait for each, next to a bare pipe with 64 under way?

    python -m benchmarks.pipelined
    python -m benchmarks.pipelined --burst              a million calls at once, and the memory that they take

All calls are sent, then all results are got; `map` makes as many with `proxy.echo.map`, which sends several items in
one frame, `map_one` with items that need a frame each.  The burst runs in a process of its own, as do as many bare
futures: what a call takes beyond its future is the difference of the two peaks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import piactors
from benchmarks import frame, subjects
from benchmarks.pipes import RawPipe

VALUE = (1, "a")
WINDOW = 64
BURST = 1_000_000


def rate(calls: int, run: Callable[[], object]) -> float:
    """Return calls a second."""
    return calls / frame.timed(run)


def send_then_get(proxy: Any, calls: int) -> None:
    """Make all calls, then wait for all of them."""
    futures = [proxy.echo(VALUE) for _ in range(calls)]
    for future in futures:
        future.get(timeout=60)


def map_all(proxy: Any, items: list[Any]) -> None:
    """Make a call for each item, and take all results."""
    for _ in proxy.echo.map(items):
        pass


def measure(rounds: int, calls: int) -> dict[str, list[float]]:
    """Return the calls a second of each round."""
    ref = subjects.Echo.start()
    proxy = ref.proxy()
    with RawPipe() as pipe:
        contestants = {
            "pipe": lambda: rate(calls, lambda: pipe.pipelined(VALUE, calls, WINDOW)),
            "piactors": lambda: rate(calls, lambda: send_then_get(proxy, calls)),
            "map": lambda: rate(calls, lambda: map_all(proxy, [VALUE] * calls)),
            "map_one": lambda: rate(calls, lambda: map_all(proxy, [list(VALUE)] * calls)),
        }
        frame.take_turns(1, contestants)
        found = frame.take_turns(rounds, contestants)
    ref.stop()
    return found


# The burst


def peak() -> int:
    """Return the most memory that this process ever had, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError("the kernel does not tell the peak of this process's memory")


def futures_alone(count: int) -> dict[str, float]:
    """Return the memory of so many settled futures: what any caller of so many calls holds in the end."""
    before, futures = peak(), []
    for _ in range(count):
        future: piactors.Future[Any] = piactors.Future()
        future.set(VALUE)
        futures.append(future)
    return {"bytes": (peak() - before) / count}


def burst_alone(count: int) -> dict[str, float]:
    """Return the memory and the rate of so many calls, made at once to a mailbox without a limit."""
    ref = subjects.Echo.start()
    proxy = ref.proxy()
    send_then_get(proxy, 100)
    before, began = peak(), time.perf_counter()
    futures = [proxy.echo(VALUE) for _ in range(count)]
    for future in futures:
        future.get(timeout=600)
    seconds = time.perf_counter() - began
    ref.stop()
    return {"bytes": (peak() - before) / count, "rate": count / seconds}


PARTS: dict[str, Callable[[int], dict[str, float]]] = {"futures": futures_alone, "calls": burst_alone}


def in_a_process(part: str, count: int) -> dict[str, float]:
    """Measure one part of the burst in a fresh process: a peak never goes down again."""
    command = [sys.executable, "-m", "benchmarks.pipelined", "--part", part, "--burst", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def burst(report: frame.Report, count: int) -> None:
    """Take the figures of the burst."""
    calls, futures = in_a_process("calls", count), in_a_process("futures", count)
    report.add("burst.calls", count)
    report.add("burst.rate", calls["rate"], "calls/s")
    report.add("burst.bytes_per_future", futures["bytes"], "B")
    report.add("burst.bytes_per_call", calls["bytes"], "B")
    report.add("burst.bytes_beyond_future", calls["bytes"] - futures["bytes"], "B")


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("Calls a second where many are under way, against a bare pipe.")
    parser.add_argument("--calls", type=int, default=5000, help="calls of each contestant in a round")
    parser.add_argument("--burst", type=int, nargs="?", const=BURST, metavar="CALLS", help="measure a burst as well")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    given = frame.parsed(parser)
    if given.part:
        print(json.dumps(PARTS[given.part](given.burst)))
        return 0
    report = frame.Report("pipelined", given)
    results = measure(given.rounds, 200 if given.quick else given.calls)
    for name, rates in results.items():
        report.add_median(f"{name}.rate", rates, "calls/s")
    for name in (name for name in results if name != "pipe"):
        report.add_ratio(f"{name}_over_pipe", results[name], results["pipe"])
    if given.burst:
        burst(report, 2000 if given.quick else given.burst)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())

"""What do calls cost that are awaited, or made by several threads, next to one thread that waits for each of its calls?

    python -m benchmarks.awaiting

One coroutine awaits one call after the other, under asyncio and, where it is installed, under uvloop; `busy` is the
same while another task of that event loop always has something to do. `threads` is the rate of 8 threads together,
each of which waits for its calls, over the rate of one, and over that of 8 threads that share a bare pipe under a
lock.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
from collections.abc import Callable
from typing import Any

from benchmarks import frame, subjects
from benchmarks.pipes import RawPipe

VALUE = (1, "a")
THREADS = 8


def microseconds(calls: int, run: Callable[[], object]) -> float:
    """Return what one call took."""
    return frame.timed(run) / calls * 1e6


def block(proxy: Any, calls: int) -> None:
    """Wait for one call after the other."""
    for _ in range(calls):
        proxy.echo(VALUE).get(timeout=60)


async def one_after_the_other(proxy: Any, calls: int) -> None:
    """Await one call after the other."""
    for _ in range(calls):
        await proxy.echo(VALUE)


async def beside_another(proxy: Any, calls: int) -> None:
    """The same while another task runs all the time."""

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    other = asyncio.ensure_future(spin())
    await one_after_the_other(proxy, calls)
    other.cancel()


def awaited(loop: asyncio.AbstractEventLoop, coroutine: Callable[[Any, int], Any], proxy: Any, calls: int) -> float:
    """Return microseconds of one awaited call, after some that do not count."""
    loop.run_until_complete(coroutine(proxy, calls // 10))
    return microseconds(calls, lambda: loop.run_until_complete(coroutine(proxy, calls)))


def threaded(many: Callable[[int], None], calls: int) -> float:
    """Return microseconds of one call where 8 threads make `many`; all threads have to come to their end."""
    each = calls // THREADS
    threads = [threading.Thread(target=many, args=(each,)) for _ in range(THREADS)]

    def run() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return microseconds(each * THREADS, run)


def in_turns(pipe: RawPipe, lock: threading.Lock, calls: int) -> None:
    """Send through a pipe that other threads use as well, and wait for the answer, one after the other."""
    for _ in range(calls):
        with lock:
            pipe.call(VALUE)


def loops() -> dict[str, asyncio.AbstractEventLoop]:
    """Return the event loops to measure with, by name."""
    found = {"asyncio": asyncio.new_event_loop()}
    if importlib.util.find_spec("uvloop") is not None:
        found["uvloop"] = importlib.import_module("uvloop").new_event_loop()
    return found


def measure(rounds: int, calls: int) -> dict[str, list[float]]:
    """Return the microseconds of a call, of each round."""
    ref, lock = subjects.Echo.start(), threading.Lock()
    pipe, proxy, opened = RawPipe(), ref.proxy(), loops()
    contestants: dict[str, Callable[[], float]] = {
        "blocking": lambda: microseconds(calls, lambda: block(proxy, calls)),
        "threads": lambda: threaded(lambda each: block(proxy, each), calls),
        "pipe_threads": lambda: threaded(lambda each: in_turns(pipe, lock, each), calls),
    }
    for name, loop in opened.items():
        contestants[name] = lambda loop=loop: awaited(loop, one_after_the_other, proxy, calls)  # type: ignore[misc]
        contestants[f"{name}.busy"] = lambda loop=loop: awaited(loop, beside_another, proxy, calls)  # type: ignore[misc]
    try:
        frame.take_turns(1, contestants)
        return frame.take_turns(rounds, contestants)
    finally:
        for loop in opened.values():
            loop.close()
        ref.stop()
        pipe.close()


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("Calls that are awaited, or made by 8 threads, against blocking calls of one.")
    parser.add_argument("--calls", type=int, default=3000, help="calls of each contestant in a round")
    given = frame.parsed(parser)
    report = frame.Report("awaiting", given)
    results = measure(given.rounds, 160 if given.quick else given.calls)
    for name, times in results.items():
        report.add_median(name, times, "µs")
    for name in (name for name in results if name.startswith(("asyncio", "uvloop"))):
        report.add_ratio(f"{name}_over_blocking", results[name], results["blocking"])
    report.add_ratio("threads.rate_over_one", results["blocking"], results["threads"])
    report.add_ratio("threads.rate_over_pipe", results["pipe_threads"], results["threads"])
    if "uvloop" not in results:
        report.miss("uvloop", "it is not installed")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())

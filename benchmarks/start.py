"""How long from creating an isolate to its first reply, next to a bare fork and to a worker of the standard library?

    python -m benchmarks.start
    python -m benchmarks.start --python path/to/other/bin/python

The launcher is warm: it has started an isolate before, as it has in any program but for the very first one.
`benchmarks/zygote.py` is the fork: a small process whose child writes one byte.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import frame, subjects
from benchmarks.zygote import Zygote
from piactors import IsolationOptions, spawn

OTHER = "other_interpreter"


def isolate(options: IsolationOptions, repeat: int) -> float:
    """Return milliseconds from the start of an actor, whose class is handed over, to its first reply."""
    return milliseconds(lambda: subjects.Empty.with_options(options).start(), lambda ref: ref.proxy().hello(), repeat)


def other_interpreter(options: IsolationOptions, repeat: int) -> float:
    """Return the same of a class of the standard library, since nothing is installed in the other interpreter."""
    return milliseconds(
        lambda: spawn("string:Template", "hello", options=options), lambda ref: ref.proxy().safe_substitute(), repeat
    )


def milliseconds(start: Callable[[], Any], ask: Callable[[Any], Any], repeat: int) -> float:
    """Return the median of some starts; ending them again does not count."""
    seconds, refs = [], []

    def run() -> None:
        refs.append(start())
        ask(refs[-1]).get(timeout=60)

    for _ in range(repeat):
        seconds.append(frame.timed(run))
        refs.pop().stop()
    return frame.percentile(seconds, 50) * 1e3


def executor() -> float:
    """Return milliseconds from making an executor with one spawned worker to its first result."""
    pools: list[concurrent.futures.Executor] = []

    def run() -> None:
        context = multiprocessing.get_context("spawn")
        pools.append(concurrent.futures.ProcessPoolExecutor(1, mp_context=context))
        pools[-1].submit(subjects.echo, 1).result(timeout=60)

    seconds = frame.timed(run)
    pools.pop().shutdown()
    return seconds * 1e3


def bare_fork(zygote: Zygote, repeat: int) -> float:
    """Return milliseconds of a fork and its byte."""
    return frame.percentile([frame.timed(zygote.fork) for _ in range(repeat)], 50) * 1e3


def kinds(python: str | None) -> dict[str, IsolationOptions]:
    """Return the options of the isolates to measure."""
    found = {
        "launcher": IsolationOptions(),
        "launcher_numpy": IsolationOptions(preload=("numpy",)),
        "spawn": IsolationOptions(start_method="spawn"),
    }
    if python is not None:
        found[OTHER] = IsolationOptions(python=python, start_method="launcher")
    return found


def measure(rounds: int, repeat: int, python: str | None) -> dict[str, list[float]]:
    """Return the milliseconds of each round."""
    with contextlib.ExitStack() as stack:
        zygote = stack.enter_context(Zygote())
        contestants: dict[str, Callable[[], float]] = {"fork": lambda: bare_fork(zygote, repeat), "executor": executor}
        for name, options in kinds(python).items():
            one = other_interpreter if name == OTHER else isolate
            times = 1 if name == "spawn" else repeat
            one(options, 1)  # its launcher is warm from now on
            contestants[name] = lambda one=one, options=options, times=times: one(options, times)  # type: ignore[misc]
        return frame.take_turns(rounds, contestants)


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("From creating an isolate to its first reply.")
    parser.add_argument("--repeat", type=int, default=10, help="starts of each kind of a round")
    parser.add_argument("--python", help="another interpreter, with a launcher of its own")
    given = frame.parsed(parser)
    report = frame.Report("start", given)
    results = measure(given.rounds, 2 if given.quick else given.repeat, given.python)
    for name, times in results.items():
        report.add_median(name, times, "ms")
    for name in (name for name in results if name not in ("fork", "executor")):
        report.add_ratio(f"{name}_over_fork", results[name], results["fork"])
        report.add_ratio(f"{name}_over_executor", results[name], results["executor"])
    if OTHER not in results:
        report.miss(OTHER, "no interpreter was named with --python")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())

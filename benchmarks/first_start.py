"""How long does a fresh program take to its first reply, next to one that makes a `ProcessPoolExecutor`?

    python -m benchmarks.first_start

The time is that of a whole program's import and its first call, taken in it: from before it imports piactors, or
`concurrent.futures` and `multiprocessing`, until the first reply is there.  Both start a fresh interpreter.  The figure
`bytecode` is 1 if `.pyc` files of piactors were there, as they are after any run that may write them; without them the
host and the launcher compile each file anew.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import piactors
from benchmarks import frame

PIACTORS = """
import time
began = time.perf_counter()
from benchmarks.subjects import Empty
imported = time.perf_counter()
if __name__ == "__main__":
    ref = Empty.start()
    assert ref.proxy().hello().get(timeout=60) == "hello"
    print(time.perf_counter() - began, imported - began)
    ref.stop()
"""
EXECUTOR = """
import time
began = time.perf_counter()
import concurrent.futures, multiprocessing, os
imported = time.perf_counter()
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(os.getpid).result(timeout=60) != os.getpid()
        print(time.perf_counter() - began, imported - began)
"""


def milliseconds(program: str) -> tuple[float, float]:
    """Return what a program took to its first reply, and to import."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join((root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths.rstrip(os.pathsep)},
    )
    first, imported = map(float, done.stdout.split())
    return first * 1e3, imported * 1e3


def has_bytecode() -> bool:
    """Whether there are `.pyc` files of piactors."""
    return Path(importlib.util.cache_from_source(str(piactors.__file__))).exists()


def main() -> int:
    """Measure and report."""
    given = frame.parsed(frame.arguments("A fresh program to its first reply, against ProcessPoolExecutor."))
    report = frame.Report("first_start", given)
    contestants: dict[str, Callable[[], tuple[float, float]]] = {
        "piactors": lambda: milliseconds(PIACTORS),
        "executor": lambda: milliseconds(EXECUTOR),
    }
    frame.take_turns(1, contestants)
    results = frame.take_turns(given.rounds, contestants)
    for name, times in results.items():
        report.add_median(name, [first for first, _ in times], "ms")
        report.add_median(f"{name}.import", [imported for _, imported in times], "ms")
    first = {name: [one for one, _ in times] for name, times in results.items()}
    report.add_ratio("piactors_over_executor", first["piactors"], first["executor"])
    report.add("bytecode", has_bytecode())
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())

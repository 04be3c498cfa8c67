"""What all benchmarks share: their arguments, rounds that take turns, medians, and the report of the figures.

A figure alone says little on a machine that others use too.  So each script measures what it compares with in the same
run, the contestants take turns round by round, and a ratio is the median of the ratios of the rounds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

import piactors

K = TypeVar("K")
T = TypeVar("T")

MIB = 1 << 20


def arguments(question: str, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser of the arguments that every benchmark has."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each contestant is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="a file to write the figures to")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, and no more")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the arguments given; with `--quick`, two rounds do.  Keeps piactors' log off the table."""
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error("--rounds: at least 1")
    if given.quick:
        given.rounds = min(given.rounds, 2)
    logging.getLogger("piactors").setLevel(logging.CRITICAL)
    return given


# Measuring


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def take_turns(rounds: int, contestants: Mapping[K, Callable[[], T]]) -> dict[K, list[T]]:
    """Run each contestant once a round and return their results by name.

    Each round begins with another one, so that nobody always has the same neighbour before it.
    """
    names = list(contestants)
    results: dict[K, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            results[name].append(contestants[name]())
    return results


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many percent of `values` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def median_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the ratios of the rounds: what slows a whole round down is not in it."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


def has_option(name: str) -> bool:
    """Whether this piactors has an option of that name: some figures are of options that came later."""
    return name in attrs.fields_dict(piactors.IsolationOptions)


def wait_until(predicate: Callable[[], bool], timeout: float) -> None:
    """Wait for what has no event that one could wait for."""
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} seconds")
        time.sleep(0.002)


# Reporting


def machine() -> dict[str, Any]:
    """Return where this was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


class Report:
    """The figures of one benchmark: a table on the terminal, and a JSON file where one is asked for."""

    def __init__(self, name: str, given: argparse.Namespace) -> None:
        self._name, self._given = name, given
        self.figures: dict[str, float] = {}
        self.missing: dict[str, str] = {}
        self._units: dict[str, str] = {}

    def add(self, key: str, value: float, unit: str = "") -> None:
        """Take a figure."""
        self.figures[key], self._units[key] = value, unit

    def add_ratio(self, key: str, values: Sequence[float], others: Sequence[float]) -> None:
        """Take the ratio of two contestants' results."""
        self.add(key, median_ratio(values, others), "x")

    def add_median(self, key: str, values: Sequence[float], unit: str = "") -> None:
        """Take the median of the rounds."""
        self.add(key, statistics.median(values), unit)

    def miss(self, key: str, why: str) -> None:
        """Say why there is no such figure."""
        self.missing[key] = why

    def finish(self) -> int:
        """Print the table, write the file, and return the exit code."""
        width = max(map(len, [*self.figures, *self.missing]), default=0)
        print(f"{self._name}: {self._given.rounds} rounds")
        for key, value in self.figures.items():
            print(f"  {key:{width}}  {number(value):>12} {self._units[key]}")
        for key, why in self.missing.items():
            print(f"  {key:{width}}  not measured: {why}")
        if self._given.json:
            write_json(self._given.json, self._content())
        return 0

    def _content(self) -> dict[str, Any]:
        about = {"benchmark": self._name, "rounds": self._given.rounds, "quick": self._given.quick, **surroundings()}
        return {**about, "figures": self.figures, "units": self._units, "missing": self.missing}


def surroundings() -> dict[str, Any]:
    """Return what belongs into every file of figures: of what, when and where."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return {"piactors": piactors.__version__, "date": now, "machine": machine()}


def number(value: float) -> str:
    """Return a figure with three digits that count."""
    if value and abs(value) < 100:
        return f"{value:.3g}"
    return f"{value:,.0f}"


def write_json(path: Path, content: object) -> None:
    """Write a file of figures."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

"""Other libraries whose workers talk, in the rounds of `benchmarks.talking` and `benchmarks.streams` with `--peers`.

Each figure of a library has a process of its own in each round (`benchmarks.talker`), which is ended before the next
contestant's turn, so that nothing of a library runs beside another one.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from benchmarks import frame
from benchmarks.driver import Driver, DriverFailed
from benchmarks.peers import INSTALL, title

NOT_QUICK = ("ray",)
"""Those whose start alone takes seconds."""
_SECONDS = 300.0


@attrs.frozen
class Figure:
    """What one library is measured at, and what of ours it is compared with."""

    peer: str
    command: str
    ours: Sequence[str]

    @property
    def key(self) -> str:
        """How reports call it."""
        return f"{self.peer}.{self.command}"


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Have a script take `--peers`."""
    parser.add_argument("--peers", action="store_true", help=f"measure other libraries too; {INSTALL}")


class Rivals:
    """The figures of other libraries in one benchmark, as far as these can be had here."""

    def __init__(self, figures: Sequence[Figure], given: argparse.Namespace) -> None:
        self.missing: dict[str, str] = {}
        self._figures: list[Figure] = []
        for figure in figures if given.peers else ():
            if figure.peer not in self.missing:
                self._try(figure, given.quick)

    def _try(self, figure: Figure, quick: bool) -> None:
        """Measure once, a few calls: what cannot be had is left out of all rounds, and said once."""
        if quick and figure.peer in NOT_QUICK:
            self.missing[figure.peer] = "left out by --quick"
            return
        answer = _answer(figure, 10)
        if "cannot" not in answer:
            self._figures.append(figure)
        elif answer["cannot"].startswith("not installed"):
            self.missing[figure.peer] = f"{answer['cannot']}; {INSTALL}"
        else:
            self.missing[figure.key] = answer["cannot"]

    def contestants(self, number: int) -> dict[str, Callable[[], float]]:
        """Return what measures each figure, of so many calls or items; it returns microseconds, or NaN."""
        return {figure.key: functools.partial(self._measure, figure, number) for figure in self._figures}

    def _measure(self, figure: Figure, number: int) -> float:
        answer = _answer(figure, number)
        if "cannot" in answer:
            self.missing[figure.key] = answer["cannot"]
        found: float = answer.get("us", math.nan)
        return found

    def report(self, report: frame.Report, results: Mapping[str, Sequence[float]]) -> None:
        """Add their figures and what they are times ours.  One that failed in a round has none."""
        whole = [figure for figure in self._figures if figure.key not in self.missing]
        for figure in whole:
            report.add_median(figure.key, results[figure.key], "µs")
        for figure in whole:
            for name in figure.ours:
                report.add_ratio(f"{figure.key}_over_{name}", results[figure.key], results[name])
        for key, why in self.missing.items():
            report.miss(key if "." in key else title(key), why)


def _answer(figure: Figure, number: int) -> dict[str, Any]:
    try:
        with Driver(figure.peer, "benchmarks.talker") as driver:
            return driver.ask(f"{figure.command} {number}", _SECONDS)
    except DriverFailed as error:
        return {"cannot": str(error)}

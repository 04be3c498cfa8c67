"""Side by side with other libraries: the rounds, and what comes of them.  `python -m benchmarks --peers` runs it.

In each round every library has a process of its own (`benchmarks.peer`), which is ended before the next one starts: so
what a library leaves running in the background slows nobody else down.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from benchmarks import frame
from benchmarks.driver import Driver, DriverFailed
from benchmarks.peers import CRASH_SECONDS, PEERS, REMARKS, title

FULL = {
    "first": "start",
    "start": "start",
    "small": "small 1000",
    "pipelined": "pipelined 3000",
    "uss": "uss",
    "array_1": f"array {frame.MIB} 10",
    "array_16": f"array {16 * frame.MIB} 3",
    "array_128": f"array {128 * frame.MIB} 1",
    "crash": "crash",
}
QUICK = {**FULL, "small": "small 30", "pipelined": "pipelined 100", "array_1": f"array {frame.MIB} 1"}
NOT_QUICK = ("array_16", "array_128")
UNSEEN = f"the call does not fail, not within {CRASH_SECONDS:g} seconds"


@attrs.frozen
class Column:
    """A column of the table: which figure of which command, and how it is written."""

    key: str
    title: str

    @property
    def command(self) -> str:
        """The command that tells it."""
        return self.key.partition(".")[0]


COLUMNS = (
    Column("first.ms", "first start, ms"),
    Column("start.ms", "next start, ms"),
    Column("small.p50", "call p50, µs"),
    Column("small.p99", "call p99, µs"),
    Column("pipelined.rate", "pipelined, calls/s"),
    Column("array_1.rate", "1 MiB, GB/s"),
    Column("array_16.rate", "16 MiB, GB/s"),
    Column("array_128.rate", "128 MiB, GB/s"),
    Column("uss.mib", "USS, MiB"),
    Column("crash.ms", "crash seen, ms"),
    Column("crash.next_call", "next call works"),
)


@attrs.define
class Results:
    """What one library came to: values round by round, and for each command why it has none."""

    rounds: list[dict[str, float | None]] = attrs.field(factory=list)
    cannot: dict[str, str] = attrs.field(factory=dict)

    def values(self, key: str) -> list[float]:
        """Return the values of one figure."""
        return [value for one in self.rounds if (value := one.get(key)) is not None]

    def median(self, key: str) -> float | None:
        """Return the median of one figure, or None."""
        values = self.values(key)
        return statistics.median(values) if values else None

    def why_not(self, column: Column) -> str:
        """Return why there is no such figure."""
        return self.cannot.get("first") or self.cannot.get(column.command) or UNSEEN


def one_round(name: str, commands: Mapping[str, str], results: Results) -> None:
    """Measure one library once; what it cannot do is left out from then on."""
    found: dict[str, float | None] = {}
    with Driver(name) as driver:
        for key, command in commands.items():
            if key in results.cannot or "first" in results.cannot:
                continue
            try:
                answer = driver.ask(command)
            except DriverFailed as error:
                results.cannot[key] = str(error)
                break  # the other commands have the next round
            if "cannot" in answer:
                results.cannot[key] = answer["cannot"]
            else:
                found.update({f"{key}.{figure}": value for figure, value in answer.items()})
    results.rounds.append(found)


def measure(names: Iterable[str], rounds: int, quick: bool) -> dict[str, Results]:
    """Measure all libraries in turns."""
    commands = {key: text for key, text in QUICK.items() if key not in NOT_QUICK} if quick else FULL
    results = {name: Results() for name in names}
    if quick:
        for found in results.values():
            found.cannot.update(dict.fromkeys(NOT_QUICK, "left out by --quick"))
    turns = {name: lambda name=name: one_round(name, commands, results[name]) for name in results}
    frame.take_turns(rounds, turns)
    return results


def over(results: Mapping[str, Results], name: str, key: str) -> float | None:
    """Return what a library's figure is times that of the bare pipe, in the median of the rounds of both."""
    if name not in results or "pipe" not in results:
        return None
    pairs = zip(results[name].rounds, results["pipe"].rounds, strict=True)
    ratios = [own / base for one, other in pairs if (own := one.get(key)) and (base := other.get(key))]
    return statistics.median(ratios) if ratios else None


def content(results: Mapping[str, Results]) -> dict[str, Any]:
    """Return what goes into the file."""
    keys = [column.key for column in COLUMNS]
    return {
        name: {
            "title": title(name),
            "figures": {key: found.median(key) for key in keys},
            "over_pipe": {key: over(results, name, key) for key in keys if not key.startswith("crash")},
            "cannot": found.cannot,
        }
        for name, found in results.items()
    }


# Tables


class Table:
    """Cells as text; a missing figure has the number of its reason, and the reasons follow the table."""

    def __init__(self, results: Mapping[str, Results]) -> None:
        self._names = list(results)
        self._reasons: dict[str, int] = {}
        self.head = ["library", *(column.title for column in COLUMNS)]
        self.rows = [self._row(name, found) for name, found in results.items()]

    def _row(self, name: str, found: Results) -> list[str]:
        return [title(name), *(self._cell(found, column) for column in COLUMNS)]

    def _cell(self, found: Results, column: Column) -> str:
        value = found.median(column.key)
        if value is None:
            return f"[{self._reasons.setdefault(found.why_not(column), len(self._reasons) + 1)}]"
        if column.key == "crash.next_call":
            return "yes" if value else "no"
        return frame.number(value)

    def notes(self) -> Iterator[str]:
        """Return the reasons, and what one has to know of the libraries."""
        for reason, number in self._reasons.items():
            yield f"[{number}] {reason}"
        for name in self._names:
            if name in REMARKS:
                yield f"{title(name)}: {REMARKS[name]}"

    def text(self) -> str:
        """Return it for a terminal."""
        rows = [self.head, *self.rows]
        widths = [max(len(row[number]) for row in rows) for number in range(len(self.head))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*lines, "", *self.notes()])

    def markdown(self) -> str:
        """Return it for a page."""
        rows = [self.head, ["---", *["---:"] * len(COLUMNS)], *self.rows]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([*lines, "", *(f"{note}  " for note in self.notes())]) + "\n"


def run(given: argparse.Namespace) -> int:
    """Measure, print, and write the files that were asked for."""
    results = measure(given.only or PEERS, given.rounds, given.quick)
    table, about = Table(results), frame.surroundings()
    print(table.text())
    found = {"benchmark": "peers", "rounds": given.rounds, "quick": given.quick, **about, "peers": content(results)}
    frame.write_json(given.json, found)
    if given.markdown:
        write(given.markdown, table.markdown())
    if given.plot:
        from benchmarks import peer_plot

        peer_plot.draw(found, given.plot)
    return 0


def write(path: Path, text: str) -> None:
    """Write a text, into a folder that need not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")

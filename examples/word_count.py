"""Real work on real files: count the lines and words of a directory tree, with one isolate per core.

    python examples/word_count.py [FOLDER] [--limit 300] [--no-poison] [--no-check]

One file makes its worker crash.  Its isolate starts again (``restart="permanent"``) and goes on with the file after
it, so the rest is still counted, exactly; a plain count within this process is the check.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import piactors
from piactors import IsolateCrashed, IsolationOptions

WORD = re.compile(rb"\w+")


@dataclass
class Statistics:
    """What was counted, in one file or in many."""

    files: int = 0
    lines: int = 0
    words: Counter[bytes] = field(default_factory=Counter)

    def add(self, other: Statistics) -> None:
        """Add what was counted elsewhere."""
        self.files += other.files
        self.lines += other.lines
        self.words.update(other.words)

    def __str__(self) -> str:
        return f"{self.files:,} files, {self.lines:,} lines, {self.words.total():,} words"


def count(data: bytes) -> Statistics:
    """Count the lines and words of a text."""
    return Statistics(1, data.count(b"\n"), Counter(WORD.findall(data)))


def count_file(path: Path) -> Statistics:
    """Count a file, within an isolate.  Like many a parser in native code it has a fault: it crashes on a zero byte."""
    data = path.read_bytes()
    if b"\0" in data:
        ctypes.string_at(0)  # reads from address 0: a segmentation fault
    return count(data)


def count_all(paths: list[Path]) -> tuple[Statistics, list[Path]]:
    """Count files with one isolate per core; returns the sum, and the files that made a worker crash."""
    options = IsolationOptions(restart="permanent", max_restarts=None)  # however many files crash
    workers = [piactors.spawn(count_file, options=options) for _ in range(os.cpu_count() or 1)]

    # One call per file: so a crash costs that one file, and the future tells which.
    in_turn = zip(itertools.cycle(workers), paths, strict=False)
    futures = [(path, worker.proxy().call(path)) for worker, path in in_turn]
    total, crashed = Statistics(), []
    for path, future in futures:
        try:
            total.add(future.get(timeout=60))
        except IsolateCrashed as error:
            print(f"{path.name} made {error.name} crash: {error.reason.summary}")
            crashed.append(path)

    print(f"{len(workers)} isolates, {sum(worker.generation for worker in workers)} processes")
    for worker in workers:
        worker.stop()
    return total, crashed


def count_here(paths: Iterable[Path]) -> Statistics:
    """Count files within this process."""
    total = Statistics()
    for path in paths:
        total.add(count(path.read_bytes()))
    return total


def main() -> None:
    """Count what the command line says."""
    parser = argparse.ArgumentParser(description="Count the lines and words of the .py files of a folder.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(os.__file__).parent, help="default: Python's own")
    parser.add_argument("--limit", type=int, default=300, help="count at most so many files")
    parser.add_argument("--poison", action=argparse.BooleanOptionalAction, default=True, help="add a file that crashes")
    parser.add_argument("--check", action=argparse.BooleanOptionalAction, default=True, help="count here as well")
    given = parser.parse_args()
    logging.getLogger("piactors").setLevel(logging.CRITICAL)  # its warnings of crashes: `count_all` shows them here

    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(path for path in given.folder.rglob("*.py") if path.is_file())[: given.limit]
        if given.poison:
            poison = Path(folder, "poison.py")
            poison.write_bytes(b"a text with a \0 in it\n")
            paths.insert(len(paths) // 2, poison)
        total, crashed = count_all(paths)
        print(f"counted: {total}")
        print("most common:", ", ".join(f"{word.decode()} {times:,}" for word, times in total.words.most_common(5)))
        if given.check:
            check = count_here(path for path in paths if path not in crashed)
            if check != total:
                raise SystemExit(f"WRONG, a plain count says: {check}")
            print(f"checked: {check}")


if __name__ == "__main__":
    main()

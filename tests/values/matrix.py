"""The matrix of what may be sent: its rows, the programs that try them, and the page that shows it.

``python -m tests.values.matrix --write docs/values_matrix.md`` writes the page; `test_matrix.py` holds it true.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.values.kinds import NOT_TRIED, OTHER_VERSION, PLACES, REFUSED, WAYS, WORKS, Kind
from tests.values.kinds_classes import CLASSES
from tests.values.kinds_functions import FUNCTIONS
from tests.values.kinds_functions import REFUSED as REFUSED_KINDS
from tests.values.kinds_values import VALUES

KINDS: tuple[Kind, ...] = (*VALUES, *CLASSES, *FUNCTIONS, *REFUSED_KINDS)
ROOT = Path(__file__).resolve().parents[2]

_IMPORTS = """\
import abc, array, asyncio, collections, concurrent.futures, contextlib, contextvars, copy, dataclasses, datetime
import decimal, enum, fractions, functools, http, io, logging, math, operator, os, pathlib, queue, random, re, socket
import sqlite3, sys, tempfile, threading, types, typing, uuid, weakref, zoneinfo
import attrs, numpy, pykka
from tests.values.harness import Carrier, tell
"""
_LOOK_IMPORTS = "import asyncio, dataclasses, functools, operator, typing\n"
_ROW = """\
{define}
def make_{n}(): return {make}
def look_{n}(v): return {look}
def own_{n}(v): return bool({own})
VALUE_{n} = make_{n}()
def from_argument_{n}(v): return look_{n}(v), own_{n}(v)
def as_result_{n}(): return make_{n}()
def in_exception_{n}(): raise Carrier(make_{n}())
def from_global_{n}(): return look_{n}(VALUE_{n}), own_{n}(VALUE_{n})
def from_default_{n}(v=VALUE_{n}): return look_{n}(v), own_{n}(v)
"""
_NOTEBOOK = """
import json, linecache, sys, types
notebook = types.ModuleType("__main__")
notebook.__dict__["__builtins__"] = __builtins__
sys.modules["__main__"] = notebook
for number, cell in enumerate(json.loads(open({cells!r}).read())):
    name = f"<ipython-input-{{number}}>"
    linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)
    exec(compile(cell, name, "exec"), notebook.__dict__)
"""


def row_source(number: int) -> str:
    """Return the statements of one row."""
    kind = KINDS[number]
    return _ROW.format(n=number, define=kind.define, make=kind.make, look=kind.look, own=kind.own)


def write_program(folder: Path, place: str, numbers: Iterable[int]) -> Path:
    """Write the program whose definitions stand at `place`, and its plan; return the program's path.

    It takes one argument, the mode of `tests.values.harness.tell`.
    """
    chosen = [n for n in numbers if place in KINDS[n].places]
    plan = folder / f"plan_{place}.json"
    plan.write_text(json.dumps([(n, [w for w in WAYS if w in KINDS[n].ways], KINDS[n].sees) for n in chosen]))
    looks = (f"    {n}: lambda v: {KINDS[n].look},\n" for n in chosen if KINDS[n].elsewhere)
    cls = "class Looks:\n    def look(self, number, v): return LOOKS[number](v)\n"
    (folder / "looks.py").write_text(f"{_LOOK_IMPORTS}LOOKS = {{\n{''.join(looks)}}}\n{cls}")
    end = f"tell({{names}}, {str(plan)!r}, sys.argv[1])\n"
    rows = [row_source(n) for n in chosen]
    program = folder / f"program_{place}.py"
    program.write_text(_WRITERS[place](folder, rows, end))
    return program


def _script(_: Path, rows: list[str], end: str) -> str:
    return _IMPORTS + "\n".join(rows) + _as_main(end.format(names="globals()"))


def _notebook(folder: Path, rows: list[str], end: str) -> str:
    cells = folder / "cells.json"
    cells.write_text(json.dumps([_IMPORTS, *rows, end.format(names="globals()")]))
    return _NOTEBOOK.format(cells=str(cells))


def _closure(_: Path, rows: list[str], end: str) -> str:
    made = (
        f"def build_{i}():\n{textwrap.indent(row, '    ')}    return locals()\nNAMES.update(build_{i}())\n"
        for i, row in enumerate(rows)
    )
    return f"{_IMPORTS}NAMES = {{}}\n{''.join(made)}{_as_main(end.format(names='NAMES'))}"


def _module(folder: Path, rows: list[str], end: str) -> str:
    (folder / "values_matrix_module.py").write_text(_IMPORTS + "\n".join(rows))
    return _IMPORTS + "import values_matrix_module\n" + _as_main(end.format(names="vars(values_matrix_module)"))


def _as_main(end: str) -> str:
    return f'if __name__ == "__main__":\n    {end}'


_WRITERS = {"script": _script, "notebook": _notebook, "closure": _closure, "module": _module}


def outcomes(folder: Path, place: str, mode: str, numbers: Iterable[int] = range(len(KINDS))) -> dict[str, str]:
    """Run a program of the matrix and return its outcomes by row and way.

    Raises:
        AssertionError: if the program fails; with what it wrote.
    """
    program = write_program(folder, place, numbers)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(program), mode], cwd=folder, env=env, capture_output=True, text=True, timeout=170
    )
    written = folder / f"plan_{place}.found"
    assert written.exists(), f"ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-5000:]}"
    found: dict[str, str] = json.loads(written.read_text())
    written.unlink()
    return found


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Return what came out otherwise than expected, one line each, with the kind's name."""
    lines = []
    for cell, wanted in expected.items():
        number, way = cell.split()
        got = found.get(cell, "not tried")
        if got != wanted:
            lines.append(f"{KINDS[int(number)].name} (row {number}), {way}: expected {wanted!r}; {got}")
    return lines


# The page

_PAGE = """\
<!-- Made by `python -m tests.values.matrix --write docs/values_matrix.md`; do not edit. -->

# What may be sent: the matrix

Each cell is tried by real programs (`tests/values/test_matrix.py`): the kind is defined in a script, in a notebook,
in a function of a script, or in a module that can be imported, and gets to the other side as an argument, as a
result, within an exception, as a global that isolated code uses, and as a default argument.

- **yes**: in all five ways. What arrives is as in one process: the class or function is the one that isolated code
  has under that name, and what comes back to the host is of the host's own class.
- **refused**: `piactors.NotSendable` at the call (a result: to the caller). An exception that holds such a thing
  arrives as `RemoteError`, with the name of its type, its text and its traceback.
- **its own**: an isolate that imports the module makes one of its own, as every program does.
- The last two columns: as an argument, from a script, to code of another interpreter with nothing installed there
  (numpy for arrays): of the same version, and of another minor version, where code (a class's methods, a function)
  is refused at the call. "–" is not tried.
"""


def page() -> str:
    """Return the page of the matrix."""
    parts = [_PAGE]
    for group, kinds in groupby(KINDS, key=lambda kind: kind.group):
        parts.append(f"\n## {group}\n\n| kind | {' | '.join(PLACES)} | other environment | other version |")
        parts.append("\n" + "| --- " * (len(PLACES) + 3) + "|\n")
        parts.extend(f"| {_escaped(kind.name)} | {' | '.join(_row(kind))} |\n" for kind in kinds)
    return "".join(parts)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("__", "\\_\\_")


def _row(kind: Kind) -> list[str]:
    cells = [_cell(kind, place) for place in PLACES]
    words = {WORKS: "yes", REFUSED: "refused", OTHER_VERSION: "refused", NOT_TRIED: NOT_TRIED}
    return cells + [words[_elsewhere(kind, same)] for same in (True, False)]


def _elsewhere(kind: Kind, same_version: bool) -> str:
    if not same_version and kind.group == "Arrays":
        return NOT_TRIED  # no other version here has numpy
    return kind.expected_elsewhere(same_version)


def _cell(kind: Kind, place: str) -> str:
    found = {kind.expected(place, way) for way in WAYS} - {NOT_TRIED}
    if not found:
        return NOT_TRIED
    if found == {WORKS}:
        return "yes"
    return "refused; its own" if WORKS in found else "refused"


def expected_elsewhere(same_version: bool) -> dict[str, str]:
    """Return what is to come out in another interpreter, by row."""
    tried = {f"{n} argument": _elsewhere(kind, same_version) for n, kind in enumerate(KINDS)}
    return {cell: outcome for cell, outcome in tried.items() if outcome != NOT_TRIED}


def expected(place: str) -> dict[str, str]:
    """Return what is to come out of the program of a place, by row and way."""
    cells = ((n, *cell) for n, kind in enumerate(KINDS) for cell in kind.cells().items())
    return {f"{n} {way}": outcome for n, (where, way), outcome in cells if where == place}


def main(arguments: Any = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, required=True, help="the page to write")
    parser.parse_args(arguments).write.write_text(page())


if __name__ == "__main__":
    main()

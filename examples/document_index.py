"""An application as a tree of supervised parts: an index of all definitions in Python files, in a database.

    python examples/document_index.py [--folder FOLDER] [--parsers 2] [--limit 200] [--database FILE]

The tree, under ``rest_for_one``: a writer to SQLite in an isolate, a pool of parsers in isolates, and a watcher, an
actor in a thread of this program, which hands files to the parsers and what they find to the writer.

Some files of the standard library make their parser crash: it has a fault with characters such as the "Ł" in
functools.py.  Each is tried twice, then recorded as failed; the rest is indexed, exactly, which a second index made
within this process checks.  While it runs, `kill -9` an isolate or two of those shown: nothing is lost.  (Four such
deaths among the children of one supervisor within 5 s are too many: then the tree gives up.)
"""

from __future__ import annotations

import argparse
import logging
import sqlite3
import sys
import sysconfig
import tempfile
import time
from contextlib import closing
from pathlib import Path

import index_parts
from index_parts import Index, Row
from piactors import SupervisorRef

SECONDS = 120.0
CRASHED = "PoisonMessage"


def main() -> int:
    """Make the index and check it; the exit code is 0 only if it is right."""
    given = arguments()
    logging.getLogger("piactors").setLevel(logging.CRITICAL)  # its warnings of crashes: `show_files` shows them here
    with tempfile.TemporaryDirectory() as temporary:
        database = given.database or Path(temporary, "index.db")
        done = make_index(database, given.folder, given.limit, given.parsers)
        files, rows = contents(database)
    show_files(files, rows)
    right = done and is_right(files, rows, index_parts.find(given.folder, given.limit))
    print("checked: the database holds exactly what it should" if right else "WRONG")
    return 0 if right else 1


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description="Index the definitions in the .py files of a folder.")
    library = Path(sysconfig.get_path("stdlib"))
    parser.add_argument("--folder", type=Path, default=library, help="default: the standard library")
    parser.add_argument("--parsers", type=int, default=2, help="how many isolates parse")
    parser.add_argument("--limit", type=int, default=200, help="index at most so many files")
    parser.add_argument("--database", type=Path, help="a new file for the index; default: a temporary one")
    given = parser.parse_args()
    if given.parsers < 1:
        parser.error("--parsers: at least 1")
    if given.database is not None and given.database.exists():
        parser.error(f"--database: {given.database} exists already")
    return given


def make_index(database: Path, folder: Path, limit: int, parsers: int) -> bool:
    """Run the tree until the watcher is done, and show it; returns whether it came that far."""
    started = time.monotonic()
    with Index.start(database, folder, limit, parsers) as tree:
        print(f"{tree.render()}\n", flush=True)
        reason = tree.child("watcher").wait_for_exit(SECONDS)
        if reason is None:
            print(f"not done after {SECONDS:g} s\n\n{tree.render()}")
        elif reason.kind != "normal":  # the tree has given up, and the watcher was stopped with it
            end = tree.wait_for_exit(SECONDS)
            print(f"not done: {end.summary if end else reason.summary}")
        else:
            print(f"done in {time.monotonic() - started:.1f} s\n\n{tree.render()}")
            print("restarts: " + ", ".join(f"{id} {times}" for id, times in restarts(tree).items()))
            return True
    return False


def restarts(tree: SupervisorRef) -> dict[str, int]:
    """Return how often each part has been restarted."""
    found = {}
    for child in tree.which_children():
        found[child.id] = child.restarts
        if isinstance(child.ref, SupervisorRef):
            found |= restarts(child.ref)
    return found


def contents(database: Path) -> tuple[dict[str, str | None], dict[str, list[Row]]]:
    """Return the files in the database, each with its error or None, and the rows of each."""
    with closing(sqlite3.connect(database)) as connection:
        files = dict(connection.execute("SELECT path, error FROM files"))
        rows: dict[str, list[Row]] = {path: [] for path in files}
        for path, *row in connection.execute("SELECT path, module, kind, name, line FROM definitions ORDER BY rowid"):
            rows.setdefault(path, []).append((row[0], row[1], row[2], row[3]))
    return files, rows


def show_files(files: dict[str, str | None], rows: dict[str, list[Row]]) -> None:
    """Show how many files were indexed, and those that were not."""
    failed = {path: error for path, error in files.items() if error is not None}
    for path, error in failed.items():
        print(f"failed: {Path(path).name}: {error}")
    print(f"{len(files) - len(failed)} files indexed, {sum(map(len, rows.values()))} rows, {len(failed)} files failed")


def is_right(files: dict[str, str | None], rows: dict[str, list[Row]], paths: list[str]) -> bool:
    """Whether the database holds these files and what is in them, as found out within this process."""
    wrong = [path for path in paths if (rows.get(path), outcome(files.get(path))) != expected(path)]
    for path in wrong:
        print(f"wrong: {path}: {len(rows.get(path, []))} rows, {files.get(path)}")
    return not wrong and set(files) == set(rows) == set(paths)


def expected(path: str) -> tuple[list[Row], str | None]:
    """Return what should be recorded of a file."""
    text = index_parts.read(path)
    return ([], CRASHED) if index_parts.breaks_parser(text) else index_parts.parse(path, text)


def outcome(error: str | None) -> str | None:
    """Return the error that is recorded of a file, without how the crash came about if it is one."""
    return CRASHED if error is not None and error.startswith(CRASHED) else error


if __name__ == "__main__":
    sys.exit(main())

"""The parts of `document_index.py`: what is parsed and how, the actors, and the tree that keeps them running."""

from __future__ import annotations

import ast
import contextlib
import ctypes
import os
import sqlite3
import warnings
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import pykka

import piactors
from piactors import ChildSpec, IsolateCrashed, ProcessActor

Row: TypeAlias = tuple[str, str, str, int]
"""What is recorded of a definition: module, kind, name, line."""

DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
KINDS = {ast.ClassDef: "class", ast.FunctionDef: "function", ast.AsyncFunctionDef: "coroutine"}
SKIPPED = {"site-packages", "dist-packages", "__pycache__"}
TABLES = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, error TEXT);
    CREATE TABLE IF NOT EXISTS definitions (path TEXT, module TEXT, kind TEXT, name TEXT, line INTEGER);
    CREATE INDEX IF NOT EXISTS definitions_by_path ON definitions (path);
"""


# What is parsed, and how


def find(folder: Path, limit: int) -> list[str]:
    """Return the first files with Python code in a folder and below, always in the same order."""
    return list(islice(_walk(folder), limit))


def _walk(folder: Path) -> Iterator[str]:
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - SKIPPED)
        for name in sorted(names):
            if name.endswith(".py") and os.path.isfile(os.path.join(path, name)):
                yield os.path.join(path, name)


def read(path: str) -> str:
    """Return the text of a file."""
    return Path(path).read_text(encoding="utf-8", errors="replace")


def breaks_parser(text: str) -> bool:
    """Whether a text is one that the parser cannot bear: it has a character beyond the 256 of its table."""
    return max(text, default="") > "\xff"


def parse(path: str, text: str) -> tuple[list[Row], str | None]:
    """Return the definitions in a text, and what is wrong with it, if anything is."""
    module = Path(path).stem
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return [], repr(error)
    found = [node for node in ast.walk(tree) if isinstance(node, DEFINITIONS)]
    return [(module, KINDS[type(node)], node.name, node.lineno) for node in found], None


# The actors


class Writer(ProcessActor):
    """Writes to the database: a transaction for each file, so its death at any time loses and doubles nothing."""

    def __init__(self, database: str) -> None:
        super().__init__()
        self._database = database

    def on_start(self) -> None:
        """Open the database."""
        self._connection = sqlite3.connect(self._database)
        self._connection.executescript(TABLES)

    def on_stop(self) -> None:
        """Close the database, which also tidies up its files."""
        self._connection.close()

    @piactors.idempotent(retries=3)
    def recorded(self) -> list[str]:
        """Return the files that have been recorded."""
        return [path for (path,) in self._connection.execute("SELECT path FROM files")]

    @piactors.idempotent(retries=3)
    def record(self, path: str, rows: list[Row], error: str | None) -> None:
        """Record a file, in place of what may have been recorded of it before."""
        with self._connection as connection:
            connection.execute("DELETE FROM definitions WHERE path = ?", (path,))
            connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (path, error))
            connection.executemany("INSERT INTO definitions VALUES (?, ?, ?, ?, ?)", [(path, *row) for row in rows])


class Parser(ProcessActor):
    """Parses files.  Like many a parser in native code it has a fault, which ends its process."""

    @piactors.idempotent(retries=1)
    def parse(self, path: str) -> tuple[list[Row], str | None]:
        """Return what `parse` does for a file."""
        text = read(path)
        if breaks_parser(text):
            ctypes.string_at(0)  # reads from address 0: a segmentation fault
        return parse(path, text)


class Watcher(pykka.ThreadingActor):
    """Watches a folder: finds the files that are not recorded yet, and has them parsed and recorded.

    After the last one it looks again, for what has come meanwhile, and stops itself when there is nothing new.

    It knows nothing that the database does not, so it can be restarted at any time.  And it never waits: answers come
    to it as messages.  Otherwise it could not be stopped while it waits for a writer that has died, and under
    rest_for_one a writer is only restarted once all that was started after it has stopped.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        super().__init__()
        self._folder = folder
        self._limit = limit
        self._waiting: deque[str] = deque()
        self._under_way: set[str] = set()

    def on_start(self) -> None:
        """Find the others, which were started before, and ask the writer what is left to do."""
        (writer,) = pykka.ActorRegistry.get_by_class(Writer)
        self._writer = writer.proxy()
        self._parsers: list[Any] = pykka.ActorRegistry.get_by_class(Parser)
        self._then(self._writer.recorded(), "on_listed")

    def on_listed(self, answer: pykka.Future[list[str]]) -> None:
        """Find the files that the writer has not named."""
        known = {*answer.get(), *self._under_way}
        self._waiting = deque(path for path in find(self._folder, self._limit) if path not in known)
        if self._waiting or self._under_way:
            self._go_on()
        else:
            self.stop()

    def on_parsed(self, answer: pykka.Future[tuple[list[Row], str | None]], path: str) -> None:
        """Have recorded what has come of a file."""
        try:
            rows, error = answer.get()
        except IsolateCrashed as crash:  # a PoisonMessage: each try has ended its process
            rows, error = [], f"{type(crash).__name__}: {crash.reason.summary}"
        self._then(self._writer.record(path, rows, error), "on_recorded", path)

    def on_recorded(self, answer: pykka.Future[None], path: str) -> None:
        """Go on with the next file."""
        answer.get()
        self._under_way.discard(path)
        self._go_on()

    def _go_on(self) -> None:
        """Keep every parser busy, and one file waiting for each: the parser with the least to do gets the next."""
        while self._waiting and len(self._under_way) < 2 * len(self._parsers):
            path = self._waiting.popleft()
            self._under_way.add(path)
            parser = min(self._parsers, key=lambda ref: ref.mailbox_size)
            self._then(parser.proxy().parse(path), "on_parsed", path)
            if len(self._waiting) % 50 == 0:
                print(f"{len(self._waiting)} files to go", flush=True)
        if not self._under_way:  # look again: files may have come meanwhile
            self._then(self._writer.recorded(), "on_listed")

    def _then(self, future: Any, method: str, *args: Any) -> None:
        """Have an own method called with the answer once it is there, like any other message."""
        me = self.actor_ref

        def tell(answer: Any) -> None:
            with contextlib.suppress(pykka.ActorDeadError):  # an answer to an earlier generation, after the last file
                me.tell((method, answer, *args))

        future.add_done_callback(tell)

    def on_receive(self, message: Any) -> None:
        """Take an answer."""
        method, *args = message
        getattr(self, method)(*args)


# The tree


class Index(piactors.Supervisor):
    """The writer, the parsers and the watcher.  Where one ends, those after it are restarted as well."""

    strategy = "rest_for_one"

    def __init__(self, database: Path, folder: Path, limit: int, parsers: int) -> None:
        super().__init__()
        self._database = database
        self._folder = folder
        self._limit = limit
        self._parsers = parsers

    def children(self) -> list[ChildSpec]:
        """Return them in their order: each needs those before it."""
        # Crashes by a file are that file's affair (quarantine); any other death counts, 3 of them within 5 s are fine.
        pool = [ChildSpec(f"parser-{number}", Parser, quarantine=True) for number in range(1, self._parsers + 1)]
        return [
            ChildSpec("writer", Writer, args=(str(self._database),), quarantine=True),
            ChildSpec("parsers", piactors.Supervisor, kwargs={"children": pool}),
            ChildSpec("watcher", Watcher, args=(self._folder, self._limit), restart="transient"),
        ]

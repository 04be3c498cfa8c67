"""Actors that talk: searchers that share a cache, report what they do to the host, and stop if nobody wants the rest.

    python examples/talking.py [--folder FOLDER] [--word WORD]

Each file of a folder is searched by an isolate.  A searcher asks a cache, which is an actor in an isolate of its own,
whether somebody has read the file before, and calls a function of this program to report.  At last a search for
everything is cancelled while it runs.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka

import piactors
from piactors import ProcessActor, by_ref

SECONDS = 60


class Cache(ProcessActor):
    """Remembers the words of files."""

    def __init__(self) -> None:
        super().__init__()
        self.words: dict[str, dict[str, int]] = {}

    def find(self, path: str) -> dict[str, int] | None:
        """Return how often each word is in a file, if that has been read before."""
        return self.words.get(path)

    def keep(self, path: str, words: dict[str, int]) -> None:
        """Remember a file."""
        self.words[path] = words


class Searcher(ProcessActor):
    """Counts a word in files."""

    def __init__(self, cache: Any, report: Any) -> None:
        super().__init__()
        self.cache, self.report = cache.proxy(), report  # of another isolate, and a function of the host

    def search(self, path: str, word: str) -> int:
        """Return how often a word is in a file, and report it to the host."""
        words: dict[str, int] | None = self.cache.find(path).get(timeout=SECONDS)
        if words is None:
            words = {}
            for found in Path(path).read_text(errors="replace").split():
                words[found] = words.get(found, 0) + 1
            self.cache.keep(path, words)
        self.report(path, words.get(word, 0))
        return words.get(word, 0)

    def search_for_ever(self, paths: list[str], began: Callable[[], object]) -> int:
        """Search until nobody wants it any more, and return how many files that were."""
        searched = 0
        began()
        while not piactors.cancelled():
            self.search(paths[searched % len(paths)], "import")
            searched += 1
        return searched


def main() -> None:
    """Search all files twice, and cancel a third search."""
    given = arguments()
    paths = [str(path) for path in sorted(given.folder.glob("*.py"))[: given.limit]]
    reports: list[tuple[str, int]] = []
    lock = threading.Lock()

    def report(path: str, count: int) -> None:
        with lock:
            reports.append((path, count))

    cache = Cache.start()
    with by_ref(report) as lent:
        searchers = [Searcher.start(cache, lent) for _ in range(2)]
        for attempt in ("read", "from the cache"):
            calls = [searchers[n % 2].proxy().search(path, given.word) for n, path in enumerate(paths)]
            total = sum(pykka.get_all(calls, timeout=SECONDS))
            print(f"{given.word!r} is {total} times in {len(paths)} files ({attempt})")
        print(f"{len(reports)} reports came: {sum(count for _, count in reports)} times in all")

        began = threading.Event()
        endless = searchers[0].proxy().search_for_ever(paths, by_ref(began.set))
        began.wait(SECONDS)
        endless.cancel(kill_after=SECONDS)
        # It returns, or what it waits for in the cache is cancelled with it.
        concurrent.futures.wait([endless], timeout=SECONDS)
        print("cancelled, and it has ended:", endless.done())
    for ref in (*searchers, cache):
        ref.stop()


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description="Count a word in the .py files of a folder.")
    parser.add_argument("--folder", type=Path, default=Path(sysconfig.get_path("stdlib")), help="where to search")
    parser.add_argument("--word", default="import", help="what to count")
    parser.add_argument("--limit", type=int, default=50, help="how many files")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Measures how the workers of one library talk: `python -m benchmarks.talker NAME`, which `benchmarks.driver` runs.

Commands and answers are lines, as those of `benchmarks.peer`; each answer is {"us": ...}:

    callback CALLS            a worker calls a function of this process
    ask CALLS                 a worker calls another worker
    stream ITEMS              this process reads a generator of a worker
    stream_in_chunks ITEMS    the same, several items fetched at once
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import peer
from benchmarks.peers import Talker, load_talker


class Session:
    """The workers of one library, which start with the first command."""

    commands: Sequence[str] = ("callback", "ask", "stream", "stream_in_chunks")

    def __init__(self, make: Callable[[], Talker]) -> None:
        self._make = make
        self._running: Talker | None = None

    def callback(self, calls: str) -> dict[str, Any]:
        """Have a function of this process called."""
        return self._measured("callback", int(calls))

    def ask(self, calls: str) -> dict[str, Any]:
        """Have a worker call another one."""
        return self._measured("ask", int(calls))

    def stream(self, items: str) -> dict[str, Any]:
        """Read a generator."""
        return self._measured("stream", int(items))

    def stream_in_chunks(self, items: str) -> dict[str, Any]:
        """Read it in chunks."""
        return self._measured("stream_in_chunks", int(items))

    def _measured(self, name: str, number: int) -> dict[str, Any]:
        if self._running is None:
            self._running = self._make()
        work: Callable[[int], float] = getattr(self._running, name)
        work(number // 10 + 1)  # what is done for the first time takes longer
        return {"us": work(number)}

    def close(self) -> None:
        """End the workers."""
        if self._running is not None:
            self._running.close()


def main() -> int:
    """Answer commands about the library that was named."""
    return peer.serve(lambda: Session(load_talker(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())

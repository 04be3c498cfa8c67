"""Measures one library on command: `python -m benchmarks.peer NAME`, which `benchmarks.driver` runs.

Commands come as lines on stdin, and each is answered by a line of JSON on stdout:

    start                 a new worker, until its first reply      {"ms": ...}
    small CALLS           blocking small calls                     {"p50": ..., "p99": ...}, microseconds
    pipelined CALLS       many calls under way                     {"rate": ...}
    array BYTES CALLS     an array there and back                  {"rate": ...}, GB/s, both ways counted
    uss                   memory of the worker alone               {"mib": ...}
    crash                 it dies in a call, then another call     {"ms": ... or null, "next_call": ...}

What a library cannot do is answered with {"cannot": "why"}.  The end of stdin ends the worker and this process.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from benchmarks import frame
from benchmarks.peers import Cannot, Peer, load
from benchmarks.usage import uss

VALUE = (1, "a")


class Commanded(Protocol):
    """Carries out commands: its methods of these names, which take the words that follow."""

    commands: Sequence[str]

    def close(self) -> None:
        """End what runs."""


class Session:
    """The worker of one library, made anew by each `start`."""

    commands: Sequence[str] = ("start", "small", "pipelined", "array", "uss", "crash")

    def __init__(self, make: Callable[[], Peer]) -> None:
        self._make = make
        self._running: Peer | None = None

    @property
    def peer(self) -> Peer:
        """The library with its worker."""
        if self._running is None:
            raise Cannot("it is not started")
        return self._running

    def start(self) -> dict[str, Any]:
        """Start a worker, and have it answer."""
        self.close()
        began = time.perf_counter()
        self._running = self._make()
        self._running.call(VALUE)
        return {"ms": (time.perf_counter() - began) * 1e3}

    def small(self, calls: str) -> dict[str, Any]:
        """Make blocking calls."""
        call, clock, nanoseconds = self.peer.call, time.perf_counter_ns, []
        for _ in range(int(calls) // 10 + 1):
            call(VALUE)
        for _ in range(int(calls)):
            began = clock()
            call(VALUE)
            nanoseconds.append(clock() - began)
        return {name: frame.percentile(nanoseconds, percent) / 1e3 for name, percent in (("p50", 50), ("p99", 99))}

    def pipelined(self, calls: str) -> dict[str, Any]:
        """Make calls without waiting for each."""
        self.peer.pipelined(VALUE, int(calls) // 10 + 1)
        return {"rate": int(calls) / frame.timed(lambda: self.peer.pipelined(VALUE, int(calls)))}

    def array(self, size: str, calls: str) -> dict[str, Any]:
        """Send arrays there and back."""
        import numpy as np

        value = np.arange(int(size) // 8, dtype=np.float64)
        if not np.array_equal(self.peer.array(value), value):
            raise Cannot("another array came back")
        seconds = statistics.median(frame.timed(lambda: self.peer.array(value)) for _ in range(int(calls)))
        return {"rate": 2 * int(size) / seconds / 1e9}

    def uss(self) -> dict[str, Any]:
        """Return the memory of the worker."""
        return {"mib": uss(self.peer.worker_pid()) / frame.MIB}

    def crash(self) -> dict[str, Any]:
        """Have the worker die, and see when that is seen and whether the next call works."""
        peer, began = self.peer, time.perf_counter()
        seen = peer.crash()
        milliseconds = (time.perf_counter() - began) * 1e3 if seen else None
        try:
            works = peer.call_with_timeout(VALUE, 10.0) is not None
        except Exception:  # whatever this library raises
            works = False
        return {"ms": milliseconds, "next_call": works}

    def close(self) -> None:
        """End the worker."""
        if self._running is not None:
            running, self._running = self._running, None
            running.close()


def answer(session: Commanded, line: str) -> dict[str, Any]:
    """Carry out one command."""
    name, *arguments = line.split()
    if name not in session.commands:
        return {"cannot": f"there is no command {name!r}"}
    try:
        found: dict[str, Any] = getattr(session, name)(*arguments)
    except Cannot as error:
        return {"cannot": str(error)}
    except Exception as error:  # one more thing that this library cannot do
        return {"cannot": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    return found


def serve(make: Callable[[], Commanded]) -> int:
    """Answer commands until there are no more; `make` raises ImportError if the library is not installed."""
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the libraries print is no answer
    os.dup2(1, 2)
    try:
        session = make()
    except ImportError as error:
        reason = {"cannot": f"not installed: {error}"}
        for _ in sys.stdin:
            print(json.dumps(reason), file=answers, flush=True)
        return 0
    for line in sys.stdin:
        print(json.dumps(answer(session, line)), file=answers, flush=True)
    session.close()
    return 0


def main() -> int:
    """Answer commands about the library that was named."""
    return serve(lambda: Session(load(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())

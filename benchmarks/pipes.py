"""What a call is compared with: a process that returns what comes through a bare `multiprocessing.Pipe`."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from types import TracebackType
from typing import Any, Self

# A fresh interpreter holds no copy of this process's sockets; and this process may run threads, which fork badly.
_context = multiprocessing.get_context("spawn")


class RawPipe:
    """The least that a call to another process can be: pickle, a write, a read, unpickle, and back."""

    def __init__(self, work: float = 0.0) -> None:
        """Start the process, which keeps its processor busy for `work` microseconds before each answer."""
        self.connection, theirs = _context.Pipe()
        self._process = _context.Process(target=_serve, args=(theirs, work), daemon=True)
        self._process.start()
        theirs.close()
        self.call(None)

    @property
    def pid(self) -> int:
        """The pid of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def call(self, value: Any) -> Any:
        """Send a value and wait for it to come back."""
        self.connection.send(value)
        return self.connection.recv()

    def pipelined(self, value: Any, calls: int, window: int) -> None:
        """Make many calls with up to `window` of them under way: more could block both sides forever."""
        ahead = min(window, calls)
        for _ in range(ahead):
            self.connection.send(value)
        for _ in range(calls - ahead):
            self.connection.recv()
            self.connection.send(value)
        for _ in range(ahead):
            self.connection.recv()

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self._process.join(5)
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def keep_busy(microseconds: float) -> None:
    """Compute for a while, as a program does that has something to do between two messages."""
    end = time.perf_counter_ns() + microseconds * 1000
    while time.perf_counter_ns() < end:
        pass


def _serve(connection: Any, work: float) -> None:
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            value = connection.recv()
            if work:
                keep_busy(work)
            connection.send(value)

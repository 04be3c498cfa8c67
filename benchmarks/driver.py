"""Talks to a process that measures one library: `python -m benchmarks.peer NAME`, or `benchmarks.talker`.

Each library has a process of its own, so that none is slowed down by the threads and modules of another.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self

import psutil

_CLOSE_SECONDS = 20.0


class DriverFailed(Exception):
    """The process has ended, or does not answer."""


class Driver:
    """One such process; its commands are those of its module."""

    def __init__(self, name: str, module: str = "benchmarks.peer") -> None:
        command = [sys.executable, "-m", module, name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._read = b""

    def ask(self, command: str, timeout: float = 60.0) -> dict[str, Any]:
        """Send a command and return its answer.

        Raises:
            DriverFailed: where there is none.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(command.encode() + b"\n")
        except BrokenPipeError:
            raise DriverFailed(f"its process ended before {command!r}") from None
        answer: dict[str, Any] = json.loads(self._line(command, timeout))
        return answer

    def _line(self, command: str, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise DriverFailed(f"no answer to {command!r} within {timeout:g} seconds")
                got = self._process.stdout.read(65536)
                if not got:
                    raise DriverFailed(f"its process ended in {command!r}")
                self._read += got
        line, _, self._read = self._read.partition(b"\n")
        return line

    def close(self) -> None:
        """End it, and what it started and left behind."""
        started = self._descendants()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            started += self._descendants()
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        _, alive = psutil.wait_procs(started, timeout=3)
        for process in alive:
            process.kill()

    def _descendants(self) -> list[psutil.Process]:
        try:
            found: list[psutil.Process] = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

"""Actors and functions that the tests of futures, stops, starts and trust use."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import attrs

from piactors import ProcessActor, idempotent


@attrs.frozen
class Point:
    """Not plain data, so only a trusted answer may hold it."""

    x: int


def point(x: int) -> Point:
    """Return what is not plain data."""
    return Point(x)


def point_when_there(path: str, x: int) -> Point:
    """Return a point once a file is there."""
    _await(path)
    return Point(x)


def raises(text: str) -> None:
    """Raise an exception of this module."""
    raise OwnError(text)


class OwnError(Exception):
    """An exception that only a trusted answer may hold."""


class Waiter(ProcessActor):
    """Answers once a file is there, or not at all."""

    number = 3

    def __init__(self, log: str = os.devnull) -> None:
        super().__init__()
        self._log = log

    def one(self) -> int:
        return 1

    def many(self) -> list[int]:
        return [1, 2, 3]

    def fail(self) -> None:
        raise ValueError("it fails")

    def when_there(self, path: str, value: Any = None) -> Any:
        _await(path)
        return value

    def hang(self, begun: str = os.devnull) -> None:
        Path(begun).write_text("begun")
        while True:
            time.sleep(1)

    @idempotent(retries=3)
    def hang_and_try_again(self, begun: str) -> None:
        self.hang(begun)

    def stop_and_hang(self) -> None:
        self.stop()
        self.hang()

    def freeze(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def nap(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def crash(self) -> None:
        os.abort()

    def on_receive(self, message: Any) -> Any:
        return self.hang() if message == "hang" else message

    def on_stop(self) -> None:
        with Path(self._log).open("a") as file:
            file.write("stopped\n")


class SlowToStart(ProcessActor):
    """Starts once a file is there, and says that it has begun to."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def on_start(self) -> None:
        Path(f"{self._path}.begun").write_text("begun")
        _await(self._path)


class BadStart(ProcessActor):
    """Does not start."""

    def on_start(self) -> None:
        raise KeyError("no start")


class Bare(ProcessActor):
    """Has no ``__init__`` of its own."""


class TakesRestart(ProcessActor):
    """Takes an argument that is called as an option is."""

    def __init__(self, restart: str) -> None:
        super().__init__()
        self.said = restart


class TakesAny(ProcessActor):
    """Takes whatever it is given."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.said = kwargs


class Plain:
    """No actor, and takes one argument."""

    def __init__(self, x: int = 1) -> None:
        self.x = x


def _await(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.005)

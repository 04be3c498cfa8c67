"""What the benchmarks run in isolates and workers.  It imports little, since every new process has to import it."""

from __future__ import annotations

from typing import Any

from piactors import ProcessActor


def echo(value: Any) -> Any:
    """Return what is given."""
    return value


class PlainEcho:
    """Returns what it is given."""

    def echo(self, value: Any) -> Any:
        """Return what is given."""
        return value


class Echo(PlainEcho, ProcessActor):
    """The same as an actor."""


class Empty(ProcessActor):
    """An actor with nothing in it but an answer."""

    def hello(self) -> str:
        """Answer."""
        return "hello"

"""Actors for tests in a `Lab`, where a ProcessActor runs in a thread of the test and can share a list with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest

import piactors
from piactors import ChildSpec, ProcessActor, SupervisorRef
from piactors.testing import Lab

PATIENCE = 0.05
"""Real seconds that a lab waits for children that hang on purpose."""


class Acts:
    """Writes down its starts and stops, answers, fails and hangs."""

    def __init__(self, id: str = "", log: list[str] | None = None) -> None:
        super().__init__()
        self._id = id
        self._log = [] if log is None else log

    def on_start(self) -> None:
        self._log.append(f"start {self._id}")

    def on_stop(self) -> None:
        self._log.append(f"stop {self._id}")

    def on_receive(self, message: Any) -> Any:
        if message == "fail":
            raise ValueError("as the test says")
        return message

    def echo(self, value: Any) -> Any:
        return value

    def hang(self, begun: threading.Event, until: threading.Event) -> str:
        begun.set()
        until.wait(30)
        return "done"

    @piactors.idempotent(retries=2)
    def again(self, value: Any) -> Any:
        return value


class Isolated(Acts, ProcessActor):
    """An isolate, in memory."""


class Threaded(Acts, pykka.ThreadingActor):
    """A thread of the host."""


def child(id: str, target: Any = Isolated, log: list[str] | None = None, **fields: Any) -> ChildSpec:
    """Return the specification of an actor that writes into `log`."""
    return ChildSpec(id, target, args=(id, log), **fields)


def hang(ref: Any, until: threading.Event) -> Any:
    """Let an actor hang, and return the future of that call once it has begun."""
    begun = threading.Event()
    future = ref.proxy().hang(begun, until)
    assert begun.wait(10)
    return future


def states(tree: SupervisorRef) -> dict[str, str]:
    """Return the states of its children."""
    return {info.id: info.state for info in tree.which_children()}


def generations(tree: SupervisorRef) -> dict[str, int]:
    """Return how many generations each child has had."""
    return {info.id: info.ref.generation for info in tree.which_children()}


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab, with little patience."""
    with Lab(PATIENCE) as lab:
        yield lab


@pytest.fixture
def until() -> Iterator[threading.Event]:
    """An event for `hang`, which is set at the end."""
    event = threading.Event()
    yield event
    event.set()

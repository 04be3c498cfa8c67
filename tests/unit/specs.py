"""What the tests of specifications share: targets, tables of refusals, and a watch that nothing is started."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pykka
import pytest

from piactors import ChildSpec, ExitReason, ProcessActor
from piactors._host import runtime
from piactors._tree import backend

NAN, INF = float("nan"), float("inf")


class Worker(ProcessActor):
    def __init__(self, size: int, *, colour: str = "red") -> None:
        super().__init__()


class Thread(pykka.ThreadingActor):
    def __init__(self, size: int = 1) -> None:
        super().__init__()


class Free(ProcessActor):
    """Takes no arguments, since it has no `__init__` of its own."""


def function(one: int, two: int = 2) -> int:
    return one + two


def is_bad(reason: ExitReason) -> bool:
    return not reason.is_normal


def spec(id: str = "a", target: Any = Free, **fields: Any) -> ChildSpec:
    return ChildSpec(id, target, **fields)


# (field, what the message says is allowed, wrong values, values of a wrong type)
Refused = tuple[str, str, list[Any], list[Any]]


def _id(field: str, value: Any) -> str:
    """Return a name of a case that is the same in every process: without addresses of objects."""
    return re.sub(" at 0x[0-9a-f]+", "", f"{field}-{value!r}")[:60]


def rows(table: list[Refused], *before: Any) -> list[Any]:
    return [
        pytest.param(*before, field, value, error, allowed, id=_id(field, value))
        for field, allowed, wrong, mistyped in table
        for error, values in ((ValueError, wrong), (TypeError, mistyped))
        for value in values
    ]


def children() -> set[int]:
    """Return the pids of the processes that this one has started."""
    try:
        tasks = [(task / "children").read_text().split() for task in Path("/proc/self/task").iterdir()]
    except OSError:  # no Linux, or a kernel that does not list them: all processes have to be looked at
        return {child.pid for child in psutil.Process().children()}
    return {int(pid) for pids in tasks for pid in pids}


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """No thread, process or registered actor comes of anything here, and no runner of a child is made."""
    made: list[Any] = []
    monkeypatch.setattr(backend.current(), "runner", made.append, raising=False)

    def there() -> tuple[set[threading.Thread], set[int], int]:
        return set(threading.enumerate()), children(), len(pykka.ActorRegistry.get_all())

    runtime.current()  # what all isolates share lives as long as the host
    before = there()
    yield made
    assert there() == before
    assert made == []

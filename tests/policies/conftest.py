"""What the tests of policies share: collected events, and outcomes of calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

import piactors
from piactors._host import runtime
from piactors.events import Event
from tests import inside
from tests.support import wait_until

E = TypeVar("E", bound=Event)


class Seen:
    """The events since the beginning of a test."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def of(self, cls: type[E], name: str | None = None) -> list[E]:
        """Return those of a class, of one isolate where it is named."""
        told()
        return [event for event in self.events if isinstance(event, cls) and name in (None, event.name)]

    def wait(self, cls: type[E], count: int = 1, name: str | None = None, timeout: float = 10.0) -> list[E]:
        """Wait until there are so many of a class, and return them."""
        wait_until(lambda: len(self.of(cls, name)) >= count, timeout)
        return self.of(cls, name)

    def clear(self) -> None:
        """Forget what has been told so far."""
        told()
        self.events.clear()


def told() -> None:
    """Wait until whatever the I/O thread does now is done, and its events are told: they follow answers."""
    host = runtime.current()
    if host.dispatcher.is_current():
        return
    done = threading.Event()
    host.loop.call_soon(done.set)
    assert done.wait(5), "the I/O thread is busy"
    assert host.dispatcher.drain(5), "a callback keeps the events of this test back"


@pytest.fixture
def seen() -> Iterator[Seen]:
    """Collect the events of the test."""
    found = Seen()
    told()  # what an earlier test did is not of this one
    unsubscribe = piactors.events.subscribe(found.events.append)
    yield found
    unsubscribe()


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Let there be no memory for two processes from the call of this on."""
    return lambda: monkeypatch.setattr(inside.HAS_ROOM_BESIDE, lambda pid: False)

"""Whoever watches calls sees each of them once, with what became of it."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import piactors
from piactors import ProcessActor, ProcessIsolator, events
from tests.support import wait_until

SECONDS = 20.0


class Worker(ProcessActor):
    """What is called."""

    def echo(self, value: Any) -> Any:
        """Return the value."""
        return value

    def fail(self) -> None:
        """Raise."""
        raise ValueError("no")

    def nap(self, seconds: float) -> None:
        """Take a while."""
        time.sleep(seconds)

    def die(self) -> None:
        """End without a word."""
        os._exit(3)


class Notes:
    """Notes all of it."""

    def __init__(self) -> None:
        self.sent: list[events.CallInfo] = []
        self.settled: list[tuple[events.CallInfo, str, float]] = []
        self._lock = threading.Lock()

    def call_sent(self, call: events.CallInfo) -> None:
        """See `Instrument`."""
        with self._lock:
            self.sent.append(call)

    def call_settled(self, call: events.CallInfo, outcome: events.CallOutcome, seconds: float) -> None:
        """See `Instrument`."""
        with self._lock:
            self.settled.append((call, outcome, seconds))

    def outcomes(self) -> Counter[tuple[str, str]]:
        """Return how often each call had which outcome."""
        with self._lock:
            return Counter((call.call, outcome) for call, outcome, _ in self.settled)


@pytest.fixture
def notes() -> Iterator[Notes]:
    """What an instrument has noted that is installed meanwhile."""
    found = Notes()
    remove = events.instrument(found)
    yield found
    remove()
    remove()
    assert events.instruments == []


def test_each_outcome(notes: Notes) -> None:
    """A result, an exception, an end of the process, and a caller who gives up; in seconds."""
    ref = Worker.with_options(name="w", restart="permanent").start()
    proxy = ref.proxy()
    assert proxy.echo(1).get(timeout=SECONDS) == 1
    with pytest.raises(ValueError, match="no"):
        proxy.fail().get(timeout=SECONDS)
    with pytest.raises(piactors.IsolateCrashed):
        proxy.die().get(timeout=SECONDS)
    running = proxy.nap(0.3)
    wait_until(running.running)
    assert proxy.echo(2).cancel()
    running.get(timeout=SECONDS)
    ref.stop()
    proxy.echo(3).exception(timeout=SECONDS)
    assert notes.outcomes() == {
        ("echo", "returned"): 1,
        ("fail", "raised"): 1,
        ("die", "failed"): 1,
        ("echo", "cancelled"): 1,
        ("nap", "returned"): 1,
    }
    assert {call.isolate for call in notes.sent} == {"w"}
    assert len(notes.sent) == 5
    assert next(seconds for call, _, seconds in notes.settled if call.call == "nap") >= 0.3


def test_many_calls_of_many_threads_are_each_told_once(notes: Notes) -> None:
    """Also while processes die and take over."""
    ref = Worker.with_options(restart="permanent", max_restarts=None).start()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            ref.proxy().echo(0).exception(timeout=SECONDS)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        ref.proxy().die().exception(timeout=SECONDS)
        ref.recycle().exception(timeout=SECONDS)
    over.set()
    for thread in threads:
        thread.join()
    ref.stop()
    assert len(notes.sent) == len(notes.settled) > 20
    assert Counter(map(id, notes.sent)) == Counter(id(call) for call, _, _ in notes.settled)


def test_functions_that_are_handed_over_are_trusted_no_more_than_without(notes: Notes) -> None:
    """A call by name takes the trust of what runs beside it, whoever watches."""
    with ProcessIsolator() as isolator:
        assert isolator.submit(pow, 2, 3).get(timeout=SECONDS) == 8
        assert isolator.invoke_method("math:sqrt", 4).get(timeout=SECONDS) == 2
    assert notes.outcomes() == {("pow", "returned"): 1, ("sqrt", "returned"): 1}


def test_one_that_fails_costs_nothing_but_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """And one that is not an instrument is refused at once."""

    class Broken:
        def call_sent(self, call: events.CallInfo) -> None:
            raise RuntimeError("sent")

        def call_settled(self, call: events.CallInfo, outcome: events.CallOutcome, seconds: float) -> None:
            raise RuntimeError("settled")

    remove = events.instrument(Broken())
    try:
        ref = Worker.start()
        assert ref.proxy().echo(1).get(timeout=SECONDS) == 1
        ref.stop()
    finally:
        remove()
    assert caplog.text.count("an instrument has failed") == 2
    with pytest.raises(TypeError, match="has no method call_sent"):
        events.instrument(object())  # type: ignore[arg-type]

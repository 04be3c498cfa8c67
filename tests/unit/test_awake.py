"""The loop stays awake for a moment when more is to come soon, and for no longer."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from piactors._io import awake
from piactors._io.awake import Awake
from piactors._io.loop import Loop
from tests.unit.test_loop import on_loop, unexpected


class Looks:
    """A poller that finds something at the look with a number."""

    def __init__(self, finds_at: int) -> None:
        self.finds_at = finds_at
        self.count = 0

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        assert timeout == 0.0
        self.count += 1
        return [(7, 1)] if self.count == self.finds_at else []


@pytest.fixture
def alert(monkeypatch: pytest.MonkeyPatch) -> Awake:
    """One on a machine with several cores."""
    monkeypatch.setattr(awake, "several_cores", lambda: True)
    return Awake()


def test_what_comes_is_found_without_sleeping(alert: Awake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awake, "_STAYS", 60.0)
    alert.expect()
    looks = Looks(3)
    assert alert.look(looks.wait, ()) == [(7, 1)]
    assert (looks.count, alert.until) == (3, 0.0)


def test_calls_of_other_threads_end_it(alert: Awake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awake, "_STAYS", 60.0)
    calls: deque[int] = deque()

    def wait(_: float) -> list[Any]:
        calls.append(1)
        return []

    alert.expect()
    assert not alert.look(wait, calls)
    assert len(calls) == 1


def test_it_sleeps_if_nothing_has_come_a_few_times(alert: Awake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awake, "_PAUSE", 60.0)
    for _ in range(awake._MISSES):
        alert.expect()
        assert alert.until
        assert not alert.look(Looks(0).wait, ())
    alert.expect()
    assert alert.until == 0.0


def test_what_comes_makes_up_for_what_did_not(alert: Awake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awake, "_PAUSE", 60.0)
    for _ in range(3):
        for finds_at in (*[0] * (awake._MISSES - 1), 1):
            alert.expect()
            alert.look(Looks(finds_at).wait, ())
    alert.expect()
    assert alert.until


def test_a_machine_with_one_core_never_stays_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awake, "several_cores", lambda: False)
    alert = Awake()
    alert.expect()
    assert alert.until == 0.0


@pytest.mark.parametrize("stays", [0.0, 60.0])
def test_a_loop_that_stays_awake_does_what_it_is_asked(stays: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading, calls of other threads, and timers, which it runs at the latest when it does not stay any longer."""
    monkeypatch.setattr(awake, "several_cores", lambda: True)
    monkeypatch.setattr(awake, "_STAYS", stays)
    loop = Loop(unexpected, unexpected)
    loop.start()
    read_end, write_end = os.pipe()
    found: list[bytes] = []

    def read() -> None:
        found.append(os.read(read_end, 100))
        loop.alert.expect()

    def wait_for(is_done: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not is_done():
            assert time.monotonic() < end
            os.sched_yield()

    try:
        on_loop(loop, lambda: loop.watch(read_end, read))
        for number in range(100):
            os.write(write_end, b"x")
            wait_for(lambda: len(found) > number)  # noqa: B023
            called: list[int] = []
            loop.call_soon(called.append, number)
            wait_for(lambda: bool(called))  # noqa: B023
        on_loop(loop, lambda: loop.unwatch(read_end))
    finally:
        loop.stop()
        os.close(read_end)
        os.close(write_end)
    assert found == [b"x"] * 100

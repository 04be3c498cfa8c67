"""When a caller, or an isolate, stays awake for an answer: by what the last waits taught."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from piactors._io import spin as host_spin
from piactors.pihost.wire import spin as child_spin

SECONDS = host_spin.SECONDS


class Machine:
    """A clock that moves by `look` with each look, and what there is to wait for, which comes at `due`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due = 0.0
        self.look = 1e-6
        self.asleep: list[float] = []
        """How long each wait slept."""
        self.nested = False

    def monotonic(self) -> float:
        return self.now

    def sched_yield(self) -> None:
        self.now += self.look

    def poll(self, milliseconds: int | None = None) -> list[object]:
        assert milliseconds == 0
        return [self] if self.now >= self.due else []

    def wait(self, timeout: float | None) -> bool:
        before, self.now = self.now, max(self.now, self.due)
        self.asleep.append(self.now - before)
        return True


class Waits:
    """Waits of either side, one after the other."""

    def __init__(self, machine: Machine, wait: Callable[[], None]) -> None:
        self.machine = machine
        self._wait = wait

    def slept(self, seconds: float) -> bool:
        """Whether a wait for what comes after some seconds was asleep from its beginning."""
        machine = self.machine
        machine.asleep.clear()
        machine.due = machine.now + seconds
        self._wait()
        return machine.asleep == [pytest.approx(seconds)]


@pytest.fixture(params=["host", "isolate"])
def waits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Return waits of the host or of an isolate."""
    machine = Machine()
    system = SimpleNamespace(sched_yield=machine.sched_yield)
    if request.param == "host":
        monkeypatch.setattr(host_spin, "time", machine)
        monkeypatch.setattr(host_spin, "os", system)
        found = host_spin.Spin(True)
        return Waits(machine, lambda: None if found.wait(machine, None) else pytest.fail("no answer"))  # type: ignore[arg-type]
    monkeypatch.setattr(child_spin, "monotonic", machine.monotonic)
    monkeypatch.setattr(child_spin, "os", system)
    poller = SimpleNamespace(register=lambda *_: None, poll=machine.poll)
    monkeypatch.setattr(child_spin, "select", SimpleNamespace(poll=lambda: poller, POLLIN=1))
    spin = child_spin.Spinner(3)

    def wait() -> None:
        asleep = spin.wait()
        machine.wait(None)  # the receive, which sleeps until there is something
        if asleep:
            spin.came()

    return Waits(machine, wait)


def test_fast_answers_are_waited_for_awake(waits: Waits) -> None:
    """However many there are."""
    assert not any(waits.slept(SECONDS / 2) for _ in range(100))


def test_after_some_slow_answers_it_sleeps_at_once(waits: Waits) -> None:
    """Three in a row; a fast one among them begins the count again."""
    assert [waits.slept(1.0) for _ in range(5)] == [False, False, False, True, True]


def test_a_fast_answer_forgives_slow_ones(waits: Waits) -> None:
    """They have to come in a row."""
    assert not any(waits.slept(seconds) for seconds in [1.0, 1.0, SECONDS / 2] * 10)


def give_up(waits: Waits) -> None:
    while not waits.slept(1.0):
        pass


def test_it_is_tried_again_when_answers_come_fast_even_asleep(waits: Waits) -> None:
    """After 16 of them: a sleeper adds the waking of two cores to what an answer takes, so they need not be faster."""
    give_up(waits)
    assert [waits.slept(3 * SECONDS) for _ in range(17)] == [True] * 16 + [False]


def test_a_slow_one_in_between_does_not_put_that_off_for_ever(waits: Waits) -> None:
    """On a busy machine one in ten is slow: all must not stay slow for that."""
    give_up(waits)
    assert not all(waits.slept(1.0 if number % 10 == 9 else 2 * SECONDS) for number in range(40))


def test_calls_that_take_long_are_never_waited_for_awake_again(waits: Waits) -> None:
    """It would only take processor time."""
    give_up(waits)
    assert all(waits.slept(5 * SECONDS) for _ in range(200))
    assert all(waits.slept(seconds) for seconds in [SECONDS, SECONDS, 1.0] * 50)


def test_not_at_all_where_it_is_switched_off_or_within_another_wait() -> None:
    """As the options say, and in a signal handler."""
    machine = Machine()
    for allowed, nested in ((False, False), (True, True)):
        machine.nested = nested
        assert Waits(machine, lambda allowed=allowed: host_spin.Spin(allowed).wait(machine, None)).slept(1e-6)  # type: ignore[arg-type,misc,return-value]

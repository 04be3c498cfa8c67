"""The test kit as its users use it: virtual time, faults on demand, and the waits and budgets of restarts."""

from __future__ import annotations

from typing import Any

import pykka
import pytest

import piactors
from piactors import (
    Backoff,
    ExitReason,
)
from piactors.events import IsolateRestarting, RestartsExceeded
from piactors.testing import Lab, VirtualClock, wait_until
from tests.supervision.lab_actors import Isolated, Threaded, child, generations, lab, states, until

__all__ = ["lab", "until"]

STEADY = Backoff(initial=10, factor=2, maximum=60, jitter=0, reset_after=None)
STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
BOTH = pytest.mark.parametrize("target", [Isolated, Threaded])


# The clock


def test_a_clock_makes_calls_in_the_order_in_which_they_are_due() -> None:
    """It stands still until it is moved, and leaves out what was cancelled; equal times keep their order."""
    clock, made = VirtualClock(), list[Any]()
    timers = [clock.call_later(seconds, lambda s=seconds: made.append(s)) for seconds in (3, 1, 2, 1)]
    timers[2].cancel()
    assert (clock.now(), clock.next_due(), made) == (0.0, 1, [])
    clock.move_to(1)
    assert (clock.now(), clock.next_due(), made) == (1, 3, [1, 1])
    clock.move_to(5)
    clock.move_to(4)
    assert (clock.now(), clock.next_due(), made) == (5, None, [1, 1, 3])


def test_a_call_that_makes_another_within_the_time_gets_it() -> None:
    """What becomes due while the clock moves is called by the same move."""
    clock, made = VirtualClock(), list[str]()
    clock.call_later(1, lambda: clock.call_later(0, lambda: made.append("second")))
    clock.move_to(1)
    assert made == ["second"]


def test_wait_until_returns_what_it_waited_for_and_says_what_did_not_come() -> None:
    """It looks again and again, and fails with the name of the condition."""
    answers = iter([None, "", "found"])
    assert wait_until(lambda: next(answers)) == "found"

    def never_so() -> bool:
        return False

    with pytest.raises(AssertionError, match=r"not within 0\.05 seconds: .*never_so"):
        wait_until(never_so, 0.05)


# Waits


@BOTH
def test_waits_grow_up_to_their_maximum(lab: Lab, target: Any) -> None:
    """10, 20, 40 and then 60 seconds each time, whichever way the child runs; not a moment earlier."""
    tree = lab.start(children=[child("a", target, backoff=STEADY)], max_restarts=None)
    for number, seconds in enumerate((10, 20, 40, 60, 60), 1):
        lab.crash(tree.child("a"))
        assert states(tree) == {"a": "restarting"}
        lab.advance(seconds - 1)
        assert states(tree) == {"a": "restarting"}
        lab.advance(1)
        assert states(tree) == {"a": "running"}
        assert generations(tree) == {"a": number + 1}
    assert lab.clock.now() == 190


@pytest.mark.parametrize(("uniform", "seconds"), [(0.0, 8), (0.5, 10), (0.75, 11)])
def test_jitter_moves_a_wait_either_way(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, uniform: float, seconds: float
) -> None:
    """By up to that fraction of it, as chance has it; the event tells how long it will be."""
    monkeypatch.setattr("piactors._tree.engine.random.random", lambda: uniform)
    seen: list[Any] = []
    unsubscribe = piactors.events.subscribe(seen.append, IsolateRestarting)
    tree = lab.start(children=[child("a")], backoff=Backoff(initial=10, jitter=0.2))
    lab.crash(tree.child("a"))
    lab.advance(seconds - 0.5)
    assert states(tree) == {"a": "restarting"}
    lab.advance(0.5)
    assert states(tree) == {"a": "running"}
    wait_until(lambda: seen)
    unsubscribe()
    assert [(event.name, event.attempt, event.delay) for event in seen] == [("a", 1, pytest.approx(seconds))]


def test_a_stable_run_lets_the_waits_start_again(lab: Lab) -> None:
    """After `reset_after` seconds of running the wait is `initial` again, a second before that it is not."""
    backoff = Backoff(initial=10, factor=2, jitter=0, reset_after=100, maximum=1000)
    tree = lab.start(children=[child("a", backoff=backoff)], max_restarts=None)
    for ran_for, seconds in ((0, 10), (99, 20), (100, 10), (500, 10), (1, 20)):
        lab.advance(ran_for)
        lab.crash(tree.child("a"))
        lab.advance(seconds - 1)
        assert states(tree) == {"a": "restarting"}
        lab.advance(1)
        assert states(tree) == {"a": "running"}


@pytest.mark.parametrize("on_exhausted", ["escalate", "stop"])
def test_attempts_in_a_row_are_limited(lab: Lab, on_exhausted: Any) -> None:
    """`max_attempts` restarts, and the next death ends the supervisor, or leaves only this child down."""
    backoff = Backoff(initial=1, jitter=0, max_attempts=2)
    tree = lab.start(children=[child("a", backoff=backoff, on_exhausted=on_exhausted), child("b")], max_restarts=None)
    for _ in range(2):
        lab.crash(tree.child("a"))
        lab.advance(10)
    lab.crash(tree.child("a"))
    if on_exhausted == "stop":
        assert states(tree) == {"a": "stopped", "b": "running"}
    else:
        assert tree.wait_for_exit(5) is not None
        assert (tree.state, tree.child("b").is_alive()) == ("stopped", False)


@pytest.mark.parametrize("stop", [False, True])
def test_a_wait_is_called_off(lab: Lab, stop: bool) -> None:
    """`terminate_child` and `stop` take no time, fail what waits, and no start follows; `restart_child` starts anew."""
    log: list[str] = []
    tree = lab.start(children=[child("a", log=log, backoff=STEADY)])
    ref = tree.child("a")
    lab.crash(ref)
    waiting = ref.proxy().echo(1)
    if stop:
        assert tree.stop()
    else:
        tree.terminate_child("a")
        assert states(tree) == {"a": "stopped"}
    with pytest.raises(pykka.ActorDeadError):
        waiting.get(timeout=5)
    lab.advance(1000)
    assert log == ["start a"]
    assert not ref.is_alive()
    if not stop:
        assert tree.restart_child("a") is ref
        assert ref.ask(2, timeout=5) == 2


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_siblings_run_on_while_one_waits(lab: Lab, strategy: Any) -> None:
    """They answer during the wait; what is sent to the one that waits is answered after it; then its group restarts."""
    tree = lab.start(children=[child("a"), child("b", backoff=STEADY), child("c", Threaded)], strategy=strategy)
    lab.crash(tree.child("b"))
    waiting = tree.child("b").ask("late", block=False)
    lab.advance(9)
    assert states(tree) == {"a": "running", "b": "restarting", "c": "running"}
    assert [tree.child(id).ask(id, timeout=5) for id in "ac"] == ["a", "c"]
    assert generations(tree) == {"a": 1, "b": 1, "c": 1}
    lab.advance(1)
    assert waiting.get(timeout=5) == "late"
    group = {"one_for_one": "b", "one_for_all": "abc", "rest_for_one": "bc"}[strategy]
    assert generations(tree) == {id: 1 + (id in group) for id in "abc"}


# Budgets


@pytest.mark.parametrize(("times", "ends"), [((0, 4, 8), True), ((0, 5, 10), True), ((0, 5, 10.5), False)])
def test_restarts_within_the_window_are_limited(lab: Lab, times: tuple[float, ...], ends: bool) -> None:
    """With max_restarts=2 and within=10 the third death in ten seconds ends the tree, children first."""
    log: list[str] = []
    tree = lab.start(children=[child("a", log=log), child("b", log=log)], max_restarts=2, within=10)
    for at in times:
        lab.advance(at - lab.clock.now())
        lab.crash(tree.child("a"))
    assert (tree.state == "stopped") is ends
    assert ("stop b" in log) is ends


@pytest.mark.parametrize("healthy", [0, 6])
def test_waits_longer_than_the_window_do_not_defeat_the_limit(lab: Lab, healthy: float) -> None:
    """A child that dies as soon as it is back is given up on; one that runs for longer than the window is not."""
    backoff = Backoff(initial=100, factor=1, maximum=100, jitter=0)
    tree = lab.start(children=[child("a", backoff=backoff)], max_restarts=2, within=5)
    for _ in range(2):
        lab.crash(tree.child("a"))
        lab.advance(100 + healthy)
        assert states(tree) == {"a": "running"}
    lab.crash(tree.child("a"))
    assert tree.state == ("running" if healthy else "stopped")


@pytest.mark.parametrize("on_exhausted", ["escalate", "stop"])
def test_a_child_may_have_a_budget_of_its_own(lab: Lab, on_exhausted: Any) -> None:
    """Its restarts do not count against the tree's, which allows none here; used up, it ends the tree or itself."""
    seen: list[Any] = []
    unsubscribe = piactors.events.subscribe(seen.append, RestartsExceeded)
    a = child("a", max_restarts=2, within=50, on_exhausted=on_exhausted)
    tree = lab.start(children=[a, child("b")], max_restarts=0, name="shop")
    for _ in range(3):
        assert states(tree) == {"a": "running", "b": "running"}
        lab.crash(tree.child("a"))
    wait_until(lambda: seen)
    unsubscribe()
    assert [(event.name, event.max_restarts, event.within) for event in seen] == [("a", 2, 50.0)]
    assert tree.state == ("stopped" if on_exhausted == "escalate" else "running")
    if on_exhausted == "stop":
        assert states(tree) == {"a": "stopped", "b": "running"}
        tree.restart_child("a")
        lab.advance(51)
        lab.crash(tree.child("a"))
        assert states(tree) == {"a": "running", "b": "running"}


def test_a_budget_of_none_allows_any_number(lab: Lab) -> None:
    """Of the child alone, and of a tree for all that share its budget."""
    tree = lab.start(children=[child("a", max_restarts=None), child("b")], max_restarts=1)
    for _ in range(20):
        lab.crash(tree.child("a"))
    lab.crash(tree.child("b"))
    assert generations(tree) == {"a": 21, "b": 2}
    lab.crash(tree.child("b"))
    assert tree.state == "stopped"


def test_a_shared_budget_is_that_of_all_who_share_it(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """'shared' is what a child has that says nothing; the log names the child that was one too many."""
    tree = lab.start(children=[child(id, max_restarts="shared") for id in "abc"], max_restarts=2, name="shop")
    for id in "abc":
        lab.crash(tree.child(id))
    reason = tree.wait_for_exit(5)
    assert reason is not None
    assert (reason.kind, reason.detail) == ("shutdown", "child 'c' has used up its restarts")
    assert "supervisor shop: child 'c' has used up its restarts (2 within 5 s), and ends" in caplog.text


# What is restarted


@pytest.mark.parametrize("how", [{"error", "limit"}, lambda reason: reason.kind in ("error", "limit")])
@pytest.mark.parametrize(("kind", "state"), [("error", "running"), ("signaled", "stopped"), ("normal", "stopped")])
def test_restart_on_decides_in_place_of_the_restart_type(lab: Lab, how: Any, kind: Any, state: str) -> None:
    """A permanent child stays down after an exit that restart_on does not name, kinds and function alike."""
    tree = lab.start(children=[child("a", restart_on=how), child("b")])
    lab.crash(tree.child("a"), kind)
    assert states(tree) == {"a": state, "b": "running"}
    assert tree.child("a").is_alive() is (state == "running")


def test_restart_on_gets_the_exit_reason_once(lab: Lab) -> None:
    """The function sees why the child ended; a transient child that ended normally may be restarted by it."""
    seen: list[ExitReason] = []

    def wanted(reason: ExitReason) -> bool:
        seen.append(reason)
        return True

    tree = lab.start(children=[child("a", restart_on=wanted, restart="transient")])
    lab.crash(tree.child("a"), "normal")
    tree.child("a").tell("fail")
    lab.settle()
    assert [reason.kind for reason in seen] == ["normal", "error"]
    assert "ValueError: as the test says" in str(seen[1].error)
    assert generations(tree) == {"a": 3}


def test_a_restart_on_that_raises_is_logged_and_the_child_restarted(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the function must not cost the child."""
    tree = lab.start(children=[child("a", restart_on=lambda reason: 1 / 0)])
    lab.crash(tree.child("a"))
    assert states(tree) == {"a": "running"}
    assert "restart_on of child 'a' has failed; the child is restarted" in caplog.text
    assert "ZeroDivisionError" in caplog.text

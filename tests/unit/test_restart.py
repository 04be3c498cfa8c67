"""Rules of `piactors._rules.supervisor`: who is restarted, how often, and after what wait."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from piactors._rules.backoff import delay
from piactors._rules.budget import Budget, charge
from piactors._rules.restart import Again, Exhausted, Past, Policy, Restart, StayDown, decide, wants_restart
from piactors.exit_reason import KINDS, ExitReason
from piactors.options import Backoff

CRASH = ExitReason(kind="signaled", signal=9)
STEADY = Backoff(initial=1, factor=2, maximum=10, jitter=0, reset_after=None)


def policy(max_restarts: int | None = 3, within: float = 10, backoff: Backoff | None = None) -> Policy:
    return Policy("permanent", Budget(max_restarts, within), backoff)


def crash(rules: Policy, history: Past, now: float, **changes: Any) -> tuple[Any, Past]:
    return decide(rules, history, CRASH, **{"now": now, "ran_for": 0.0, "uniform": 0.5, **changes})


def crashes(rules: Policy, *times: float) -> list[bool]:
    """Whether each of the crashes at these times is followed by a restart."""
    history, found = Past(), []
    for now in times:
        decision, history = crash(rules, history, now)
        found.append(isinstance(decision, Again))
    return found


# Restart types


@pytest.mark.parametrize(("restart", "kind"), list(itertools.product(get_args(Restart), KINDS)))
def test_the_restart_type_and_the_kind_of_exit_say_whether_it_starts_again(restart: Restart, kind: Any) -> None:
    """Permanent always, temporary never, transient after all but ``normal`` and ``shutdown``."""
    due = restart == "permanent" or (restart == "transient" and kind not in ("normal", "shutdown"))
    reason, history = ExitReason(kind=kind), Past(1, ((1.0, ""),))
    assert wants_restart(restart, reason) == due
    decision, after = decide(Policy(restart, Budget(10, 60)), history, reason, now=2.0, ran_for=1.0, uniform=0.5)
    assert isinstance(decision, Again if due else StayDown)
    assert due or after == history


# Intensity


def test_so_many_restarts_are_allowed_and_one_more_is_not() -> None:
    """At one instant."""
    assert crashes(policy(3), 0, 0, 0, 0) == [True, True, True, False]


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_max_restarts_is_how_many_restarts_a_window_holds(count: int) -> None:
    """None at all where it is 0."""
    assert crashes(policy(count), 5.0) == [count > 0]
    assert crashes(policy(count), *[5.0] * (count + 1)) == [True] * count + [False]


def test_without_max_restarts_there_is_no_limit() -> None:
    """And no history that grows."""
    history = Past()
    for now in range(1000):
        decision, history = crash(policy(None), history, now)
        assert isinstance(decision, Again)
    assert history.ledger == ()


def test_a_restart_exactly_within_seconds_ago_still_counts() -> None:
    """The window is closed at its far end, as in OTP's `supervisor:in_period`."""
    assert crashes(policy(1, within=10), 0, 10) == [True, False]
    assert crashes(policy(1, within=10), 0, 10.001) == [True, True]


def test_the_window_slides() -> None:
    """It does not begin anew at fixed times: what counts is the last `within` seconds at each restart."""
    assert crashes(policy(2, within=10), 0, 9, 11, 18, 19) == [True, True, True, False, False]


def test_delays_longer_than_the_window_do_not_defeat_the_limit() -> None:
    """The clock of the window stands still while a restart waits."""
    rules = policy(3, within=5, backoff=attrs.evolve(STEADY, initial=100, maximum=100))
    history, now = Past(), 0.0
    for _ in range(3):
        decision, history = crash(rules, history, now)
        assert decision == Again(100, decision.attempt)
        now += decision.delay
    assert isinstance(crash(rules, history, now)[0], Exhausted)


def test_time_that_it_runs_does_move_the_window() -> None:
    """Only waits do not count."""
    rules = policy(1, within=5, backoff=attrs.evolve(STEADY, initial=100, maximum=100))
    _, history = crash(rules, Past(), 0)
    assert isinstance(crash(rules, history, 105)[0], Exhausted)
    assert isinstance(crash(rules, history, 105.1)[0], Again)


def test_an_exit_that_was_no_fault_of_the_childs_leaves_its_history_as_it_was() -> None:
    """It starts again at once and costs no budget, be there any left or not."""
    history = Past(2, ((1.0, ""), (2.0, "")))
    for limit in (0, 1, 2, None):
        decision, after = crash(policy(limit, backoff=STEADY), history, 3, charged=False)
        assert isinstance(decision, Again)
        assert decision.delay == 0
        assert after == history


def test_an_uncharged_exit_does_not_restart_what_is_not_to_be_restarted() -> None:
    """The restart type comes first."""
    rules = Policy("temporary", Budget(3, 10))
    decision, after = decide(rules, Past(), CRASH, now=0, ran_for=0, uniform=0, charged=False)
    assert (decision, after) == (StayDown(), Past())


def test_what_is_out_of_the_window_is_forgotten() -> None:
    """So the ledger stays small."""
    past = tuple((at, "a") for at in (0.0, 5.0, 9.0))
    assert charge(past, "b", 15.0, Budget(10, 10.0)) == (True, ((5.0, "a"), (9.0, "a"), (15.0, "b")))


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[int, bool]]:
    """How long each generation runs, in quarter seconds, and whether its exit is charged."""
    return draw(st.lists(st.tuples(st.integers(0, 60), st.sampled_from([True, True, True, False])), max_size=40))


backoffs = st.none() | st.builds(
    Backoff,
    initial=st.sampled_from([0, 0.25, 1, 64]),
    factor=st.sampled_from([1, 2]),
    maximum=st.sampled_from([1, 128]),
    jitter=st.just(0),
    reset_after=st.sampled_from([None, 2]),
    max_attempts=st.none() | st.integers(1, 5),
)


@given(lives(), st.integers(0, 4), st.integers(1, 10), backoffs)
def test_no_window_holds_more_than_max_restarts(
    life: list[tuple[int, bool]], max_restarts: int, within: int, backoff: Backoff | None
) -> None:
    """On the clock that stands still during waits; and a refusal has a reason.  All times are exact in binary."""
    history, now, ran = Past(), 1000.0, 1000.0
    restarts: list[float] = []
    for quarters, charged in life:
        now += quarters / 4
        ran += quarters / 4
        before = history
        rules = policy(max_restarts, within, backoff)
        decision, history = crash(rules, history, now, ran_for=quarters / 4, charged=charged)
        recent = [at for at in restarts if ran - at <= within]
        if not charged:
            assert isinstance(decision, Again)
            assert history == before
            continue
        if isinstance(decision, Again):
            restarts.append(ran)
            assert len(recent) + 1 <= max_restarts
            assert decision.attempt == history.attempt >= 1
            now += decision.delay
        else:
            limit = None if backoff is None else backoff.max_attempts
            stable = backoff is not None and backoff.reset_after is not None and quarters / 4 >= backoff.reset_after
            too_often = limit is not None and not stable and before.attempt + 1 > limit
            assert len(recent) >= max_restarts or too_often
            break


# Backoff


def test_without_a_backoff_it_starts_again_at_once() -> None:
    """However often."""
    assert [delay(None, attempt, 0.9) for attempt in (1, 2, 1000)] == [0.0, 0.0, 0.0]


def test_the_wait_grows_by_the_factor_up_to_the_maximum() -> None:
    """From `initial`."""
    assert [delay(STEADY, attempt, 0.5) for attempt in range(1, 8)] == [1, 2, 4, 8, 10, 10, 10]


def test_no_wait_exceeds_the_maximum_the_first_included() -> None:
    """Even with all the jitter there is."""
    backoff = Backoff(initial=50, maximum=3, jitter=1)
    assert delay(backoff, 1, 0.999999) == 3


def test_jitter_moves_the_wait_by_up_to_its_fraction_either_way() -> None:
    """`uniform` in [0, 1) spreads it evenly."""
    backoff = Backoff(initial=10, factor=1, maximum=100, jitter=0.2)
    assert delay(backoff, 1, 0.0) == pytest.approx(8)
    assert delay(backoff, 1, 0.5) == pytest.approx(10)
    assert delay(backoff, 1, 1 - 1e-9) == pytest.approx(12)


@pytest.mark.parametrize("attempt", [1024, 1025, 1026, 5000, 10**6])
def test_many_attempts_wait_the_maximum_and_do_not_overflow(attempt: int) -> None:
    """Two to the power of the attempts is soon more than a float holds."""
    assert delay(Backoff(jitter=0), attempt, 0.5) == 30


@pytest.mark.parametrize("attempt", [1, 2, 1024, 1025, 1026, 10**6])
def test_an_initial_wait_of_zero_never_grows(attempt: int) -> None:
    """Zero times the factor is zero, however often."""
    assert delay(Backoff(initial=0), attempt, 0.5) == 0


seconds = st.floats(0, 1e9, allow_subnormal=True)


@given(seconds, st.floats(1, 1e308), seconds, st.floats(0, 1), st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
@example(5e-324, 1e308, 1e9, 1.0, 3, 0.0)
def test_a_wait_is_never_negative_and_never_above_the_maximum(
    initial: float, factor: float, maximum: float, jitter: float, attempt: int, uniform: float
) -> None:
    """And never a NaN, whatever the numbers."""
    found = delay(Backoff(initial=initial, factor=factor, maximum=maximum, jitter=jitter), attempt, uniform)
    assert 0 <= found <= maximum


@given(st.floats(0.001, 1e3), st.floats(1, 10), st.floats(0, 1), st.integers(1, 30), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_its_fraction(
    initial: float, factor: float, jitter: float, attempt: int, uniform: float
) -> None:
    """Of the wait without jitter."""
    backoff = Backoff(initial=initial, factor=factor, maximum=1e300, jitter=jitter)
    plain = delay(attrs.evolve(backoff, jitter=0), attempt, uniform)
    assert plain * (1 - jitter) * 0.999999 <= delay(backoff, attempt, uniform) <= plain * (1 + jitter) * 1.000001


def test_attempts_count_up_and_begin_anew_after_stable_running() -> None:
    """`reset_after` seconds of running are enough; a moment less is not."""
    rules = policy(None, backoff=attrs.evolve(STEADY, reset_after=60))
    history, found = Past(), []
    for ran_for in (0.0, 1.0, 59.999, 60.0, 0.0, 1e9, 0.0):
        decision, history = crash(rules, history, 0, ran_for=ran_for)
        found.append((decision.attempt, decision.delay))
    assert found == [(1, 1), (2, 2), (3, 4), (1, 1), (2, 2), (1, 1), (2, 2)]


def test_attempts_never_begin_anew_without_reset_after() -> None:
    """However long it ran."""
    _, history = crash(policy(None, backoff=STEADY), Past(), 0)
    decision, _ = crash(policy(None, backoff=STEADY), history, 0, ran_for=1e9)
    assert decision.attempt == 2


def test_a_child_gives_up_after_max_attempts_in_a_row() -> None:
    """Stable running in between ends the row."""
    rules = policy(None, backoff=attrs.evolve(STEADY, max_attempts=2, reset_after=60))
    history, found = Past(), []
    for ran_for in (0, 0, 60, 0, 0):
        decision, history = crash(rules, history, 0, ran_for=ran_for)
        found.append(type(decision))
    assert found == [Again] * 4 + [Exhausted]


def test_stable_running_does_not_reset_the_limit_of_restarts() -> None:
    """Waits begin anew; the window counts what it counts."""
    rules = policy(1, within=100, backoff=attrs.evolve(STEADY, reset_after=5))
    _, history = crash(rules, Past(), 0)
    assert isinstance(crash(rules, history, 51, ran_for=50)[0], Exhausted)


def test_an_uncharged_exit_between_two_crashes_changes_nothing_about_the_second() -> None:
    """The row of attempts goes on where it was."""
    rules = policy(3, backoff=STEADY)
    _, history = crash(rules, Past(), 0)
    with_loss = crash(rules, crash(rules, history, 1, charged=False)[1], 2)
    assert with_loss == crash(rules, history, 2)


def test_the_attempt_of_an_uncharged_restart_counts_from_one_too() -> None:
    """`IsolateRestarting.attempt` counts from 1, as its text says."""
    decision, _ = crash(policy(), Past(), 0, charged=False)
    assert decision.attempt >= 1

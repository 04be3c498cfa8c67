"""Rules of `piactors._lifecycle.states`: every state, every happening."""

from __future__ import annotations

import itertools

import pytest

from piactors._lifecycle.states import TRANSITIONS, Happening, IllegalTransition, State, after

LEGAL = {
    ("starting", "ready"): "running",
    ("starting", "ended"): "stopped",
    ("running", "stop_begun"): "stopping",
    ("running", "will_restart"): "restarting",
    ("running", "ended"): "stopped",
    ("stopping", "will_restart"): "restarting",
    ("stopping", "ended"): "stopped",
    ("restarting", "ready"): "running",
    ("restarting", "will_restart"): "restarting",
    ("restarting", "ended"): "stopped",
}
PAIRS = list(itertools.product(State, Happening))


@pytest.mark.parametrize(("state", "happening"), [pair for pair in PAIRS if pair in LEGAL])
def test_what_can_happen_leads_where_the_table_says(state: State, happening: Happening) -> None:
    """The table of this test is written from the picture in the module's text."""
    found = after(state, happening)
    assert found == LEGAL[state.value, happening.value]
    assert isinstance(found, State)


@pytest.mark.parametrize(("state", "happening"), [pair for pair in PAIRS if pair not in LEGAL])
def test_what_cannot_happen_raises_illegal_transition_and_says_both(state: State, happening: Happening) -> None:
    """And nothing of the failed look-up shows."""
    with pytest.raises(IllegalTransition) as caught:
        after(state, happening)
    assert state.value in str(caught.value)
    assert happening.value in str(caught.value)
    assert type(caught.value) is IllegalTransition
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("happening", list(Happening))
def test_stopped_is_final(happening: Happening) -> None:
    """Nothing happens to an isolate that has stopped."""
    with pytest.raises(IllegalTransition):
        after(State.STOPPED, happening)


def test_every_state_is_reachable_from_starting_and_stopped_from_every_state() -> None:
    """There is no state that nobody comes to, and none that nobody leaves."""

    def reachable(start: State) -> set[State]:
        found, todo = {start}, [start]
        while todo:
            for state in TRANSITIONS[todo.pop()].values():
                if state not in found:
                    found.add(state)
                    todo.append(state)
        return found

    assert reachable(State.STARTING) == set(State)
    assert all(State.STOPPED in reachable(state) for state in State)


def test_the_table_has_a_row_for_every_state() -> None:
    """A state without a row would be final by accident."""
    assert set(TRANSITIONS) == set(State)


def test_states_are_the_texts_that_users_see() -> None:
    """`ref.state` gives them as plain texts."""
    assert [state.value for state in State] == ["starting", "running", "restarting", "stopping", "stopped"]

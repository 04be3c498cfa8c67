"""Which calls can never go on: against a model that lets everything run that can, for all small cases and many more."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest

from piactors._rules.waits import Goal, Waits

Call = tuple[int, int]
"""An actor, and one of its slots."""
State = Any
"""Of a slot: None (idle), "runs", ("box", actor) for an ask in a mailbox, ("call", actor, slot) for one that runs."""


def stuck_by_model(slots: list[list[State]]) -> set[Call]:
    """Let calls end, and what waits begin, until nothing happens any more; return the calls that are left."""
    state = [list(actor) for actor in slots]
    while True:
        moved = False
        for place, (actor, slot) in enumerate(_places(state)):
            del place
            what = state[actor][slot]
            if what == "runs":
                state[actor][slot] = None
            elif what is not None and _is_answered(state, what):
                state[actor][slot] = "runs"
            else:
                continue
            moved = True
        if not moved:
            return {(actor, slot) for actor, slot in _places(state) if state[actor][slot] is not None}


def _is_answered(state: list[list[State]], what: State) -> bool:
    """A message in a mailbox begins once a slot is idle, and ends; a call that runs is answered once it is over."""
    if what[0] == "box":
        return None in state[what[1]]
    return state[what[1]][what[2]] is None


def _places(state: list[list[State]]) -> list[Call]:
    return [(actor, slot) for actor, slots in enumerate(state) for slot in range(len(slots))]


def waits_of(slots: list[list[State]]) -> Waits:
    calls: dict[Any, list[Any]] = {
        actor: [None if what is None else (actor, slot) for slot, what in enumerate(found)]
        for actor, found in enumerate(slots)
    }
    asks, goals = {}, {}
    for actor, slot in _places(slots):
        what = slots[actor][slot]
        if isinstance(what, tuple):
            ask = ("ask", actor, slot)
            asks[actor, slot] = ask
            begun = (what[1], what[2]) if what[0] == "call" and slots[what[1]][what[2]] is not None else None
            if what[0] == "box" or begun is not None:
                goals[ask] = Goal(what[1], begun)
    return Waits(calls, asks, goals)


def check(slots: list[list[State]]) -> bool:
    """Compare both, and see that circles are circles; return whether anything is stuck."""
    waits, expected = waits_of(slots), stuck_by_model(slots)
    assert waits.stuck() == expected, slots
    for actor, found in enumerate(slots):
        circle = waits.circle(actor)
        assert bool(circle) == all((actor, slot) in expected for slot in range(len(found))), slots
        for (call, ask), (after, _) in zip(circle, circle[1:] + circle[:1], strict=True):
            goal = waits.goals[ask]
            assert waits.asks[call] == ask
            assert after in expected
            assert goal.call == after if goal.call is not None else after in waits.slots[goal.actor]
        assert len({call for call, _ in circle}) == len(circle)
    return bool(expected)


def states(sizes: list[int]) -> list[State]:
    boxes = [("box", actor) for actor in range(len(sizes))]
    calls = [("call", actor, slot) for actor, size in enumerate(sizes) for slot in range(size)]
    return [None, "runs", *boxes, *calls]


def graphs(sizes: list[int]) -> Iterator[list[list[State]]]:
    """Return all graphs of actors with so many slots each; a call does not wait for itself to end."""
    for chosen in itertools.product(states(sizes), repeat=sum(sizes)):
        left = iter(chosen)
        yield [[next(left) for _ in range(size)] for size in sizes]


@pytest.mark.parametrize("sizes", [[1], [2], [1, 1], [1, 2], [2, 2], [1, 1, 1], [1, 1, 2], [1, 1, 1, 1]])
def test_all_graphs_of_few_actors(sizes: list[int]) -> None:
    found = [check(graph) for graph in graphs(sizes)]
    assert any(found)
    assert not all(found)


@pytest.mark.parametrize("seed", range(4))
def test_many_graphs_of_five_actors(seed: int) -> None:
    luck, found = random.Random(seed), 0
    for _ in range(10_000):
        sizes = [luck.choice((1, 2)) for _ in range(5)]
        kinds = states(sizes)
        found += check([[luck.choice(kinds) for _ in range(size)] for size in sizes])
    assert 1000 < found < 9900


@pytest.mark.parametrize("seed", range(2))
def test_no_false_alarm_among_graphs_without_a_circle(seed: int) -> None:
    """Each call waits only for actors that come after its own, however long those take."""
    luck = random.Random(seed)
    for _ in range(10_000):
        sizes = [luck.choice((1, 2)) for _ in range(6)]
        graph: list[list[State]] = [
            [
                luck.choice((None, "runs", *(("box", after) for after in range(actor + 1, len(sizes)))))
                for _ in range(size)
            ]
            for actor, size in enumerate(sizes)
        ]
        assert not check(graph)


def test_what_somebody_else_answers_is_not_waited_for_in_vain() -> None:
    waits = Waits({"a": ["x"]}, {"x": "asks the host"}, {})
    assert waits.stuck() == frozenset()
    assert waits.circle("a") == []


def test_an_actor_without_a_process_will_have_one() -> None:
    """It restarts: what waits in its mailbox begins then."""
    waits = Waits({"a": ["x"], "b": []}, {"x": "ask"}, {"ask": Goal("b", None)})
    assert waits.stuck() == frozenset()

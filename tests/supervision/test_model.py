"""Whole histories: `SupervisorMachine` decides what a second, much simpler model of OTP's supervisor does."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piactors._rules.budget import Budget
from piactors._rules.exit import Exit
from piactors._rules.moment import Moment
from piactors._rules.supervisor.actions import (
    Action,
    Answer,
    BudgetExceeded,
    Ended,
    Forget,
    Release,
    Start,
    StartRefused,
    Stop,
    WaitBeforeStart,
)
from piactors._rules.supervisor.machine import SupervisorMachine
from piactors._rules.supervisor.rules import ChildRule, Strategy, TreeRule
from piactors.exit_reason import ExitReason
from piactors.options import Backoff
from tests.supervision.simple_model import ChildSpec, SimpleSupervisor, TreeSpec, Waits

HISTORIES = 4_000
"""Of each strategy."""

FAILED = ExitReason(kind="start_failed")
STOPPED = Exit(ExitReason(kind="shutdown"))
EXITS = {
    "crash": Exit(ExitReason(kind="signaled", signal=9)),
    "normal": Exit(ExitReason(kind="normal")),
    "wanted": Exit(ExitReason(kind="normal"), wanted=True),
    "uncharged": Exit(ExitReason(kind="signaled", signal=9), charged=False),
}
IDS = ["c0", "c1", "c2", "c3", "c4"]

# All times are multiples of 1/4, so that sums are exact and the far end of a window is met.
WAITS = [
    None,
    Waits(0.0, 2.0, 8.0),
    Waits(1.0, 2.0, 8.0),
    Waits(4.0, 1.0, 4.0, reset_after=2.0),
    Waits(0.5, 3.0, 2.5, reset_after=1.0, max_attempts=2),
]
KINDS = [
    {"restart": restart, "significant": significant, "own": own, "escalates": escalates, "waits": waits}
    for restart in ("permanent", "permanent", "transient", "temporary")
    for significant in (False, True)
    for own, escalates in [(None, True), (None, True), (None, False), ((0, 1.0), True), ((1, 2.0), False)]
    for waits in [None, *WAITS]
]
TREES = [
    {"max_restarts": most, "within": within, "auto_shutdown": auto, "waits": waits}
    for auto in ("never", "never", "any_significant", "all_significant")
    for most, within in [(0, 1.0), (1, 2.0), (2, 4.0), (3, 2.0), (None, 5.0)]
    for waits in [None, None, WAITS[2]]
]
OPERATIONS: list[tuple[Any, ...]] = [
    *[("elapse", seconds) for seconds in (0.25, 0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0)],
    *[("kill", id, how, alone) for id in IDS for how in ("crash", *EXITS) for alone in (True, False)],
    *[(name, id, True) for id in IDS for name in ("terminate_child", "restart_child", "delete_child")],
    *[(name, id, False) for id in IDS for name in ("terminate_child", "restart_child")],
    *[("start_child", id, True) for id in IDS],
    ("start_child", "c0", False),
    ("shut_down", True),
]
"""What may happen; the last item says whether it is handled before the next one happens."""

children = st.lists(st.sampled_from(KINDS), min_size=1, max_size=5)
failures = st.frozensets(st.integers(0, 25), max_size=5)
histories = st.lists(st.sampled_from(OPERATIONS), min_size=6, max_size=25)


class Driven:
    """A `SupervisorMachine` whose children start and stop at once, seen as the simple model is seen."""

    def __init__(self, spec: TreeSpec, failing: frozenset[int]) -> None:
        self.log: list[str] = []
        self.answers: list[tuple[int, str]] = []
        self.machine = SupervisorMachine(
            TreeRule(
                strategy=spec.strategy,  # type: ignore[arg-type]
                budget=Budget(spec.max_restarts, spec.within),
                auto_shutdown=spec.auto_shutdown,  # type: ignore[arg-type]
                backoff=backoff_of(spec.waits),
            )
        )
        self.held: set[str] = set()
        """Children whose mailbox was kept at their end, or was theirs to keep."""
        self._failing = failing
        self._starts = 0
        self._now = 0.0
        self._processes: dict[str, int] = {}
        self._living: set[int] = set()
        self._waits: list[tuple[float, int, str, int]] = []
        self._order = itertools.count()
        self._inputs: deque[Callable[[], list[Action]]] = deque()

    @property
    def alive(self) -> bool:
        return self.machine.ended is None

    def start(self, specs: list[ChildSpec]) -> None:
        rules = [rule_of(spec) for spec in specs]
        self._inputs.append(lambda: self.machine.start(self._at(), rules))
        self.handle_all()

    def kill(self, id: str, how: str) -> None:
        process = self._processes.get(id)
        if process in self._living:
            self._living.discard(process)
            self._inputs.append(lambda: self._exited(id, process, how))

    def call(self, number: int, name: str, argument: Any) -> None:
        given = rule_of(argument) if name == "start_child" else argument
        self._inputs.append(lambda: getattr(self.machine, name)(self._at(), given, number))

    def shut_down(self) -> None:
        self._inputs.append(lambda: self.machine.stop(self._at()))

    def handle_all(self) -> None:
        while self._inputs and self.alive:
            for action in self._inputs.popleft()():
                self._perform(action)

    def elapse(self, seconds: float) -> None:
        until = self._now + seconds
        while self.alive and self._waits and self._waits[0][0] <= until:
            self._now, _, id, ticket = heapq.heappop(self._waits)
            self._inputs.append(lambda id=id, ticket=ticket: self.machine.due(self._at(), id, ticket))  # type: ignore[misc]
            self.handle_all()
        self._now = until

    def view(self) -> list[tuple[str, str, int]]:
        return [(child.id, child.state, child.restarts) for child in self.machine.children.values()]

    def forgotten_mailboxes(self) -> set[str]:
        """Return the children that nothing will start again, and whose mailboxes nobody has put down."""
        ids = list(self.machine.children)
        awaited = set()
        for at, child in enumerate(self.machine.children.values()):
            if child.state == "restarting":
                groups = {"one_for_one": [child.id], "one_for_all": ids, "rest_for_one": ids[at:]}
                awaited.update(groups[self.machine.rule.strategy])
        return self.held - awaited

    def _at(self) -> Moment:
        return Moment(self._now)

    def _exited(self, id: str, process: int, how: str) -> list[Action]:
        if self._processes.get(id) != process:
            return []
        del self._processes[id]
        self.held.add(id)
        return self.machine.exited(self._at(), id, EXITS[how])

    def _perform(self, action: Action) -> None:
        match action:
            case Start(id):
                self._inputs.appendleft(self._start(id))
            case Stop(id, keep):
                self.log.append(f"stopped {id}")
                self._living.discard(self._processes.pop(id))
                if keep:
                    self.held.add(id)
                self._inputs.appendleft(lambda: self.machine.exited(self._at(), id, STOPPED))
            case WaitBeforeStart(id, 0, ticket):
                self._inputs.append(lambda: self.machine.due(self._at(), id, ticket))
            case WaitBeforeStart(id, seconds, ticket):
                heapq.heappush(self._waits, (self._now + seconds, next(self._order), id, ticket))
            case Release(id) | Forget(id):
                self.held.discard(id)
            case Answer(call, _, error):
                self.answers.append((call, "ok" if error is None else type(error).__name__))
            case StartRefused(call):
                self.answers.append((call, "did not start"))
            case Ended(_, failed):
                self.log.append("ended: shutdown" if failed is None else f"ended: start of {failed}")
            case BudgetExceeded():
                pass

    def _start(self, id: str) -> Callable[[], list[Action]]:
        number, self._starts = self._starts, self._starts + 1
        if number in self._failing:
            self.log.append(f"start failed {id}")
            return lambda: self.machine.start_failed(self._at(), id, FAILED)
        self.log.append(f"started {id}")
        self.held.discard(id)
        self._processes[id] = number
        self._living.add(number)
        return lambda: self.machine.started(self._at(), id)


def backoff_of(waits: Waits | None) -> Backoff | None:
    if waits is None:
        return None
    return Backoff(waits.initial, waits.factor, waits.maximum, 0.0, waits.reset_after, waits.max_attempts)


def rule_of(spec: ChildSpec) -> ChildRule:
    return ChildRule(
        id=spec.id,
        restart=spec.restart,  # type: ignore[arg-type]
        significant=spec.significant,
        backoff=backoff_of(spec.waits),
        budget=None if spec.own is None else Budget(*spec.own),
        escalates=spec.escalates,
    )


def compare(tree: TreeSpec, specs: list[ChildSpec], failing: frozenset[int], history: list[tuple[Any, ...]]) -> None:
    """Let the same history happen to both, and compare all that can be seen after each step."""
    model, driven = SimpleSupervisor(tree, failing), Driven(tree, failing)
    by_id = {spec.id: spec for spec in specs}
    both = (model, driven)
    for one in both:
        one.start(specs)
    agree(model, driven)
    for number, (name, *args) in enumerate(history):
        if not model.alive:
            break
        for one in both:
            if name == "elapse":
                one.handle_all()
                one.elapse(*args)
                continue
            if name == "kill":
                one.kill(*args[:2])
            elif name == "shut_down":
                one.shut_down()
            else:
                one.call(number, name, by_id.get(args[0], ChildSpec(args[0])) if name == "start_child" else args[0])
            if args[-1]:
                one.handle_all()
        agree(model, driven)
    for one in both:
        one.shut_down()
        one.handle_all()
    agree(model, driven)
    assert not driven.alive


def agree(model: SimpleSupervisor, driven: Driven) -> None:
    assert driven.log == model.log
    assert driven.answers == model.answers
    assert driven.alive == model.alive
    if model.alive:
        assert driven.view() == model.view()
        assert not driven.forgotten_mailboxes()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_any_history_goes_as_in_the_simple_model(strategy: Strategy) -> None:
    """Starts, stops, answers, states, counts of restarts, and when the supervisor ends."""
    compared = 0

    @settings(max_examples=HISTORIES, deadline=None, derandomize=False, database=None)
    @given(st.sampled_from(TREES), children, failures, histories)
    def check(
        flags: dict[str, Any], kinds: list[dict[str, Any]], failing: frozenset[int], history: list[tuple[Any, ...]]
    ) -> None:
        nonlocal compared
        specs = [ChildSpec(id, **kind) for id, kind in zip(IDS, kinds, strict=False)]
        compare(TreeSpec(strategy, **flags), specs, failing, history)
        compared += 1

    check()
    assert compared >= HISTORIES


def test_ten_thousand_histories_are_compared() -> None:
    """Over all strategies."""
    assert 3 * HISTORIES >= 10_000


def test_a_wait_that_was_called_off_does_not_end_the_next_one() -> None:
    """A history that chance seldom finds."""
    crash, pause = ("kill", "c0", "crash", True), ("elapse", 2.0)
    again = [("terminate_child", "c0", True), ("restart_child", "c0", True)]
    tree = TreeSpec("one_for_one", waits=Waits(4.0, 1.0, 4.0))
    compare(tree, [ChildSpec("c0")], frozenset(), [crash, pause, *again, crash, pause, pause])

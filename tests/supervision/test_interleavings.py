"""Starts, stops and waits that take their time, in any order: what a supervisor never does, and always does."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piactors._rules.budget import Budget
from piactors._rules.exit import Exit
from piactors._rules.moment import Moment
from piactors._rules.supervisor.actions import Action, Answer, Ended, Forget, Start, StartRefused, Stop, WaitBeforeStart
from piactors._rules.supervisor.machine import SupervisorMachine
from piactors._rules.supervisor.rules import ChildRule, TreeRule
from piactors.exit_reason import ExitReason
from piactors.options import Backoff

FAILED = ExitReason(kind="start_failed")
STOPPED = Exit(ExitReason(kind="shutdown"))
CRASH = Exit(ExitReason(kind="signaled", signal=9))
EXITS = [
    CRASH,
    CRASH,
    Exit(ExitReason(kind="normal")),
    Exit(ExitReason(kind="normal"), wanted=True),
    Exit(ExitReason(kind="signaled", signal=9), charged=False),
]
SECOND = Backoff(1.0, 1.0, 1.0, 0.0)
IDS = ["c0", "c1", "c2", "c3"]
TREES = [
    TreeRule(strategy=strategy, budget=Budget(most, 5.0), auto_shutdown=auto, parallel=parallel)
    for strategy in ("one_for_one", "one_for_all", "rest_for_one")
    for most in (2, None, None)
    for auto in ("never", "never", "all_significant")
    for parallel in (False, False, True)
]
RULES = [
    ChildRule(id="", restart=restart, significant=significant, backoff=backoff, budget=budget, escalates=False)
    for restart in ("permanent", "permanent", "transient", "temporary")
    for significant in (False, False, True)
    for backoff in (None, None, SECOND)
    for budget in (None, None, Budget(1, 2.0))
]
CALLS = ["start_child", "terminate_child", "restart_child", "delete_child"]


@attrs.define
class Process:
    """A child that was told to start; `ready` and `stopping` may both be, or neither."""

    ready: bool = False
    stopping: bool = False


class World:
    """A supervisor's children, which finish what they are told when the test wants it; checks each action."""

    def __init__(self, tree: TreeRule, rules: list[ChildRule]) -> None:
        self.machine = SupervisorMachine(tree)
        self.now = 0.0
        self.rules = {rule.id: rule for rule in rules}
        self.processes: dict[str, Process] = {}
        self.waits: list[WaitBeforeStart] = []
        self.open: set[int] = set()
        self.calls = 0
        self.started_up = False
        self.told_to_stop = False
        self.ended = False
        self._restarting_group = False
        self._is_ending = False
        """As it was before the input: one input may start a child, and then, for another reason, begin the end."""
        self.take(self.machine.start(self._at(), rules))

    def choices(self) -> list[tuple[str, str | int]]:
        """Return all that may happen next, apart from calls and the supervisor's stop."""
        found: list[tuple[str, str | int]] = []
        for id, process in self.processes.items():
            if not process.ready:
                found += [("started", id), ("start_failed", id)]
            else:
                found.append(("exited", id))
        return found + [("due", index) for index in range(len(self.waits))]

    def happens(self, what: str, which: str | int, exit: Exit) -> None:
        """Let one of the choices happen."""
        self.now += 0.25
        if what == "due":
            wait = self.waits.pop(int(which))
            self.take(self.machine.due(self._at(), wait.id, wait.ticket))
            return
        id = str(which)
        if what == "started":
            self.processes[id].ready = True
            self.take(self.machine.started(self._at(), id))
        elif what == "start_failed":
            del self.processes[id]
            self.take(self.machine.start_failed(self._at(), id, FAILED))
        else:
            self._exited(id, exit)
        self.started_up |= self._all_up()

    def call(self, name: str, id: str) -> None:
        """Call the supervisor."""
        self.calls += 1
        self.open.add(self.calls)
        if name == "start_child":
            self.take(self.machine.start_child(self._at(), self.rules.get(id, ChildRule(id=id)), self.calls))
        else:
            self.take(getattr(self.machine, name)(self._at(), id, self.calls))

    def stop(self) -> None:
        """Tell the supervisor to end."""
        self.told_to_stop = True
        self.take(self.machine.stop(self._at()))

    def complete(self) -> None:
        """Let everything that was begun come to a good end, and running children run."""
        for _ in range(1000):
            todo: list[tuple[str, str | int]] = [
                ("exited" if process.ready else "started", id)
                for id, process in self.processes.items()
                if process.stopping or not process.ready
            ]
            todo += [("due", 0)] if self.waits else []
            if not todo:
                return
            what, which = todo[0]
            self.happens(what, which, STOPPED)
        raise AssertionError("it never comes to rest")

    def take(self, actions: list[Action]) -> None:
        """Check and remember what was asked for."""
        for action in actions:
            assert not self.ended, f"{action} after the end"
            match action:
                case Start(id):
                    self._start(id)
                case Stop(id, keep):
                    process = self.processes[id]
                    assert not process.stopping
                    process.stopping = True
                    self._restarting_group |= keep and not self._is_ending
                case WaitBeforeStart():
                    self.waits.append(action)
                case Answer(call) | StartRefused(call):
                    assert call in self.open
                    self.open.discard(call)
                case Forget(id):
                    assert id not in self.processes
                case Ended():
                    assert not self.processes
                    self.ended = True
                case _:
                    pass
        self._is_ending = self.machine._ending is not None

    def _start(self, id: str) -> None:
        assert id not in self.processes, f"{id} starts twice"
        assert not self._is_ending
        strategy, ids = self.machine.rule.strategy, list(self.machine.children)
        if strategy != "one_for_one":
            assert all(process.ready and not process.stopping for process in self.processes.values())
        if self._restarting_group:
            group = ids if strategy == "one_for_all" else ids[ids.index(id) :]
            assert self.processes.keys().isdisjoint(group), "a group's starts come after all of its stops"
            self._restarting_group = False
        self.processes[id] = Process()

    def _exited(self, id: str, exit: Exit) -> None:
        process = self.processes.pop(id)
        actions = self.machine.exited(self._at(), id, exit)
        rule, tree = self.rules.get(id, ChildRule(id=id)), self.machine.rule
        if (
            tree.strategy == "one_for_one"
            and self.started_up
            and not process.stopping
            and not self._is_ending
            and not self.ended
            and exit is CRASH
            and (rule.restart, rule.budget, rule.backoff, tree.budget.max_restarts) == ("permanent", None, None, None)
        ):
            assert any(isinstance(action, Start) and action.id == id for action in actions), "it had to wait"
        self.take(actions)

    def _all_up(self) -> bool:
        return all(id in self.processes and self.processes[id].ready for id in self.machine.children)

    def _at(self) -> Moment:
        return Moment(self.now)


@pytest.mark.timeout(240)
@settings(max_examples=4_000, deadline=None, database=None)
@given(
    st.sampled_from(TREES),
    st.lists(st.sampled_from(RULES), min_size=1, max_size=4),
    st.lists(st.integers(0, 2**16 - 1), min_size=5, max_size=40),
)
def test_whatever_the_order_of_events_no_child_runs_twice_and_every_call_is_answered(
    tree: TreeRule, kinds: list[ChildRule], choices: list[int]
) -> None:
    """And the end comes after `stop`, with nothing active, as soon as all stops are complete."""
    rules = [attrs.evolve(kind, id=id) for id, kind in zip(IDS, kinds, strict=False)]
    world = World(tree, rules)
    for number in choices:
        kind, number = number % 16, number // 16
        if kind < 4:
            world.call(CALLS[kind], IDS[number % len(IDS)])
        elif kind == 4 and number % 8 == 0:
            world.stop()
        elif possible := world.choices():
            what, which = possible[number % len(possible)]
            # Mostly starts succeed: else no supervisor would get past its own start.
            what = "started" if what == "start_failed" and kind < 12 else what
            world.happens(what, which, EXITS[kind % len(EXITS)])
    world.complete()
    if not world.ended:
        assert not world.open
        assert not world.told_to_stop
        running = {child.id for child in world.machine.children.values() if child.is_active}
        assert running == set(world.processes)
        world.stop()
        world.complete()
    assert world.ended
    assert not world.processes


def test_a_slow_start_does_not_put_off_the_restart_of_another() -> None:
    """Under one_for_one, while under one_for_all it does."""
    rules = [ChildRule(id="slow"), ChildRule(id="other")]
    one, all_ = SupervisorMachine(TreeRule()), SupervisorMachine(TreeRule(strategy="one_for_all"))
    for machine in (one, all_):
        machine.start(Moment(0.0), rules)
        machine.started(Moment(0.0), "slow")
        machine.started(Moment(0.0), "other")
    one.exited(Moment(1.0), "slow", CRASH)
    assert starts(one.exited(Moment(1.0), "other", CRASH)) == ["other"]
    all_.exited(Moment(1.0), "slow", CRASH)
    assert starts(all_.exited(Moment(1.0), "other", STOPPED)) == ["slow"]
    assert starts(all_.started(Moment(1.0), "slow")) == ["other"]


def starts(actions: list[Action]) -> list[str]:
    return [action.id for action in actions if isinstance(action, Start)]


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_a_stop_in_the_middle_of_a_start_ends_when_the_start_has_failed(strategy: str) -> None:
    """The child is told to stop, and what it then reports is its end, whatever it is."""
    machine = SupervisorMachine(TreeRule(strategy=strategy))  # type: ignore[arg-type]
    assert machine.start(Moment(0.0), [ChildRule(id="a"), ChildRule(id="b")])[0].id == "a"  # type: ignore[union-attr]
    assert machine.stop(Moment(0.0)) == [Stop("a", keep=False)]
    assert machine.started(Moment(0.0), "a") == []
    assert [type(action) for action in machine.start_failed(Moment(0.0), "a", FAILED)] == [Ended]

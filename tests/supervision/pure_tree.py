"""A tree that exists only as decisions: machines and children in memory, everything at once and in one thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from piactors._rules.budget import Budget
from piactors._rules.exit import Exit
from piactors._rules.moment import Moment
from piactors._rules.supervisor.actions import (
    Action,
    Answer,
    Ended,
    Forget,
    Release,
    Start,
    StartRefused,
    Stop,
    WaitBeforeStart,
)
from piactors._rules.supervisor.machine import SupervisorMachine
from piactors._rules.supervisor.rules import ChildRule, TreeRule
from piactors.exit_reason import ExitReason, Kind

FAILED = ExitReason(kind="start_failed")
SHUTDOWN = Exit(ExitReason(kind="shutdown"))


class PureTree:
    """One supervisor of a trace, with its children and the supervisors below it."""

    def __init__(self, spec: dict[str, Any], log: list[str], starts: dict[str, int]) -> None:
        self.spec = spec
        self.log = log
        self.starts = starts
        self.specs = {child["id"]: child for child in spec["children"]}
        self.below: dict[str, PureTree] = {}
        self.answers: dict[str, str] = {}
        self.now = 0.0
        self.failed = False
        self._inputs: deque[Callable[[], list[Action]]] = deque()
        self.machine = SupervisorMachine(
            TreeRule(
                strategy=spec["strategy"],
                budget=Budget(spec["max_restarts"], 1000.0),
                auto_shutdown=spec["auto_shutdown"],
            )
        )

    @property
    def alive(self) -> bool:
        return self.machine.ended is None

    def start(self) -> bool:
        """Start it; False where a child failed."""
        self.tell(lambda: self.machine.start(self._at(), [rule_of(child) for child in self.spec["children"]]))
        return not self.failed

    def tell(self, give: Callable[[], list[Action]]) -> None:
        """Give the machine one input, and then all that follows from it."""
        self._inputs.append(give)
        while self._inputs:
            for action in self._inputs.popleft()():
                self._perform(action)

    def _at(self) -> Moment:
        self.now += 0.001
        return Moment(self.now)

    def _perform(self, action: Action) -> None:
        match action:
            case Start(id):
                self._inputs.appendleft(self._started(id))
            case Stop(id):
                self._stop(id)
                self._inputs.appendleft(lambda: self.machine.exited(self._at(), id, SHUTDOWN))
            case WaitBeforeStart(id, _, ticket):
                self._inputs.append(lambda: self.machine.due(self._at(), id, ticket))
            case Forget(id):
                self.specs.pop(id, None)
            case Answer(call, _, error):
                self.answers[call] = "ok" if error is None else type(error).__name__
            case StartRefused(call):
                self.answers[call] = "error"
            case Ended(_, failed):
                self.failed = failed is not None
            case Release():
                pass

    def _started(self, id: str) -> Callable[[], list[Action]]:
        spec = self.specs[id]
        if "supervisor" in spec:
            tree = self.below[id] = PureTree(spec["supervisor"], self.log, self.starts)
            succeeded = tree.start()
        else:
            self.starts[id] = self.starts.get(id, 0) + 1
            succeeded = self.starts[id] not in spec["fail_starts"]
            self.log.append(f"{'started' if succeeded else 'start_failed'} {id}")
        if succeeded:
            return lambda: self.machine.started(self._at(), id)
        return lambda: self.machine.start_failed(self._at(), id, FAILED)

    def _stop(self, id: str) -> None:
        if "supervisor" in self.specs[id]:
            below = self.below[id]
            below.tell(lambda: below.machine.stop(below._at()))
        else:
            self.log.append(f"stopped {id}")

    def end(self, id: str, kind: Kind) -> bool:
        """Let a worker end by itself, wherever it is; False where none of that id runs."""
        child = self.machine.children.get(id)
        if child is not None and id in self.specs and "supervisor" not in self.specs[id]:
            if self.alive and child.is_active:
                self.log.append(f"{'finished' if kind in ('normal', 'shutdown') else 'crashed'} {id}")
                self.tell(lambda: self.machine.exited(self._at(), id, Exit(ExitReason(kind=kind))))
                return True
            return False
        for name, tree in self.below.items():
            if tree.alive and tree.end(id, kind):
                if not tree.alive:
                    self.tell(lambda name=name: self.machine.exited(self._at(), name, SHUTDOWN))  # type: ignore[misc]
                return True
        return False


def rule_of(spec: dict[str, Any]) -> ChildRule:
    """Return what a trace says of a child, as a rule."""
    kind = "supervisor" if "supervisor" in spec else "worker"
    return ChildRule(id=spec["id"], restart=spec["restart"], significant=spec["significant"], type=kind)

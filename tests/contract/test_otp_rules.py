"""Scenarios that were run with the supervisor of Erlang/OTP 25, and what that did, step by step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pykka
import pytest

from piactors import (
    ChildAlreadyPresent,
    ChildAlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    StartError,
    Supervisor,
    SupervisorRef,
)
from tests.children.witnesses import ProcessWitness, ThreadWitness
from tests.support import wait_until

TRACES = Path(__file__).parent.parent / "data" / "otp_traces.jsonl"
SCENARIOS = [json.loads(line) for line in TRACES.read_text().splitlines()]
RESULTS = {
    ChildNotFound: "not_found",
    ChildRunning: "running",
    ChildRestarting: "restarting",
    StartError: "error",
    ChildAlreadyStarted: "already_started",
    ChildAlreadyPresent: "already_present",
    pykka.ActorDeadError: "no supervisor",
}
CALLS = ("terminate_child", "restart_child", "delete_child")


@attrs.define
class Stage:
    """One scenario under way: a tree of real children, and the file that they write to."""

    witness: type[pykka.Actor]
    log: Path
    tree: SupervisorRef | None = None

    def start(self, scenario: dict[str, Any]) -> str:
        try:
            self.tree = Supervisor.start(**self.settings(scenario))
        except StartError:
            return "error"
        return "ok"

    def settings(self, node: dict[str, Any]) -> dict[str, Any]:
        return {
            "strategy": node["strategy"],
            "max_restarts": node["max_restarts"],
            "within": 3600.0,
            "auto_shutdown": node["auto_shutdown"],
            "children": [self.spec(child) for child in node["children"]],
        }

    def spec(self, child: dict[str, Any]) -> ChildSpec:
        rules = {"restart": child["restart"], "significant": child["significant"]}
        if "supervisor" in child:
            return ChildSpec(child["id"], Supervisor, kwargs=self.settings(child["supervisor"]), **rules)
        return ChildSpec(child["id"], self.witness, args=(str(self.log), child["id"], child["fail_starts"]), **rules)

    def do(self, event: dict[str, Any]) -> str:
        operation, tree = event["op"], self.tree
        if operation in ("crash", "normal", "shutdown"):
            return self.end(event["id"], operation)
        if tree is None:
            return "no supervisor"
        try:
            if operation == "start_child":
                tree.start_child(self.spec(event["child"]))
            else:
                assert operation in CALLS
                getattr(tree, operation)(event["id"])
        except tuple(RESULTS) as error:
            return next(result for kind, result in RESULTS.items() if isinstance(error, kind))
        return "ok"

    def end(self, id: str, how: str) -> str:
        wait_until(lambda: "restarting" not in states(self.tree))  # written down is not yet known to the supervisor
        ref = next((ref for ref in running(self.tree) if ref.name == id), None)
        if ref is None:
            return "not running"
        generation = ref.generation
        ref.tell(how)
        wait_until(lambda: not ref.is_alive() or ref.generation > generation or ref.state == "restarting")
        return "ok"

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def seen(self) -> dict[str, Any]:
        try:
            if self.tree is None:
                raise pykka.ActorDeadError
            children = sorted([child.id, child.state] for child in self.tree.which_children())
            return {"alive": True, "children": children, "counts": list(attrs.astuple(self.tree.count_children()))}
        except pykka.ActorDeadError:
            return {"alive": False, "children": [], "counts": []}


def running(tree: SupervisorRef | None) -> Iterator[Any]:
    """Return the refs of all workers that run, wherever they are in the tree."""
    try:
        children = [] if tree is None else tree.which_children()
    except pykka.ActorDeadError:
        return
    for child in children:
        if child.type == "supervisor":
            yield from running(child.ref)
        elif child.state == "running" and child.ref.is_alive():
            yield child.ref


def states(tree: SupervisorRef | None) -> Iterator[str]:
    """Return the states of all children, wherever they are in the tree."""
    try:
        children = [] if tree is None else tree.which_children()
    except pykka.ActorDeadError:
        return
    for child in children:
        yield child.state
        if child.type == "supervisor":
            yield from states(child.ref)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("witness", [ThreadWitness, ProcessWitness])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario["name"] for scenario in SCENARIOS])
def test_as_otp_does(scenario: dict[str, Any], witness: type[pykka.Actor], tmp_path: Path) -> None:
    """Results, the order of starts and stops, states and counts are those of OTP after every step."""
    stage = Stage(witness, tmp_path / "log")
    expected: list[str] = []
    events = [None, *scenario["events"]]
    for position, step in enumerate(scenario["steps"]):
        if position == 0:
            result = stage.start(scenario)
        elif step["event"] == "stop":
            assert stage.tree is not None
            result = "ok" if stage.tree.stop(timeout=20) else "no supervisor"
        else:
            result = stage.do(events[position])  # type: ignore[arg-type]
        expected += step["log"]
        wanted = {"alive": step["alive"], "children": sorted(step["children"]), "counts": step["counts"]}
        try:
            wait_until(lambda: stage.lines() == expected and stage.seen() == wanted, 10.0)  # noqa: B023
        except AssertionError:
            assert (stage.lines(), stage.seen()) == (expected, wanted), step["event"]
        assert result == step["result"], step["event"]
    if stage.tree is not None:
        stage.tree.stop(timeout=20)
    assert stage.lines() == expected or scenario["steps"][-1]["alive"]

"""What Erlang/OTP's own `supervisor` did, recorded step by step: the decisions of ours are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.supervision.pure_tree import PureTree, rule_of

TRACES = Path(__file__).parent.parent / "data" / "otp_traces.jsonl"
SCENARIOS = [json.loads(line) for line in TRACES.read_text(encoding="utf-8").splitlines()]
EXITS: dict[str, Any] = {"crash": "signaled", "normal": "normal", "shutdown": "shutdown"}
RESULTS = {
    "ChildNotFound": "not_found",
    "ChildRunning": "running",
    "ChildRestarting": "restarting",
    "ChildAlreadyStarted": "already_started",
    "ChildAlreadyPresent": "already_present",
}
"""Our errors, as OTP calls them."""


def test_there_are_enough_scenarios() -> None:
    """Each with a name of its own."""
    assert len({scenario["name"] for scenario in SCENARIOS}) == len(SCENARIOS) == 120


@pytest.mark.timeout(30)
@pytest.mark.parametrize("scenario", [pytest.param(scenario, id=scenario["name"]) for scenario in SCENARIOS])
def test_a_tree_does_what_otp_did(scenario: dict[str, Any]) -> None:
    """Results, starts and stops in order, states and counts, after each step."""
    log: list[str] = []
    tree = PureTree(scenario, log, {})
    result = "ok" if tree.start() else "error"
    first, *steps = scenario["steps"]
    assert seen(tree, result, log) == expected(first)
    events = [*scenario["events"], {"op": "stop"}]
    for event, step in zip(events, steps, strict=False):
        log.clear()
        result = happens(tree, {"op": "stop"} if step["event"] == "stop" else event)
        assert seen(tree, result, log) == expected(step), step["event"]


def happens(tree: PureTree, event: dict[str, Any]) -> str:
    """Let an event of a scenario happen, and return its result."""
    operation, machine = event["op"], tree.machine
    if operation in EXITS:
        return "ok" if tree.alive and tree.end(event["id"], EXITS[operation]) else "not running"
    if operation == "stop":
        tree.tell(lambda: machine.stop(tree._at()))
        return "ok"
    if not tree.alive:
        return "no supervisor"
    if operation == "start_child":
        child = event["child"]
        if child["id"] not in machine.children:
            tree.specs[child["id"]] = child
        tree.tell(lambda: machine.start_child(tree._at(), rule_of(child), "call"))
    else:
        tree.tell(lambda: getattr(machine, operation)(tree._at(), event["id"], "call"))
    result = tree.answers.pop("call")
    return RESULTS.get(result, result)


def seen(tree: PureTree, result: str, log: list[str]) -> dict[str, Any]:
    """Return what a trace holds of one step."""
    children = [child for child in tree.machine.children.values() if child.announced] if tree.alive else []
    supervisors = sum(child.rule.type == "supervisor" for child in children)
    active = sum(child.is_active for child in children)
    return {
        "result": result,
        "log": list(log),
        "alive": tree.alive,
        "children": sorted([child.id, child.state] for child in children),
        "counts": [len(children), active, supervisors, len(children) - supervisors] if tree.alive else [],
    }


def expected(step: dict[str, Any]) -> dict[str, Any]:
    return {name: step[name] for name in ("result", "log", "alive", "counts")} | {"children": sorted(step["children"])}

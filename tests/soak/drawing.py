"""Isolates, trees and options drawn at random."""

from __future__ import annotations

import logging
import shutil
import sys
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import attrs

import piactors
from piactors import (
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    Heartbeat,
    IsolationLimits,
    IsolationOptions,
    ProcessIsolator,
    Recycle,
    Supervisor,
)
from tests.soak.actors import Actor, Threaded
from tests.soak.ledger import Facts
from tests.soak.world import BEHAVIOUR, Held, Tree, World

MIB = 1 << 20
START_SECONDS = 30.0


def output_taken(event: Any) -> None:
    """Take a line of output, as a user's function would."""


def options(world: World, dice: Random, name: str, style: str) -> IsolationOptions:
    """Return random options."""
    chosen: dict[str, Any] = {
        "name": name,
        "env": {"CHAOS_TOKEN": world.token},
        "start_timeout": START_SECONDS,
        "shutdown_timeout": dice.choice([0.3, 1.0, 2.0]),
        "log_level": "INFO",
        "restart": dice.choices(["temporary", "transient", "permanent"], [1, 2, 5])[0],
        "max_restarts": dice.choice([2, 5, 30, None]),
        "within": dice.choice([1.0, 5.0, 60.0]),
        "spin": dice.random() < 0.8,
        "while_restarting": dice.choices(["queue", "fail"], [5, 1])[0],
    }
    if world.has("hangs") and dice.random() < 0.6:
        chosen["call_timeout"] = dice.choice([0.3, 1.0])
    if dice.random() < 0.5:
        chosen["backoff"] = Backoff(initial=dice.choice([0.0, 0.01, 0.1]), maximum=0.5)
    if world.has("overflow") and dice.random() < 0.3:
        chosen.update(mailbox_capacity=dice.choice([1, 3, 20]), overflow=dice.choice(["block", "fail", "drop_oldest"]))
    if world.has("concurrency") and dice.random() < 0.25:
        chosen["concurrency"] = dice.randint(2, 5)
    if world.has("recycle") and dice.random() < 0.3:
        chosen["recycle"] = Recycle(after_calls=dice.choice([5, 20, 100]), after_seconds=dice.choice([0.2, 1.0, None]))
    if world.has("standby") and dice.random() < 0.25 and (chosen["restart"] != "temporary" or "recycle" in chosen):
        chosen["standby"] = True
    if world.has("heartbeat") and dice.random() < 0.2:
        chosen["heartbeat"] = Heartbeat(dice.choice([0.5, 1.0]), action=dice.choice(["kill", "log"]))
    if world.has("limits") and dice.random() < 0.35:
        chosen["limits"] = limits(dice)
    if world.has("output"):
        chosen["output"] = dice.choice(["log", "discard", output_taken])
    if world.has("spawn") and dice.random() < 0.1:
        chosen["start_method"] = "spawn"
    if style == "actor":
        chosen.pop("trust", None)
    return IsolationOptions(**chosen)


def limits(dice: Random) -> IsolationLimits:
    """Return random limits, which the isolate itself stays below by far."""
    chosen: dict[str, Any] = {}
    if dice.random() < 0.5:
        chosen["max_memory"] = dice.choice([150, 300]) * MIB
    if dice.random() < 0.3:
        chosen["max_processes"] = dice.choice([30, 100])
    if dice.random() < 0.3:
        chosen["max_open_files"] = 200
    if dice.random() < 0.2:
        chosen["max_cpu"] = dice.choice([0.5, 1.0])
    if dice.random() < 0.2:
        chosen["nice"] = 5
    if dice.random() < 0.3:
        chosen["mechanisms"] = dice.choice([["rlimit", "monitor", "scheduler"], ["monitor", "scheduler"]])
    return IsolationLimits(**chosen)


@cache
def other_python() -> str | None:
    """Return another interpreter of this machine, or None."""
    own = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folders = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    found = [str(path) for path in folders if path.parent.joinpath(own).exists() is False]
    named = [
        path
        for name in ("python3.8", "python3.10", "python3.12", "python3.13")
        if name != own and (path := shutil.which(name)) and ".pyenv/shims" not in path
    ]
    return next(iter([*found, *named]), None)


def facts_of(chosen: IsolationOptions, *, in_tree: bool) -> Facts:
    """Return what the ledger has to know of an isolate with these options."""
    return Facts(
        name=chosen.name or "",
        concurrency=chosen.concurrency,
        restart=chosen.restart,
        max_restarts=chosen.max_restarts,
        within=chosen.within,
        own_rules=not in_tree,
        swaps=chosen.recycle is not None or chosen.standby,
        limited=chosen.limits is not None,
        capacity="" if chosen.mailbox_capacity is None else chosen.overflow,
        drops=chosen.while_restarting == "fail" or chosen.overflow == "drop_oldest",
    )


def start_isolate(world: World, dice: Random) -> Held | None:
    """Start a random isolate; None where that fails, which is noted."""
    style = dice.choices(["actor", "plain", "isolator"], [6, 2, 2 if world.has("isolators") else 0])[0]
    name = f"{style[0]}{next(world.names)}"
    chosen = options(world, dice, name, style)
    if style != "actor" and world.has("other_python") and dice.random() < 0.2 and other_python():
        chosen = attrs.evolve(chosen, python=other_python(), start_method=dice.choice(["launcher", "spawn"]))
    journal = world.folder / f"{name}.journal"
    journal.touch()
    try:
        ref, isolator = _start(world, style, chosen, journal)
    except piactors.StartError as error:
        _judge_start_error(world, name, error)
        return None
    held = Held(facts_of(chosen, in_tree=False), chosen, ref, journal, style, isolator)
    world.add(held)
    return held


def _start(world: World, style: str, chosen: IsolationOptions, journal: Path) -> tuple[Any, ProcessIsolator | None]:
    with world.watch.bounded(f"start {chosen}", START_SECONDS + 10, chosen.name or ""):
        if style == "actor":
            return Actor.with_options(chosen).start(str(journal)), None
        if style == "plain":
            return piactors.spawn(f"{BEHAVIOUR}:Plain", str(journal), options=chosen), None
        isolator = ProcessIsolator(chosen).start()
        return isolator.ref, isolator


def _judge_start_error(world: World, name: str, error: piactors.StartError) -> None:
    """A start may fail where a launcher or a process was killed at that moment, and for no other reason."""
    world.watch.note(f"start failed: {error}", name)
    logging.getLogger("chaos").debug("start of %s failed: %s", name, error)
    text = str(error)
    disturbed = world.has("kill_launcher") or world.has("stop_launcher")
    if not disturbed:
        world.fault("start failed", name, text[:2000])


def start_tree(world: World, dice: Random) -> Tree | None:
    """Start a random supervision tree."""
    number = next(world.names)
    members: list[Held] = []
    specs = [_child(world, dice, f"t{number}c{place}", members) for place in range(dice.randint(1, 3))]
    if dice.random() < 0.5:
        inner = [_child(world, dice, f"t{number}n{place}", members) for place in range(dice.randint(1, 2))]
        fields = {"children": inner, "strategy": _strategy(dice), "max_restarts": dice.choice([1, 1000]), "within": 1.0}
        specs.append(ChildSpec("nested", Supervisor, kwargs={**fields, "name": f"t{number}-nested"}))
    if dice.random() < 0.5:
        specs.append(ChildSpec("thread", Threaded, restart="permanent"))
    if dice.random() < 0.5:
        fields = {"max_restarts": 1000, "within": 1.0, "name": f"t{number}-dynamic"}
        specs.append(ChildSpec("dynamic", DynamicSupervisor, kwargs=fields))
    dice.shuffle(specs)
    try:
        with world.watch.bounded(f"start tree {number}", 2 * START_SECONDS):
            ref = Supervisor.start(
                children=specs,
                strategy=_strategy(dice),
                max_restarts=dice.choice([3, 1000, None]),
                within=1.0,
                name=f"t{number}",
            )
    except piactors.StartError as error:
        _judge_start_error(world, f"t{number}", error)
        return None
    tree = Tree(ref)
    _find(world, tree, ref, {held.name: held for held in members})
    world.trees.append(tree)
    return tree


def _strategy(dice: Random) -> Any:
    return dice.choice(["one_for_one", "one_for_all", "rest_for_one"])


def _child(world: World, dice: Random, name: str, members: list[Held]) -> ChildSpec:
    """Return the spec of a random child, and add what is known of it, without a ref, to `members`."""
    chosen = options(world, dice, name, "actor")
    journal = world.folder / f"{name}.journal"
    journal.touch()
    restart: Any = dice.choice(["permanent", "permanent", "transient"])
    if chosen.standby and restart == "temporary":
        chosen = attrs.evolve(chosen, standby=False)
    chosen = attrs.evolve(chosen, restart=restart)
    facts = facts_of(chosen, in_tree=True)
    none: Any = None
    members.append(Held(facts, chosen, none, journal, "actor", in_tree=True))
    return ChildSpec(
        name,
        Actor,
        args=(str(journal),),
        options=chosen,
        restart=restart,
        backoff=chosen.backoff,
        shutdown=dice.choice([0.5, 2.0, "kill"]),
        quarantine=dice.random() < 0.2,
    )


def _find(world: World, tree: Tree, ref: Any, members: dict[str, Held]) -> None:
    """Take the refs of the children; a tree may have ended already."""
    try:
        children = ref.which_children()
    except piactors.ActorDeadError:
        return
    for info in children:
        if info.id == "dynamic":
            tree.dynamic = info.ref
        elif info.type == "supervisor":
            _find(world, tree, info.ref, members)
        elif info.id in members:
            held = members[info.id]
            held.ref = info.ref
            tree.members.append(held)
            world.add(held)


def start_dynamic_child(world: World, dice: Random, tree: Tree) -> None:
    """Have a dynamic supervisor start a child."""
    assert tree.dynamic is not None
    members: list[Held] = []
    name = f"d{next(world.names)}"
    spec = _child(world, dice, name, members)
    held = members[0]
    with world.watch.bounded(f"start_child {name}", START_SECONDS + 10, name):
        try:
            held.ref = tree.dynamic.start_child(spec)
        except (piactors.StartError, piactors.ActorDeadError) as error:
            world.watch.note(f"start_child: {error}", name)
            return
    tree.members.append(held)
    world.add(held)

"""2,000 random sets of hooks: the same results and exceptions in isolates as in the host, and as with pluggy itself."""

from __future__ import annotations

import random
import types
import warnings
from typing import Any

import pluggy
import pytest

import piactors
from piactors import IsolationOptions
from piactors.plugins.asking import IsolatedPlugin
from piactors.plugins.crashes import Crashes
from piactors.plugins.inside import FOLDER, SIDE
from piactors.plugins.kept import KeptState
from piactors.plugins.manager import HookManager
from piactors.plugins.specs import PluginPolicy
from piactors.plugins.stand_in import RemoteHook, described, module_of
from tests.plugins.players import Player

SETS = 2_000
PLAYERS = 5
hookspec = pluggy.HookspecMarker("random")


class Specs:
    @hookspec
    def play(self, plans: Any) -> Any: ...


class FirstSpecs:
    @hookspec(firstresult=True)
    def play(self, plans: Any) -> Any: ...


class Isolates:
    """One isolate for each player; the functions of each stand in the host."""

    def __init__(self) -> None:
        self.plugins: dict[str, IsolatedPlugin] = {}
        self.hooks: dict[str, dict[str, RemoteHook]] = {}
        policy = PluginPolicy(on_error="raise", quarantine=None)
        options = IsolationOptions(trust="data", on_cycle="reenter", sys_path=[FOLDER])
        for name in names():
            ref = piactors.spawn(SIDE, Player(name), "random", {}, False, options=options)
            found = described(ref.proxy().describe().get(timeout=20))
            self.plugins[name] = IsolatedPlugin(name, ref, policy, Crashes(KeptState(None)), found.fingerprint)
            self.hooks[name] = {hook.name: hook for hook in found.hooks}


def names() -> list[str]:
    return [f"p{number}" for number in range(PLAYERS)]


@pytest.fixture
def isolates() -> Isolates:
    return Isolates()


def chosen(rng: random.Random) -> list[tuple[str, str, dict[str, Any]]]:
    """Return who takes part, with which kind of hook, and which marks."""
    found = []
    for name in rng.sample(names(), rng.randint(1, PLAYERS)):
        kind = rng.choices(["plain", "around", "old"], [5, 2, 1])[0]
        marks = {"tryfirst": rng.random() < 0.3, "trylast": rng.random() < 0.3}
        found.append((name, kind, marks))
    return found


def plan(rng: random.Random) -> dict[str, Any]:
    """Return what one does."""
    value = ("value", rng.randint(0, 99))
    return {
        "inside": rng.choices([value, ("none",), ("raise", rng.randint(0, 9))], [6, 3, 1])[0],
        "before": rng.choices([("none",), ("raise", 77)], [9, 1])[0],
        "after": rng.choices([("keep",), value, ("raise", 88)], [4, 4, 1])[0],
        "catches": rng.random() < 0.4,
    }


def module_of_player(name: str, kind: str, marks: dict[str, Any]) -> types.ModuleType:
    """Return a plugin of one function of a player."""
    method = getattr(Player(name), kind)
    opts = {**method.random_impl, **marks}
    module = types.ModuleType(name)

    if kind == "plain":

        def function(plans: Any) -> Any:
            return method(plans)
    else:

        def function(plans: Any) -> Any:
            return (yield from method(plans))

    function.random_impl = opts  # type: ignore[attr-defined]
    module.__dict__[kind] = function
    return module


def outcome(manager: pluggy.PluginManager, plans: dict[str, Any]) -> tuple[str, Any]:
    """Return what a call comes to."""
    try:
        return "returned", _lists(manager.hook.play(plans=plans))
    except Exception as error:
        return type(error).__name__, str(error)


def _lists(value: Any) -> Any:
    return [_lists(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.mark.timeout(240)
@pytest.mark.parametrize("first", range(0, SETS, 500))
def test_the_same_with_pluggy_in_the_host_and_in_isolates(isolates: Isolates, first: int) -> None:
    warnings.simplefilter("ignore", pluggy.PluggyTeardownRaisedWarning)
    for seed in range(first, first + 500):
        rng = random.Random(seed)
        specs = rng.choice([Specs, FirstSpecs])
        taking_part = chosen(rng)
        elsewhere = {name for name, _, _ in taking_part if rng.random() < 0.7}
        plans = {name: plan(rng) for name in names()}
        found = []
        for manager in (pluggy.PluginManager("random"), HookManager("random"), HookManager("random")):
            manager.add_hookspecs(specs)
            in_isolates = isinstance(manager, HookManager) and len(found) == 2
            for name, kind, marks in taking_part:
                if in_isolates and name in elsewhere:
                    hook = isolates.hooks[name][kind]
                    remote = RemoteHook(**{**_fields(hook), "opts": {**hook.opts, **marks}})
                    manager.register(module_of(name, [remote], "random_impl", isolates.plugins[name]), name)
                else:
                    manager.register(module_of_player(name, kind, marks), name)
            found.append(outcome(manager, plans))
        assert found[0] == found[1] == found[2], f"seed {seed}: {taking_part} {elsewhere} {plans}"


def _fields(hook: RemoteHook) -> dict[str, Any]:
    names = ("name", "parameters", "opts", "is_coroutine", "is_generator", "doc")
    return {name: getattr(hook, name) for name in names}

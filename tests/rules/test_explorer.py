"""Random lives: what holds always holds, and whoever changes a rule so that it does not is caught."""

from __future__ import annotations

import random
import sys
import types
import typing
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from piactors._rules import actions, lifecycle, replacement, succession
from tests.rules.lives import Explorer

STEPS = 100_000
LONG_STEPS = 1_000_000
LONGEST_LIFE = 120
MUTANT_LIVES = 4000

MUTANTS = {
    "the last reason counts": ("replacement", "if not body.doomed:  # the first reason stands", "if True:"),
    "nothing is sent after a replacement is called off": (
        "replacement",
        "if paused and self.current is not None:",
        "if False:",
    ),
    "it is told to go on though it has ended": (
        "replacement",
        "if paused and self.current is not None:",
        "if paused:",
    ),
    "the old process stays": ("replacement", "            self._retire(old)\n", "            pass\n"),
    "two replacements at once": ("replacement", "if self.swap is Swap.NONE and self._may_replace() and", "if"),
    "two standbys": (
        "replacement",
        " or self._in_role(Role.STANDBY) is not None:\n            return\n",
        ":\n            return\n",
    ),
    "what is not needed stays": (
        "succession",
        "            if body.role in (Role.STANDBY, Role.SUCCESSOR):",
        "            if body.role is Role.SUCCESSOR:",
    ),
    "a cold replacement launches beside what it ends": (
        "replacement",
        "if self._in_role(Role.RETIRING) is not None or self._in_role(Role.SUCCESSOR) is not None:",
        "if self._in_role(Role.SUCCESSOR) is not None:",
    ),
    "a wait goes on": ("succession", "self._do(CancelWait())", "pass"),
    "a stop is forgotten": ("succession", "self.wish = max(self.wish, wish)", "pass"),
    "it starts once more after a stop": (
        "succession",
        "stays_down = self.wish is not Wish.NONE or self.stays_down",
        "stays_down = False",
    ),
    "its supervisor hears too early": (
        "succession",
        "        if not self.halting:\n            self._hold()\n",
        "        self._hold()\n",
    ),
    "it is closed while something is left": (
        "succession",
        "if self.phase is Phase.CLOSING and not self.bodies:",
        "if self.phase is Phase.CLOSING:",
    ),
    "it never closes": ("lifecycle", "        self._look_whether_alone()\n        actions", "        actions"),
    "a dead process runs": (
        "succession",
        "        self._do(Detach(reported=not only_lacks))\n        if only_lacks",
        "        if only_lacks",
    ),
    "messages go to a process that is not ready": (
        "succession",
        "        self._attach(number)\n        if self.bodies[number].ready:",
        "        self._attach(number)\n        self._do(Resume())\n        if self.bodies[number].ready:",
    ),
    "messages go to a process that stops": (
        "lifecycle",
        "        self.phase = Phase.STOPPING\n        self._do(Shut())",
        "        self.phase = Phase.STOPPING",
    ),
    "a stop that came early is forgotten": (
        "lifecycle",
        "                self._begin_to_stop(body.stop_begun)\n                return",
        "                return",
    ),
    "it starts though its supervisor does not wait for that": (
        "lifecycle",
        "        if self.phase is Phase.HELD:\n            self._start()",
        "        self._start()",
    ),
}


def explore(steps: int, seed: int, make: Any = lifecycle.Lifecycle) -> Counter[str]:
    """Take lives of random length through so many steps, and return how often each action was asked for."""
    lengths, seen = random.Random(seed), Counter[str]()
    done = 0
    while done < steps:
        length = lengths.randrange(5, LONGEST_LIFE)
        seen += Explorer(lengths.randrange(1 << 30), make).run(length)
        done += length
    return seen


def mutated(module: str, old: str, new: str) -> type[lifecycle.Lifecycle]:
    """Return the machine with one passage of its source replaced."""
    made = {}
    for name, original in (("replacement", replacement), ("succession", succession), ("lifecycle", lifecycle)):
        source = Path(str(original.__file__)).read_text()
        if name == module:
            assert source.count(old) >= 1, f"{old!r} is not in {name} any more"
            source = source.replace(old, new)
        made[name] = types.ModuleType(f"mutated_{name}")
        namespace = made[name].__dict__
        for other in ("replacement", "succession"):
            source = source.replace(f"from piactors._rules.{other} import", f"from mutated_{other} import")
        code = compile(source, f"mutated {name}", "exec", dont_inherit=True)
        with pytest.MonkeyPatch.context() as patch:
            for other, found in made.items():
                patch.setitem(sys.modules, f"mutated_{other}", found)
            exec(code, namespace)
    found: type[lifecycle.Lifecycle] = made["lifecycle"].Lifecycle
    return found


def test_random_lives() -> None:
    seen = explore(STEPS, 1)
    missing = {cls.__name__ for cls in typing.get_args(actions.Action)} - seen.keys()
    assert not missing, f"never asked for: {missing}"


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_many_random_lives() -> None:
    explore(LONG_STEPS, random.randrange(1 << 30))


def test_what_is_not_changed_is_not_caught() -> None:
    explore(STEPS, 2, mutated("lifecycle", "Wish.STOP", "Wish.STOP"))


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    make = mutated(*MUTANTS[name])
    with pytest.raises((AssertionError, KeyError)):
        explore(MUTANT_LIVES * LONGEST_LIFE, 1, make)

"""Random programs whose isolated code writes to its globals, and a model of what comes of it.

The model of one isolate: a global that the host has changed since it was last sent arrives with the next call that
uses it, and wins; every other one stays what isolated code has made of it.  A class's attributes are such globals too.
"""

from __future__ import annotations

import copy
import random
from typing import Any

import attrs

from tests.values.programs import Call, Exec, Program, Step

Told = tuple[Any, ...]

PREAMBLE = """\
n0, n1, l0, d0 = 0, 0, [], {}
class K:
    total = 0
    seen = []
def add0():
    global n0
    n0 += 1
    return n0
def add1():
    global n1
    n1 += 1
    return n1
def get0(): return n0
def get1(): return n1
def both(): return (add0(), get1())
def put(x):
    l0.append(x)
    return list(l0)
def listed(): return list(l0)
def store(key):
    d0[key] = n0
    return dict(d0)
def forget():
    global n1
    del n1
    return "forgotten"
def count():
    K.total += 1
    return K.total
def total(): return K.total
def see(x):
    K.seen.append(x)
    return list(K.seen)
def anew(x):
    global n1
    n1 = x
    return x
"""


@attrs.define
class State:
    """The globals of one module in one process; a name that is not bound is not in it."""

    values: dict[str, Any]

    def run(self, function: str, *args: Any) -> Told:
        """Do what a function of the preamble does, and tell it as `worlds` does."""
        try:
            return ("gave", _told(getattr(self, function)(*args)))
        except KeyError as error:
            return ("raised", "NameError", None, f"name {error.args[0]!r} is not defined")

    def add0(self) -> int:
        self.values["n0"] += 1
        return int(self.values["n0"])

    def add1(self) -> int:
        self.values["n1"] += 1
        return int(self.values["n1"])

    def get0(self) -> int:
        return int(self.values["n0"])

    def get1(self) -> int:
        return int(self.values["n1"])

    def both(self) -> tuple[int, int]:
        return self.add0(), self.get1()

    def put(self, x: int) -> list[int]:
        self.values["l0"].append(x)
        return list(self.values["l0"])

    def listed(self) -> list[int]:
        return list(self.values["l0"])

    def store(self, key: str) -> dict[str, int]:
        self.values["d0"][key] = self.values["n0"]
        return dict(self.values["d0"])

    def forget(self) -> str:
        del self.values["n1"]
        return "forgotten"

    def count(self) -> int:
        self.values["K.total"] += 1
        return int(self.values["K.total"])

    def total(self) -> int:
        return int(self.values["K.total"])

    def see(self, x: int) -> list[int]:
        self.values["K.seen"].append(x)
        return list(self.values["K.seen"])

    def anew(self, x: int) -> int:
        self.values["n1"] = x
        return x


START: dict[str, Any] = {"n0": 0, "n1": 0, "l0": [], "d0": {}, "K.total": 0, "K.seen": []}
USES: dict[str, tuple[str, ...]] = {
    "add0": ("n0",),
    "add1": ("n1",),
    "get0": ("n0",),
    "get1": ("n1",),
    "both": ("n0", "n1"),
    "put": ("l0",),
    "listed": ("l0",),
    "store": ("d0", "n0"),
    "forget": ("n1",),
    "count": ("K.total", "K.seen"),
    "total": ("K.total", "K.seen"),
    "see": ("K.total", "K.seen"),
    "anew": ("n1",),
}
"""Which globals arrive with a call of a function: those that it uses, by itself or by what it calls."""

_ARGUMENTS = {"put": "{}", "see": "{}", "anew": "{}", "store": "'k{}'"}


@attrs.frozen
class Change:
    """What a host's statement does to its globals: a name, how, and a value."""

    source: str
    name: str
    how: str
    value: Any = None

    def apply(self, values: dict[str, Any]) -> None:
        """Do it to the host's own globals."""
        if self.how == "bind":
            values[self.name] = copy.copy(self.value)
        elif self.how == "delete":
            values.pop(self.name, None)
        elif self.how == "append":
            values[self.name].append(self.value)
        elif self.how == "item":
            values[self.name][self.value[0]] = self.value[1]


class Maker:
    """Makes one program; host's statements are `Change.source`, whose meaning `expected` reads back."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.number = 1000

    def program(self, name: str) -> Program:
        """Return a program of 5 to 15 steps after the first."""
        steps: list[Step] = [Exec(PREAMBLE)]
        for _ in range(self.random.randint(5, 15)):
            steps.append(self.call() if self.random.random() < 0.6 else Exec(self.change()))
        return Program(name, (*steps, self.call()))

    def fresh(self) -> int:
        self.number += 10
        return self.number

    def call(self) -> Call:
        """Return a call in one of the two isolates, each of which has globals of its own."""
        function = self.random.choice(list(USES))
        args = (_ARGUMENTS[function].format(self.fresh()),) if function in _ARGUMENTS else ()
        return Call(function, args, self.random.randrange(2), wait=self.random.random() < 0.5)

    def change(self) -> str:
        """Return a statement of the host."""
        number = self.fresh()
        redefined = self.random.choice((f"def get0(): return n0 + {number} - {number}\n", f"both.tag = {number}\n"))
        choices = (
            f"n0 = {number}\n",
            f"n1 = {number}\n",
            f"n1 = {number}\n",
            f"l0 = [{number}]\n",
            f"l0.append({number})\n",
            f"d0['h'] = {number}\n",
            f"K.total = {number}\n",
            f"K.seen.append({number})\n",
            f"K.other = {number}\n",
            "if 'n1' in globals(): del n1\n",
            redefined,
            redefined,
        )
        return self.random.choice(choices)


def meaning(source: str) -> Change | None:
    """Return what a statement changes; None for one that changes none of the globals of the model."""
    text = source.strip()
    if text.startswith(("def ", "both.", "K.other")):
        return None
    if text.startswith("if "):
        return Change(source, "n1", "delete")
    if ".append(" in text:
        name, _, rest = text.partition(".append(")
        return Change(source, name, "append", int(rest.rstrip(")")))
    name, _, value = text.partition(" = ")
    if name == "d0['h']":
        return Change(source, "d0", "item", ("h", int(value)))
    return Change(source, name, "bind", [int(value[1:-1])] if value.startswith("[") else int(value))


def expected(program: Program) -> list[Told]:
    """Return what each step of a program is to give."""
    host = copy.deepcopy(START)
    isolates: list[tuple[State, dict[str, int]]] = [(State({}), {}), (State({}), {})]
    looks: dict[str, list[Any]] = {}
    told: list[Told] = []
    for step in program.steps:
        if isinstance(step, Exec):
            change = None if step.source == PREAMBLE else meaning(step.source)
            if change is not None:
                change.apply(host)
            told.append(("done",))
            continue
        state, sent = isolates[step.isolate]
        for name in USES[step.target]:
            _bring(name, host, looks.setdefault(name, []), state.values, sent)
        told.append(state.run(step.target, *(eval(text) for text in step.args)))
    return told


def _bring(name: str, host: dict[str, Any], looks: list[Any], there: dict[str, Any], sent: dict[str, int]) -> None:
    """Bring a global of the host to an isolate, if it has changed since it was last brought.

    `looks` are the different values that calls of either isolate have met: what was changed, met by a call of the other
    one, and changed back has changed.
    """
    now = host.get(name, _UNBOUND)
    if not looks or looks[-1] != now:
        looks.append(copy.deepcopy(now))
    if sent.get(name) == len(looks) or (name not in sent and now is _UNBOUND):
        return
    sent[name] = len(looks)
    if now is _UNBOUND:
        there.pop(name, None)
    else:
        there[name] = copy.deepcopy(now)


_UNBOUND = "unbound"


def _told(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, *value)
    if isinstance(value, dict):
        return ("dict", *value.items())
    return value

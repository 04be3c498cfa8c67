"""Random programs of definitions that are changed, redefined and released between calls.

A program's isolated code writes to no global, so that a run in one process says what is right (`worlds`).
Programs whose isolated code does write are in `written`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import attrs


@attrs.frozen
class Exec:
    """Statements that the host runs in the program's module."""

    source: str


@attrs.frozen
class Call:
    """A call that is made through an isolate, by expressions that the host evaluates in the program's module.

    Attributes:
        target: what is called.
        args: its arguments.
        isolate: which of the two isolates.
        keep: the global that gets a copy of the result.
        wait: whether the program waits for the result, or goes on and looks at it at its end.
    """

    target: str
    args: tuple[str, ...]
    isolate: int = 0
    keep: str | None = None
    wait: bool = True


Step = Exec | Call


@attrs.frozen
class Program:
    """Steps, in a module that can be imported nowhere else."""

    name: str
    steps: tuple[Step, ...]

    def script(self) -> str:
        """Return the program as source that can be run."""
        steps = "".join(f"    {step!r},\n" for step in self.steps)
        return (
            "from tests.values.programs import Call, Exec, Program\nfrom tests.values.worlds import run_alone\n"
            f"run_alone(Program({self.name!r}, (\n{steps})))\n"
        )


PREAMBLE = """\
import dataclasses, enum, functools, gc
g0, g1, g2 = 1, 20, "s"
l0, l1, d0 = [1, 2], [3], {"a": 4}
def f0(x, d=5): return (x + g0, d)
class C0:
    attr, VERSION = 1, 0
    def __init__(self, x=1): self.x = x
    def m(self, x): return (self.x, x, g1)
    @staticmethod
    def s(x): return (x, g2)
    @classmethod
    def c(cls, x): return (cls.attr, cls.__name__, x)
    @property
    def p(self): return (self.x, g0)
class D0:
    def __init__(self, x=1): self.x, self.rest = x, []
    def __eq__(self, other): return type(other) is D0 and self.x == other.x
    def m(self, x): return (self.x, x, l0)
class E0(enum.Enum):
    A, B = 1, 2
class X0(Exception): pass
def h0(v): return (type(v).__name__, type(v) is C0, isinstance(v, C0), v.x, v == D0(v.x))
i0, i1 = C0(3), D0(4)
k0 = (lambda n: lambda x: (n, x, g0))(7)
fs = [f0, lambda x: (x, l0)]
"""
"""What each program begins with, so that each call finds something."""

INTS, LISTS, FUNCTIONS = ("g0", "g1", "g2"), ("l0", "l1"), ("f0", "f1", "f2", "f3")
CLASSES, INSTANCES, CLOSURES = ("C0", "C1", "C2"), ("i0", "i1", "i2"), ("k0", "k1")


EXPRESSIONS = (
    "x",
    "{N}",
    "{G}",
    "{L}",
    "sum({L}) + x",
    "d0.get('a', 0)",
    "{C}.attr",
    "{I}.x",
    "E0.A",
    "E0(1) is E0.A",
    "[{G}, *({G} for _ in range(2))]",
    "(lambda: {G})()",
    "isinstance({I}, {C})",
    "{C}(x)",
    "D0(x) == D0(x)",
    "type({I}) is {D}",
    "{I}",
    "{F}.__name__",
    "{C}.VERSION",
    "{F}",
    "issubclass({C}, {C})",
    "getattr({F}, 'tag', 0)",
)
"""Expressions of `x` that call nothing that could go on for ever; `Maker.__getitem__` says what the letters are."""

CALLED = ("{F}", "{F}", "{K}", "{I}.m", "{C}(2).m", "{C}(3).m", "fs[-1]", "fs[0]")
BODIES = (
    "{_}if x == 3: raise X0(x, {G})\n{_}return {V}\n",
    "{_}try: return {V}\n{_}except X0 as error: return ('caught', error.args)\n",
    "{_}def inner(y): return (y, {E})\n{_}return inner({V})\n",
    "{_}seen = []\n{_}for y in (x, {G}): seen.append((y, {E}))\n{_}return ({V}, seen)\n",
    *["{_}return {V}\n"] * 4,
)
"""Statements of a function of `x`; `_` is the indentation."""

PARAMETERS = ("x", "x", "x, d={L}", "x, d={G}", "x, d=D0(2)", "x, *, k={G}", "x, d={N}, *rest, k={F}")
OTHER_CLASSES = (
    "@dataclasses.dataclass(order=True)\nclass D0:\n    x: int = {N}\n"
    "    rest: list = dataclasses.field(default_factory=list)\n    def m(self, x): return (self.x, {E})\n",
    "class E0(enum.Enum):\n    A, B, C = 1, 2, {N}\n    def m(self, x): return (self.name, {E})\n",
    "class X0(Exception):\n    VERSION = {N}\n",
    "class X0(KeyError):\n    VERSION = {N}\n",
    "def h0(v): return (type(v) is C0, isinstance(v, {C}), v.x, {G})\n",
)
CAPTURED = ("{G}", "{F}", "C0", "{L}", "{N}", "{I}")
LISTED = ("{F}", "lambda x: (x, {E})", "{K}")
CHANGES_IN_PLACE = (
    "{L}.append({N})\n",
    "{L}[0] = {N}\n",
    "d0['a'] = {N}\n",
    "d0[{N}] = {G}\n",
    "{I}.x = {N}\n",
    "fs.append({F})\n",
    "i1.rest.append(g0)\n",
    "{L}.clear()\n",
    "d0['f'] = {F}\n",
)
CLASS_CHANGES = (
    "{D}.attr = {N}\n",
    "{D}.attr = {G}\n",
    "{D}.m = lambda self, x: (self.x, {E})\n",
    "{C}.extra = {N}\n",
    "def patched(self, x):\n    return (x, {V})\n{D}.m = patched\ndel patched\n",
    "del {C}.attr\n",
    "{C}.__doc__ = 'd{N}'\n",
    "{C}.s = staticmethod({F})\n",
    "{C}.c = classmethod(lambda cls, x: (cls.attr, {E}))\n",
)
FUNCTION_CHANGES = (
    "{F}.tag = {N}\n",
    "{F}.__defaults__ = ({N},)\n",
    "{F}.__defaults__ = None\n",
    "{F}.__kwdefaults__ = {{'k': {N}}}\n",
    "{F}.__code__ = (lambda x, d=1: (x, {E})).__code__\n",
)
TARGETS = (
    *[("{F}", "{n}")] * 4,
    ("{K}", "{n}"),
    ("{K}", "{n}"),
    ("fs[-1]", "{n}"),
    ("{I}.m", "{n}"),
    ("{I}.up", "{n}"),
    ("{C}.c", "{n}"),
    ("{C}.s", "{n}"),
    ("{C}", "{n}"),
    ("{C}(2).m", "{n}"),
    ("h0", "{I}"),
    ("h0", "{I}"),
    ("h0", "D0({n})"),
    ("lambda x: (x, {E}, {F}(1))", "{n}"),
    ("lambda v: (v, v is E0.A, v in E0)", "E0.A"),
    ("lambda f: f({n})", "{F}"),
    ("functools.partial({F}, 2)", "d={n}"),
    ("lambda v: v.p + (v, {n})", "{I}"),
    ("lambda cs: [c(1).m(0) for c in cs]", "[{C}, {C}]"),
)
"""What is called, and its argument."""


class Maker:
    """Makes one program; each method that returns text makes one thing of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.defined = {"g0", "g1", "g2", "l0", "l1", "f0", "C0", "D0", "i0", "i1", "k0"}
        self.number = 100

    def program(self, name: str) -> Program:
        """Return a program of 5 to 15 steps after the first, that ends with calls."""
        steps: list[Step] = [Exec(PREAMBLE)]
        steps += [self.step() for _ in range(self.random.randint(4, 12))]
        steps += [self.call() for _ in range(self.random.randint(1, 3))]
        return Program(name, tuple(steps))

    def step(self) -> Step:
        """Return one step of any kind."""
        if self.random.random() < 0.35:
            return self.call()
        return Exec(self.random.choices(_MAKERS, _WEIGHTS)[0](self))

    def __getitem__(self, key: str) -> str:
        """Return what a letter of a template stands for: a name of its kind, a new number, an expression, a value."""
        if key in _NAMES:
            return self.pick(_NAMES[key])
        return _PARTS[key](self)

    def text(self, templates: Sequence[str], **more: str) -> str:
        """Return one of the templates, filled in."""
        template = self.random.choice(templates)
        return template.format_map(_Letters(self, more)) if "{" in template else template

    def pick(self, names: tuple[str, ...]) -> str:
        """Return one of the names, mostly one that has been bound."""
        bound = [name for name in names if name in self.defined]
        return self.random.choice(bound if bound and self.random.random() < 0.97 else names)

    def bind(self, name: str) -> str:
        self.defined.add(name)
        return name

    def constant(self) -> str:
        self.number += 1
        return str(self.number)

    def value(self) -> str:
        """Return a tuple of expressions and calls.

        Calls get half of `x`, and are made only while it is not 0: so all of them end.
        """
        parts = [self.text(EXPRESSIONS), self.text(EXPRESSIONS)]
        for _ in range(self.random.choice((0, 1, 1, 2))):
            parts.append(f"({self.text(CALLED)}(x // 2) if x > 0 else {self.constant()})")
        return f"({', '.join(parts)})"

    # Steps of the host

    def function(self) -> str:
        name, parameters = self.random.choice(FUNCTIONS), self.text(PARAMETERS)
        wraps = f"@functools.wraps({self.pick(FUNCTIONS)})\n" if self.random.random() < 0.15 else ""
        body = self.text(BODIES, _="    ")
        for extra in ("d", "k", "rest"):
            if f"{extra}=" in parameters or f"*{extra}" in parameters:
                body = body.replace("return (", f"return ({extra}, ", 1)
        self.bind(name)
        return f"{wraps}def {name}({parameters}):\n{body}"

    def klass(self) -> str:
        name = self.random.choice(CLASSES)
        bases = [base for base in CLASSES if base < name and base in self.defined]
        base = self.random.choice(bases) if bases and self.random.random() < 0.6 else ""
        text = f"class {name}({base}):\n    attr, VERSION = {self.constant()}, {self.constant()}\n"
        if not base:
            text += "    def __init__(self, x=1): self.x = x\n"
        text += f"    def m(self, x):\n{self.text(BODIES, _='        ')}"
        more = (
            f"    def up(self, x): return ({self.text(EXPRESSIONS)}, super().m(0))\n",
            f"    @staticmethod\n    def s(x):\n{self.text(BODIES, _='        ')}",
            "    @classmethod\n    def c(cls, x): return (cls.attr, cls.__name__, x)\n",
            f"    @property\n    def p(self): return (self.x, {self.pick(INTS)})\n",
        )
        self.bind(name)
        return text + "".join(part for part in more if self.random.random() < 0.5)

    def other_class(self) -> str:
        return self.text(OTHER_CLASSES)

    def closure(self) -> str:
        name, captured = self.random.choice(CLOSURES), self.text(CAPTURED)
        body = f"    def local(x):\n{self.text(BODIES, _='        ')}    return local\n"
        if self.random.random() < 0.3:
            method = f"    class Local:\n        def m(self, x): return (n, {self.text(EXPRESSIONS)})\n"
            body = f"{method}    return lambda x: (Local().m(x), isinstance(Local(), Local))\n"
        return f"def make(n):\n{body}{self.bind(name)} = make({captured})\n{self.random.choice(('', 'del make'))}"

    def rebinding(self) -> str:
        kind = self.random.randrange(4)
        if kind == 0:
            return f"{self.bind(self.random.choice(LISTS))} = [{self.constant()}, {self.constant()}]\n"
        if kind == 1:
            return f"fs = [{self.text(LISTED)}, {self.text(LISTED)}]\n"
        return f"{self.bind(self.random.choice(INTS))} = {self.constant()}\n"

    def change_in_place(self) -> str:
        return self.text(CHANGES_IN_PLACE)

    def instance(self) -> str:
        made = self.pick((*CLASSES, "D0"))
        return f"{self.bind(self.random.choice(INSTANCES))} = {made}({self.constant()})\n"

    def class_change(self) -> str:
        return self.text(CLASS_CHANGES)

    def function_change(self) -> str:
        return self.text(FUNCTION_CHANGES)

    def alias(self) -> str:
        if self.random.random() < 0.5:
            return f"{self.random.choice(LISTS)} = {self.pick(LISTS)}\n"
        known = self.pick(FUNCTIONS)
        return f"{self.bind(self.random.choice(FUNCTIONS))} = {known}\n"

    def deletion(self) -> str:
        bound = sorted(self.defined - {"l0", "l1", "D0"})
        name = self.random.choice(bound)
        self.defined.discard(name)
        return f"del {name}\n"

    def collection(self) -> str:
        return f"{self.random.choice(INSTANCES)} = None\ngc.collect(0)\n"

    # Calls

    def call(self) -> Call:
        """Return a call of anything that can be called."""
        target, argument = self.random.choice(TARGETS)
        keep = self.bind(self.random.choice((*INSTANCES, *CLOSURES))) if self.random.random() < 0.1 else None
        wait = keep is not None or self.random.random() < 0.3
        return Call(self.text([target]), (self.text([argument]),), self.random.randrange(2), keep, wait)


class _Letters(dict[str, str]):
    """What `str.format_map` asks for the letters of a template."""

    def __init__(self, maker: Maker, more: dict[str, str]) -> None:
        super().__init__(more)
        self._maker = maker

    def __missing__(self, key: str) -> str:
        return self._maker[key]


_NAMES = {"G": INTS, "L": LISTS, "F": FUNCTIONS, "C": CLASSES, "I": INSTANCES, "K": CLOSURES, "D": (*CLASSES, "D0")}
_PARTS: dict[str, Callable[[Maker], str]] = {
    "N": Maker.constant,
    "E": lambda maker: maker.text(EXPRESSIONS),
    "V": Maker.value,
    "n": lambda maker: str(maker.random.randrange(6)),
}
_STEPS: tuple[tuple[Callable[[Maker], str], int], ...] = (
    (Maker.function, 5),
    (Maker.klass, 3),
    (Maker.closure, 2),
    (Maker.other_class, 2),
    (Maker.rebinding, 4),
    (Maker.change_in_place, 3),
    (Maker.instance, 2),
    (Maker.class_change, 3),
    (Maker.function_change, 2),
    (Maker.alias, 2),
    (Maker.deletion, 2),
    (Maker.collection, 1),
)
_MAKERS = [maker for maker, _ in _STEPS]
_WEIGHTS = [weight for _, weight in _STEPS]

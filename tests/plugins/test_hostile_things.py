"""What a hostile plugin may say of its things, and in answers: it is refused, and nothing of it runs here."""

from __future__ import annotations

import types
from typing import Any, ClassVar

import pytest

from piactors.errors import ProtocolError
from piactors.plugins.application import calls
from piactors.plugins.application.side import HostSide
from piactors.plugins.inside._piactors_plugin import facts, functions, raised, things

FUNCTION = {"kind": "function", "name": "f", "doc": "", "parameters": [], "marks": {}, "annotations": {}}
OBJECT = {"kind": "object", "name": "o", "special": [], "class": ["a", "b"], "bases": []}


def parameter(name: Any = "a", kind: Any = 1, has: Any = 0, simple: Any = 0, default: Any = None) -> list[Any]:
    return [name, kind, has, simple, default]


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {**FUNCTION, "kind": "thing"},
        {**FUNCTION, "kind": None},
        {**FUNCTION, "name": 3},
        {**FUNCTION, "name": "x" * 20_000},
        {**FUNCTION, "doc": 3},
        {**FUNCTION, "marks": {"__class__": 1}},
        {**FUNCTION, "marks": {"_piactors_mark": 1}},
        {**FUNCTION, "marks": {"a b": 1}},
        {**FUNCTION, "marks": {"a": object()}},
        {**FUNCTION, "annotations": {"a": "Popen"}},
        {**FUNCTION, "annotations": {"a b": "int"}},
        {**FUNCTION, "parameters": "ab"},
        {**FUNCTION, "parameters": [["a"]]},
        {**FUNCTION, "parameters": [parameter("a=__import__('os')")]},
        {**FUNCTION, "parameters": [parameter("a"), parameter("a")]},
        {**FUNCTION, "parameters": [parameter("_piactors_use")]},
        {**FUNCTION, "parameters": [parameter("_ᵖiactors_use")]},
        {**FUNCTION, "parameters": [parameter("ﬁ")]},
        {**FUNCTION, "parameters": [parameter("__debug__")]},
        {**FUNCTION, "parameters": [parameter("lambda")]},
        {**FUNCTION, "parameters": [parameter(kind=7)]},
        {**FUNCTION, "parameters": [parameter("a", 2), parameter("b", 2)]},
        {**FUNCTION, "parameters": [parameter("a", 4), parameter("b", 1)]},
        {**FUNCTION, "parameters": [parameter("a", 1, 1), parameter("b", 1, 0)]},
        {**FUNCTION, "parameters": [parameter(default=[])]},
        {**FUNCTION, "parameters": [parameter(str(number)) for number in range(300)]},
        {**FUNCTION, "shown": [parameter("a b")]},
        {**OBJECT, "special": ["__class__"]},
        {**OBJECT, "special": ["__reduce__"]},
        {**OBJECT, "special": "__len__"},
        {key: one for key, one in OBJECT.items() if key != "special"},
        {**OBJECT, "class": ["a"]},
        {**OBJECT, "class": [1, 2]},
        {**OBJECT, "bases": [["a", "b"]] * 30},
        {**OBJECT, "members": {"_private": None}},
        {**OBJECT, "members": {"a": OBJECT}},
        {**OBJECT, "members": []},
        {"kind": "module", "name": "m"},
        {"kind": "class", "name": "C", "class": ["a", "b"], "members": {"a b": None}},
    ],
)
def test_facts_that_are_none_are_refused(told: Any) -> None:
    with pytest.raises(ValueError, match="."):
        facts.checked(told)


@pytest.mark.parametrize("name", ["f", "a b", "lambda", "__import__", "f():\n    import os\ndef g", "ﬁ"])
def test_no_name_of_a_function_is_code(name: str) -> None:
    used: list[Any] = []
    scope = {"_piactors_use": lambda *asked: used.append(asked), "_piactors_use_async": None, "_piactors_driven": None}
    made = functions.defined(facts.checked({**FUNCTION, "name": name}), "", scope)
    made()
    assert used == [("call", (), {})]
    assert isinstance(made, types.FunctionType)


def side(accepted: frozenset[str] = frozenset(), *, trusts: bool = False) -> HostSide:
    return HostSide("evil", accepted, trusts=trusts)


@pytest.mark.parametrize(
    "node",
    [
        None,
        (),
        ("v",),
        ("v", 1, 2),
        ("z", 1),
        (["v"], 1),
        ("c", "list", "ab"),
        ("c", "dict", []),
        ("d", [1]),
        ("d", [("v", 1)]),
        ("r", "1", OBJECT),
        ("r", 0, OBJECT),
        ("r", -1, OBJECT),
        ("r", 1, {}),
        ("n", 1, [], OBJECT),
        ("n", "m", "path", OBJECT),
        ("n", "m", [1], OBJECT),
        ("h", "os", ["system"]),
        ("h", 1, []),
        ("h", 1, [3]),
        ("s", "os", "PathLike", []),
        ("b", "eval"),
        ("b", 3),
        ("k", "None"),
        ("p", "slice", []),
        ("p", "type", [("v", 1)] * 3),
        ("e", "no"),
        ("e", [], ("v", ()), ("v", {}), "text"),
        ("e", [["builtins", "ValueError"]], ("v", ()), ("v", {}), 3),
    ],
)
def test_nodes_that_are_none_are_refused(node: Any) -> None:
    with pytest.raises((ValueError, LookupError, TypeError)):
        side().packer.unpacked(node)


def test_a_node_without_an_end_is_refused() -> None:
    node: Any = ("v", 1)
    for _ in range(500):
        node = ("c", "list", [node])
    with pytest.raises(ValueError, match="a value has come that is not one"):
        side().packer.unpacked(node)


class Own(str):
    """A text of a class of its own."""

    made: ClassVar[list[str]] = []

    def __new__(cls, text: str) -> Own:
        cls.made.append(text)
        return super().__new__(cls, text)


def test_texts_of_classes_are_made_only_if_these_are_accepted() -> None:
    node = ("s", __name__, "Own", "text")
    assert type(side().packer.unpacked(node)) is str
    assert Own.made == []
    assert type(side(frozenset({f"{__name__}:Own"})).packer.unpacked(node)) is Own
    assert type(side(trusts=True).packer.unpacked(node)) is Own


class Trap(Exception):
    """An exception whose making, and whose attributes, run code."""

    ran: ClassVar[list[str]] = []

    def __new__(cls, *args: Any) -> Trap:
        cls.ran.append("new")
        return super().__new__(cls, *args)

    def __init__(self, *args: Any) -> None:
        self.ran.append("init")

    def __setattr__(self, name: str, value: Any) -> None:
        self.ran.append("set")

    @property
    def trap(self) -> None:
        """Nothing."""

    @trap.setter
    def trap(self, value: Any) -> None:
        self.ran.append("trap")


def test_no_code_of_an_exceptions_class_runs() -> None:
    node = ("e", [[__name__, "Trap"]], ("v", (1, 2)), ("v", {"trap": 1, "other": 2}), "text")
    error = side().packer.unpacked(node)
    assert isinstance(error, Trap)
    assert error.args == (1, 2)
    assert vars(error)["other"] == 2
    assert Trap.ran == []


@pytest.mark.parametrize("name", ["IsolateCrashed", "ProtocolError"])
def test_what_the_framework_raises_is_not_said_by_a_plugin(name: str) -> None:
    error = raised.made([["piactors.errors", name]], (), {}, "", side().class_here)
    assert type(error) is Exception


def test_a_class_of_this_program_is_passed_for_and_not_derived_from() -> None:
    made: list[str] = []

    class Base:
        def __init_subclass__(cls, **kwargs: Any) -> None:
            made.append(cls.__name__)

    module = types.ModuleType("hostile_bases")
    module.Base = Base  # type: ignore[attr-defined]
    here = side()
    here.class_here = lambda module, name: Base if name == "Base" else None  # type: ignore[method-assign]
    told = {"kind": "class", "name": "Evil", "class": ["x", "Evil"], "bases": [["m", "Base"]], "members": {}}
    stand_in = here.packer.unpacked(("r", 5, told))
    assert issubclass(stand_in, Base)
    assert made == []
    assert things.reach_of(stand_in).anchor.value == 5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "reply",
    [
        None,
        (),
        (1,),
        (1, 2, 3),
        ["token", 1],
        ("token", 1),
        (1 << 80, 1),
        (1, "ok", ("v", 1), "no", [], None),
        (1, "ok", ("v", 1), [], "no", None),
        (1, "ok", ("v", 1), [], [1.5, 2], None),
        (1, "ok", ("v", 1), ["a"], [], None),
        (1, "ok", ("v", 1), [], [], {0: ("v", 1)}),
        (1, "ok", ("v", 1), [], [], "no"),
    ],
)
def test_answers_that_are_none_are_refused(reply: Any) -> None:
    with pytest.raises(ProtocolError):
        side()._taken(reply)


@pytest.mark.parametrize("reply", [(1, "no", 1, [], [], None), (1, "m", 3, [], [], None), (1, "ok", 3, [], [], None)])
def test_what_answers_hold_is_checked_too(reply: Any) -> None:
    here = side()
    reach = things.ThingReach(here, things.Anchor("m"), (), OBJECT)
    call = calls.SentCall(here, reach, "call", (), {})
    call.has(here._taken(reply))
    with pytest.raises(ProtocolError):
        here._outcome(call)


@pytest.mark.parametrize("name", ["_x", "__class__", "__globals__", "f_builtins", "gi_frame", "", 3])
def test_names_that_are_not_lent(name: Any) -> None:
    with pytest.raises(AttributeError):
        side().packer.check_name(name)

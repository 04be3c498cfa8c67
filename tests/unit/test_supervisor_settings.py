"""The settings of supervisors: what is allowed, what a refusal says, and that checking a tree starts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from piactors import Backoff, ChildSpec, DynamicSupervisor, Supervisor
from piactors._host import runtime
from piactors._tree.settings import Settings
from piactors._validation import fields
from tests.unit.specs import INF, NAN, Refused, Thread, Worker, nothing_starts, rows, spec

__all__ = ["nothing_starts"]
pytestmark = pytest.mark.usefixtures("nothing_starts")

TREE_REFUSED: list[Refused] = [
    ("name", "use a non-empty str without NUL or lone surrogates, or None", ["", "a\0"], [3]),
    ("strategy", "use 'one_for_one', 'one_for_all' or 'rest_for_one'", ["one"], [None, 1]),
    ("max_restarts", "use a whole number of at least 0, or None", [-1], [1.0, True, "3"]),
    ("within", "use a finite number of seconds, more than 0", [0.0, -1.0, NAN, INF], [None, "5", False]),
    ("auto_shutdown", "use 'never', 'any_significant' or 'all_significant'", ["always"], [None, True]),
    ("backoff", "use a Backoff, or None", [], [1, {"initial": 1}]),
    ("children", "pass a list of ChildSpec instances", [], [None, 3, "ab", spec(), [Worker], [spec(), None]]),
]
DYNAMIC_REFUSED: list[Refused] = [
    *(row for row in TREE_REFUSED if row[0] in ("name", "max_restarts", "within", "backoff")),
    ("template", "use a ChildSpec, or None", [], [Worker, "a", [spec()]]),
    ("max_children", "use a whole number of at least 0, or None", [-1], [1.0, True, "3"]),
]


def test_every_setting_has_refused_values() -> None:
    """A new field cannot be forgotten in the tables above."""
    names = {field.name for field in attrs.fields(Settings)}
    assert names - {"dynamic"} == {row[0] for row in (*TREE_REFUSED, *DYNAMIC_REFUSED)}


def shortened(value: Any) -> str:
    return fields._short.repr(value)


def check_tree(kind: type[Supervisor], field: str, value: Any) -> None:
    kind.check(**{field: value})


def start_tree(kind: type[Supervisor], field: str, value: Any) -> None:
    kind.start(**{field: value})


def check_subclass(kind: type[Supervisor], field: str, value: Any) -> None:
    method = field in ("children", "template")
    type("Tree", (kind,), {field: (lambda self: value) if method else value}).check()


@pytest.mark.parametrize("use", [check_tree, start_tree, check_subclass])
@pytest.mark.parametrize(
    ("kind", "field", "value", "error", "allowed"),
    [*rows(TREE_REFUSED, Supervisor), *rows(DYNAMIC_REFUSED, DynamicSupervisor)],
)
def test_a_supervisors_refusal_names_field_value_and_what_is_allowed(
    kind: type[Supervisor], field: str, value: Any, error: type[Exception], allowed: str, use: Any
) -> None:
    """Given to the constructor or as an attribute of a subclass, `check` and `start` refuse it, and nothing starts."""
    with pytest.raises((TypeError, ValueError)) as caught:
        use(kind, field, value)
    place, _, rest = str(caught.value).partition(": ")
    shown, _, advice = rest.partition(" is not allowed; ")
    assert type(caught.value) is error
    assert place.partition(".")[2] == field
    assert shown in (shortened(value), shortened(value[-1]) if isinstance(value, list) else None)
    assert allowed in advice


@pytest.mark.parametrize("field", ["strategy", "auto_shutdown", "children"])
def test_a_dynamic_supervisor_takes_no_settings_of_the_other_kind(field: str) -> None:
    """As an argument it is a TypeError that names the word, in a subclass a ValueError that names the other class."""
    value: Any = {"strategy": "one_for_all", "auto_shutdown": "any_significant", "children": [spec()]}[field]
    with pytest.raises(TypeError, match=field):
        DynamicSupervisor.check(**{field: value})
    with pytest.raises(ValueError, match="use a Supervisor"):
        check_subclass(DynamicSupervisor, field, value)


def test_an_id_that_is_there_twice_is_refused() -> None:
    """Siblings need ids of their own; cousins do not."""
    with pytest.raises(ValueError, match=r"Supervisor\.children: the id 'b' occurs twice"):
        Supervisor.check(children=[spec("a"), spec("b"), spec("b", Thread)])
    Supervisor.check(children=[spec("a"), spec("b", Supervisor, kwargs={"children": [spec("a")]})])


@pytest.mark.parametrize("auto_shutdown", ["never", "any_significant", "all_significant"])
def test_a_significant_child_needs_an_auto_shutdown(auto_shutdown: Any) -> None:
    """Under 'never' its significance would mean nothing, so it is refused, by name."""
    child = spec("main", restart="transient", significant=True)
    if auto_shutdown != "never":
        Supervisor.check(children=[child], auto_shutdown=auto_shutdown)
        return
    with pytest.raises(ValueError, match=r"ChildSpec\.significant of child 'main': True .* auto_shutdown='never'; use"):
        Supervisor.check(children=[child], auto_shutdown=auto_shutdown)


def below(*children: ChildSpec, depth: int = 3, **settings: Any) -> ChildSpec:
    for level in range(depth):
        children = (spec(f"level {level}", Supervisor, kwargs={"children": children, **settings}),)
        settings = {}
    return children[0]


@pytest.mark.parametrize(
    ("tree", "error", "text"),
    [
        (below(spec("deep", Worker)), TypeError, "ChildSpec.args of child 'deep': they do not fit Worker"),
        (below(spec("deep"), spec("deep")), ValueError, "the id 'deep' occurs twice"),
        (below(spec("deep", restart="transient", significant=True)), ValueError, "significant of child 'deep': True"),
        (below(strategy="all"), ValueError, "Supervisor.strategy: 'all' is not allowed"),
        (below(spec("deep", DynamicSupervisor, kwargs={"max_children": -1})), ValueError, "max_children: -1 is not"),
    ],
)
def test_a_check_reaches_all_levels(tree: ChildSpec, error: type[Exception], text: str) -> None:
    """A fault three supervisors below is found by the top's `check` and `start`, and by the spec's own."""
    for look in (tree.check, lambda: Supervisor.check(children=[tree]), lambda: Supervisor.start(children=[tree])):
        with pytest.raises(error, match=".*") as caught:
            look()
        assert text in str(caught.value)


@pytest.mark.parametrize(
    "kwargs", [{"childs": []}, {"max_restarts": -1}, {"children": [spec("x"), spec("x")]}, {"children": iter([spec()])}]
)
def test_a_fault_of_a_nested_supervisor_names_it(kwargs: Any) -> None:
    """By its ids, from the top; an iterator of children, which only the first start would find, is a fault too."""
    tree = spec("outer", Supervisor, kwargs={"children": [spec("inner", Supervisor, kwargs=kwargs)]})
    with pytest.raises((TypeError, ValueError), match=r"^child 'outer': child 'inner': "):
        Supervisor.check(children=[tree])


def test_a_template_is_checked_as_its_children_would_be() -> None:
    """But for its arguments, which `start_child` adds to."""
    DynamicSupervisor.check(template=spec("job", Worker))
    with pytest.raises(ValueError, match=r"ChildSpec\.significant of child 'job': True is not allowed"):
        DynamicSupervisor.check(template=spec("job", restart="transient", significant=True))


class Tree(Supervisor):
    """The subclass style: settings as attributes, children from a method, arguments as of any class."""

    strategy = "rest_for_one"
    max_restarts = 7

    def __init__(self, size: int, colour: str = "red") -> None:
        self.size = size
        self.colour = colour

    def children(self) -> Iterator[ChildSpec]:
        yield spec("first", Worker, args=(self.size,), kwargs={"colour": self.colour})
        yield spec("second", Thread, kwargs={"size": self.size})


def test_a_subclass_states_its_settings_and_children() -> None:
    """It need not call the constructor of `Supervisor`; `children` may be a generator, asked anew each time."""
    Tree.check(1)
    tree = Tree(2, "blue")
    for _ in range(2):
        settings = tree._settings()
        assert (settings.strategy, settings.max_restarts, settings.within) == ("rest_for_one", 7, 5.0)
        assert [child.id for child in settings.children] == ["first", "second"]
        assert settings.children[0].kwargs == {"colour": "blue"}
    spec("tree", Tree, args=(3,)).check()


def test_arguments_that_do_not_fit_a_supervisor_are_found_before_a_start() -> None:
    """A subclass that lacks an argument, or gets one too many, is a TypeError of `check`, at any level."""
    for args in ((), (1, "red", 3)):
        with pytest.raises(TypeError, match="argument"):
            Tree.check(*args)
        with pytest.raises(TypeError, match="argument"):
            Supervisor.check(children=[spec("tree", Tree, args=args)])


def test_an_argument_overrides_the_attribute_of_a_subclass() -> None:
    """What is given at the start counts; what is not given is as the class says."""
    kind = type("Patient", (Supervisor,), {"max_restarts": 9, "within": 60.0, "name": "patient"})
    settings = kind(within=1)._settings()
    assert (settings.max_restarts, settings.within, settings.name, settings.children) == (9, 1.0, "patient", ())
    assert kind(max_restarts=None, name=None)._settings().max_restarts is None


def test_a_check_starts_not_even_what_all_isolates_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """No I/O thread comes of it."""

    def fail() -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr(runtime, "current", fail)
    tree = below(spec("deep", Worker, args=(1,)), spec("dynamic", DynamicSupervisor, kwargs={"template": spec("one")}))
    tree.check()
    Supervisor.check(children=[tree], backoff=Backoff())
    DynamicSupervisor.check(template=spec("a", Worker), max_children=3)

"""`ChildSpec` and supervisors' settings: what is allowed, what a refusal says; and checking starts nothing."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from typing import Any

import attrs
import psutil
import pykka
import pytest

from piactors import (
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    ExitReason,
    IsolationOptions,
    ProcessActor,
    Supervisor,
)
from piactors._tree import surroundings
from piactors._tree.settings import Settings
from piactors.supervisor import _FIELDS

NAN, INF = float("nan"), float("inf")


class Worker(ProcessActor):
    def __init__(self, size: int, *, colour: str = "red") -> None:
        super().__init__()


class Thread(pykka.ThreadingActor):
    def __init__(self, size: int = 1) -> None:
        super().__init__()


class Free(ProcessActor):
    """Takes any arguments, since it has no `__init__` of its own."""


def function(one: int, two: int = 2) -> int:
    return one + two


def is_bad(reason: ExitReason) -> bool:
    return not reason.is_normal


def spec(id: str = "a", target: Any = Free, **fields: Any) -> ChildSpec:
    return ChildSpec(id, target, **fields)


DEFAULTS: dict[str, Any] = {
    "id": "a", "target": Free, "args": (), "kwargs": {}, "options": None, "restart": "permanent",
    "shutdown": "default", "significant": False, "backoff": None, "max_restarts": "shared", "within": 5.0,
    "on_exhausted": "escalate", "restart_on": None, "quarantine": False,
}  # fmt: skip

# field: (given, stored) pairs
ACCEPTED: dict[str, list[tuple[Any, Any]]] = {
    "id": [("b", "b"), ("with spaces", "with spaces")],
    "target": [(Worker, Worker), (Thread, Thread), (Supervisor, Supervisor), (DynamicSupervisor, DynamicSupervisor),
               (function, function), (dict, dict), ("package.module:name", "package.module:name"),
               (Worker.with_options(concurrency=2), Worker.with_options(concurrency=2))],
    "args": [([1, 2], (1, 2)), ((), ())],
    "kwargs": [({"size": 1}, {"size": 1})],
    "options": [(IsolationOptions(concurrency=2), IsolationOptions(concurrency=2))],
    "restart": [("transient", "transient"), ("temporary", "temporary")],
    "shutdown": [(0, 0), (2.5, 2.5), ("kill", "kill"), ("default", "default"), (None, None)],
    "significant": [(False, False)],
    "backoff": [(Backoff(1), Backoff(1))],
    "max_restarts": [(None, None), (0, 0), (7, 7), ("shared", "shared")],
    "within": [(1, 1.0), (0.5, 0.5)],
    "on_exhausted": [("stop", "stop")],
    "restart_on": [(is_bad, is_bad), ({"error"}, frozenset({"error"})), (["limit"], frozenset({"limit"}))],
    "quarantine": [(True, True)],
}  # fmt: skip

# (field, what the message says is allowed, wrong values, values of a wrong type)
Refused = tuple[str, str, list[Any], list[Any]]

SPEC_REFUSED: list[Refused] = [
    ("target", "use a ProcessActor, a pykka.ThreadingActor, a Supervisor", [], [None, 3, b"a", pykka.Actor]),
    ("target", "another class or function, or a name", [], [spec(), Supervisor(children=[spec()])]),
    ("args", "use a tuple of arguments", [], [3, None, "ab", b"ab"]),
    ("kwargs", "use a dict of arguments", [], [None, [("size", 1)], "ab"]),
    ("options", "use IsolationOptions, or None", [], [{}, IsolationOptions, 3]),
    ("restart", "use 'temporary', 'transient' or 'permanent'", ["always", "Permanent"], [None, True]),
    ("shutdown", "a finite number of seconds, at least 0, or 'kill', 'default' or None", [-1, NAN, INF], ["5", True]),
    ("significant", "use True or False", [], [None, 1, "yes"]),
    ("backoff", "use a Backoff, or None", [], [1.0, Backoff, {"initial": 1}]),
    ("max_restarts", "use a whole number of at least 0, or None, or 'shared'", [-1], [1.0, True, "own"]),
    ("within", "use a finite number of seconds, more than 0", [0.0, -1.0, NAN, INF], [None, "5", True]),
    ("on_exhausted", "use 'escalate' or 'stop'", ["restart"], [None, False]),
    ("quarantine", "use True or False", [], [None, 0, "no"]),
]
TREE_REFUSED: list[Refused] = [
    ("name", "use a non-empty str without NUL, or None", ["", "a\0"], [3]),
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


def kinds(made: ChildSpec) -> list[str]:
    return [name for name in ("is_isolate", "is_thread", "is_supervisor") if getattr(made, name)]


def rows(table: list[Refused], *before: Any) -> list[Any]:
    return [
        pytest.param(*before, field, value, error, allowed, id=f"{field}-{value!r}"[:60])
        for field, allowed, wrong, mistyped in table
        for error, values in ((ValueError, wrong), (TypeError, mistyped))
        for value in values
    ]


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """No thread, process or registered actor comes of anything here, and no runner of a child is made."""
    made: list[Any] = []
    monkeypatch.setattr(surroundings.current(), "runner", made.append, raising=False)

    def there() -> tuple[set[threading.Thread], set[int], int]:
        children = {child.pid for child in psutil.Process().children(recursive=True)}
        return set(threading.enumerate()), children, len(pykka.ActorRegistry.get_all())

    before = there()
    yield made
    assert there() == before
    assert made == []


# The fields of a ChildSpec


def test_defaults() -> None:
    """A spec with nothing but an id and a target has the defaults that its docstring names."""
    made = spec()
    assert {field.name: getattr(made, field.name) for field in attrs.fields(ChildSpec)} == DEFAULTS


@pytest.mark.parametrize(
    ("field", "given", "stored"), [(field, *pair) for field, pairs in ACCEPTED.items() for pair in pairs]
)
def test_an_allowed_value_is_stored_in_its_one_form(field: str, given: Any, stored: Any) -> None:
    """Lists of arguments become tuples, kinds a frozenset, and seconds of the window a float."""
    made = spec(**{field: given})
    assert getattr(made, field) == stored
    assert type(getattr(made, field)) is type(stored)


def test_every_field_has_accepted_and_refused_values() -> None:
    """A new field cannot be forgotten in the tables above; `id` and `restart_on` have tests of their own."""
    names = {field.name for field in attrs.fields(ChildSpec)}
    assert names == ACCEPTED.keys() == DEFAULTS.keys()
    assert {row[0] for row in SPEC_REFUSED} | {"id", "restart_on"} == names
    assert {row[0] for row in TREE_REFUSED} == {*_FIELDS, "children"}
    settings = {field.name for field in attrs.fields(Settings)}
    assert settings - {"dynamic"} == {row[0] for row in (*TREE_REFUSED, *DYNAMIC_REFUSED)}


@pytest.mark.parametrize(("field", "value", "error", "allowed"), rows(SPEC_REFUSED))
def test_a_refusal_names_child_field_value_and_what_is_allowed(
    field: str, value: Any, error: type[Exception], allowed: str
) -> None:
    """It raises at construction, and evolving a good spec into a bad one raises the same."""
    for make in (lambda: spec("child 7", **{field: value}), lambda: attrs.evolve(spec("child 7"), **{field: value})):
        with pytest.raises((TypeError, ValueError)) as caught:
            make()
        place, _, rest = str(caught.value).partition(": ")
        shown, _, advice = rest.partition(" is not allowed; ")
        assert type(caught.value) is error
        assert place == f"ChildSpec.{field} of child 'child 7'"
        assert shown == repr(value)
        assert allowed in advice


@pytest.mark.parametrize(
    ("value", "error"), [("", ValueError), ("a\0b", ValueError), (None, TypeError), (3, TypeError), (b"a", TypeError)]
)
def test_a_bad_id_is_refused(value: Any, error: type[Exception]) -> None:
    """An id is a non-empty str; the refusal has no child to name but the value itself."""
    with pytest.raises(error) as caught:
        ChildSpec(value, Free)
    assert str(caught.value) == f"ChildSpec.id: {value!r} is not allowed; use a non-empty str without NUL"


def test_id_and_target_are_required_and_the_rest_takes_keywords_only() -> None:
    """A forgotten target, a third position and an unknown keyword are TypeErrors; the latter names the word."""
    for make in (lambda: ChildSpec("a"), lambda: ChildSpec("a", Free, (1,))):  # type: ignore[call-arg, misc]
        with pytest.raises(TypeError):
            make()
    with pytest.raises(TypeError, match="restrat"):
        spec(restrat="permanent")


@pytest.mark.parametrize("wanted", [{"signaled", "limitt"}, ["limitt"], ("limitt", "error")])
def test_an_unknown_kind_in_restart_on_is_refused(wanted: Any) -> None:
    """Of a set of kinds, the refusal shows those that are wrong, and lists those that there are."""
    with pytest.raises(ValueError) as caught:
        spec(restart_on=wanted)
    text = str(caught.value)
    assert text.startswith("ChildSpec.restart_on of child 'a': 'limitt' is not allowed; use a function of an Exit")
    assert "normal, shutdown, exited, signaled, error, limit, call_timeout" in text


@pytest.mark.parametrize("value", [3, "signaled", True])
def test_a_restart_on_that_is_neither_kinds_nor_a_function_is_refused(value: Any) -> None:
    """A lone kind is no set of kinds."""
    with pytest.raises((TypeError, ValueError), match=rf"^ChildSpec.restart_on of child 'a': {value!r} is not allowed"):
        spec(restart_on=value)


@pytest.mark.parametrize(
    ("field", "fields", "why"),
    [
        ("significant", {"significant": True}, "a permanent child never ends by itself"),
        ("significant", {"significant": True, "restart": "permanent"}, "use 'transient' or 'temporary'"),
        ("restart_on", {"restart_on": frozenset({"error"}), "restart": "temporary"}, "a temporary child is never restarted"),
        ("restart_on", {"restart_on": is_bad, "restart": "temporary"}, "a temporary child is never restarted"),
        ("options", {"options": IsolationOptions(), "target": Thread}, "only a child with a process of its own"),
        ("options", {"options": IsolationOptions(), "target": Supervisor}, "only a child with a process of its own"),
        ("options", {"options": IsolationOptions(), "target": DynamicSupervisor}, "only a child with a process"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(field: str, fields: dict[str, Any], why: str) -> None:
    """The refusal names the child, the field that cannot be, its value, and why."""
    with pytest.raises(ValueError) as caught:
        spec(**fields)
    text = str(caught.value)
    assert text.startswith(f"ChildSpec.{field} of child 'a': {fields[field]!r} is not allowed; ")
    assert why in text


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (Worker, "is_isolate"), (Worker.with_options(), "is_isolate"), (function, "is_isolate"), (dict, "is_isolate"),
        ("module:name", "is_isolate"), (Thread, "is_thread"), (pykka.ThreadingActor, "is_thread"),
        (Supervisor, "is_supervisor"), (DynamicSupervisor, "is_supervisor"),
    ],
)  # fmt: skip
def test_a_target_is_of_exactly_one_kind(target: Any, kind: str) -> None:
    """A child is a process, a thread or a supervisor."""
    made = spec(target=target)
    assert kinds(made) == [kind]


# As a value


def test_a_field_cannot_be_set_or_deleted() -> None:
    """A spec never changes."""
    made = spec()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.restart = "temporary"  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del made.id
    with pytest.raises(AttributeError):
        made.new_field = 1  # type: ignore[attr-defined]


def test_evolve_makes_another_and_leaves_the_first() -> None:
    """`attrs.evolve` changes single fields and keeps the rest, in whatever form it is stored."""
    first = spec(args=[1], kwargs={"two": 2}, restart_on={"error"}, max_restarts=2, within=3)
    second = attrs.evolve(first, id="b", quarantine=True)
    assert (first.id, first.quarantine) == ("a", False)
    assert attrs.evolve(second, id="a", quarantine=False) == first != second


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "made",
    [
        spec(), spec(target=function, args=(1,), restart_on=is_bad), spec(target=Thread, restart_on={"error", "limit"}),
        spec(target=Worker.with_options(concurrency=3), args=[1], backoff=Backoff(2), shutdown="kill"),
        spec(target=Supervisor, kwargs={"children": [spec("below")], "strategy": "one_for_all"}),
    ],
)  # fmt: skip
def test_specs_pickle_where_their_target_can_be_imported(made: ChildSpec, protocol: int) -> None:
    """What comes back is equal, and passes its check as before."""
    copy = pickle.loads(pickle.dumps(made, protocol))
    assert copy == made
    assert kinds(copy) == kinds(made)


# Arguments


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"target": Worker}, "missing a required argument: 'size'"),
        ({"target": Worker, "args": (1, 2)}, "too many positional arguments"),
        ({"target": Worker, "args": (1,), "kwargs": {"color": "red"}}, "unexpected keyword argument 'color'"),
        ({"target": Worker.with_options(concurrency=2)}, "missing a required argument: 'size'"),
        ({"target": Thread, "args": (1, 2)}, "too many positional arguments"),
        ({"target": Thread, "kwargs": {"size": 1}, "args": [2]}, "multiple values for argument 'size'"),
    ],
)
def test_arguments_that_do_not_fit_are_found_before_a_start(fields: dict[str, Any], fault: str) -> None:
    """The spec alone stands; its check names the child, what does not take the arguments, and the fault."""
    made = spec("child 7", **fields)
    name = getattr(made.target, "actor_class", made.target).__qualname__
    with pytest.raises(TypeError) as caught:
        made.check()
    assert str(caught.value).startswith(f"ChildSpec.args of child 'child 7': they do not fit {name}: ")
    assert fault in str(caught.value)
    with pytest.raises(TypeError, match="of child 'child 7'"):
        Supervisor.check(children=[made])


@pytest.mark.parametrize(
    "made",
    [
        spec(target=Worker, args=(1,), kwargs={"colour": "blue"}), spec(target=Thread), spec(args=(1, 2, 3)),
        spec(target=function), spec(target="no.such.module:name", args=(1,)),
        spec(target=dict, args=(1, 2, 3)), spec(target=Worker.with_options(), args=(1,)),
    ],
)  # fmt: skip
def test_a_check_passes_what_fits_or_cannot_be_known(made: ChildSpec) -> None:
    """Names are looked up at the start, functions get arguments with each call, some builtins do not tell theirs."""
    made.check()
    Supervisor.check(children=[made])


# Supervisors


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
    assert shown in (repr(value), repr(value[-1]) if isinstance(value, list) else None)
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
    with pytest.raises(ValueError, match=r"Supervisor\.children: the id 'b' is there twice"):
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
        (below(spec("deep"), spec("deep")), ValueError, "the id 'deep' is there twice"),
        (below(spec("deep", restart="transient", significant=True)), ValueError, "ChildSpec.significant of child 'deep'"),
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

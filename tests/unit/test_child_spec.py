"""`ChildSpec`: what is allowed, what is stored, and what a refusal says."""

from __future__ import annotations

import pickle
from typing import Any

import attrs
import pykka
import pytest

from piactors import Backoff, ChildSpec, DynamicSupervisor, IsolationOptions, Supervisor
from tests.unit.specs import INF, NAN, Free, Refused, Thread, Worker, function, is_bad, nothing_starts, rows, spec

__all__ = ["nothing_starts"]
pytestmark = pytest.mark.usefixtures("nothing_starts")

DEFAULTS: dict[str, Any] = {
    "id": "a",
    "target": Free,
    "args": (),
    "kwargs": {},
    "options": None,
    "restart": "permanent",
    "shutdown": "default",
    "significant": False,
    "backoff": None,
    "max_restarts": "shared",
    "within": 5.0,
    "on_exhausted": "escalate",
    "restart_on": None,
    "quarantine": False,
}

# field: (given, stored) pairs
ACCEPTED: dict[str, list[tuple[Any, Any]]] = {
    "id": [("b", "b"), ("with spaces", "with spaces")],
    "target": [
        (Worker, Worker),
        (Thread, Thread),
        (Supervisor, Supervisor),
        (DynamicSupervisor, DynamicSupervisor),
        (function, function),
        (dict, dict),
        ("package.module:name", "package.module:name"),
        (Worker.with_options(concurrency=2), Worker.with_options(concurrency=2)),
    ],
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
}

SPEC_REFUSED: list[Refused] = [
    ("target", "use a ProcessActor, a pykka.ThreadingActor, a Supervisor", [""], [None, 3, b"a", pykka.Actor]),
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


def kinds(made: ChildSpec) -> list[str]:
    return [name for name in ("is_isolate", "is_thread", "is_supervisor") if getattr(made, name)]


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
    allowed = "use a non-empty str without NUL or lone surrogates"
    assert str(caught.value) == f"ChildSpec.id: {value!r} is not allowed; {allowed}"


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


@pytest.mark.parametrize("value", [3, "signaled", True, [["error"]]])
def test_a_restart_on_that_is_neither_kinds_nor_a_function_is_refused(value: Any) -> None:
    """A lone kind is no set of kinds."""
    with pytest.raises(TypeError, match=r"^ChildSpec.restart_on of child 'a': .* is not allowed; use a function"):
        spec(restart_on=value)


@pytest.mark.parametrize(
    ("field", "fields", "why"),
    [
        ("significant", {"significant": True}, "a permanent child never ends by itself"),
        ("significant", {"significant": True, "restart": "permanent"}, "use 'transient' or 'temporary'"),
        ("restart_on", {"restart_on": frozenset({"error"}), "restart": "temporary"}, "a temporary child is never"),
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
    assert text.startswith(f"ChildSpec.{field} of child 'a': {repr(fields[field])[:20]}")
    assert " is not allowed; " in text
    assert len(text) < 400
    assert why in text


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (Worker, "is_isolate"),
        (Worker.with_options(), "is_isolate"),
        (function, "is_isolate"),
        (dict, "is_isolate"),
        ("module:name", "is_isolate"),
        (Thread, "is_thread"),
        (pykka.ThreadingActor, "is_thread"),
        (Supervisor, "is_supervisor"),
        (DynamicSupervisor, "is_supervisor"),
    ],
)
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


def test_arguments_are_copies() -> None:
    """What the caller does with its list and dict afterwards does not change the spec, which hashes by value."""
    args, kwargs = [1], {"two": 2}
    made, same = spec(args=args, kwargs=kwargs), spec(args=[1], kwargs={"two": 2})
    args.append(2)
    kwargs["two"] = 3
    assert (made.args, dict(made.kwargs)) == ((1,), {"two": 2})
    assert made == same
    assert hash(made) == hash(same)


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
        spec(),
        spec(target=function, args=(1,), restart_on=is_bad),
        spec(target=Thread, restart_on={"error", "limit"}),
        spec(target=Worker.with_options(concurrency=3), args=[1], backoff=Backoff(2), shutdown="kill"),
        spec(target=Supervisor, kwargs={"children": [spec("below")], "strategy": "one_for_all"}),
    ],
)
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
        spec(target=Worker, args=(1,), kwargs={"colour": "blue"}),
        spec(target=Thread),
        spec(),
        spec(target=function),
        spec(target="no.such.module:name", args=(1,)),
        spec(target=dict, args=(1, 2, 3)),
        spec(target=Worker.with_options(), args=(1,)),
    ],
)
def test_a_check_passes_what_fits_or_cannot_be_known(made: ChildSpec) -> None:
    """Names are looked up at the start, functions get arguments with each call, some builtins do not tell theirs."""
    made.check()
    Supervisor.check(children=[made])

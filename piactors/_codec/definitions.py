"""The definitions of this process that isolates get by value: as they are now, and what each process has of them.

An entry stands for one class, function, global variable or module.  A message that needs it looks at it
first; only what has changed is pickled again, under a new version, and only what a process does not have
yet is sent to it, before the message.
"""

from __future__ import annotations

import itertools
import pickle
import re
import sys
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import attrs

from piactors._codec import apart, dumping, keys, lending, snapshots
from piactors._codec import pickler as pickling
from piactors._codec.lending import Loan
from piactors._codec.pickler import Global, Module
from piactors._codec.shared_objects import Lent
from piactors._codec.snapshots import Pins
from piactors.pihost.pickles import refusals
from piactors.pihost.pickles.store import Record

_versions = itertools.count(1)
_NOTHING = object()
_IDENTIFIER = re.compile(r"[^\W\d]\w*")


@attrs.frozen(eq=False)
class _Attribute:
    """An attribute of a class: which object it was, its version, its pickle, and what that refers to."""

    identity: int
    version: int
    data: bytes
    children: tuple[str, ...]
    steady: bool
    shared: tuple[Global, ...]


@attrs.frozen(eq=False)
class Made:
    """A definition as it was when it was last looked at.

    Attributes:
        record: what is sent.
        look: returns the parts that it is made of now; None if there are none to look at.
        identity: those that it was made of (see `snapshots.identities`).
        pins: what keeps that comparison right.
        attributes: of a class.
        absent: of a global variable: there is none with that name.
        shared: variables that hold what it holds as well, and are sent in its place.
    """

    record: Record
    look: Callable[[], tuple[Any, ...]] | None
    identity: tuple[int, ...]
    pins: Pins
    attributes: Mapping[str, _Attribute] = attrs.field(factory=dict)
    absent: bool = False
    shared: tuple[Global, ...] = ()

    def loans(self) -> list[Loan]:
        """Return what it names that is lent."""
        found = map(lending.by_key, self.record.children)
        return [loan for loan in found if loan is not None]

    def holds(self) -> bool:
        """Whether it is unchanged; False also if only pickling it again can tell."""
        if self.look is None:
            return True
        if self.shared and not _still_shared(self.shared):
            return False
        pins = self.pins
        return not (pins.dirty or pins.watched) and snapshots.identities(self.look()) == self.identity


@attrs.frozen(eq=False)
class Needs:
    """What a message needs besides its own bytes.

    Attributes:
        made: the definitions, as they were when the message was made.
        held: objects of this process that have to live until its answer has been read.
        lent: descriptors that go along.
        loans: things of this program that the message names.
    """

    made: tuple[Made, ...]
    held: tuple[Any, ...]
    lent: tuple[Lent, ...] = ()
    loans: tuple[Loan, ...] = ()

    def all_loans(self) -> list[Loan]:
        """Return what the message names that is lent, and what its definitions do."""
        return [*self.loans, *(loan for made in self.made for loan in made.loans())]

    @property
    def nbytes(self) -> int:
        """How large the definitions are."""
        return sum(len(made.record.head) + len(made.record.body) for made in self.made)

    @property
    def records(self) -> list[tuple[Any, ...]]:
        """The definitions as they travel."""
        return [tuple(made.record) for made in self.made if not made.absent]


_made: dict[tuple[str, bool], Made] = {}
_of_module: dict[str, set[str]] = {}


def needs_of(met: Mapping[str, Any], held: Iterable[Any], lent: tuple[Lent, ...], *, foreign: bool) -> Needs:
    """Look at all that a message refers to, directly or not, and return it.

    Raises:
        refusals.Refused: if a definition holds what cannot be sent.
    """
    loans = tuple(thing for thing in met.values() if isinstance(thing, Loan))
    met = {key: thing for key, thing in met.items() if not isinstance(thing, Loan)} if loans else met
    roots = (foreign, *met)
    plan = _plans.get(roots)
    if plan is None or not plan.holds():
        with dumping.one_pass():
            plan = _planned(met, foreign)
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        _plans[roots] = plan
    return Needs(plan.made, (*held, *met.values(), *[reference() for reference in plan.references]), lent, loans)


def _planned(met: Mapping[str, Any], foreign: bool) -> _Walk:
    found: dict[str, Made] = {}
    references = []
    todo = deque((key, thing, "") for key, thing in met.items())
    while todo:
        key, thing, user = todo.popleft()
        if key in found or thing is None or isinstance(thing, Loan):
            continue
        made = found[key] = _look(key, thing, user, foreign)
        if not isinstance(thing, Global | Module):
            references.append(keys.reference_to(thing))
        name = getattr(thing, "__qualname__", "") or user
        todo.extend((child, _thing(child), name) for child in made.record.children if child not in found)
    return _Walk(tuple(found.values()), tuple(references))


@attrs.frozen(eq=False)
class _Walk:
    """What messages with the same roots need, as long as it holds.

    Attributes:
        made: the definitions.
        references: to what they define, weakly: what the program lets go of is not kept by this.
    """

    made: tuple[Made, ...]
    references: tuple[Callable[[], Any], ...]

    def holds(self) -> bool:
        """Whether all definitions are unchanged."""
        return all(map(Made.holds, self.made))


_plans: dict[tuple[Any, ...], _Walk] = {}
_MOST_PLANS = 1000


def _thing(key: str) -> Any:
    """Return what a key stands for; None if it is gone, and nobody needs it."""
    module, colon, name = key.partition(":")
    if key.startswith("="):
        return lending.by_key(key)
    if not colon:
        return keys.known(key)
    return Global(module, name) if name else Module(module)


def _look(key: str, thing: Any, user: str, foreign: bool) -> Made:
    """Return a definition as it is now."""
    before = _made.get((key, foreign))
    if before is not None and before.holds():
        return before
    try:
        made: Made = _MAKERS[_kind_of(thing)](key, thing, before, foreign)
    except (refusals.Refused, pickle.PicklingError, TypeError, AttributeError) as error:
        found = _placed(thing, error, user)
    else:
        _made[key, foreign] = made
        return made
    raise found


def _kind_of(thing: Any) -> str:
    return _KINDS.get(type(thing)) or ("class" if isinstance(thing, type) else "thing")


def _placed(thing: Any, error: Exception, user: str) -> refusals.Refused:
    """Say in which definition something is that cannot be sent."""
    if isinstance(thing, Global):
        return refusals.explained(_value_of(thing), error, f"global `{thing.name}` of `{user or thing.module}`")
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None) or repr(thing)
    if isinstance(thing, types.FunctionType):
        return _placed_in_function(thing, error, name)
    return refusals.Refused(f"{error} (in `{name}`)")


def _placed_in_function(function: types.FunctionType, error: Exception, name: str) -> refusals.Refused:
    for where, value in refusals.named_parts(function):
        try:
            dumping.dumped(value, foreign=False)
        except Exception as found:
            return refusals.explained(value, found, f"{where} of `{name}`")
    return refusals.Refused(f"{error} (in `{name}`)")


def _record(key: str, kind: str, head: bytes, body: bytes, children: Mapping[str, Any], before: Made | None) -> Record:
    """Return a record: the one before, if nothing of it has changed."""
    below = tuple(children)
    loans = tuple(thing for thing in children.values() if isinstance(thing, Loan))
    _loans_of[key] = loans
    if before is not None:
        same = before.record
        if (same.head, same.body, same.children) == (head, body, below):
            return same
    return Record(key, next(_versions), kind, head, body, below)


_loans_of: dict[str, tuple[Loan, ...]] = {}
"""What definitions name that is lent, by key: it lives as long as they are sent."""


# How each kind is made


def _finish(record: Record, look: Callable[[], tuple[Any, ...]] | None, **more: Any) -> Made:
    """Return what was made, with the identity of its parts; `lenient` are those that count as never changing."""
    pins, lenient = Pins(), more.pop("lenient", frozenset())
    parts = () if look is None else look()
    for place, part in enumerate(parts):
        pins.add(part, lenient=place in lenient)
    return Made(record, look, snapshots.identities(parts), pins, **more)


def _make_function(key: str, function: types.FunctionType, before: Made | None, foreign: bool) -> Made:
    head, body, met = dumping.dumped_function(function, foreign=foreign)
    _bind(met, function)
    record = _record(key, "function", head, body, met, before)
    return _finish(record, _looking_at(function, snapshots.function_parts), shared=_shared_in(met))


def _looking_at(thing: Any, parts: Callable[[Any], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
    """Return how to look at a thing again without keeping it alive."""
    reference = weakref.ref(thing)

    def look() -> tuple[Any, ...]:
        found = reference()
        return () if found is None else parts(found)

    return look


def _make_class(key: str, cls: type, before: Made | None, foreign: bool) -> Made:
    old: Mapping[str, _Attribute] = {} if before is None else before.attributes
    sure = before is not None and not before.pins.dirty
    attributes = {
        name: _attribute(cls, name, value, old.get(name), sure, foreign)
        for name, value in apart.class_content(cls).items()
    }
    head, met = dumping.dumped(apart.class_head(cls), foreign=foreign)
    virtual, more = dumping.dumped(apart.virtual_subclasses(cls), foreign=foreign)
    met |= more
    for attribute in attributes.values():
        met.update(dict.fromkeys(attribute.children))
    _bind(met, cls)
    body = pickle.dumps(({name: (found.version, found.data) for name, found in attributes.items()}, virtual), 5)
    count = len(cls.__dict__)
    special = frozenset(count + place for place, name in enumerate(cls.__dict__) if snapshots.is_special(name))
    record = _record(key, "class", head, body, met, before)
    shared = tuple(variable for attribute in attributes.values() for variable in attribute.shared)
    return _finish(
        record, _looking_at(cls, snapshots.class_parts), lenient=special, attributes=attributes, shared=shared
    )


def _attribute(cls: type, name: str, value: Any, before: _Attribute | None, sure: bool, foreign: bool) -> _Attribute:
    """Pickle an attribute, if it is not for certain the one before."""
    if before is not None and sure and before.steady and before.identity == id(value) and _still_shared(before.shared):
        return before
    try:
        data, met = dumping.dumped(value, foreign=foreign, module=cls.__module__)
    except Exception as error:
        found = refusals.explained(value, error, f"attribute `{name}` of `{cls.__qualname__}`")
    else:
        version = before.version if before is not None and before.data == data else next(_versions)
        steady = snapshots.is_steady(value) or (snapshots.is_special(name) and not snapshots.is_looked_into(value))
        return _Attribute(id(value), version, data, tuple(met), steady, _shared_in(met))
    raise found


def _make_thing(key: str, thing: Any, before: Made | None, foreign: bool) -> Made:
    head, met = dumping.dumped(apart.thing_head(thing), foreign=foreign)
    _bind(met, thing)
    return _finish(_record(key, "thing", head, b"", met, before), None)


def _shared_in(met: Mapping[str, Any]) -> tuple[Global, ...]:
    return tuple(found for found in met.values() if type(found) is Global and found.identity)


def _still_shared(variables: tuple[Global, ...]) -> bool:
    """Whether these variables still hold what they held."""
    return all(id(_value_of(variable)) == variable.identity for variable in variables)


def _value_of(variable: Global) -> Any:
    module = sys.modules.get(variable.module)
    return _NOTHING if module is None else vars(module).get(variable.name, _NOTHING)


def _make_global(key: str, variable: Global, before: Made | None, foreign: bool) -> Made:
    value = _value_of(variable)
    present = value is not _NOTHING
    content = (variable.module, variable.name, present, value if present else None)
    body, met = dumping.dumped(content, foreign=foreign, module=variable.module, top=value, own=variable.name)
    _of_module.setdefault(variable.module, set()).add(key)
    kind = "changed" if before is not None and before.identity[:1] == (id(value),) else "global"
    record = _record(key, kind, b"", body, met, before)
    return _finish(record, partial(_parts_of_global, variable), absent=not present, shared=_shared_in(met))


def _parts_of_global(variable: Global) -> tuple[Any, ...]:
    value = _value_of(variable)
    return () if value is _NOTHING else (value,)


def _make_module(key: str, module: Module, before: Made | None, foreign: bool) -> Made:
    found = sys.modules.get(module.name)
    names = {} if found is None else vars(found)
    content = {name: names[name] for name in pickling.MODULE_NAMES if names.get(name) is not None}
    body, _ = dumping.dumped((module.name, content), foreign=foreign)
    if found is not None:
        weakref.finalize(found, _forget_module, module.name).atexit = False
    return _finish(_record(key, "module", b"", body, {}, before), partial(_parts_of_module, module))


def _parts_of_module(module: Module) -> tuple[Any, ...]:
    return (sys.modules.get(module.name),)


_KINDS: dict[type, str] = {Global: "global", types.FunctionType: "function", Module: "module"}
_MAKERS: dict[str, Callable[[str, Any, Made | None, bool], Made]] = {
    "function": _make_function,
    "class": _make_class,
    "thing": _make_thing,
    "global": _make_global,
    "module": _make_module,
}


def _bind(met: dict[str, Any], thing: Any) -> None:
    """Have the name sent along by which a module of this process knows a thing: there it is known by it too."""
    module: object = getattr(thing, "__module__", None)
    name = str(getattr(thing, "__qualname__", None) or getattr(thing, "__name__", "")).partition(".")[0]
    found = sys.modules.get(module) if type(module) is str else None
    if type(module) is not str or found is None or name not in vars(found):
        return
    met[f"{module}:{name}"] = None
    met[pickling.module_key(module)] = None
    for text in getattr(thing, "__dict__", {}).get("__annotations__", getattr(thing, "__annotations__", {})).values():
        if type(text) is str:  # so that `typing.get_type_hints` finds what it names
            names = [found_name for found_name in _IDENTIFIER.findall(text) if found_name in vars(found)]
            met.update(dict.fromkeys(f"{module}:{found_name}" for found_name in names))


# What is gone


def _forget(key: str) -> None:
    """Something of this process is gone; called in any thread, at any moment."""
    for foreign in (False, True):
        if _made.pop((key, foreign), None) is not None:
            _plans.clear()
            _loans_of.pop(key, None)


def _forget_module(name: str) -> None:
    for key in (*_of_module.pop(name, ()), pickling.module_key(name)):
        keys.tell_of_forgotten(key)


keys.on_forgotten.append(_forget)

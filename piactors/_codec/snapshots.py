"""What a definition is made of, as far as a look at it has to tell whether it has changed.

A look costs next to nothing if what was there is still there: most of what a definition holds cannot change, and is
compared by identity.  What can, a list or an object, is pickled again and compared.
"""

from __future__ import annotations

import dis
import enum
import logging
import re
import sys
import types
import weakref
from collections.abc import Iterable
from typing import Any

from piactors._codec import places
from piactors.pihost.pickles import rebuild, refusals

_GLOBAL_STEPS = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATOMS = frozenset(
    {
        int,
        float,
        complex,
        bool,
        str,
        bytes,
        type(None),
        type(Ellipsis),
        type(NotImplemented),
        range,
        types.CodeType,
        types.WrapperDescriptorType,
        types.MethodDescriptorType,
        re.Pattern,
        logging.Logger,
        logging.RootLogger,
    }
)
_CONTAINERS = frozenset({list, dict, set})
_FEW = 256
"""Items up to which a container is looked at by them; others are pickled again."""
_OF_A_CLASS = (types.GetSetDescriptorType, types.MemberDescriptorType)
"""What each class has of its own, and what keeps it alive."""
_MADE_BY_ENUM = frozenset(
    {
        "__new__",
        "_generate_next_value_",
        "_member_names_",
        "_member_map_",
        "_member_type_",
        "_value2member_map_",
        "_hashable_values_",
        "_unhashable_values_",
        "_unhashable_values_map_",
        "_value_repr_",
        "_flag_mask_",
        "_all_bits_",
        "_singles_mask_",
        "_inverted_",
        "_boundary_",
        "_use_args_",
        "_new_member_",
        "__new_member__",
        "__reduce_ex__",
    }
)
_NO_ATTRIBUTES = frozenset({"__dict__", "__weakref__", "__module__", "__qualname__", "__slots__", "_abc_impl"})
_names: weakref.WeakKeyDictionary[types.CodeType, tuple[str, ...]] = weakref.WeakKeyDictionary()


class Pins:
    """Keeps the identity of what a definition was made of, and nothing else alive that the program lets go of.

    Attributes:
        dirty: whether something that was looked at is gone, so that another thing may have its identity.
        watched: whether something was looked at that may change and be the same object.
    """

    def __init__(self) -> None:
        self.dirty = False
        self.watched = False
        self._held: list[Any] = []

    def _soil(self, _: Any) -> None:
        self.dirty = True

    def add(self, value: Any, *, lenient: bool = False) -> None:
        """Take note of a value that a definition is made of; a `lenient` one counts as what never changes itself."""
        if not self._pin(value) and not lenient:
            self.watched = True

    def _pin(self, value: Any) -> bool:
        kind = type(value)
        if _is_atom(value, kind):
            self._held.append(value)
            return True
        if kind in _OF_A_CLASS:
            return True
        if kind in _CONTAINERS:
            return self._pin_container(value)
        if kind is types.FunctionType:
            return _is_whole(value) and self._pin_weakly(value)
        if kind in (staticmethod, classmethod):
            return self._pin(value.__func__)
        if kind is property:
            pinned = [self._pin(part) for part in (value.fget, value.fset, value.fdel)]  # each, whatever comes of one
            return all(pinned)
        if isinstance(value, type | enum.Enum | types.ModuleType) or refusals.is_definition(kind):
            return self._pin_weakly(value)
        return False

    def _pin_container(self, container: Any) -> bool:
        """A small container of what never changes itself is looked at by its items (see `identities`)."""
        items = [*container, *container.values()] if type(container) is dict else [*container]
        if len(items) > 2 * _FEW or not all(_is_atom(item, type(item)) for item in items):
            return False
        self._held += items
        return True

    def _pin_weakly(self, value: Any) -> bool:
        try:
            self._held.append(weakref.ref(value, self._soil))
        except TypeError:
            self._held.append(value)
        return True


def _is_atom(value: Any, kind: type, depth: int = 3) -> bool:
    """Whether a value never changes, and leads to nothing that belongs to the program."""
    if kind in _ATOMS:
        return True
    if kind is types.BuiltinFunctionType:
        return value.__self__ is None or isinstance(value.__self__, types.ModuleType)
    return kind in (tuple, frozenset) and depth > 0 and all(_is_atom(item, type(item), depth - 1) for item in value)


def _is_whole(function: types.FunctionType) -> bool:
    """Whether a function is watched elsewhere, by its key, or has nothing that may change."""
    if places.of_function(function) != "within":
        return True
    if function.__closure__ is not None or function.__dict__ or function.__kwdefaults__:
        return False
    return _is_atom(function.__defaults__, type(function.__defaults__))


def global_names(code: types.CodeType) -> tuple[str, ...]:
    """Return the names that code, and what is defined in it, looks up in its module; among them are builtins."""
    found = _names.get(code)
    if found is None:
        names = dict.fromkeys(step.argval for step in dis.get_instructions(code) if step.opname in _GLOBAL_STEPS)
        for const in code.co_consts:
            if isinstance(const, types.CodeType):
                names.update(dict.fromkeys(global_names(const)))
        found = _names[code] = tuple(names)
    return found


def contents(function: types.FunctionType) -> tuple[Any, ...]:
    """Return what the cells of a closure hold."""
    return tuple(_content(cell) for cell in function.__closure__ or ())


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return rebuild.Empty


def submodules(function: types.FunctionType, values: Iterable[Any]) -> tuple[str, ...]:
    """Return the modules that code reaches through their packages: ``package.part`` if `package` is a value."""
    found: list[str] = []
    names = frozenset(function.__code__.co_names)
    for value in values:
        if isinstance(value, types.ModuleType) and getattr(value, "__package__", None):
            prefix = value.__name__ + "."
            below = [name for name in list(sys.modules) if name.startswith(prefix)]
            found += [name for name in below if names.issuperset(name[len(prefix) :].split("."))]
    return tuple(found)


def function_parts(function: types.FunctionType) -> tuple[Any, ...]:
    """Return what a function is made of, except its globals."""
    named, attributes = function.__kwdefaults__ or {}, function.__dict__
    if not (named or attributes or function.__closure__):  # as most are
        return function.__code__, function.__defaults__
    return (
        function.__code__,
        function.__defaults__,
        *named,
        *named.values(),
        *attributes,
        *attributes.values(),
        *contents(function),
    )


def class_parts(cls: type) -> tuple[Any, ...]:
    """Return what a class is made of: names and attributes."""
    return (*cls.__dict__, *cls.__dict__.values())


def identities(parts: Iterable[Any]) -> tuple[int, ...]:
    """Return what shows that these are the same things as before, as long as none of them is gone (see `Pins`)."""
    found = [*map(id, parts)]
    for part in parts:
        kind = type(part)
        if kind is property:
            found += map(id, (part.fget, part.fset, part.fdel))
        elif kind in _CONTAINERS and len(part) <= _FEW:
            found += map(id, part)
            if kind is dict:
                found += map(id, part.values())
    return tuple(found)


def class_attributes(cls: type) -> dict[str, Any]:
    """Return the attributes that a class has besides those that its making gives it."""
    found = {name: value for name, value in cls.__dict__.items() if name not in _NO_ATTRIBUTES}
    for name in slots_of(cls):
        found.pop(name, None)
        found.pop(_mangled(cls, name), None)
    if isinstance(cls, enum.EnumMeta):
        members: Any = cls.__members__
        for name in [name for name in found if name in _MADE_BY_ENUM or name in members]:
            del found[name]
    return found


def slots_of(cls: type) -> tuple[str, ...]:
    """Return the names of the slots that a class itself has."""
    slots: Any = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _mangled(cls: type, name: str) -> str:
    private = name.startswith("__") and not name.endswith("__")
    return f"_{cls.__name__.lstrip('_')}{name}" if private else name


def is_special(name: str) -> bool:
    """Whether an attribute belongs to Python's own protocols, and is changed, if at all, by being set again."""
    return name.startswith("__") and name.endswith("__")


def is_steady(value: Any) -> bool:
    """Whether a value never changes for as long as it is the same object."""
    pins = Pins()
    pins.add(value)
    return not pins.watched and type(value) not in _CONTAINERS


def is_looked_into(value: Any) -> bool:
    """Whether a value is a container that is looked at by its items."""
    return type(value) in _CONTAINERS and Pins()._pin_container(value)


def has_identity(name: str, value: Any) -> bool:
    """Whether it matters that a variable's value is this very object: another one of the same content would differ."""
    kind = type(value)
    if is_special(name) or _is_atom(value, kind) or kind in (tuple, frozenset, types.ModuleType):
        return False
    return not (isinstance(value, type | enum.Enum) or refusals.is_definition(kind))

"""Classes and other things taken apart: which function of `piactors.pihost.pickles.rebuild` makes each, of what."""

from __future__ import annotations

import abc
import contextvars
import enum
import functools
from typing import Any

from piactors._codec import places, snapshots
from piactors.pihost.pickles import rebuild


def class_head(cls: type) -> tuple[Any, tuple[Any, ...]]:
    """Return the function that makes a class without its attributes, and its arguments."""
    metaclass = type(cls)
    if isinstance(cls, enum.EnumMeta):
        members = {name: _raw(cls, member) for name, member in vars(cls)["_member_map_"].items()}
        boundary = getattr(cls, "_boundary_", None)
        standing = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
        keywords = {"boundary": boundary} if boundary else {}
        return rebuild.new_enum, (metaclass, cls.__name__, cls.__bases__, standing, members, keywords)
    bare = _is_bare(cls)
    names = {name: cls.__dict__[name] for name in _FROM_THE_BEGINNING if name in cls.__dict__}
    if not bare and "__orig_bases__" in cls.__dict__:
        names["__orig_bases__"] = cls.__dict__["__orig_bases__"]
    names["__qualname__"] = cls.__qualname__
    head = rebuild.ClassHead(metaclass, cls.__name__, cls.__bases__, names, bare, {})
    return rebuild.new_class, (tuple(head),)


def _raw(cls: Any, member: Any) -> Any:
    """Return what makes a member: its value, or in an enumeration of numbers or texts that number or text."""
    kind = cls._member_type_
    if kind is object:
        return member._value_
    if kind is str:
        return str.__str__(member)
    return kind(member) if kind in (int, float, bytes, tuple, complex) else member._value_


_FROM_THE_BEGINNING = ("__module__", "__slots__", "__parameters__", "_is_protocol")
"""What a class needs in order to be made, or for others that refer to it to be made."""


def _is_bare(cls: type) -> bool:
    metaclass = type(cls)
    if metaclass not in (type, abc.ABCMeta) and places.is_importable(metaclass.__module__):
        return False
    return not any("__init_subclass__" in base.__dict__ and _has_hook(base) for base in cls.__mro__[1:])


def _has_hook(base: type) -> bool:
    return base.__module__ not in ("builtins", "typing") and places.is_importable(base.__module__)


def class_content(cls: type) -> dict[str, Any]:
    """Return the attributes of a class; of an enumeration also what its members hold."""
    found = snapshots.class_attributes(cls)
    if isinstance(cls, enum.EnumMeta):
        found["_pihost_members"] = {
            name: dict(member.__dict__) for name, member in cls._member_map_.items() if member._name_ == name
        }
    return found


def virtual_subclasses(cls: type) -> list[type]:
    """Return what was registered with an abstract base class."""
    if not isinstance(cls, abc.ABCMeta):
        return []
    registered = (reference() for reference in abc._get_dump(cls)[0])  # type: ignore[attr-defined]
    return [found for found in registered if found is not None]


_OF_LRU_CACHE = frozenset({"__wrapped__", "cache_parameters"})


def thing_head(obj: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the function that makes a thing that is known by its name, and its arguments."""
    kind = type(obj)
    if kind is functools._lru_cache_wrapper:
        parameters = obj.cache_parameters()
        attributes = {name: value for name, value in obj.__dict__.items() if name not in _OF_LRU_CACHE}
        return rebuild.lru_cache, (obj.__wrapped__, parameters["maxsize"], parameters["typed"], attributes)
    if kind is contextvars.ContextVar:
        try:
            default = contextvars.Context().run(obj.get)
        except LookupError:
            default = rebuild.Empty
        return rebuild.context_variable, (obj.name, default)
    name, keywords = obj.__name__, {}
    args: tuple[Any, ...] = (name,)
    if kind.__name__ == "TypeVar":
        args += obj.__constraints__
    if kind.__name__ in ("TypeVar", "ParamSpec"):
        keywords = {"bound": obj.__bound__, "covariant": obj.__covariant__, "contravariant": obj.__contravariant__}
        if getattr(obj, "__infer_variance__", False):
            keywords = {"bound": obj.__bound__, "infer_variance": True}
    elif kind.__name__ == "NewType":
        args += (obj.__supertype__,)
    elif kind.__name__ == "TypeAliasType":
        args, keywords = (name, obj.__value__), {"type_params": obj.__type_params__}
    return rebuild.named, (kind, args, keywords, obj.__module__)

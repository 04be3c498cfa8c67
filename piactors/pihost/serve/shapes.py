"""What a proxy may offer of an object, found without running any code of its class.

An object may be odd to look at: properties, `__getattr__`, `__dir__`, metaclasses may do anything, raise anything, or
never return.  So its attributes are read where they are kept, and what cannot be looked at is left out.
"""

from __future__ import annotations

import types
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..wire.yielded import WINDOW, WINDOW_BYTES, options_of
from .faults import attempt

Path = Tuple[str, ...]
Entry = Tuple[bool, bool, int, float, int, int, bool]
Namespace = Dict[str, Any]

MOST = 50_000
"""Attributes that are described."""
MOST_PATH = 4096
MOST_RETRIES = 1000
_MARKS = ("_pykka_traversable", "pykka_traversable")
_MISSING = object()
_PLAIN: Entry = (False, False, 0, 0.0, 0, 0, False)
_METHOD: Entry = (True, False, 0, 0.0, 0, 0, False)
_STREAM: Entry = (True, False, 0, 0.0, WINDOW, WINDOW_BYTES, False)
_YIELDS = 0x20 | 0x200
"""Flags of the code of generator functions, and asynchronous ones (see `inspect`, which isolates do not load)."""
_VALUES = frozenset((int, str, float, bool, bytes, list, tuple, dict, set, type(None)))
_mro_of: Callable[[type], Any] = type.__dict__["__mro__"].__get__
_dict_of: Callable[[type], Any] = type.__dict__["__dict__"].__get__


def described(root: Any, skips: Callable[[Any, Path], bool]) -> Dict[str, Entry]:
    """Return an entry for each public attribute, and for those of attributes that are marked as traversable.

    Args:
        root: the object.
        skips: whether an attribute is not to be described, given it and its path.
    """
    found: Dict[str, Entry] = {}
    todo: List[Tuple[Path, List[Any]]] = [((), [root])]
    while todo:
        above, owners = todo.pop(0)
        owner = owners[-1]
        attributes = _attributes(owner)
        for name in _names(owner, attributes):
            path = (*above, name)
            dotted = ".".join(path)
            if len(found) >= MOST:
                return found
            if len(dotted) > MOST_PATH:
                continue
            attribute = attributes.get(name)
            entry = _PLAIN if type(attribute) in _VALUES else _entry(attribute, path, skips)
            if entry is not None:
                if entry[1] and any(attribute is holder for holder in owners):
                    entry = (entry[0], False, *entry[2:])  # it leads back, and would do so forever
                found[dotted] = entry
                if entry[1]:
                    todo.append((path, [*owners, attribute]))
    return found


def _entry(attribute: Any, path: Path, skips: Callable[[Any, Path], bool]) -> Optional[Entry]:
    """Return what there is to say of an attribute; None if it is left out."""
    if type(attribute) is types.FunctionType and not attribute.__dict__:
        return _STREAM if attribute.__code__.co_flags & _YIELDS else _METHOD
    try:
        if skips(attribute, path):
            return None
        traversable = any(_static(attribute, mark) is True for mark in _MARKS)
        reentrant = _of_method(attribute, "_piactors_reentrant", False) is True
        times = _retries(attribute), _seconds(attribute)
        return (callable(attribute), traversable, *times, *_window(attribute), reentrant)
    except BaseException:
        return None


def _retries(attribute: Any) -> int:
    """Return how often a call may be tried again, as its author has said."""
    found = _of_method(attribute, "_piactors_retries", 0)
    return found if type(found) is int and 0 <= found <= MOST_RETRIES else 0


def _seconds(attribute: Any) -> float:
    """Return how long a call may run, as its author has said."""
    found = _of_method(attribute, "_piactors_call_timeout", 0.0)
    return attempt(lambda: float(found), 0.0) if type(found) in (int, float) and found >= 0 else 0.0


def _window(attribute: Any) -> Tuple[int, int]:
    """Return the window of the streams that its calls return, in items and bytes; zeros if they return none."""
    found = options_of(_of_method(attribute, "_piactors_stream", None))
    if found is not None:
        return found[:2]
    yields = type(attribute) is types.FunctionType and attribute.__code__.co_flags & _YIELDS
    return (WINDOW, WINDOW_BYTES) if yields else (0, 0)


def _of_method(attribute: Any, name: str, otherwise: Any) -> Any:
    if type(attribute) is types.FunctionType:
        return attribute.__dict__.get(name, otherwise)
    if not callable(attribute):
        return otherwise
    found = _static(attribute, name)
    # A wrapper of a function may pass on what it does not have; anything else that makes up attributes may not answer.
    return attempt(lambda: getattr(attribute, name, otherwise), otherwise) if found is _MISSING else found


def _names(owner: Any, attributes: Namespace) -> List[str]:
    """Return the names of public attributes: those that `dir` tells, or those that are there."""
    told = attempt(lambda: dir(owner), None)
    names = [str.__str__(name) for name in (attributes if told is None else told) if issubclass(type(name), str)]
    return [name for name in names if name and name[0] != "_" and "." not in name]


def _attributes(owner: Any) -> Namespace:
    """Return the attributes of an object and its classes as they are kept: a property is a property."""
    found: Namespace = {}
    for cls in reversed(_mro_of(type(owner))):
        found.update(_dict_of(cls))
    found.update(_own(owner))
    for name in [name for name, kept in found.items() if type(kept) is types.MemberDescriptorType]:
        kept = _in_slot(found.pop(name), owner)
        if kept is not _MISSING:
            found[name] = kept
    return found


def _in_slot(slot: Any, owner: Any) -> Any:
    """Return what lies in a slot of an object, which runs no code of its class."""
    return attempt(lambda: slot.__get__(owner, type(owner)), _MISSING)


def _static(owner: Any, name: str) -> Any:
    own = _own(owner)
    if name in own:
        return own[name]
    for cls in _mro_of(type(owner)):
        if name in _dict_of(cls):
            kept = _dict_of(cls)[name]
            return _in_slot(kept, owner) if type(kept) is types.MemberDescriptorType else kept
    if issubclass(type(owner), type):
        return next((_dict_of(cls)[name] for cls in _mro_of(owner) if name in _dict_of(cls)), _MISSING)
    return _MISSING


def _own(owner: Any) -> Namespace:
    """Return what an instance holds itself; a `__dict__` that its class makes up is not looked at."""
    for cls in _mro_of(type(owner)):
        kept = _dict_of(cls).get("__dict__")
        if kept is not None:
            if type(kept) not in (types.GetSetDescriptorType, types.MemberDescriptorType):
                return {}
            found: Any = attempt(lambda kept=kept: kept.__get__(owner), None)  # type: ignore[misc]
            return found if issubclass(type(found), (dict, types.MappingProxyType)) else {}
    return {}

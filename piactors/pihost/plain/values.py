"""Decoding of other values of the standard library, and of objects of accepted classes.

`decode` tells what these must guarantee.
"""

from __future__ import annotations

import enum
import re
import types
from typing import Any, Dict, Tuple

from . import arrays, times
from . import tags as t
from .reader import STR_TAGS, TUPLE_TAGS, Handler, PlainReader, computed_int, leaf, made, value

_DECIMAL = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:E[+-][0-9]+)?|Infinity|s?NaN[0-9]*)", re.ASCII)


def _decimal(r: PlainReader) -> Any:
    text: str = leaf(r, STR_TAGS, "the text of a Decimal")
    if len(text) > t.MAX_DECIMAL or not _DECIMAL.fullmatch(text):
        raise r.bad("a text that is not a Decimal")
    r.charge(120 + len(text))
    import decimal  # here and below: most processes never meet one

    return made(r, decimal.Decimal, text)


def _fraction(r: PlainReader) -> Any:
    r.charge(120)
    numerator = computed_int(r, "the numerator of a Fraction")
    denominator = computed_int(r, "the denominator of a Fraction")
    if denominator < 1:
        raise r.bad("a Fraction without a positive denominator")
    import fractions

    return fractions.Fraction(numerator, denominator)


def _uuid(r: PlainReader) -> Any:
    r.charge(120)
    start = r.take(16)
    import uuid

    return uuid.UUID(bytes=bytes(r.view[start : r.pos]))


def _uuid_of_known_safety(r: PlainReader) -> Any:
    r.charge(120)
    start = r.take(17)
    safety = r.data[start]
    if safety > 1:
        raise r.bad("a UUID of unknown safety")
    import uuid

    is_safe = uuid.SafeUUID.unsafe if safety else uuid.SafeUUID.safe
    return uuid.UUID(bytes=bytes(r.view[start + 1 : r.pos]), is_safe=is_safe)


_PATHS = {t.PATH_CONCRETE: "Path", t.PATH_POSIX: "PurePosixPath", t.PATH_WINDOWS: "PureWindowsPath"}


def _path(r: PlainReader) -> Any:
    start = r.take(1)
    kind = _PATHS.get(bytes(r.view[start : r.pos]))
    if kind is None:
        raise r.bad("unknown kind of path")
    text: str = leaf(r, STR_TAGS, "the text of a path")
    r.charge(400 + 32 * len(text))  # it is split into parts, each of them an object
    import pathlib

    return made(r, getattr(pathlib, kind), text)


# --- objects of accepted classes --------------------------------------------------------------


def _class(r: PlainReader) -> Any:
    """Read the key of a class and return the class that the caller accepts under it."""
    key: str = leaf(r, STR_TAGS, "the name of a class")
    cls = r.accept.get(key)
    if not isinstance(cls, type):
        raise r.bad(f"an object of class {key[:100]!a}, which is not accepted")
    return cls


def _enum(r: PlainReader) -> Any:
    cls = _class(r)
    name = leaf(r, STR_TAGS, "the name of an enum's member")
    if not issubclass(cls, enum.Enum) or name not in cls.__members__:
        raise r.bad(f"no member of {t.class_key(cls)}")
    return cls.__members__[name]


def _object(r: PlainReader) -> Any:
    r.enter(3, 256)
    cls = _class(r)
    args = leaf(r, TUPLE_TAGS, "the tuple of an object's arguments")
    state = value(r)
    r.depth -= 1
    problem = t.problem_of_new(cls, args)
    if problem is not None or issubclass(cls, enum.Enum):
        raise r.bad(problem or "a member of an enum without its name")
    try:
        return _rebuilt(cls, args, state)
    except MemoryError:
        raise
    except Exception as error:
        what = f"{t.class_key(cls)} cannot be rebuilt: {type(error).__name__}"
        raise r.bad(what) from error


def _rebuilt(cls: Any, args: Tuple[Any, ...], state: Any) -> Any:
    result = cls.__new__(cls, *args)
    if not isinstance(result, cls):
        raise TypeError("__new__ returned something else")
    if isinstance(result, BaseException) and t.is_builtin_exception(t.owner_of(cls, "__init__")):
        # Without it, the fields of UnicodeDecodeError and others would be unset.
        result.__init__(*args)  # type: ignore[misc]
    if state is not None:
        _set_state(result, cls, state)
    return result


def _set_state(target: Any, cls: Any, state: Any) -> None:
    """Give an object its state as pickle would, but no attribute beyond __dict__ and slots."""
    set_state = getattr(cls, "__setstate__", None)
    if set_state is not None:
        set_state(target, state)
        return
    slots: Any = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    if state is not None:
        target.__dict__.update(_attributes(state))
    for name, item in _attributes(slots or {}).items():
        slot = t.owner_of(cls, name).__dict__.get(name)
        if not isinstance(slot, types.MemberDescriptorType):
            raise TypeError("a state for something that is not a slot")
        slot.__set__(target, item)  # not setattr, which frozen classes refuse


def _attributes(state: Any) -> Dict[str, Any]:
    if type(state) is not dict or not all(type(name) is str for name in state):
        raise TypeError("a state that is not a dict of attributes")
    return state


HANDLERS_HERE: Dict[int, Handler] = {
    **times.HANDLERS_HERE,
    **arrays.HANDLERS_HERE,
    t.DECIMAL: _decimal,
    t.FRACTION: _fraction,
    t.UUID: _uuid,
    t.UUID_SAFE: _uuid_of_known_safety,
    t.PATH: _path,
    t.OBJECT: _object,
    t.ENUM: _enum,
}

"""Decoding of the values of the standard library, of arrays, and of objects of accepted classes.

`plain_decode` tells what these must guarantee.
"""

from __future__ import annotations

import array
import datetime
import decimal
import enum
import fractions
import functools
import math
import pathlib
import re
import struct
import sys
import types
import uuid
from typing import Any, Callable, Dict, Tuple

from . import plain_tags as t
from .plain_reader import (
    STR_TAGS,
    TUPLE_TAGS,
    Handler,
    Reader,
    computed_int,
    leaf,
    made,
    value,
)

_DATE, _TIME = struct.Struct("<HBB"), struct.Struct("<BBBIBq")
_DATETIME, _TIMEDELTA = struct.Struct("<HBBBBBIBq"), struct.Struct("<iii")


@functools.lru_cache(maxsize=128)
def timezone(microseconds: int) -> datetime.timezone:
    """Return the time zone with this offset."""
    return datetime.timezone(datetime.timedelta(microseconds=microseconds))


def _zone(r: Reader, offset: int) -> Any:
    return None if offset == t.NAIVE else made(r, timezone, offset)


def _datetime(r: Reader) -> Any:
    r.charge(200)
    *parts, fold, offset = r.unpack(_DATETIME)
    return made(r, datetime.datetime, *parts, _zone(r, offset), fold=fold)


def _date(r: Reader) -> Any:
    r.charge(32)
    return made(r, datetime.date, *r.unpack(_DATE))


def _time(r: Reader) -> Any:
    r.charge(200)
    *parts, fold, offset = r.unpack(_TIME)
    return made(r, datetime.time, *parts, _zone(r, offset), fold=fold)


def _timedelta(r: Reader) -> Any:
    r.charge(40)
    days, seconds, microseconds = r.unpack(_TIMEDELTA)
    if not (0 <= seconds < 86_400 and 0 <= microseconds < 1_000_000):
        raise r.bad("a timedelta that is not normalised")
    return made(r, datetime.timedelta, days, seconds, microseconds)


_DECIMAL = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:E[+-][0-9]+)?|Infinity|s?NaN[0-9]*)", re.ASCII)


def _decimal(r: Reader) -> Any:
    text: str = leaf(r, STR_TAGS, "the text of a Decimal")
    if len(text) > t.MAX_DECIMAL or not _DECIMAL.fullmatch(text):
        raise r.bad("a text that is no Decimal")
    r.charge(120 + len(text))
    return made(r, decimal.Decimal, text)


def _fraction(r: Reader) -> Any:
    r.charge(120)
    numerator = computed_int(r, "the numerator of a Fraction")
    denominator = computed_int(r, "the denominator of a Fraction")
    if denominator < 1:
        raise r.bad("a Fraction without a positive denominator")
    return fractions.Fraction(numerator, denominator)


def _uuid(r: Reader) -> Any:
    r.charge(120)
    start = r.take(16)
    return uuid.UUID(bytes=bytes(r.view[start : r.pos]))


_PATHS: Dict[bytes, Callable[[str], pathlib.PurePath]] = {
    t.PATH_CONCRETE: pathlib.Path,
    t.PATH_POSIX: pathlib.PurePosixPath,
    t.PATH_WINDOWS: pathlib.PureWindowsPath,
}


def _path(r: Reader) -> Any:
    start = r.take(1)
    make = _PATHS.get(bytes(r.view[start : r.pos]))
    if make is None:
        raise r.bad("unknown kind of path")
    text: str = leaf(r, STR_TAGS, "the text of a path")
    r.charge(400 + 32 * len(text))  # it is split into parts, each of them an object
    return made(r, make, text)


# --- arrays -----------------------------------------------------------------------------------

_ARRAY, _SIZE = struct.Struct("<cBQ"), struct.Struct("<Q")


def _array(r: Reader) -> Any:
    code, item_size, size = r.unpack(_ARRAY)
    if code not in t.ARRAY_CODES.encode():
        raise r.bad("unknown type code of an array")
    result: Any = array.array(code.decode())
    if result.itemsize != item_size or size % item_size:
        raise r.bad("an array whose items have another size")
    start = r.take(size)
    r.charge(80 + size + (size >> 3))
    result.frombytes(r.view[start : r.pos])
    return result


def _numpy_buffer(r: Reader) -> Tuple[Any, Any, Tuple[int, ...], memoryview]:
    """Read the parts of an array: numpy itself, dtype, shape, and the right number of bytes."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        raise r.bad("import numpy in the host to receive arrays")
    text: str = leaf(r, STR_TAGS, "the dtype of an array")
    if not t.DTYPE.fullmatch(text):
        raise r.bad("a dtype that is not received")
    dtype = made(r, numpy.dtype, text)
    shape = tuple(r.unpack(_SIZE)[0] for _ in range(_dimensions(r)))
    (size,) = r.unpack(_SIZE)
    # The dimensions beside a zero count too: NumPy multiplies them without looking at overflow.
    if math.prod(length or 1 for length in shape) * (dtype.itemsize or 1) >= 2**62:
        raise r.bad("an array shape beyond all memory")
    if math.prod(shape) * dtype.itemsize != size:
        raise r.bad("an array shape that does not fit its data")
    start = r.take(size)
    r.charge(200 + 16 * len(shape) + size)
    return numpy, dtype, shape, r.view[start : r.pos]


def _dimensions(r: Reader) -> int:
    count = r.data[r.take(1)]
    if count > 32:
        raise r.bad("an array of more than 32 dimensions")
    return count


def _ndarray(r: Reader) -> Any:
    numpy, dtype, shape, raw = _numpy_buffer(r)
    if dtype.itemsize == 0:
        raise r.bad("an array whose items take no bytes")
    if not raw:
        return made(r, numpy.empty, shape, dtype)
    result = made(r, numpy.frombuffer(raw, dtype).reshape, shape).copy()
    _check_items(r, numpy, result)
    return result


def _check_items(r: Reader, numpy: Any, result: Any) -> None:
    """Refuse items that NumPy takes for granted not to exist; `result` is already a copy.

    NumPy counts the True of a mask by adding bytes, so a "bool" of 255 makes it write beyond
    what it has allocated.
    """
    if result.dtype.kind == "b" and result.view(numpy.uint8).max() > 1:
        raise r.bad("an array of bool with other bytes than 0 and 1")
    if result.dtype.kind == "U":
        points = result.reshape(-1).view(numpy.dtype("u4").newbyteorder(result.dtype.byteorder))
        if points.max() > 0x10FFFF:
            raise r.bad("an array of text with a character beyond Unicode")


def _numpy_scalar(r: Reader) -> Any:
    numpy, dtype, shape, raw = _numpy_buffer(r)
    if shape:
        raise r.bad("a NumPy scalar with a shape")
    if dtype.itemsize == 0:
        return dtype.type()
    result = numpy.frombuffer(raw, dtype).copy()
    _check_items(r, numpy, result)
    return result[0]


# --- objects of accepted classes --------------------------------------------------------------


def _class(r: Reader) -> Any:
    """Read the key of a class and return the class that the caller accepts under it."""
    key: str = leaf(r, STR_TAGS, "the name of a class")
    cls = r.accept.get(key)
    if not isinstance(cls, type):
        raise r.bad(f"an object of class {key[:100]!a}, which is not accepted")
    return cls


def _enum(r: Reader) -> Any:
    cls = _class(r)
    name = leaf(r, STR_TAGS, "the name of an enum's member")
    if not issubclass(cls, enum.Enum) or name not in cls.__members__:
        raise r.bad(f"no member of {t.class_key(cls)}")
    return cls.__members__[name]


def _object(r: Reader) -> Any:
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
            raise TypeError("a state for what is no slot")
        slot.__set__(target, item)  # not setattr, which frozen classes refuse


def _attributes(state: Any) -> Dict[str, Any]:
    if type(state) is not dict or not all(type(name) is str for name in state):
        raise TypeError("a state that is no dict of attributes")
    return state


HANDLERS_HERE: Dict[int, Handler] = {
    t.DATETIME: _datetime,
    t.DATE: _date,
    t.TIME: _time,
    t.TIMEDELTA: _timedelta,
    t.DECIMAL: _decimal,
    t.FRACTION: _fraction,
    t.UUID: _uuid,
    t.PATH: _path,
    t.ARRAY: _array,
    t.NDARRAY: _ndarray,
    t.NUMPY_SCALAR: _numpy_scalar,
    t.OBJECT: _object,
    t.ENUM: _enum,
}

"""Turn plain values into bytes that the host can decode without trusting them.

The child calls `encode`; the host calls `plain_decode.decode` on the outcome.
"""

from __future__ import annotations

import array
import copyreg
import datetime
import decimal
import enum
import fractions
import pathlib
import struct
import sys
import uuid
from typing import AbstractSet, Any, Callable, Dict, FrozenSet, List, Optional, Tuple, Union

from . import plain_tags as t

Put = Callable[[Union[bytes, memoryview]], None]
Accept = AbstractSet[str]
# A writer gets the value, where to put the bytes, how deep the value lies, accepted classes.
Writer = Callable[[Any, Put, int, Accept], None]


class NotPlain(ValueError):
    """A value cannot be sent; `type_name` is "module.qualname" of the type at fault."""

    def __init__(self, type_name: str, why: str) -> None:
        """Build the text from the name of the type and the reason."""
        super().__init__(f"{type_name} cannot be sent: {why}")
        self.type_name = type_name
        self.why = why

    def __reduce__(self) -> Tuple[Any, Tuple[str, str]]:
        """Pickle and copy by the two arguments, not by the text."""
        return type(self), (self.type_name, self.why)


def encode(value: object, accept: Accept = frozenset()) -> bytes:
    """Return the bytes of a plain value.

    `accept` names, as "module:qualname", the classes whose objects may be sent beside the plain
    types.  Raises NotPlain for anything else, and for values nested deeper than 100 levels.
    """
    out: List[Union[bytes, memoryview]] = []
    write(value, out.append, accept)
    return b"".join(out)


def write(value: object, put: Put, accept: Accept = frozenset()) -> None:
    """Hand the bytes of a plain value to `put`, piece by piece; see `encode`."""
    put(_HEADER)
    try:
        _writer(type(value), _other)(value, put, 0, accept)
    except RecursionError:
        raise _not_plain(value, "the stack has no room left to look into it") from None


def _not_plain(value: object, why: str) -> NotPlain:
    cls = type(value)
    return NotPlain(f"{cls.__module__}.{cls.__qualname__}", why)


# --- numbers and text -------------------------------------------------------------------------

_HEADER = bytes((t.HEADER,))
_SMALL_INTS = tuple(bytes((t.INT8, byte)) for byte in range(256))
_SHORT_HEADS = {
    tag: tuple(bytes((tag, size)) for size in range(256))
    for tag in (
        *(t.BIGINT8, t.STR8, t.BYTES8, t.BYTEARRAY8, t.LIST8, t.TUPLE8, t.DICT8, t.SET8),
        *(t.FROZENSET8, t.FLOATS8, t.INTS8),
    )
}
_TRUE, _FALSE = bytes((t.TRUE,)), bytes((t.FALSE,))
_SHORT_STRS = _SHORT_HEADS[t.STR8]
_pack_long_head = struct.Struct("<BQ").pack
_pack_int = struct.Struct("<Bq").pack
_pack_float = struct.Struct("<Bd").pack


def _head(tag: int, size: int) -> bytes:
    """Return the head of a sized value, short (`tag`) or long (`tag + 1`)."""
    return _SHORT_HEADS[tag][size] if size < 256 else _pack_long_head(tag + 1, size)


def _constant(tag: int) -> Writer:
    coded = bytes((tag,))
    return lambda value, put, depth, accept: put(coded)


def _int(value: int, put: Put, depth: int, accept: Accept) -> None:
    if -128 <= value < 128:
        put(_SMALL_INTS[value])  # a negative index finds the two's complement
    elif -0x8000_0000_0000_0000 <= value <= 0x7FFF_FFFF_FFFF_FFFF:
        put(_pack_int(t.INT64, value))
    else:
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        put(_head(t.BIGINT8, len(raw)))
        put(raw)


def _float(value: float, put: Put, depth: int, accept: Accept) -> None:
    put(_pack_float(t.FLOAT, value))


def _complex(value: complex, put: Put, depth: int, accept: Accept) -> None:
    put(struct.pack("<Bdd", t.COMPLEX, value.real, value.imag))


def _str(value: str, put: Put, depth: int, accept: Accept) -> None:
    raw = value.encode("utf-8", "surrogatepass")
    size = len(raw)
    put(_SHORT_STRS[size] if size < 256 else _pack_long_head(t.STR, size))
    put(raw)


def _bytes(value: bytes, put: Put, depth: int, accept: Accept) -> None:
    put(_head(t.BYTES8, len(value)))
    put(value)


def _bytearray(value: bytearray, put: Put, depth: int, accept: Accept) -> None:
    raw = bytes(value)  # a copy: other threads may change the length before the join
    put(_head(t.BYTEARRAY8, len(raw)))
    put(raw)


def _array(value: Any, put: Put, depth: int, accept: Accept) -> None:
    if value.typecode not in t.ARRAY_CODES:
        raise _not_plain(value, f"arrays of type code {value.typecode!r} are not sent")
    raw = value.tobytes()
    put(struct.pack("<BcBQ", t.ARRAY, value.typecode.encode(), value.itemsize, len(raw)))
    put(raw)


# --- containers -------------------------------------------------------------------------------


def _check_depth(value: object, depth: int) -> None:
    if depth >= t.MAX_DEPTH:
        why = f"it lies more than {t.MAX_DEPTH} levels deep, or the value contains itself"
        raise _not_plain(value, why)


def _items(value: object, items: Tuple[Any, ...], put: Put, depth: int, accept: Accept) -> None:
    """Write the items of a container, which lies at `depth`."""
    _check_depth(value, depth)
    depth += 1
    writer = _writer
    for item in items:
        writer(type(item), _other)(item, put, depth, accept)


def _list(value: List[Any], put: Put, depth: int, accept: Accept) -> None:
    items = tuple(value)  # what is counted is what is written, whatever other threads do
    if len(items) >= t.PACK_FROM and _packed(items, put):
        return
    put(_head(t.LIST8, len(items)))
    _items(value, items, put, depth, accept)


_PACKERS: Dict[type, Tuple[str, int]] = {float: ("d", t.FLOATS8), int: ("q", t.INTS8)}


def _packed(items: Tuple[Any, ...], put: Put) -> bool:
    """Write floats, or ints of 64 bits, as one block; say whether that was possible."""
    kind = type(items[0])
    if kind not in _PACKERS or type(items[-1]) is not kind or len(set(map(type, items))) != 1:
        return False
    code, tag = _PACKERS[kind]
    try:
        block = array.array(code, items)
    except OverflowError:
        return False
    put(_head(tag, len(items)))
    put(memoryview(block).cast("B"))
    return True


def _tuple(value: Tuple[Any, ...], put: Put, depth: int, accept: Accept) -> None:
    put(_head(t.TUPLE8, len(value)))
    _items(value, value, put, depth, accept)


def _dict(value: Dict[Any, Any], put: Put, depth: int, accept: Accept) -> None:
    _check_depth(value, depth)
    pairs = tuple(value.items())
    put(_head(t.DICT8, len(pairs)))
    depth += 1
    writer = _writer
    for key, item in pairs:
        writer(type(key), _other)(key, put, depth, accept)
        writer(type(item), _other)(item, put, depth, accept)


def _set_writer(tag: int) -> Writer:
    def write(value: Any, put: Put, depth: int, accept: Accept) -> None:
        items = tuple(value)
        put(_head(tag, len(items)))
        _items(value, items, put, depth, accept)

    return write


def _range(value: range, put: Put, depth: int, accept: Accept) -> None:
    put(bytes((t.RANGE,)))
    for number in (value.start, value.stop, value.step):
        _computed_int(value, number, put)


def _slice(value: slice, put: Put, depth: int, accept: Accept) -> None:
    put(bytes((t.SLICE,)))
    _items(value, (value.start, value.stop, value.step), put, depth, accept)


# --- values of the standard library -----------------------------------------------------------


def _computed_int(value: object, number: int, put: Put) -> None:
    """Write an int that the host will calculate with."""
    if type(number) is not int:
        raise _not_plain(value, "it is made of a subclass of int")
    if number.bit_length() // 8 >= t.MAX_COMPUTED_INT:
        raise _not_plain(value, f"its ints take more than {t.MAX_COMPUTED_INT} bytes")
    _int(number, put, 0, frozenset())


def _offset(value: Any) -> int:
    """Return the UTC offset of a time in microseconds, NAIVE when it has no time zone."""
    if value.tzinfo is None:
        return t.NAIVE
    try:
        offset: Optional[datetime.timedelta] = value.utcoffset()
    except Exception as error:
        raise _not_plain(value, f"its time zone raised {type(error).__name__}") from error
    if offset is None:
        raise _not_plain(value, "its time zone has no fixed offset")
    return offset // datetime.timedelta(microseconds=1)


def _datetime(value: datetime.datetime, put: Put, depth: int, accept: Accept) -> None:
    day = (value.year, value.month, value.day)
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    put(struct.pack("<BHBBBBBIBq", t.DATETIME, *day, *clock, _offset(value)))


def _date(value: datetime.date, put: Put, depth: int, accept: Accept) -> None:
    put(struct.pack("<BHBB", t.DATE, value.year, value.month, value.day))


def _time(value: datetime.time, put: Put, depth: int, accept: Accept) -> None:
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    put(struct.pack("<BBBBIBq", t.TIME, *clock, _offset(value)))


def _timedelta(value: datetime.timedelta, put: Put, depth: int, accept: Accept) -> None:
    put(struct.pack("<Biii", t.TIMEDELTA, value.days, value.seconds, value.microseconds))


def _decimal(value: decimal.Decimal, put: Put, depth: int, accept: Accept) -> None:
    text = str(value)
    if len(text) > t.MAX_DECIMAL:
        raise _not_plain(value, f"it has more than {t.MAX_DECIMAL} digits")
    put(bytes((t.DECIMAL,)))
    _str(text, put, depth, accept)


def _fraction(value: fractions.Fraction, put: Put, depth: int, accept: Accept) -> None:
    put(bytes((t.FRACTION,)))
    _computed_int(value, value.numerator, put)
    _computed_int(value, value.denominator, put)


def _uuid(value: uuid.UUID, put: Put, depth: int, accept: Accept) -> None:
    put(bytes((t.UUID,)) + value.bytes)


def _path_writer(kind: bytes) -> Writer:
    head = bytes((t.PATH,)) + kind

    def write(value: pathlib.PurePath, put: Put, depth: int, accept: Accept) -> None:
        put(head)
        _str(str(value), put, depth, accept)

    return write


# --- everything else: accepted classes and NumPy ----------------------------------------------


def _other(value: Any, put: Put, depth: int, accept: Accept) -> None:
    """Write a value whose exact type is in no table."""
    key = t.class_key(type(value))
    numpy: Any = sys.modules.get("numpy")
    if key in accept:
        _check_depth(value, depth)
        write = _enum if isinstance(value, enum.Enum) else _object
        write(value, key, put, depth + 1, accept)
    elif numpy is not None and _is_numpy(value, numpy):
        _numpy(value, numpy, put)
    else:
        raise _not_plain(value, "it is no plain value and its class is not accepted")


def _enum(value: Any, key: str, put: Put, depth: int, accept: Accept) -> None:
    name = value.name
    if type(value).__members__.get(name) is not value:
        raise _not_plain(value, "this member of the enum has no name of its own")
    put(bytes((t.ENUM,)))
    _str(key, put, depth, accept)
    _str(name, put, depth, accept)


def _object(value: Any, key: str, put: Put, depth: int, accept: Accept) -> None:
    args, state = _reduced(value)
    problem = t.problem_of_new(type(value), args)
    if problem is not None:
        raise _not_plain(value, problem)
    put(bytes((t.OBJECT,)))
    _str(key, put, depth, accept)
    _tuple(args, put, depth, accept)
    _writer(type(state), _other)(state, put, depth, accept)


def _reduced(value: Any) -> Tuple[Tuple[Any, ...], Any]:
    """Take an object apart: what its __new__ is to be given, and its state."""
    try:
        reduced = value.__reduce_ex__(2)
    except Exception as error:
        why = f"its __reduce_ex__ raised {type(error).__name__}: {error}"
        raise _not_plain(value, why) from error
    if type(reduced) is not tuple or not 2 <= len(reduced) <= 6:
        raise _not_plain(value, "its __reduce_ex__ does not return a tuple of 2 to 6 items")
    call, args, state, *rest = (*reduced, None)
    if any(part is not None for part in rest) or type(args) is not tuple:
        raise _not_plain(value, "it has items beside its attributes")
    cls = type(value)
    if call is getattr(copyreg, "__newobj__") and args and args[0] is cls:  # noqa: B009
        return args[1:], state
    # The host calls __new__ only, so a class that wants to be called must not need __init__.
    if call is cls and (issubclass(cls, BaseException) or t.owner_of(cls, "__init__") is object):
        return args, state
    raise _not_plain(value, "its __reduce_ex__ does not rebuild it by its class's __new__")


def _is_numpy(value: Any, numpy: Any) -> bool:
    array_type, generic = getattr(numpy, "ndarray", None), getattr(numpy, "generic", None)
    if array_type is None or generic is None:  # NumPy is only half imported
        return False
    # The exact types: a scalar's own type is the one its dtype names.
    return type(value) is array_type or (
        isinstance(value, generic) and type(value) is value.dtype.type
    )


def _numpy(value: Any, numpy: Any, put: Put) -> None:
    dtype, is_array = value.dtype, type(value) is numpy.ndarray
    if not t.DTYPE.fullmatch(dtype.str) or numpy.dtype(dtype.str) != dtype:
        raise _not_plain(value, f"arrays of dtype {dtype} are not sent")
    if is_array and dtype.itemsize == 0:
        raise _not_plain(value, "arrays whose items take no bytes are not sent")
    put(bytes((t.NDARRAY if is_array else t.NUMPY_SCALAR,)))
    _str(dtype.str, put, 0, frozenset())
    shape = value.shape
    put(struct.pack(f"<B{len(shape)}QQ", len(shape), *shape, value.nbytes))
    if value.nbytes:
        flat = numpy.ascontiguousarray(value).reshape(-1).view(numpy.uint8)
        put(memoryview(flat))


_WRITERS: Dict[type, Writer] = {
    type(None): _constant(t.NONE),
    bool: lambda value, put, depth, accept: put(_TRUE if value else _FALSE),
    int: _int,
    float: _float,
    complex: _complex,
    str: _str,
    bytes: _bytes,
    bytearray: _bytearray,
    array.array: _array,
    list: _list,
    tuple: _tuple,
    dict: _dict,
    set: _set_writer(t.SET8),
    frozenset: _set_writer(t.FROZENSET8),
    range: _range,
    slice: _slice,
    datetime.datetime: _datetime,
    datetime.date: _date,
    datetime.time: _time,
    datetime.timedelta: _timedelta,
    decimal.Decimal: _decimal,
    fractions.Fraction: _fraction,
    uuid.UUID: _uuid,
    pathlib.PosixPath: _path_writer(t.PATH_CONCRETE),
    pathlib.WindowsPath: _path_writer(t.PATH_CONCRETE),
    pathlib.PurePosixPath: _path_writer(t.PATH_POSIX),
    pathlib.PureWindowsPath: _path_writer(t.PATH_WINDOWS),
}
_writer = _WRITERS.get

#: The types that are sent without being accepted, beside those of NumPy.
PLAIN_TYPES: FrozenSet[type] = frozenset(_WRITERS)

"""Turn plain values into bytes that the host can decode without trusting them.

The child calls `encode`; the host calls `decode.decode` on the outcome.
"""

from __future__ import annotations

import array
import copyreg
import enum
import importlib
import struct
import sys
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, Union

from . import arrays, handles, times
from . import tags as t
from .writer import WRITERS, Accept, NotPlain, Put, Writer, check_depth, head, key_step, name_of, not_plain, write_str

if TYPE_CHECKING:
    import decimal
    import fractions
    import pathlib
    import uuid

__all__ = ["NotPlain", "encode", "write"]


def encode(value: object, accept: Accept = frozenset()) -> bytes:
    """Return the bytes of a plain value.

    `accept` names, as "module:qualname", the classes whose objects may be sent beside the plain
    types.  Raises NotPlain for anything else, and for values nested deeper than 100 levels; it
    names the type, and the way to the value.
    """
    out: List[Union[bytes, memoryview]] = []
    write(value, out.append, accept)
    return b"".join(out)


def write(value: object, put: Put, accept: Accept = frozenset()) -> None:
    """Hand the bytes of a plain value to `put`, piece by piece; see `encode`."""
    put(_HEADER)
    try:
        _writer(type(value), _other)(value, put, 0, accept)
    except NotPlain as error:
        error.finish()
        raise
    except RecursionError:
        raise not_plain(value, "the stack has no room left to look into it") from None


# --- numbers and text -------------------------------------------------------------------------

_HEADER = bytes((t.HEADER,))
_SMALL_INTS = tuple(bytes((t.INT8, byte)) for byte in range(256))
_TRUE, _FALSE = bytes((t.TRUE,)), bytes((t.FALSE,))
_pack_int = struct.Struct("<Bq").pack
_pack_float = struct.Struct("<Bd").pack


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
        put(head(t.BIGINT8, len(raw)))
        put(raw)


def _float(value: float, put: Put, depth: int, accept: Accept) -> None:
    put(_pack_float(t.FLOAT, value))


def _complex(value: complex, put: Put, depth: int, accept: Accept) -> None:
    put(struct.pack("<Bdd", t.COMPLEX, value.real, value.imag))


def _bytes(value: bytes, put: Put, depth: int, accept: Accept) -> None:
    put(head(t.BYTES8, len(value)))
    put(value)


def _bytearray(value: bytearray, put: Put, depth: int, accept: Accept) -> None:
    raw = bytes(value)  # a copy: other threads may change the length before the join
    put(head(t.BYTEARRAY8, len(raw)))
    put(raw)


# --- containers -------------------------------------------------------------------------------


def _items(value: object, items: Tuple[Any, ...], put: Put, depth: int, accept: Accept) -> None:
    """Write the items of a container, which lies at `depth`."""
    check_depth(value, depth)
    depth += 1
    writer = _writer
    item: Any = None
    try:
        for item in items:
            writer(type(item), _other)(item, put, depth, accept)
    except NotPlain as error:
        error.inside(value, _item_step(value, items, item))
        raise


def _item_step(value: object, items: Tuple[Any, ...], item: object) -> str:
    """Say which item of a container is meant; it is the first one that is the same object."""
    if type(value) is not list and type(value) is not tuple:
        return "an item"
    return f"item {next(place for place, other in enumerate(items) if other is item)}"


def _list(value: List[Any], put: Put, depth: int, accept: Accept) -> None:
    items = tuple(value)  # what is counted is what is written, whatever other threads do
    if len(items) >= t.PACK_FROM and _packed(items, put):
        return
    put(head(t.LIST8, len(items)))
    _items(value, items, put, depth, accept)


_PACKERS: Dict[type, Tuple[str, int]] = {float: ("d", t.FLOATS8), int: ("q", t.INTS8)}


def _packed(items: Tuple[Any, ...], put: Put) -> bool:
    """Write floats, or ints of 64 bits, as one block; return whether that was possible."""
    kind = type(items[0])
    if kind not in _PACKERS or type(items[-1]) is not kind or len(set(map(type, items))) != 1:
        return False
    code, tag = _PACKERS[kind]
    try:
        block = array.array(code, items)
    except OverflowError:
        return False
    put(head(tag, len(items)))
    put(memoryview(block).cast("B"))
    return True


def _tuple(value: Tuple[Any, ...], put: Put, depth: int, accept: Accept) -> None:
    put(head(t.TUPLE8, len(value)))
    _items(value, value, put, depth, accept)


def _dict(value: Dict[Any, Any], put: Put, depth: int, accept: Accept) -> None:
    check_depth(value, depth)
    pairs = tuple(value.items())
    put(head(t.DICT8, len(pairs)))
    depth += 1
    writer = _writer
    key: Any = None
    try:
        for key, item in pairs:
            writer(type(key), _other)(key, put, depth, accept)
            writer(type(item), _other)(item, put, depth, accept)
    except NotPlain as error:
        error.inside(value, "a key" if error.is_of(key) else key_step(key))
        raise


def _set_writer(tag: int) -> Writer:
    def write(value: Any, put: Put, depth: int, accept: Accept) -> None:
        items = tuple(value)
        put(head(tag, len(items)))
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
        raise not_plain(value, "it is made of a subclass of int")
    if number.bit_length() // 8 >= t.MAX_COMPUTED_INT:
        raise not_plain(value, f"its ints take more than {t.MAX_COMPUTED_INT} bytes")
    _int(number, put, 0, frozenset())


def _decimal(value: decimal.Decimal, put: Put, depth: int, accept: Accept) -> None:
    text = str(value)
    if len(text) > t.MAX_DECIMAL:
        raise not_plain(value, f"it has more than {t.MAX_DECIMAL} digits")
    put(bytes((t.DECIMAL,)))
    write_str(text, put, depth, accept)


def _fraction(value: fractions.Fraction, put: Put, depth: int, accept: Accept) -> None:
    put(bytes((t.FRACTION,)))
    _computed_int(value, value.numerator, put)
    _computed_int(value, value.denominator, put)


def _uuid(value: uuid.UUID, put: Put, depth: int, accept: Accept) -> None:
    safety = value.is_safe.name
    if safety == "unknown":
        put(bytes((t.UUID,)) + value.bytes)
    else:
        put(bytes((t.UUID_SAFE, safety == "unsafe")) + value.bytes)


def _path_writer(kind: bytes) -> Writer:
    head = bytes((t.PATH,)) + kind

    def write(value: pathlib.PurePath, put: Put, depth: int, accept: Accept) -> None:
        put(head)
        write_str(str(value), put, depth, accept)

    return write


# --- everything else: accepted classes and NumPy ----------------------------------------------


def _other(value: Any, put: Put, depth: int, accept: Accept) -> None:
    """Write a value whose exact type is in no table, or in none yet."""
    found = _learnt(type(value))
    if found is not None:
        found(value, put, depth, accept)
        return
    key = t.class_key(type(value))
    if key in accept:
        check_depth(value, depth)
        write = _enum if isinstance(value, enum.Enum) else _object
        write(value, key, put, depth + 1, accept)
    elif arrays.is_numpy(value):
        arrays.write_numpy(value, put, depth, accept)
    else:
        write_zone = times.writer_of_zone(value)
        if write_zone is None:
            raise not_plain(value, _why_not(value))
        write_zone(value, put, depth, accept)


_INSTEAD = {
    "builtins.memoryview": "bytes(value)",
    "collections.deque": "list(value)",
    "builtins.generator": "list(value)",
    "builtins.dict_keys": "list(value)",
    "builtins.dict_values": "list(value)",
    "builtins.dict_items": "list(value)",
    "builtins.mappingproxy": "dict(value)",
}


def _why_not(value: Any) -> str:
    """Say why a value of a class that is not accepted is not sent, and what to send instead."""
    if isinstance(value, enum.Enum):
        return "it is a member of an enum whose class is not accepted; name the class in accept, or send its value"
    instead = _INSTEAD.get(name_of(type(value)))
    if instead is not None:
        return f"it is not a plain value; send {instead}"
    for base in type(value).__mro__[1:]:
        if base in WRITERS:
            accept = "name its class in accept, or " if t.is_made_by_new(base) else ""
            return f"it is of a subclass of {base.__name__}; {accept}send a {base.__name__} itself"
    return "it is not a plain value and its class is not accepted"


def _enum(value: Any, key: str, put: Put, depth: int, accept: Accept) -> None:
    name = value.name
    if type(value).__members__.get(name) is not value:
        raise not_plain(value, "this member of the enum has no name of its own")
    put(bytes((t.ENUM,)))
    write_str(key, put, depth, accept)
    write_str(name, put, depth, accept)


def _object(value: Any, key: str, put: Put, depth: int, accept: Accept) -> None:
    args, state = _reduced(value)
    problem = t.problem_of_new(type(value), args)
    if problem is not None:
        raise not_plain(value, problem)
    put(bytes((t.OBJECT,)))
    write_str(key, put, depth, accept)
    try:
        _tuple(args, put, depth, accept)
        _writer(type(state), _other)(state, put, depth, accept)
    except NotPlain as error:
        error.inside_object(value, state)
        raise


def _reduced(value: Any) -> Tuple[Tuple[Any, ...], Any]:
    """Take an object apart: what its __new__ is to be given, and its state."""
    try:
        reduced = value.__reduce_ex__(2)
    except Exception as error:
        why = f"its __reduce_ex__ raised {type(error).__name__}: {error}"
        raise not_plain(value, why) from error
    if type(reduced) is not tuple or not 2 <= len(reduced) <= 6:
        raise not_plain(value, "its __reduce_ex__ does not return a tuple of 2 to 6 items")
    call, args, state, *rest = (*reduced, None)
    if any(part is not None for part in rest) or type(args) is not tuple:
        raise not_plain(value, "it has items beside its attributes")
    cls = type(value)
    if call is getattr(copyreg, "__newobj__") and args and args[0] is cls:  # noqa: B009
        return args[1:], state
    # The host calls __new__ only, so a class that wants to be called must not need __init__.
    if call is cls and (issubclass(cls, BaseException) or t.owner_of(cls, "__init__") is object):
        return args, state
    raise not_plain(value, "its __reduce_ex__ does not rebuild it by its class's __new__")


_WRITERS: Dict[type, Writer] = {
    type(None): _constant(t.NONE),
    bool: lambda value, put, depth, accept: put(_TRUE if value else _FALSE),
    int: _int,
    float: _float,
    complex: _complex,
    str: write_str,
    bytes: _bytes,
    bytearray: _bytearray,
    array.array: arrays.write_array,
    list: _list,
    tuple: _tuple,
    dict: _dict,
    set: _set_writer(t.SET8),
    frozenset: _set_writer(t.FROZENSET8),
    range: _range,
    slice: _slice,
    **times.WRITERS_HERE,
}
WRITERS.update(_WRITERS)
_writer = WRITERS.get

_late: Dict[str, Dict[str, Writer]] = {
    "decimal": {"Decimal": _decimal},
    "fractions": {"Fraction": _fraction},
    "uuid": {"UUID": _uuid},
    "pathlib": {
        "PosixPath": _path_writer(t.PATH_CONCRETE),
        "WindowsPath": _path_writer(t.PATH_CONCRETE),
        "PurePosixPath": _path_writer(t.PATH_POSIX),
        "PureWindowsPath": _path_writer(t.PATH_WINDOWS),
    },
}
"""Writers for classes of modules that most processes never import; moved to the table once they have."""


def _learnt(cls: type) -> Optional[Writer]:
    """Take those into the table whose modules are there by now; return the writer of this class, if it is in there."""
    home = vars(cls).get("__module__")
    if type(home) is str and home in _late:
        importlib.import_module(home)  # C code may have done without
    for name in list(_late):
        module, writers = sys.modules.get(name), _late.get(name, {})
        if module is not None and all(hasattr(module, found) for found in writers):
            WRITERS.update({getattr(module, found): writer for found, writer in writers.items()})
            _late.pop(name, None)  # another thread may have done so
    return _writer(cls) or (handles.write if handles.is_lent(cls) else None)

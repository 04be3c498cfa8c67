"""Turn bytes from an untrusted child into plain values, within bounds of memory and time.

Whatever the bytes are, `decode` either returns a value made of the types of `tags` (and of
classes the caller named) or raises BadPlain.  What holds everywhere in here:

* no size is believed before that many bytes are known to be there;
* memory is charged to the budget before it is taken;
* a byte is looked at once, or copied first and then checked, so that data in memory shared with
  the child may change meanwhile;
* every nesting of calls is counted, so the stack stays shallow;
* nothing takes more than linear time, except the insertion of keys, which is watched by a clock.
"""

from __future__ import annotations

import struct
import sys
import time
import types
from itertools import repeat
from typing import Any, Dict, List, Mapping, Tuple, Type, Union

from . import handles, values
from . import tags as t
from .reader import HANDLERS, NO_THINGS, BadPlain, Handler, PlainReader, SizedHandler, computed_int, made, value

__all__ = ["BadPlain", "decode"]

NO_CLASSES: Mapping[str, type] = types.MappingProxyType({})

#: Inserting keys that are not text may take this many seconds in all, and this many per key.
KEY_SECONDS = 0.2
KEY_SECONDS_EACH = 15e-6


def decode(
    data: Union[bytes, bytearray, memoryview],
    *,
    budget: int,
    accept: Mapping[str, type] = NO_CLASSES,
    max_depth: int = t.MAX_DEPTH,
    owned: bool = False,
    things: Mapping[int, Any] = NO_THINGS,
) -> object:
    """Return the value that `data` encodes.

    `budget` is how many bytes of memory the value may take, by an estimate that follows CPython.
    `accept` maps "module:qualname" to the classes whose objects may be made, by their __new__
    and __setstate__.  `max_depth` can lower the limit on nesting but not raise it.
    `owned` says that nobody else has `data`, which can be written to: an array that is most of it stays in it.
    `things` are what came along by reference, by number.
    Raises BadPlain for anything but a whole, well-formed and affordable value.
    """
    view = memoryview(data)
    whole = view.c_contiguous and view.nbytes > 0
    view = view.cast("B") if whole else memoryview(bytes(view))
    source = view if type(data) is memoryview or not (type(data) is bytes or owned) else data
    r = PlainReader(source, view, budget, accept, min(max_depth, t.MAX_DEPTH), owned, things)
    try:
        return _whole(r)
    except (BadPlain, MemoryError):
        raise
    except Exception as error:
        # Texts of foreign errors may show much of the data, so only the kind is reported.
        reason = _REASONS.get(type(error)) or f"malformed value ({type(error).__name__})"
        raise r.bad(reason) from None


_REASONS: Dict[Type[Exception], str] = {
    IndexError: "the data is cut short",
    struct.error: "the data is cut short",
    UnicodeDecodeError: "text that is not valid UTF-8",
    RecursionError: "no room left on the stack",
}


def _whole(r: PlainReader) -> object:
    if r.data[0] != t.HEADER:
        raise r.bad("not the header of a plain value of this version and machine")
    r.pos = 1
    result = value(r)
    if r.pos != r.end:
        raise r.bad(f"{r.end - r.pos} bytes follow the value")
    return result


# --- numbers and text -------------------------------------------------------------------------

_SMALL_INTS = tuple(range(128)) + tuple(range(-128, 0))
_INT64, _FLOAT, _COMPLEX = struct.Struct("<q"), struct.Struct("<d"), struct.Struct("<dd")
_SIZE = struct.Struct("<Q")
_read_int64, _read_float = _INT64.unpack_from, _FLOAT.unpack_from


def _int8(r: PlainReader) -> int:
    pos = r.pos
    r.pos = pos + 1
    return _SMALL_INTS[r.data[pos]]


def _int64(r: PlainReader) -> int:
    pos = r.pos
    r.pos = pos + 8
    r.left -= 32
    if r.left < 0:
        r.charge(0)
    number: int = _read_int64(r.data, pos)[0]
    return number


def _float(r: PlainReader) -> float:
    pos = r.pos
    r.pos = pos + 8
    r.left -= 24
    if r.left < 0:
        r.charge(0)
    number: float = _read_float(r.data, pos)[0]
    return number


def _complex(r: PlainReader) -> complex:
    r.charge(32)
    return complex(*r.unpack(_COMPLEX))


def _big_int(r: PlainReader, size: int) -> int:
    start = r.take(size)
    r.charge(32 + size + (size >> 3))
    if size > t.MAX_COMPUTED_INT:
        r.big_int_at = start
    return int.from_bytes(r.view[start : r.pos], "little", signed=True)


def _short_str(r: PlainReader) -> str:
    data = r.data
    start = r.pos + 1
    stop = start + data[start - 1]
    if stop > r.end:
        raise r.bad("a length is beyond the data")
    r.pos = stop
    text = str(data[start:stop], "utf-8", "surrogatepass")
    left = r.left = r.left - (52 + stop - start if text.isascii() else 76 + 4 * len(text))
    if left < 0:
        raise r.bad("the value takes more memory than its budget")
    return text


def _long_str(r: PlainReader, size: int) -> str:
    start = r.take(size)
    raw: Union[bytes, memoryview] = r.view[start : r.pos]
    r.charge(76 + size)
    if r.left < 3 * size:
        # One rare character quadruples a text, and this one could not be afforded then.
        raw = bytes(raw)
        if not raw.isascii():
            r.charge(3 * size)
    text = str(raw, "utf-8", "surrogatepass")
    if not text.isascii():
        r.charge(max(0, sys.getsizeof(text, 76 + 4 * len(text)) - 76 - size))
    return text


def _bytes(r: PlainReader, size: int) -> bytes:
    start = r.take(size)
    r.charge(40 + size)
    return bytes(r.view[start : r.pos])


def _bytearray(r: PlainReader, size: int) -> bytearray:
    start = r.take(size)
    r.charge(72 + size)
    return bytearray(r.view[start : r.pos])


# --- containers -------------------------------------------------------------------------------


def _sequence(r: PlainReader, size: int) -> List[Any]:
    r.enter(size, 88 + 9 * size)  # appending takes an eighth more, and 4 items at least
    data, handlers = r.data, HANDLERS
    result: List[Any] = []
    append = result.append
    for _ in repeat(None, size):
        pos = r.pos
        r.pos = pos + 1
        append(handlers[data[pos]](r))
    r.depth -= 1
    return result


def _tuple(r: PlainReader, size: int) -> Tuple[Any, ...]:
    return tuple(_sequence(r, size))


def _floats(r: PlainReader, size: int) -> List[float]:
    start = r.take(8 * size)
    r.charge(56 + 32 * size)
    block: Any = r.view[start : r.pos].cast("d")
    numbers: List[float] = block.tolist()
    return numbers


def _ints(r: PlainReader, size: int) -> List[int]:
    start = r.take(8 * size)
    r.charge(56 + 40 * size)
    return r.view[start : r.pos].cast("q").tolist()


# The hashes of these are salted, so a child cannot choose them to be equal.
_SALTED = frozenset((str, bytes))

# A collection of keys this light is inserted without looking at the clock.
_LIGHT = 16


def _insert(r: PlainReader, target: Any, items: Any, count: int, weight: int) -> None:
    """Add a batch of keys, or of pairs, to a set or dict, and see what that costs.

    The cost of keys with equal hashes grows with their number squared.  A batch is at most 512
    keys of 8 bytes, or less of longer ones, and becomes smaller as soon as keys are slow, so
    that no single batch can take much longer than the allowance itself.
    """
    try:
        if weight <= _LIGHT and not target:
            target.update(items)
            return
        before = time.thread_time()
        target.update(items)
    except TypeError:
        raise r.bad("a key that cannot be hashed") from None
    seconds = time.thread_time() - before
    r.key_seconds += seconds
    r.key_count += count
    if r.key_seconds > KEY_SECONDS + KEY_SECONDS_EACH * r.key_count:
        raise r.bad("keys that take too long to insert, as if chosen to collide")
    slow = seconds > KEY_SECONDS_EACH * count
    r.batch = max(1, r.batch // 4) if slow else min(512, r.batch * 2)


def _weight(r: PlainReader, start: int) -> int:
    """Return how heavy the key is that was read from `start` on, in keys of 8 bytes."""
    if r.big_int_at >= start:
        raise r.bad(f"a key with an int longer than {t.MAX_COMPUTED_INT} bytes")
    return 1 + ((r.pos - start) >> 3)


def _dict(r: PlainReader, size: int) -> Dict[Any, Any]:
    r.enter(2 * size, 64 + 104 * size + (168 if size else 0))
    data, handlers, weight = r.data, HANDLERS, 0
    result: Dict[Any, Any] = {}
    keys: List[Any] = []
    values: List[Any] = []
    for _ in repeat(None, size):
        start = r.pos
        r.pos = start + 1
        key = handlers[data[start]](r)
        keys.append(key)
        if type(key) not in _SALTED:
            weight += _weight(r, start)
        pos = r.pos
        r.pos = pos + 1
        values.append(handlers[data[pos]](r))
        if weight >= r.batch:
            _insert(r, result, zip(keys, values), len(keys), weight)
            keys, values, weight = [], [], 0
    if weight or result:
        _insert(r, result, zip(keys, values), len(keys), weight)
    else:
        result = dict(zip(keys, values))
    if len(result) != size:
        raise r.bad("a dict with the same key twice")
    r.depth -= 1
    return result


def _items(r: PlainReader, size: int) -> Any:
    r.enter(size, 216 + 128 * size)
    data, handlers, weight = r.data, HANDLERS, 0
    result: Any = set()
    items: List[Any] = []
    for _ in repeat(None, size):
        start = r.pos
        r.pos = start + 1
        item = handlers[data[start]](r)
        items.append(item)
        if type(item) not in _SALTED:
            weight += _weight(r, start)
            if weight >= r.batch:
                _insert(r, result, items, len(items), weight)
                items, weight = [], 0
    _insert(r, result, items, len(items), weight)
    if len(result) != size:
        raise r.bad("a set with the same item twice")
    r.depth -= 1
    return result


def _frozenset(r: PlainReader, size: int) -> Any:
    r.charge(216 + 64 * size)
    return frozenset(_items(r, size))


def _range(r: PlainReader) -> range:
    r.charge(48)
    parts = [computed_int(r, "the int of a range") for _ in range(3)]
    result: range = made(r, range, *parts)
    return result


def _slice(r: PlainReader) -> slice:
    r.enter(3, 56)
    start, stop, step = value(r), value(r), value(r)
    r.depth -= 1
    return slice(start, stop, step)


# --- the table --------------------------------------------------------------------------------


def _constant(constant: Any) -> Handler:
    return lambda r: constant


def _short(read: SizedHandler) -> Handler:
    def handler(r: PlainReader) -> Any:
        pos = r.pos
        r.pos = pos + 1
        return read(r, r.data[pos])

    return handler


def _long(read: SizedHandler) -> Handler:
    return lambda r: read(r, r.unpack(_SIZE)[0])


_SIZED: Dict[int, SizedHandler] = {
    t.BIGINT8: _big_int,
    t.STR8: _long_str,
    t.BYTES8: _bytes,
    t.BYTEARRAY8: _bytearray,
    t.LIST8: _sequence,
    t.TUPLE8: _tuple,
    t.DICT8: _dict,
    t.SET8: _items,
    t.FROZENSET8: _frozenset,
    t.FLOATS8: _floats,
    t.INTS8: _ints,
}

_OTHERS: Dict[int, Handler] = {
    t.NONE: _constant(None),
    t.FALSE: _constant(False),
    t.TRUE: _constant(True),
    t.INT8: _int8,
    t.INT64: _int64,
    t.FLOAT: _float,
    t.COMPLEX: _complex,
    t.STR8: _short_str,
    t.RANGE: _range,
    t.SLICE: _slice,
    t.HANDLE: handles.read,
    **values.HANDLERS_HERE,
}

for _tag, _read in _SIZED.items():
    HANDLERS[_tag] = _short(_read)
    HANDLERS[_tag + 1] = _long(_read)
for _tag, _handler in _OTHERS.items():
    HANDLERS[_tag] = _handler

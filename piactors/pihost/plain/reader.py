"""The state of decoding one message, and the steps that all decoding is made of.

`decode` tells what these must guarantee.
"""

from __future__ import annotations

import struct
import types
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

from . import tags as t

NO_THINGS: Mapping[int, Any] = types.MappingProxyType({})
"""What came along by reference: nothing."""


class BadPlain(ValueError):
    """The bytes are not a plain value that may be built; the text says what is wrong, and where."""


class PlainReader:
    """How far the reading has got, and what it may still use."""

    __slots__ = (
        "accept",
        "batch",
        "big_int_at",
        "data",
        "depth",
        "end",
        "key_count",
        "key_seconds",
        "left",
        "max_depth",
        "owned",
        "pos",
        "things",
        "view",
        "zones",
    )

    def __init__(
        self,
        data: Union[bytes, bytearray, memoryview],
        view: memoryview,
        budget: int,
        accept: Mapping[str, type],
        max_depth: int,
        owned: bool = False,
        things: Mapping[int, Any] = NO_THINGS,
    ) -> None:
        self.data, self.view, self.pos, self.end = data, view, 0, len(view)
        self.left, self.accept, self.owned, self.things = budget, accept, owned, things
        self.depth, self.max_depth = 0, max_depth
        # Where the last int too long for quadratic arithmetic was, and the account of the keys.
        self.big_int_at = -1
        self.key_seconds, self.key_count, self.batch = 0.0, 0, 32
        self.zones: Optional[Dict[str, Any]] = None

    def bad(self, what: str) -> BadPlain:
        return BadPlain(f"{what}, at byte {self.pos} of {self.end}")

    def charge(self, cost: int) -> None:
        """Take memory from the budget."""
        self.left -= cost
        if self.left < 0:
            raise self.bad("the value takes more memory than its budget")

    def take(self, size: int) -> int:
        """Step over `size` bytes that must be there; return where they start."""
        start = self.pos
        if size > self.end - start:
            raise self.bad(f"a length of {size} is beyond the data")
        self.pos = start + size
        return start

    def enter(self, items: int, cost: int) -> None:
        """Go one level deeper, to `items` items of at least a byte each."""
        if items > self.end - self.pos:
            raise self.bad(f"a count of {items} items is beyond the data")
        if self.depth >= self.max_depth:
            raise self.bad(f"values nested deeper than {self.max_depth} levels")
        self.depth += 1
        self.charge(cost)

    def unpack(self, layout: struct.Struct) -> Tuple[Any, ...]:
        return layout.unpack_from(self.view, self.take(layout.size))


# A handler reads what follows a tag; a sized handler is also given the size.
Handler = Callable[[PlainReader], Any]
SizedHandler = Callable[[PlainReader, int], Any]


INT_TAGS = (t.INT8, t.INT64, t.BIGINT8, t.BIGINT)
STR_TAGS = (t.STR8, t.STR)
TUPLE_TAGS = (t.TUPLE8, t.TUPLE)


def value(r: PlainReader) -> Any:
    pos = r.pos
    r.pos = pos + 1
    return HANDLERS[r.data[pos]](r)


def leaf(r: PlainReader, tags: Tuple[int, ...], what: str) -> Any:
    """Read a value that must have one of the tags; looking first keeps the stack shallow."""
    tag = r.data[r.pos]
    if tag not in tags:
        raise r.bad(f"{what} is missing")
    r.pos += 1
    return HANDLERS[tag](r)


def made(r: PlainReader, make: Callable[..., Any], *args: Any, **more: Any) -> Any:
    """Call a constructor that checks its arguments."""
    try:
        return make(*args, **more)
    except (ValueError, TypeError, OverflowError, ArithmeticError):
        raise r.bad(f"arguments that {make.__name__} refuses") from None


def unknown(r: PlainReader) -> Any:
    r.pos -= 1
    raise r.bad(f"unknown tag {r.data[r.pos]}")


def computed_int(r: PlainReader, what: str) -> int:
    """Read an int that is calculated with, and so must not be long."""
    start = r.pos
    number: int = leaf(r, INT_TAGS, what)
    if r.big_int_at >= start:
        raise r.bad(f"{what} is longer than {t.MAX_COMPUTED_INT} bytes")
    return number


#: What reads the rest of a value, by its tag; `decode` fills this table.
HANDLERS: List[Handler] = [unknown] * 256

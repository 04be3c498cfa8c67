"""Things that go by reference, in plain data: their number, of which the message itself says what it stands for."""

from __future__ import annotations

import struct
from typing import Any, Callable

from . import tags as t
from .reader import PlainReader
from .writer import Accept, Put

_NUMBER = struct.Struct("<Q")
_COST = 64


def _unknown(_: Any) -> int:
    raise LookupError("nothing is lent by this process")


note: Callable[[Any], int] = _unknown
"""Notes that a thing is lent, and returns its number; set by what keeps the table of them (`pickles.lending`)."""


def _nothing(_: type) -> bool:
    return False


is_lent: Callable[[type], bool] = _nothing
"""Whether instances of a type are lent, and not copied; set like `note`."""


def write(value: Any, put: Put, depth: int, accept: Accept) -> None:
    """Write a thing that is lent; a Writer."""
    put(bytes((t.HANDLE,)) + _NUMBER.pack(note(value)))


def read(r: PlainReader) -> Any:
    """Return what a number stands for; a Handler."""
    (number,) = r.unpack(_NUMBER)
    r.charge(_COST)
    try:
        return r.things[number]
    except KeyError:
        raise r.bad("a reference to something that did not come with it") from None

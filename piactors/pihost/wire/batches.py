"""Items of a stream that travel together: each is encoded by itself, as a result is, and decoded when it is wanted.

A batch is a head (how many items, and whether the stream ends after them) and, for each item, how it is encoded, its
size and its bytes.  Both sides use this.
"""

from __future__ import annotations

import struct
from typing import Any, List, Sequence, Tuple

from ..wire import wire
from .yielded import Item

_HEAD = struct.Struct("<IB")
_ITEM = struct.Struct("<BII")
_ENCODINGS = (wire.PLAIN, wire.PICKLE)


def packed(items: Sequence[Item], is_last: bool) -> bytes:
    """Return a batch as it travels."""
    parts = [_HEAD.pack(len(items), is_last)]
    for flags, data, count in items:
        parts.append(_ITEM.pack(flags, len(data), count))
        parts.append(data)
    return b"".join(parts)


def unpacked(data: Any) -> Tuple[List[Item], bool]:
    """Return the items of a batch, and whether the stream ends after them.

    Raises:
        ValueError: if it is malformed.
    """
    data = bytes(data)
    if len(data) < _HEAD.size:
        raise ValueError("a batch is cut short")
    entries, is_last = _HEAD.unpack_from(data)
    position, items = _HEAD.size, []  # type: int, List[Item]
    for _ in range(min(entries, len(data))):
        if position + _ITEM.size > len(data):
            raise ValueError("a batch is cut short")
        flags, size, count = _ITEM.unpack_from(data, position)
        position += _ITEM.size
        if flags not in _ENCODINGS or size > len(data) - position or count > size:
            raise ValueError("a batch holds what is not an item")
        items.append((flags, data[position : position + size], count))
        position += size
    if len(items) != entries or position != len(data) or is_last > 1:
        raise ValueError("a batch holds other items than it says")
    return items, bool(is_last)


def is_end(frame: Any) -> bool:
    """Whether a stream has ended with the answer to a request for items, however that is to be read."""
    if frame.kind == wire.ERROR:
        return True
    data = getattr(frame.payload, "payload", frame.payload)
    return bool(frame.flags & wire.BATCH) and len(data) >= _HEAD.size and bool(_HEAD.unpack_from(data)[1])


def values(item: Item, decoded: Any) -> Any:
    """Return the items that one decoded entry stands for.

    Raises:
        ValueError: if they are not as many as it says.
    """
    if not item[2]:
        return (decoded,)
    if type(decoded) is not list or len(decoded) != item[2]:
        raise ValueError("a batch holds other items than it says")
    return decoded

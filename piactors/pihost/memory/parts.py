"""A large message as it goes where there is no segment for it: in parts, of which each can stay where it arrives.

Most processes send and get none, so this is loaded when there is one.
"""

from __future__ import annotations

import struct
from typing import List, Optional

from .chunks import IN_PARTS, Chunk, Chunks

_ALIGN = 16  # of what malloc gives


def laid_out(chunks: Chunks) -> List[Chunk]:
    """Return what to write, one after the other; if there are buffers apart, it begins with a table."""
    chunks.gather()
    if not chunks.apart:
        return chunks.pieces
    main = b"".join(chunks.pieces)
    lengths = [len(main), *(buffer.nbytes for buffer in chunks.apart)]
    table = struct.pack("<BxxxI{}Q".format(len(lengths)), IN_PARTS, len(lengths), *lengths)
    found: List[Chunk] = [b"".join((table, _padding(table), main, _padding(main)))]
    for buffer in chunks.apart:
        found += [buffer, _padding(buffer)]
    return found


def _padding(chunk: Chunk) -> bytes:
    return bytes(-memoryview(chunk).nbytes % _ALIGN)


def parts_of(payload: Chunk) -> Optional[List[memoryview]]:
    """Return the parts of a message that has come in parts, where they can be written to; None if it has not.

    Raises:
        ValueError: if its table is not one.
    """
    if not payload or payload[0] != IN_PARTS:
        return None
    view = memoryview(bytearray(payload) if type(payload) is bytes else payload)
    count = struct.unpack_from("<I", view, 4)[0] if len(view) >= 8 else 0
    place = 8 + 8 * count
    if not 0 < place <= len(view) or not count:
        raise ValueError("a message in parts whose table is cut short")
    parts = []
    for length in struct.unpack_from("<{}Q".format(count), view, 8):
        place += -place % _ALIGN
        parts.append(view[place : place + length])
        place += length
        if place > len(view):
            raise ValueError("a message in parts that is cut short")
    return parts

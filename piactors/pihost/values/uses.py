"""What is asked of things that are borrowed, as it travels: a head, the name of a method, what is lent, arguments."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple, Tuple, Union

from ..wire import wire

HEAD = struct.Struct("<QQdBBBH")
_LENDS = struct.Struct("<I")
OPERATIONS = (
    "call",
    "get",
    "set",
    "message",
    "about",
    "describe",
    "stop",
    "outcome",
    "settle",
    "fail",
    "cancel",
    "register",
    "unregister",
    "whereis",
    "pull",
    "close",
    "watch",
    "unwatch",
    "channel",
    "waits",
    "waited",
    "answer",
)
_ENCODINGS = (wire.PLAIN, wire.PICKLE, wire.PICKLE | wire.PASSED)
_NUMBER_OF = {name: number for number, name in enumerate(OPERATIONS)}

UNWANTED, ON_CONTROL, ON_DATA = range(3)
"""Whether an answer is wanted, and on which channel: on the data channel if the thread waits that reads it."""


class Use(NamedTuple):
    """One request about a thing that is borrowed.

    Attributes:
        thing: its number.
        call: the number of the call in which it is asked; 0 if in none.
        timeout: after how many seconds who asks gives up; less than 0 if that waits for as long as it takes.
        operation: what is to be done.
        answer: whether an answer is wanted, and where.
        flags: how the arguments are encoded.
        name: the method or attribute that it is about, or nothing.
        lends: what the arguments lend or give back, encoded; nothing if there is nothing.
        payload: the arguments; nothing if there are none.
    """

    thing: int
    call: int
    timeout: float
    operation: str
    answer: int
    flags: int
    name: str
    lends: bytes
    payload: bytes


def packed(use: Use) -> Tuple[int, bytes]:
    """Return the flags of the frame, and its payload."""
    name = use.name.encode("utf-8", "surrogatepass")
    number = _NUMBER_OF[use.operation]
    head = HEAD.pack(use.thing, use.call, use.timeout, number, use.answer, use.flags, len(name))
    flags = use.flags & wire.SHARED
    if not use.lends:
        return flags, b"".join((head, name, use.payload))
    return flags | wire.LENDS, b"".join((head, name, _LENDS.pack(len(use.lends)), use.lends, use.payload))


def unpacked(flags: int, data: Union[bytes, bytearray, memoryview]) -> Use:
    """Return what a frame asks for.

    Raises:
        ValueError: if it is malformed.
    """
    data = bytes(data)
    if len(data) < HEAD.size:
        raise ValueError("it is cut short")
    thing, call, timeout, number, answer, encoding, length = HEAD.unpack_from(data)
    start = HEAD.size + length
    if number >= len(OPERATIONS) or answer > ON_DATA or encoding not in _ENCODINGS or start > len(data):
        raise ValueError("it names what there is not")
    name = data[HEAD.size : start].decode("utf-8")
    lends = b""
    if flags & wire.LENDS:
        lends, start = _lends(data, start)
    return Use(thing, call, _seconds(timeout), OPERATIONS[number], answer, encoding, name, lends, data[start:])


def _lends(data: bytes, start: int) -> Tuple[bytes, int]:
    if start + _LENDS.size > len(data):
        raise ValueError("it is cut short")
    (size,) = _LENDS.unpack_from(data, start)
    start += _LENDS.size
    if size > len(data) - start:
        raise ValueError("it is cut short")
    return data[start : start + size], start + size


def _seconds(timeout: Any) -> float:
    if not timeout < 1e9:  # not a number is not, either
        raise ValueError("it waits for what is no time")
    return float(timeout)

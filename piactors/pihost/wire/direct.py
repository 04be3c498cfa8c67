"""Direct channels between two isolates of one host: numbers, and what travels on them.

The host gives both an end of one socket pair, and has no part in what goes through it.  The sender numbers its messages
from 1; each is answered under its number.  Frames are those of `wire`: CALL or TELL to the receiver; REPLY, ERROR,
DONE, SKIPPED or CANCELLED back.  A message says when it is not wanted any more, what it asks for, and the arguments.
"""

from __future__ import annotations

import contextlib
import pickle
import socket
import struct
from typing import Dict, Tuple

from .page import DIRECT_WINDOW

WINDOW = DIRECT_WINDOW
"""Messages that may be unanswered on one channel."""
MOST_BYTES = 2048
"""Bytes that a message or an answer may have here; a socket holds as many of them as may be there at once."""
BUFFER = 1 << 19
"""Bytes that the kernel is asked to hold in each direction."""
_COST = 4608
"""What the kernel counts for one of them, at most."""
_LEAST_WINDOW = 8
NO_SIGNAL, NO_WAIT = getattr(socket, "MSG_NOSIGNAL", 0), getattr(socket, "MSG_DONTWAIT", 0)
LAST = (1 << 32) - 1
"""The last number of a channel."""
_MARK = 1 << 63
_CHANNELS = (1 << 31) - 1
_FACTS = struct.Struct("<QQ")
OPERATIONS = frozenset(("call", "get", "set", "message"))
"""What goes directly if it is small and lends nothing."""


def prepare(sock: socket.socket) -> int:
    """Have a socket hold as much as it can, and wait; return how many messages may be unanswered on it."""
    sock.setblocking(True)  # whatever time-out is the default of this process's sockets
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    held = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // _COST
    return 0 if held < _LEAST_WINDOW else min(WINDOW, held)


def call_number(channel: int, number: int) -> int:
    """Return the number of a message among all that its receiver runs."""
    return _MARK | channel << 32 | number


def is_direct(call: int) -> bool:
    """Whether this is the number of a message that came directly."""
    return call >= _MARK


def of_call(call: int) -> int:
    """Return the number of such a message in its channel."""
    return call & LAST


def channel_of(call: int) -> int:
    """Return the number of its channel."""
    return call >> 32 & _CHANNELS


def pair(first: int, second: int) -> bytes:
    """Return two numbers as they travel to the host."""
    return _FACTS.pack(first, second)


def unpaired(data: bytes) -> Tuple[int, int]:
    """Return what `pair` has made.

    Raises:
        ValueError: if it is malformed.
    """
    if len(data) < _FACTS.size:
        raise ValueError("it is cut short")
    first, second = _FACTS.unpack_from(data)
    return first, second


def tail(data: bytes) -> bytes:
    """Return what follows a pair."""
    return data[_FACTS.size :]


FRONT = struct.Struct("<IBBHQd")
"""The header of a message (see `wire.HEADER`), and when it is not wanted any more: so its payload begins."""
UNTIL = struct.Struct("<d")
_SIZE = struct.Struct("<H")
MOST_FRAME = MOST_BYTES + 64
Head = Tuple[str, Tuple[str, ...]]
"""What a message asks for: what is to be done to what (see `serve.hosted`)."""

_heads: Dict[bytes, Head] = {}
_KEPT = 1024


def head(operation: str, name: str) -> bytes:
    """Return what a message asks for, as it stands before its arguments."""
    data = pickle.dumps((operation, tuple(name.split(".")) if name else ()), 4)
    return _SIZE.pack(len(data)) + data


def unpacked(data: bytes, start: int) -> Tuple[Head, int]:
    """Return what a message asks for whose head begins there, and where its arguments do."""
    begin = start + 2
    end = begin + (data[start] | data[start + 1] << 8)
    raw = data[begin:end]
    found = _heads.get(raw)
    if found is None:
        operation, path = pickle.loads(raw)
        if len(_heads) >= _KEPT:
            _heads.clear()
        found = _heads[raw] = (operation, path)
    return found, end

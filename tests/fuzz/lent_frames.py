"""Frames that an isolate may send which holds things of its host, and lends things itself: what fuzzing changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reference_rules import packed_use

from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.values import uses
from piactors.pihost.wire import batches, wire

PLACE = (1 << 64) - 3
"""In place of the number of the call in which a row is sent."""
_NOTHING = plain_encode.encode(None)
_OPERATIONS = {
    "function": ("call",),
    "object": ("call", "get"),
    "ref": ("call", "get", "set", "message", "about", "describe", "watch", "stop"),
    "stream": ("pull", "pull", "close"),
    "future": ("outcome", "settle", "fail", "cancel"),
}
Row = list[tuple[bool, int, int, int, bytes]]
"""Frames: whether each goes on the control channel, kind, flags, number and payload."""


def frames(held: dict[int, str], secret: int, own: int) -> Iterator[tuple[bool, int, int, int, bytes]]:
    seq, numbers = 1 << 40, list(held)
    mine = plain_encode.encode([(own + 1, "object", ("x", ("up",))), (own + 2, "stream", ("y", 4, 1000, 1, True))])
    back = plain_encode.encode([(numbers[0], "", ()), (own, "", ())])
    for frame in (*_uses(held, secret, own, mine), *_requests(mine, back)):
        seq += 1
        yield False, frame[0], frame[1], seq, frame[2]
    for counts in ([numbers[0], 1], [numbers[1], 1, numbers[2], 1], [secret, 1], [numbers[3], 2], [own, 1], []):
        for after in (0, 1, 3, 1 << 40):
            yield True, wire.DROP, 0, after, plain_encode.encode(counts)
    batch = batches.packed([(wire.PLAIN, _NOTHING, 0), (wire.PLAIN, plain_encode.encode([1, 2]), 2)], is_last=False)
    for lends in (mine, back):
        yield False, wire.LEND, 0, PLACE, lends
        yield False, wire.REPLY, wire.LENDS, PLACE, _NOTHING
    for kind, flags, raw in (
        (wire.PART, wire.BATCH, batch),
        (wire.PART, wire.BATCH | wire.LENDS, batch),
        (wire.REPLY, wire.BATCH, batch),
        (wire.REPLY, 0, _NOTHING),
        (wire.ERROR, 0, plain_encode.encode({"module": "builtins"})),
        (wire.DONE, 0, b""),
        (wire.CANCELLED, 0, b""),
    ):
        yield False, kind, flags, PLACE, raw
    for number in (1, seq, PLACE):
        yield False, wire.AWAIT, 0, number, b""
        yield True, wire.RESPONSE, 0, number, _NOTHING
        yield True, wire.FAILURE, wire.LENDS, number, _NOTHING


def _uses(held: dict[int, str], secret: int, own: int, mine: bytes) -> Iterator[tuple[int, int, bytes]]:
    for thing, kind in held.items():
        for operation in _OPERATIONS[kind] * 4:
            yield from _use(thing, operation, mine)
    for thing in (*held, secret, own, own + 1, 0):
        yield from _use(thing, uses.OPERATIONS[thing % len(uses.OPERATIONS)], mine)
    for operation in ("register", "unregister", "whereis"):
        yield from _use(0, operation, mine)


def _use(thing: int, operation: str, mine: bytes) -> Iterator[tuple[int, int, bytes]]:
    raw = plain_encode.encode(((2, 100) if operation == "pull" else (), {}))
    cases: tuple[dict[str, Any], ...] = (
        {"payload": raw},
        {"name": "ping", "payload": raw, "lends": mine},
        {"name": "up", "timeout": 0.5, "answer": uses.ON_DATA},
        {"name": "publish", "payload": plain_encode.encode(((1,), {})), "answer": uses.UNWANTED},
    )
    for more in cases:
        yield wire.USE, *packed_use(thing, operation, **more)


def _requests(mine: bytes, back: bytes) -> Iterator[tuple[int, int, bytes]]:
    message = plain_encode.encode((("call", ("note",), (1,), {}),))
    for request in (
        ("ask", message, b""),
        ("tell", message, mine),
        ("tell", b"x", back),
        ("timer", 5, 0.01, 1, message, b""),
        ("timer", 6, 0.0, 0, message, mine),
        ("end_timer", 5),
        ("cancel", 1 << 40, -1.0),
        ("cancel", 1, 5.0),
    ):
        for _ in range(4):
            yield wire.REQUEST, 0, plain_encode.encode(request)

"""What the small frames of a process say.  All of it is input from code that may be hostile, so it is all checked."""

from __future__ import annotations

from typing import Any

from piactors._isolate.remote_attributes import Described
from piactors.errors import ProtocolError
from piactors.pihost.plain import decode as plain_decode
from piactors.pihost.wire import wire
from piactors.pihost.wire.yielded import MOST_BYTES, MOST_ITEMS

SMALL_FRAME = 1 << 18
MAX_DESCRIPTION = 1 << 22
MAX_RETRIES = 1000
_MAX_PATH = 4096


def small(frame: wire.Frame) -> dict[Any, Any]:
    """Decode what has to be known on the I/O thread; its size is bounded, so its cost is too.

    Raises:
        ProtocolError: if it is too large, or not a dictionary.
    """
    if len(frame.payload) > SMALL_FRAME:
        raise ProtocolError(f"a frame of kind {frame.kind} has {len(frame.payload):,} bytes")
    try:
        fields = plain_decode.decode(frame.payload, budget=8 * SMALL_FRAME)
    except plain_decode.BadPlain as error:
        raise ProtocolError(f"a frame of kind {frame.kind} cannot be read: {error}") from None
    if not isinstance(fields, dict):
        raise ProtocolError(f"a frame of kind {frame.kind} holds a {type(fields).__name__}")
    return fields


def counts(frame: wire.Frame) -> list[int]:
    """Return the numbers that a frame holds.

    Raises:
        ProtocolError: if it holds something else.
    """
    if len(frame.payload) > SMALL_FRAME:
        raise ProtocolError(f"a frame of kind {frame.kind} has {len(frame.payload):,} bytes")
    try:
        found = plain_decode.decode(frame.payload, budget=8 * SMALL_FRAME, max_depth=1)
    except plain_decode.BadPlain as error:
        raise ProtocolError(f"a frame of kind {frame.kind} cannot be read: {error}") from None
    if type(found) is not list or any(type(number) is not int for number in found):
        raise ProtocolError(f"a frame of kind {frame.kind} does not hold numbers")
    return found


def stop_report(frame: wire.Frame) -> dict[str, Any]:
    """Return what a process says of its stop: ``error`` (text) and ``code``.

    Raises:
        ProtocolError: if it cannot be read.
    """
    fields = small(frame)
    error, code = fields.get("error"), fields.get("code")
    return {"error": error if isinstance(error, str) else None, "code": code if isinstance(code, int) else None}


def raw_description(frame: wire.Frame) -> bytes:
    """Return the description of what is hosted, as it came.

    Raises:
        ProtocolError: if it is too large.
    """
    if len(frame.payload) > MAX_DESCRIPTION:
        raise ProtocolError(f"it describes itself with {len(frame.payload):,} bytes")
    return bytes(frame.payload)


_ENTRY = [bool, bool, int, float, int, int, bool]


def check_description(found: Any) -> Described:
    """Return what an isolate said of itself, as far as it is a description.

    Raises:
        ProtocolError: if it is not one.
    """
    if not isinstance(found, dict):
        raise ProtocolError("a description is not a dictionary")
    for name, entry in found.items():
        if not (type(name) is str and len(name) <= _MAX_PATH and _is_public(name)):
            raise ProtocolError("a description names what is not a public attribute")
        if not (type(entry) is tuple and [type(part) for part in entry] == _ENTRY):
            raise ProtocolError(f"a description has a malformed entry for {name!r}")
        if not 0 <= entry[2] <= MAX_RETRIES:
            raise ProtocolError(f"a description asks for more than {MAX_RETRIES} retries of {name!r}")
        if not entry[3] >= 0:
            raise ProtocolError(f"a description gives {name!r} a time limit that is not a number of seconds")
        if not (0 <= entry[4] <= MOST_ITEMS and 0 <= entry[5] <= MOST_BYTES):
            raise ProtocolError(f"a description gives {name!r} a window that is not one")
    return found


def _is_public(path: str) -> bool:
    return all(part and not part.startswith("_") for part in path.split("."))

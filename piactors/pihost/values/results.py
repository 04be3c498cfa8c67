"""What an answer of the host holds: a result that may lend things, or an exception."""

from __future__ import annotations

import builtins
import functools
from typing import Any, Dict, NamedTuple

from ..memory import passed
from ..pickles import byvalue
from ..plain import decode as plain_decode
from ..wire import batches, wire
from ..wire.yielded import Arrived, Item
from . import errors

_BUDGET = 1 << 32


class Carried(NamedTuple):
    """The payload of an answer, and what came along by reference, which is kept until the payload has been read."""

    body: Any
    things: Dict[int, Any]


def arriving(frame: wire.Frame) -> wire.Frame:
    """Return an answer that lies in a file, whose descriptor is let go of if nobody reads it."""
    payload = frame.payload
    if type(payload) is Carried:
        return frame._replace(payload=Carried(passed.Arriving(payload.body), payload.things))
    return frame._replace(payload=passed.Arriving(payload))


def of(frame: wire.Frame) -> Any:
    """Return the result that an answer holds, or raise what it says was raised."""
    payload, things = frame.payload, {}  # type: Any, Dict[int, Any]
    if type(payload) is Carried:
        payload, things = payload
    if frame.kind == wire.FAILURE:
        raise _error(plain_decode.decode(payload, budget=_BUDGET))
    if frame.flags & wire.BATCH:
        items, is_last = batches.unpacked(payload)
        return Arrived(items, is_last, functools.partial(_value, things))
    return _value(things, (frame.flags, payload, 0))


def _value(things: Dict[int, Any], item: Item) -> Any:
    flags, payload, _ = item  # type: int, Any, int
    if flags & wire.SHARED:
        return byvalue.loads_chunks(payload.chunks())
    if flags & wire.PICKLE:
        return byvalue.loads(payload)
    return plain_decode.decode(payload, budget=_BUDGET, things=things)


_OWN = (("not_sendable", "NotSendable"), ("invalid_target", "InvalidTarget"))
"""Marks of errors of pihost's own, and their names."""


def _error(described: Any) -> BaseException:
    for mark, name in _OWN:
        if described.get(mark):
            own: BaseException = errors.make(name, described["text"])
            return own
    if described["pickle"] is not None:
        try:
            found = byvalue.loads(described["pickle"])
            if isinstance(found, Exception):
                return found
        except Exception:
            pass  # its class, or what it holds, is not here
    made: BaseException = _builtin(described) or errors.remote(
        described["module"], described["qualname"], described["text"], described["traceback"]
    )
    return made


def _builtin(described: Any) -> Any:
    cls = vars(builtins).get(described["qualname"]) if described["module"] == "builtins" else None
    if described["args"] is None or not (isinstance(cls, type) and issubclass(cls, Exception)):
        return None
    try:
        return cls(*plain_decode.decode(described["args"], budget=_BUDGET))  # type: ignore[misc]
    except Exception:
        return None

"""Calls of other isolates, which come by way of the host: a head that the host has made, and arguments as they came.

So the host need not look into the arguments.  They are a pickle if the caller is trusted as the host is, and else plain
data.
"""

from __future__ import annotations

import pickle
import struct
from typing import Any, Callable, Dict, Tuple

from ..pickles import byvalue
from ..plain import decode as plain_decode
from ..wire import wire

HEAD = struct.Struct("<I")
_BUDGET = 1 << 32


def arguments(flags: int, payload: Any, things: Dict[int, Any]) -> Tuple[Any, Any]:
    """Return the arguments of a request: positional ones, and those by name."""
    if not payload:
        return (), {}
    if flags & wire.SHARED:
        from ..memory import passed  # what is so large is rare

        return byvalue.loads_chunks(passed.Arriving(payload).chunks())  # type: ignore[no-any-return]
    if flags & wire.PICKLE:
        return byvalue.loads(payload)  # type: ignore[no-any-return]
    found: Any = plain_decode.decode(payload, budget=_BUDGET, things=things)
    args, kwargs = found
    if type(args) is not tuple or type(kwargs) is not dict or not all(type(name) is str for name in kwargs):
        raise TypeError("malformed arguments")
    return args, kwargs


def perform(asked: Callable[[Any], Any], border: Any, payload: Any) -> Any:
    """Do what another isolate asks for, by `asked`, which takes a message."""
    view = memoryview(payload)
    (size,) = HEAD.unpack_from(view)
    operation, path, flags, numbers = pickle.loads(view[HEAD.size : HEAD.size + size])
    things = {number: border.thing(number) for number in numbers}
    args, kwargs = arguments(flags, bytes(view[HEAD.size + size :]), things)
    return asked((operation, path, args, kwargs))

"""What is done to things of this process because the other side asks for it."""

from __future__ import annotations

import copy
import types
from typing import Any, Callable, Dict

from . import facts
from .packing import Packer


def perform(packer: Packer, thing: Any, operation: Any, args: Any, kwargs: Any) -> Any:
    """Do to a thing of this process what the other side asks for; what comes may have to be awaited.

    Raises:
        ValueError: if that cannot be asked for.
        Exception: what the thing raises.
    """
    if operation == "call":
        return thing(*args, **kwargs)
    if operation in ("get", "set", "del"):
        packer.check_name(args[0] if args else None)
        return _ATTRIBUTES[operation](thing, *args)
    if operation == "copy":
        return copy.copy(thing)
    if operation == "deepcopy":
        return copy.deepcopy(thing)
    if operation == "dir":
        return [name for name in dir(thing) if not name.startswith("_")]
    if operation == "await":
        return thing if isinstance(thing, types.CoroutineType) else _awaited(thing)
    if type(operation) is not str or operation not in facts.SPECIAL:
        raise ValueError("{!r} is not passed on".format(operation))
    return getattr(type(thing), operation)(thing, *args, **kwargs)


_ATTRIBUTES: Dict[str, Callable[..., Any]] = {"get": getattr, "set": setattr, "del": delattr}


async def _awaited(thing: Any) -> Any:
    return await thing


def is_awaitable(value: Any) -> bool:
    """Whether something has to be awaited before it is there."""
    return isinstance(value, types.CoroutineType) or hasattr(type(value), "__await__")

"""Results that may be called before they are there: what `Future.call` and those who do it have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Result(NamedTuple):
    """Where a result will be: with a process, as the answer to what has a number.

    Attributes:
        process: that which has been told to make it.
        is_asked: whether by a request on its control channel, not by a message.
        number: of the one or the other.
        decoder: makes values of what the process answers.
    """

    process: Any
    is_asked: bool
    number: int
    decoder: Any


CallResult = Callable[[Any, str, tuple[Any, ...], dict[str, Any]], Any]
_call: CallResult | None = None


def call_with(call: CallResult) -> None:
    """Say how the result of a future is called (see `piactors._values.pipelined`)."""
    global _call
    _call = call


def call(future: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a method of what a future will get, and return a future of that."""
    if _call is None:
        raise TypeError("call: this program has no isolates, and so nothing that could be called in one")
    return _call(future, name, args, kwargs)

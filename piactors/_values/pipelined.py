"""`Future.call`: calls of what another call will return, if that is a ref or something that was lent by reference.

Here such a call is made once the outcome of the first one is known; `sent_ahead` does not wait for that.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

import pykka

from piactors._future import results
from piactors._future.outcome import run_callback
from piactors._values import in_turn
from piactors.future import Future

Begin = Callable[[Any, str, tuple[Any, ...], dict[str, Any]], pykka.Future[Any]]

begins: dict[type, Begin] = {}
"""By type of what was lent: what begins a call of a method of it, or of itself, which has no name."""


class Pipelined(Future[Any]):
    """The outcome of a call of what another call returns."""

    def __init__(self, first: Future[Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._first: Future[Any] | None = first
        self._name, self._args, self._kwargs = name, args, kwargs
        self._turns = [1]
        self._inner: pykka.Future[Any] | None = None

    def begin(self) -> None:
        """See to it that the call is made once there is an outcome of the first one."""
        if self._first is not None:
            self._first._when_done(partial(run_callback, self._go_on))

    def _go_on(self) -> None:
        """There is an outcome of the first call; on a thread that may wait."""
        first = self._first
        if first is None or self._settled:
            return
        try:
            target = first.get()
        except CancelledError:
            self._is_cancelled()
        except BaseException as error:
            self.fail(error)
        else:
            if not self._takes_turn():
                return
            if getattr(target, "_waits_for_room", False):  # which all callbacks would have to wait for
                in_turn.put(target, self)
            else:
                self.begin_at(target)

    def _takes_turn(self) -> bool:
        """Whether the call is to be made, or given up, now: that is done once."""
        try:
            self._turns.pop()  # one step for Python
        except IndexError:
            return False
        return True

    def begin_at(self, target: Any) -> None:
        """Make the call, now that it is known of what."""
        try:
            self._inner = inner = _begin_of(target)(target, self._name, self._args, self._kwargs)
        except BaseException as error:
            self.fail(error)
            return
        self._first, self._args, self._kwargs = None, (), {}
        if isinstance(inner, Future):
            inner._when_done(partial(self._take, inner))
        else:
            self.settle_with(inner.get)

    def _take(self, inner: Future[Any]) -> None:
        if inner.cancelled():
            self._is_cancelled()
        else:
            self.settle_with(inner.get)

    def _is_cancelled(self) -> None:
        self._settle(_error=CancelledError(), _cancelled=True)

    def cancel(self, kill_after: float | None = None) -> bool:
        """Give up on the call: True if it will never begin; see `Future.cancel`."""
        if self._settled:
            return self._cancelled
        inner = self._inner
        if isinstance(inner, Future):
            return inner.cancel(kill_after)
        return self._takes_turn() and super().cancel()


def _begin_of(target: Any) -> Begin:
    begin = begins.get(type(target))
    if begin is not None:
        return begin
    if isinstance(target, pykka.ActorRef):
        return _begin_at_ref
    kind = type(target).__qualname__
    raise TypeError(f"call: the result is a {kind}, which is a copy; only a ref, or what by_ref lends, can be called")


def _begin_at_ref(ref: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not name:
        raise TypeError("call: the result is a ref of an actor, which has methods, but is not called itself")
    call = getattr(ref, "call", None)
    return getattr(ref.proxy(), name)(*args, **kwargs) if call is None else call(name, *args, **kwargs)


def checked_name(name: object) -> str:
    """Return the name of a method as it is asked for.

    Raises:
        TypeError, ValueError: if it is not the name of a public one.
    """
    if not isinstance(name, str):
        raise TypeError(f"call: {name!r} is not the name of a method")
    if name == "__call__":
        return ""
    if not name.isidentifier() or name.startswith("_"):
        raise ValueError(f"call: {name!r} is not the name of a public method; use one such as 'add', or '__call__'")
    return name


def call_result(first: Future[Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
    """Call a method of what a future gets, once that is known; see `Future.call`."""
    future = Pipelined(first, checked_name(name), args, kwargs)
    future.begin()
    return future


results.call_with(call_result)

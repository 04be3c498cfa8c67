"""Futures that cross the border between host and isolate.

A future of the host that goes to an isolate as an argument can be set there.  A future that an actor
got by asking itself, and returns, is the host's future of the same request.
"""

from __future__ import annotations

import queue
import sys
from typing import Any, NoReturn

from piactors._values.handles import Border, Handle, Kind, ProcessBorder
from piactors.errors import PiactorsError
from piactors.future import ExcInfo, Future, leave_with

FUTURE = "future"
_control: Any = None


def serve_with(control: Any) -> None:
    """In an isolate: say what sends requests to the host."""
    global _control
    _control = control


def _post(handle: Handle, operation: str, value: Any, error: BaseException | None) -> None:
    # The host of an actor has said who serves it; code that `spawn` has handed over is served by pihost itself.
    control = _control or getattr(sys.modules.get("_pihost.serve.control"), "serving", None)
    if control is None:
        raise PiactorsError(
            "this future belongs to another process and cannot be set here: only code that the host has handed "
            "over (an actor, spawn(function)) sets futures of it; code called by name returns its result instead"
        )
    control.post(handle, operation, value, error)


def received(kind: str, token: str) -> Any:
    """Return what a handle stands for here; a pickle calls it by this name."""
    return border.resolve(Handle(kind, token))


def requested(number: int) -> NoReturn:
    """Stand in for the host's future of a request; the host's decoder puts it in place."""
    raise PiactorsError(f"the future of request {number} is known only to the host")


class SettableFuture(Future[Any]):
    """In an isolate: a future of the host.  It is set here and asked for there."""

    def __init__(self, handle: Handle) -> None:
        super().__init__()
        self._handle = handle
        self._was_set = False

    def lend(self, border: Border) -> Handle:
        """Return the handle of the host's future."""
        return self._handle

    def set(self, value: Any = None) -> None:
        """Set the host's future to a value."""
        self._pass_on(value, None)

    def set_exception(self, exc_info: ExcInfo | BaseException | None = None) -> None:
        """Set the host's future to an exception."""
        if isinstance(exc_info, BaseException):
            exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
        _, error, _ = exc_info or sys.exc_info()
        self._pass_on(None, error or RuntimeError("set_exception() without an exception"))

    def get(self, *, timeout: float | None = None) -> NoReturn:
        """Refuse: the outcome is in the host."""
        raise PiactorsError("a future of the host can be set in an isolate, and is asked for in the host")

    def _pass_on(self, value: Any, error: BaseException | None) -> None:
        if self._was_set:
            raise queue.Full
        border.post(self._handle, "settle", value, error)
        self._was_set = True


class RequestedFuture(Future[Any]):
    """In an isolate: the answer to what an actor asked itself."""

    number = 0

    def is_of(self, number: int) -> None:
        """It is the answer to the request of this number."""
        self.number = number

    def take(self, _: int, frame: Any) -> None:
        """Settle with the frame that the host answered."""
        self.settle_with(lambda: _control.result_of(frame))

    def __reduce__(self) -> tuple[Any, ...]:
        return requested, (self.number,)


border = ProcessBorder({FUTURE: Kind(stand_in=SettableFuture, operations={"settle": Future.settle_with})}, _post)
"""What this process has lent, and may do to what others have lent it."""


def _leave(future: Future[Any]) -> tuple[Any, ...]:
    return received, (future.lend(border) if isinstance(future, SettableFuture) else border.keep(FUTURE, future))


leave_with(_leave)

"""Futures that are lent: their outcome can be asked for by who borrows them, and set."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from piactors._codec import lending
from piactors._codec.lending import Loan
from piactors.errors import PiactorsError, ProtocolError
from piactors.future import Future, leave_with


class FutureLoan(Loan):
    """A future of this program that isolates hold."""

    kind = "future"

    def __init__(self, future: Future[Any]) -> None:
        super().__init__()
        self._future = future

    def home(self) -> Future[Any]:
        """Return the future itself."""
        return self._future

    def perform(self, request: Any) -> None:
        """Answer with the outcome once there is one, set it, or give up on the call behind it."""
        operation = _OPERATIONS.get(request.operation)
        if operation is None:
            raise ProtocolError(f"a future has no operation {request.operation[:40]!r}")
        request.on_loop(lambda: operation(self._future, request))


def answer_with(request: Any, future: Future[Any]) -> None:
    """Answer a request with the outcome of a future, once there is one."""

    def tell(_: Future[Any]) -> None:
        try:
            value = future.get(timeout=0)
        except BaseException as error:
            request.fail(error)
        else:
            request.reply(value)

    future.add_done_callback(tell)


def _outcome(future: Future[Any], request: Any) -> None:
    request.waits_for(future)
    answer_with(request, future)


def _settle(future: Future[Any], request: Any) -> None:
    """Set it, at once; what it is set to is made by who asks for it."""
    future.settle_with(partial(_value, request))
    request.reply(None)


def _value(request: Any) -> Any:
    (value,), _ = request.arguments()
    return value


def _fail(future: Future[Any], request: Any) -> None:
    future.settle_with(partial(_raise, request))
    request.reply(None)


def _raise(request: Any) -> NoReturn:
    raise request.error()


def _cancel(future: Future[Any], request: Any) -> None:
    """Give up on it; the name that it is asked with is the number of seconds until its process is ended, if any."""
    try:
        cancelled = future.cancel(float(request.name) if request.name else None)
    except ValueError as error:
        request.fail(error)
    else:
        request.reply(cancelled)


def settle_as_asked(future: Future[Any], request: Any) -> None:
    """Set a future, or fail it, as a borrower asks."""
    _OPERATIONS[request.operation](future, request)


_OPERATIONS: dict[str, Callable[[Future[Any], Any], None]] = {
    "outcome": _outcome,
    "settle": _settle,
    "fail": _fail,
    "cancel": _cancel,
}

_loans: weakref.WeakKeyDictionary[Future[Any], weakref.ref[FutureLoan]] = weakref.WeakKeyDictionary()
"""A future that is lent twice is one thing; a loan holds its future, so nothing of the future may hold the loan."""


def lend(future: Future[Any]) -> FutureLoan:
    """Return the loan of a future."""
    reference = _loans.get(future)
    loan = None if reference is None else reference()
    if loan is None:
        loan = FutureLoan(future)
        _loans[future] = weakref.ref(loan)
    return loan


lending.ways[Future] = lend


_copies: weakref.WeakValueDictionary[int, Future[Any]] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)


def own(number: int) -> Future[Any]:
    """Return a future that was pickled in this process, other than for an isolate, or copied.

    Raises:
        PiactorsError: if it belongs to another process, or is gone.
    """
    found = _copies.get(number)
    if found is None:
        raise PiactorsError("a future goes to another process only in the arguments of a call, and in its result")
    return found


def _leave(future: Future[Any]) -> tuple[Any, ...]:
    number = future.__dict__.get("_copy_number") or next(_numbers)
    future.__dict__["_copy_number"] = number
    _copies[number] = future
    return own, (number,)


leave_with(_leave)

"""What makes a `Future` one of `concurrent.futures`, at no cost for those that are never used as such.

`concurrent.futures.wait` and `as_completed` look into the futures themselves: at a condition, a state and a list of
those that wait.  Here these are made when they are first looked at.
"""

from __future__ import annotations

import concurrent.futures
import queue
import threading
from concurrent.futures import _base
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from piactors._future.outcome import Outcome, run_callback
from piactors._platform import late_threads

_MOMENT = 1.0
"""Seconds for which a condition may be held by somebody else."""


class _Book:
    """Those who wait for a future by means of `concurrent.futures`."""

    __slots__ = ("condition", "state", "waiters")

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.state = _base.PENDING
        """Changed under the condition alone, and together with telling those who wait: they count on that."""
        self.waiters: list[Any] = []


T = TypeVar("T")


class StandardFuture(Outcome, concurrent.futures.Future[T], Generic[T]):
    """The side of a future that `concurrent.futures` and `asyncio.wrap_future` use."""

    _book: _Book | None = None

    def _opened(self) -> _Book:
        if self._book is not None:
            return self._book
        new = _Book()
        book: _Book = self.__dict__.setdefault("_book", new)  # one step for Python: one thread is the first
        if book is new:
            self._when_done(self._close_book)
            self._see_to_outcome()
        return book

    def _close_book(self) -> None:
        """There is an outcome: tell those who wait.

        This thread has read it, and others depend on it.  Whoever has the condition has it for a moment; but a thread
        that was interrupted in the middle of `concurrent.futures.wait` may have left it locked for ever.
        """
        book = self._book
        assert book is not None
        if book.condition.acquire(blocking=False):
            self._close(book)
        else:
            run_callback(self._close_later)

    def _close_later(self) -> None:
        book = self._book
        assert book is not None
        if book.condition.acquire(timeout=_MOMENT):
            self._close(book)
        else:
            thread = threading.Thread(target=self._close_at_last, daemon=True, name="piactors-waits")
            late_threads.start_or_run(thread)

    def _close_at_last(self) -> None:
        book = self._book
        assert book is not None
        book.condition.acquire()
        self._close(book)

    def _close(self, book: _Book) -> None:
        """Do it, with the condition, which is let go of."""
        cancelled = self.cancelled()
        try:
            if book.state != _base.PENDING:
                return
            book.state = _base.CANCELLED_AND_NOTIFIED if cancelled else _base.FINISHED
            for waiter in book.waiters:
                if cancelled:
                    waiter.add_cancelled(self)
                elif not getattr(waiter, "stop_on_exception", False):
                    waiter.add_result(self)  # an exception makes no difference to this one
                else:
                    run_callback(partial(_tell_by_outcome, self, waiter))  # what is to be decoded is not decoded here
            book.condition.notify_all()
        finally:
            book.condition.release()

    def _see_to_outcome(self) -> None:
        """See to it that the outcome comes about, if it has to be asked for."""

    if not TYPE_CHECKING:  # to a checker they are the attributes that `as_completed` asks for

        @property
        def _condition(self) -> threading.Condition:
            return self._opened().condition

        @property
        def _state(self) -> str:
            return self._opened().state

        @property
        def _waiters(self) -> list[Any]:
            return self._opened().waiters

    def result(self, timeout: float | None = None) -> T:
        """Return the value, as `get` does: this is what the futures of `concurrent.futures` call it.

        Raises:
            Timeout, concurrent.futures.CancelledError, Exception: as `get`.
        """
        return self.get(timeout=timeout)

    def running(self) -> bool:
        """Whether the call has begun, and not ended, as far as is known."""
        return False

    def set_result(self, result: Any) -> None:
        """Set the value, as `set` does.

        Raises:
            concurrent.futures.InvalidStateError: if there is an outcome already.
        """
        try:
            self.set(result)
        except queue.Full:
            raise concurrent.futures.InvalidStateError(f"{self!r} has an outcome already") from None

    def set_running_or_notify_cancel(self) -> bool:
        """Say whether the call is still wanted, for executors."""
        return not self.cancelled()

    def get(self, *, timeout: float | None = None) -> T:
        """Return the value; see `Future`."""
        raise NotImplementedError

    def set(self, value: Any = None) -> None:
        """Set the value; see `Future`."""
        raise NotImplementedError


def _tell_by_outcome(future: StandardFuture[Any], waiter: Any) -> None:
    """Tell one who stops waiting at the first exception."""
    if future.exception() is None:
        waiter.add_result(future)
    else:
        waiter.add_exception(future)

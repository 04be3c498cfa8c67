"""Promises: a future, and the end that sets it, which is given to somebody else."""

from __future__ import annotations

import sys
import weakref
from functools import partial
from typing import Any, TypeVar

from piactors._codec import lending
from piactors._codec.lending import Loan
from piactors._future.outcome import run_callback
from piactors._values.futures import settle_as_asked
from piactors.errors import ProtocolError, Released
from piactors.future import ExcInfo, Future

T = TypeVar("T")


class Promise(Future[T]):
    """A future that somebody else is to set: whoever is given its `writer`.

    If nobody is left who could, it fails with `Released`.

    Example:
        ::

            promise = piactors.Promise()
            worker.proxy().fill(promise.writer)
            promise.get(timeout=5)
    """

    _writer: weakref.ref[PromiseWriter] | None = None

    def __init__(self) -> None:
        super().__init__()
        _register_in_isolate()

    @property
    def writer(self) -> PromiseWriter:
        """The end that sets it: it goes in the arguments of calls, and can do nothing else."""
        found = None if self._writer is None else self._writer()
        if found is None:
            found = PromiseWriter(self)
            self._writer = weakref.ref(found)
        return found


class PromiseWriter:
    """Sets a promise; the first outcome stands."""

    def __init__(self, promise: Promise[Any]) -> None:
        self._loan = WriterLoan(promise)

    def set(self, value: Any = None) -> None:
        """Set the promise to a value.

        Raises:
            queue.Full: if it has an outcome already.
        """
        self._loan.future.set(value)

    def set_exception(self, exc_info: ExcInfo | BaseException | None = None) -> None:
        """Set the promise to an exception, by default the one that is being handled.

        Raises:
            queue.Full: if it has an outcome already.
        """
        self._loan.future.set_exception(exc_info)


class WriterLoan(Loan):
    """What stands behind the writer of a promise: as long as anybody holds it, the promise may be set."""

    kind = "writer"

    def __init__(self, promise: Promise[Any]) -> None:
        super().__init__()
        self.future = promise

    def __del__(self) -> None:
        if not self.future.is_settled():
            run_callback(partial(_break, self.future))  # a finaliser takes no lock

    def home(self) -> PromiseWriter:
        """Return a writer of the promise."""
        writer = PromiseWriter.__new__(PromiseWriter)
        writer.__dict__["_loan"] = self
        return writer

    def perform(self, request: Any) -> None:
        """Set the promise as a borrower asks."""
        if request.operation not in ("settle", "fail"):
            raise ProtocolError(f"a writer has no operation {request.operation[:40]!r}")
        request.on_loop(lambda: settle_as_asked(self.future, request))


def _break(promise: Future[Any]) -> None:
    promise.fail(Released("nobody is left who could set this promise"))


def _register_in_isolate() -> None:
    """In an isolate, what is lent goes by way of its border."""
    link = getattr(sys.modules.get("_pihost.serve.control"), "current", None)
    if link is not None:
        ways = sys.modules["_pihost.pickles.lending"].ways
        ways.setdefault(PromiseWriter, lambda writer: link.border.lend(writer._loan, "writer", ()))
        ways.setdefault(Future, lambda future: link.border.lend(future, "future", ()))


lending.ways[PromiseWriter] = lambda writer: writer._loan

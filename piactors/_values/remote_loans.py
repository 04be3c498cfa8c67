"""What stands in this program for things that isolates have lent: objects, functions, futures, writers of promises."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from piactors._codec import encode, items, lending
from piactors._codec.decode import Decoder
from piactors._codec.lending import Loan
from piactors._codec.passing import PassedOn, names_by_key
from piactors._values import pipelined
from piactors._values import sent_ahead as sent_ahead  # it says how results are called
from piactors._values.futures import answer_with
from piactors.errors import ProtocolError, Released
from piactors.future import ExcInfo, Future
from piactors.pihost.wire import wire

OPERATIONS = {
    "writer": ("settle", "fail"),
    "object": ("call", "get"),
    "function": ("call",),
    "future": ("outcome", "settle", "fail"),
    "stream": ("pull", "close"),
}
"""By kind: what may be asked of a thing."""


class LenderPort(Protocol):
    """The process that has lent a thing (see `borrowed.Lender`)."""

    name: str
    decoder: Decoder
    foreign: bool
    own_ref: Callable[[], Any]

    def dropped(self, number: int, seen: int, loan: RemoteLoan | None = None) -> None:
        """Nothing holds a loan of it here any more; called by the garbage collector, anywhere."""

    def forget(self, number: int, loan: RemoteLoan | None = None) -> None:
        """A loan is gone, or about to be: this one."""

    def watches(self, key: str, end: Callable[[], object]) -> None:
        """A function of the process is to be told of the end of an actor, until `end` is called."""

    def watches_no_longer(self, key: str) -> None:
        """It is not to be told any more."""

    @property
    def soon(self) -> Callable[[Callable[[], object]], object]:
        """Has a job run on the I/O thread; takes no lock, so that the garbage collector may call it."""

    def ask(
        self, operation: str, loan: RemoteLoan, name: str, flags: int, payload: bytes, loans: Any, answer: Any
    ) -> None:
        """Have the process do something to what it has lent."""

    def explained(self, error: BaseException) -> BaseException:
        """Return the error of a stream whose items could not be had: what ended the process, if it is gone."""


class RemoteLoan(Loan):
    """A thing that a process of an isolate has lent; its stand-in in this program is made when that is asked for."""

    def __init__(self, lender: LenderPort, number: int, kind: str, facts: tuple[Any, ...]) -> None:
        super().__init__(number)
        self.kind = kind  # type: ignore[misc]
        self.lender = lender
        self._facts = facts
        self.name = facts[0] if facts else "a future"
        self.seen = 0
        self._stand_in: weakref.ref[Any] | None = None
        self._making = threading.Lock()

    def __del__(self) -> None:
        self.lender.dropped(self.number, self.seen, self)

    def lent_again(self) -> None:
        """The process has sent it once more."""
        self.seen += 1

    def facts(self) -> tuple[Any, ...]:
        """Return what its borrower is to know."""
        return self._facts

    def home(self) -> Any:
        """Return its stand-in: one, as long as somebody holds that."""
        with self._making:
            found = None if self._stand_in is None else self._stand_in()
            if found is None:
                found = self._new_stand_in()
                self._stand_in = weakref.ref(found)
            return found

    def _new_stand_in(self) -> Any:
        return _STAND_INS[self.kind](self)

    def perform(self, request: Any) -> None:
        """Pass on to the process what another isolate asks for, as it came."""
        if request.operation not in OPERATIONS[self.kind]:
            raise ProtocolError(f"a {self.kind} has no operation {request.operation[:40]!r}")
        request.on_loop(partial(self._pass_on, request))

    def _pass_on(self, request: Any) -> None:
        # A pickle of one process may name definitions that another one has by another way: those go through the host.
        if names_by_key(request.payload):
            request.asker.strand.put(partial(self._perform_decoded, request))
            return
        payload = request.payload
        if type(payload) is PassedOn:  # it goes on the control channel, which takes no part in files
            try:
                payload = payload.in_line()
            except Exception as error:
                request.fail(error)
                return
        self.lender.ask(
            request.operation,
            self,
            request.name,
            request.flags & wire.PICKLE,
            payload,
            request.loans.values(),
            partial(self._pass_back, request),
        )

    def _perform_decoded(self, request: Any) -> None:
        try:
            args, kwargs = request.arguments()
            future = self.begin(request.operation, request.name, args, kwargs)
        except Exception as error:
            request.fail(error)
        else:
            answer_with(request, future)

    def _pass_back(self, request: Any, frame: wire.Frame | None) -> None:
        """Pass on what the process answers."""
        if frame is None:
            request.fail(self.gone())
            return
        payload, _ = lending.parts_of(frame.payload)
        if not names_by_key(payload):
            request.pass_on(frame.kind, frame.flags, frame.payload)
        elif frame.flags & wire.BATCH:
            request.asker.strand.put(partial(self._pass_items_back, request, frame))
        else:
            future: Future[Any] = Future()
            self._settle(future, frame)
            answer_with(request, future)

    def _pass_items_back(self, request: Any, frame: wire.Frame) -> None:
        try:
            found = items.arrived(self.lender.decoder, frame.flags, frame.payload)
            batch = items.once_more(found, foreign=request.asker.foreign)
        except Exception as error:
            request.fail(error)
        else:
            request.reply_batch(batch)

    def begin(self, operation: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Have the process do something to it, for code of this program, and return a future of the answer."""
        future: Future[Any] = Future()
        self.begin_for(future, operation, name, args, kwargs)
        return future

    def begin_for(
        self, future: Future[Any], operation: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Do that, and settle this future with the answer."""
        whole = encode.dumps_answer((args, kwargs), foreign=self.lender.foreign)
        payload = whole.data if args or kwargs else b""
        self.lender.ask(operation, self, name, wire.PICKLE, payload, whole.loans, partial(self._settle, future))

    def _settle(self, future: Future[Any], frame: wire.Frame | None) -> None:
        decoder = self.lender.decoder
        if frame is None:
            future.fail(self.gone())
        elif frame.kind == wire.RESPONSE:
            future.settle_with(partial(items.arrived, decoder, frame.flags, frame.payload))
        else:
            future.settle_with(partial(_raise, decoder, frame.payload))

    def gone(self) -> Released:
        """Return the error of what is asked after the end of the process."""
        return Released(f"{self.name} was lent by a process of {self.lender.name} that has ended")


def _raise(decoder: Decoder, payload: Any) -> Any:
    raise decoder.error(payload)


class RemoteObject:
    """An object that an isolate has lent.  Its methods run there, and their calls wait for the result."""

    def __init__(self, loan: RemoteLoan) -> None:
        self._loan = loan
        self._known = {name: RemoteFunction(loan, name) for name in loan.facts()[1] or ()}

    def __repr__(self) -> str:
        return f"<borrowed {self._loan.name} of {self._loan.lender.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, if it can be called, and return its result."""
        return self._loan.begin("call", "", args, kwargs).get()

    def __getattr__(self, name: str) -> Any:
        """Return a method, or the value of any other attribute."""
        if name.startswith("_"):
            raise AttributeError(f"{self!r} has no attribute {name!r}: only public ones are lent")
        found = self._known.get(name)
        if found is None:
            kind, value = self._loan.begin("get", name, (), {}).get()
            if kind == "value":
                return value
            found = self._known[name] = RemoteFunction(self._loan, name)
        return found


class RemoteFunction:
    """A function that an isolate has lent, or a method of an object; its calls run there."""

    def __init__(self, loan: RemoteLoan, name: str = "") -> None:
        self._loan = loan
        self._name = name

    def __repr__(self) -> str:
        what = f"{self._name} of {self._loan.name}" if self._name else self._loan.name
        return f"<borrowed {what} of {self._loan.lender.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it and return its result."""
        return self.future(*args, **kwargs).get()

    def future(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call it and return a future of its result."""
        return self._loan.begin("call", self._name, args, kwargs)

    def defer(self, *args: Any, **kwargs: Any) -> None:
        """Call it and wait for nothing."""
        self._loan.begin("call", self._name, args, kwargs)


class RemoteFuture(Future[Any]):
    """A future that an isolate has lent: it gets the outcome of that, which is asked for at once."""

    def __init__(self, loan: RemoteLoan) -> None:
        self._loan = loan
        loan.lender.ask("outcome", loan, "", wire.PLAIN, b"", (), partial(loan._settle, self))

    def set(self, value: Any = None) -> None:
        """Set the isolate's future, if it has no outcome yet, and so this one."""
        self._loan.begin("settle", "", (value,), {})

    def set_exception(self, exc_info: ExcInfo | BaseException | None = None) -> None:
        """Set the isolate's future to an exception, if it has no outcome yet, and so this one."""
        error = exc_info if isinstance(exc_info, BaseException) else (exc_info or sys.exc_info())[1]
        self._loan.begin("fail", "", (error,), {})


class RemoteWriter:
    """The end of a promise of an isolate that sets it."""

    def __init__(self, loan: RemoteLoan) -> None:
        self._loan = loan

    def set(self, value: Any = None) -> None:
        """Set the promise to a value; the first outcome stands."""
        self._loan.begin("settle", "", (value,), {})

    def set_exception(self, error: BaseException) -> None:
        """Set the promise to an exception; the first outcome stands."""
        self._loan.begin("fail", "", (error,), {})


_STAND_INS: dict[str, Callable[[RemoteLoan], Any]] = {
    "object": RemoteObject,
    "function": RemoteFunction,
    "future": RemoteFuture,
    "writer": RemoteWriter,
}


def _lend_on(stand_in: Any) -> Loan:
    loan: Loan = stand_in._loan
    return loan


def _begin(target: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
    loan: RemoteLoan = target._loan
    return loan.begin("call", name, args, kwargs)


for _kind in (RemoteObject, RemoteFunction, RemoteFuture, RemoteWriter):
    lending.ways[_kind] = _lend_on
pipelined.begins[RemoteObject] = pipelined.begins[RemoteFunction] = _begin

"""Objects and functions that are lent by reference: `by_ref`, and where their methods run."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Callable, Iterable
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from piactors._codec import lending
from piactors._codec.lending import Loan
from piactors._future.outcome import run_callback
from piactors._io import dispatcher
from piactors.errors import NotPermitted, ProtocolError, Released

if TYPE_CHECKING:
    from concurrent.futures import Executor

Where = Literal["dispatcher", "caller", "loop"]
_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType)
_ALLOWED = "use 'dispatcher', 'caller', 'loop' or an Executor"


class Handle:
    """An object or a function of this process that is lent by reference; see `by_ref`.

    It goes in the arguments of calls, in results and exceptions, to isolates of any kind, and what arrives there is a
    stand-in: a function to call, or an object with methods.  Sent back here, it is the object itself.
    """

    def __init__(self, loan: ObjectLoan) -> None:
        self._loan = loan

    def __repr__(self) -> str:
        state = ", released" if self._loan.is_released else ""
        return f"<Handle of {self._loan.name}{state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Lend it no longer: calls that have not begun, and later ones, raise `Released` where they were made."""
        self._loan.release()

    def holders(self) -> tuple[str, ...]:
        """Return the names of the isolates that hold it now, in alphabetical order."""
        return tuple(sorted(ledger.name for ledger in list(self._loan.holding)))


class ObjectLoan(Loan):
    """What stands behind a handle."""

    def __init__(self, target: Any, methods: frozenset[str] | None, run: Run) -> None:
        super().__init__()
        self.kind = "function" if isinstance(target, _FUNCTIONS) else "object"  # type: ignore[misc]
        self.name = _named(target)
        self.is_released = False
        self._target = target
        self._methods = methods
        self._run = run

    def release(self) -> None:
        """Lend it no longer."""
        self.is_released = True
        self._target = None
        if in_isolate():
            sys.modules["_pihost.serve.control"].current.border.release(self, still_counts=True)

    # What its borrowers see and ask for

    def facts(self) -> tuple[Any, ...]:
        """Return its name and, of an object, the names of its methods if these are bounded."""
        methods = None if self._methods is None else tuple(sorted(self._methods))
        return (self.name,) if self.kind == "function" else (self.name, methods)

    def home(self) -> Any:
        """Return the object itself; once it is released, a handle of that."""
        return Handle(self) if self.is_released else self._target

    def perform(self, request: Any) -> None:
        """Run what a borrower asks for, where that is to run; on the I/O thread."""
        if request.operation not in ("call", "get"):
            raise ProtocolError(f"what is lent by reference has no operation {request.operation[:40]!r}")
        if self.is_released:
            request.fail(self._released())
            return
        try:
            self._run(self._answer, request)
        except Exception as error:  # of the executor that it is to run in
            request.fail(error)

    def _answer(self, request: Any) -> None:
        """Run it, and tell the borrower what came of it."""
        if not request.begin():
            return
        try:
            with request:
                value = self.look(request.name) if request.operation == "get" else self._called(request)
        except BaseException as error:
            request.fail(error)
            if not request.is_wanted:
                text = "%s called %s without waiting for it, and it failed"
                dispatcher.log(logging.ERROR, text, request.asker.name, self.name, exc_info=error)
            if not isinstance(error, Exception):
                raise
        else:
            request.reply(value)

    def _called(self, request: Any) -> Any:
        args, kwargs = request.arguments()
        return self.method(request.name)(*args, **kwargs)

    def method(self, name: str) -> Callable[..., Any]:
        """Return what a borrower may call by a name; nothing stands for the thing itself.

        Raises:
            Released: if it is lent no longer.
            NotPermitted: if that is not lent.
            AttributeError: if there is no such method.
        """
        target = self._target
        if self.is_released:
            raise self._released()
        if not name:
            if self._methods is not None:
                raise NotPermitted(
                    f"{self.name} is lent with the methods {sorted(self._methods)}, and not to be called"
                )
            return target  # type: ignore[no-any-return]
        self._check(name)
        found: Callable[..., Any] = getattr(target, name)
        return found

    def look(self, name: str) -> tuple[str, Any]:
        """Return what an attribute is: a method, or something else and its value."""
        self._check(name)
        found = getattr(self._target, name)
        return ("method", None) if callable(found) else ("value", found)

    def _check(self, name: str) -> None:
        if name.startswith("_") or (self._methods is not None and name not in self._methods):
            allowed = "its public methods" if self._methods is None else f"the methods {sorted(self._methods)}"
            raise NotPermitted(f"{self.name} is lent with {allowed}, which {name[:100]!r} is not one of")

    def _released(self) -> Released:
        return Released(f"{self.name} is lent no longer")


Run = Callable[[Callable[[Any], None], Any], None]
"""Has a function called with a request, where what is lent runs."""


class ByRef:
    """How something that comes later is to be lent: `by_ref` without an object."""

    def __init__(self, methods: frozenset[str] | None, run: Any) -> None:
        self.methods, self.run = methods, run

    def __repr__(self) -> str:
        methods = "" if self.methods is None else f"methods={sorted(self.methods)}, "
        return f"by_ref({methods}run={self.run!r})"


class _Later:
    def __repr__(self) -> str:
        return "..."


_LATER: Any = _Later()


@overload
def by_ref(*, methods: Iterable[str] | None = None, run: Where | Executor = "caller") -> ByRef: ...
@overload
def by_ref(obj: Any, *, methods: Iterable[str] | None = None, run: Where | Executor = "dispatcher") -> Handle: ...
def by_ref(
    obj: Any = _LATER, *, methods: Iterable[str] | None = None, run: Where | Executor = _LATER
) -> Handle | ByRef:
    """Lend an object or a function of this process by reference, instead of sending a copy of it.

    An isolate that gets the handle calls it, or its methods, which run here; its call returns what they return, and
    raises what they raise.  Arguments and results are copied, unless they are lent too.  The loan ends by `release`, or
    at the end of a ``with`` block; else an isolate holds it until its process ends, or lets go of it.

    Args:
        obj: the object, or the function; without it, this says how arguments of hooks are lent (see
            `piactors.plugins.isolate`), where `run` is ``caller`` if it is not given.
        methods: the names of the methods that may be called; default None: all public ones, and attributes are read.
        run: where they run: ``dispatcher``, on the thread for callbacks, one after the other; an `Executor`;
            ``loop``, on the event loop that runs here now, where coroutines are awaited; ``caller``, in the thread that
            waits for the call in which the isolate calls back, or comes to wait for it within 5 seconds.

    Raises:
        TypeError: if `methods` are not names.
        ValueError: if `run` is something else, or there is no event loop for ``loop``.

    Example:
        ::

            ref.proxy().index("README.md", piactors.by_ref(print)).get(timeout=5)
    """
    names = None if methods is None else frozenset(_names(methods))
    if obj is _LATER:
        return ByRef(names, "caller" if run is _LATER else run)
    run = "dispatcher" if run is _LATER else run
    return Handle(ObjectLoan(obj, names, _on_own_thread(run) if in_isolate() else _runner(obj, run)))


def in_isolate() -> bool:
    """Whether this process is an isolate: then what it lends goes to its host."""
    control = sys.modules.get("_pihost.serve.control")
    link = getattr(control, "current", None)
    if link is None:
        return False
    ways = sys.modules["_pihost.pickles.lending"].ways
    if Handle not in ways:
        ways[Handle] = lambda handle: link.border.lend(handle._loan, handle._loan.kind, handle._loan.facts())
    return True


def _on_own_thread(run: Any) -> Run:
    if run != "dispatcher":
        raise ValueError(f"by_ref: run={run!r} is not allowed in an isolate; use 'dispatcher'")
    return lambda answer, request: answer(request)


def _names(methods: Iterable[str]) -> Iterable[str]:
    if isinstance(methods, str):
        raise TypeError(f"by_ref: methods={methods!r} is a text; use a list of names")
    for name in methods:
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise TypeError(f"by_ref: {name!r} is not the name of a public method")
        yield name


def _runner(obj: Any, run: Any) -> Run:
    if run != "loop" and inspect.iscoroutinefunction(obj):
        raise ValueError(f"by_ref: {obj!r} is a coroutine function, which needs run='loop'")
    if run == "dispatcher":
        return _on_dispatcher
    if run == "loop":
        return _on_loop()
    if run == "caller":
        return _in_caller
    submit = getattr(run, "submit", None)
    if not callable(submit):
        raise ValueError(f"by_ref: run={run!r} is not allowed; {_ALLOWED}")
    return lambda answer, request: submit(answer, request)


def _on_dispatcher(answer: Callable[[Any], None], request: Any) -> None:
    run_callback(lambda: dispatcher.call(answer, (request,), "what is lent by reference has failed: %r", answer))


def _in_caller(answer: Callable[[Any], None], request: Any) -> None:
    request.in_caller(partial(answer, request))


def _on_loop() -> Run:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise ValueError("by_ref: run='loop' needs a running event loop, and none runs in this thread") from None

    def run(answer: Callable[[Any], None], request: Any) -> None:
        def begin() -> None:
            answer(_Awaited(request, loop))

        try:
            loop.call_soon_threadsafe(begin)
        except RuntimeError as error:  # it is closed
            request.fail(error)

    return run


class _Awaited:
    """A request whose result may be a coroutine, which runs on an event loop before it is answered."""

    def __init__(self, request: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._request = request
        self._loop = loop
        self._task: asyncio.Future[Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    def __enter__(self) -> None:
        """What the event loop waits for holds nobody up."""

    def __exit__(self, *_: object) -> None:
        """It goes on."""

    def reply(self, value: Any) -> None:
        """Answer with a value, or with what a coroutine returns."""
        if not inspect.isawaitable(value):
            self._request.reply(value)
            return
        self._task = asyncio.ensure_future(value, loop=self._loop)
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[Any]) -> None:
        try:
            value = task.result()
        except BaseException as error:
            self._request.fail(error)
        else:
            self._request.reply(value)


def _named(obj: Any) -> str:
    """Return what to call an object in texts."""
    name = getattr(obj, "__qualname__", None)
    return name if isinstance(name, str) else f"a {type(obj).__qualname__}"


lending.ways[Handle] = lambda handle: handle._loan

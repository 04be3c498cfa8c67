"""`Future`: pykka's future, settled exactly once, that can also be awaited, cancelled and watched."""

from __future__ import annotations

import concurrent.futures
import functools
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import pykka

from piactors._future import outcome, results, waiting
from piactors._future.outcome import OutcomeListener, Producer, run_callbacks_with
from piactors._future.standard import StandardFuture
from piactors._platform import late_threads
from piactors._platform.reentry import Reentered

if TYPE_CHECKING:
    import asyncio

__all__ = ["Derived", "ExcInfo", "Future", "Producer", "leave_with", "run_callbacks_with"]

T = TypeVar("T")
ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]

_leaves: Callable[[Future[Any]], tuple[Any, ...]] | None = None

_NO_RESULT = pykka.Future()._get_hook_result
"""How pykka marks that a hook has not run."""


def leave_with(reduce: Callable[[Future[Any]], tuple[Any, ...]]) -> None:
    """Say how a future crosses a border: what its `__reduce__` returns (see `piactors._values.futures`)."""
    global _leaves
    _leaves = reduce


class Future(StandardFuture[T], pykka.Future[T], Generic[T]):
    """The outcome of a call, now or later: a value, an exception, or that it was cancelled.

    Everything that `pykka.Future` offers holds, and it is a `concurrent.futures.Future` too: `wait`, `as_completed`,
    `asyncio.wrap_future` and `asyncio.wait` take it.  Besides, it can be awaited without blocking the event loop,
    cancelled, and watched.  Results are decoded when first asked for, in the thread that asks.
    """

    _get_hook_result: Any = _NO_RESULT
    _hook_lock: Any = None
    _hook_done: bool = False

    def __init__(self) -> None:
        """Make one without an outcome; pykka's and the standard library's own would only set what is there already."""

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "done" if self.done() else "pending"
        return f"<piactors.Future {state}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if _leaves is None:
            raise TypeError("a Future can be pickled only for an isolate, and this program has none")
        return _leaves(self)

    # Asking

    def get(self, *, timeout: float | None = None) -> T:
        """Return the value, waiting for it for at most `timeout` seconds; None or `math.inf`: no limit.

        Raises:
            Timeout: if the time runs out first; the call goes on.
            concurrent.futures.CancelledError: if the call was cancelled.
            Exception: what the call raised.
        """
        if self._get_hook is not None:
            return self._get_by_hook(timeout)
        if not self._settled:
            self._wait(timeout)
        try:
            return self._outcome()  # type: ignore[no-any-return]
        finally:
            del self  # the traceback of an error holds this frame, and the future the error

    def get_or_cancel(self, timeout: float | None, until: float | None = None) -> T:
        """Return the value as `get` does, and give up on the call if `timeout` seconds pass first.

        Args:
            until: when they are over, on the monotonic clock, if they have begun already.
        """
        try:
            return self.get(timeout=timeout if until is None else max(0.0, until - time.monotonic()))
        except (pykka.Timeout, Reentered) as error:
            ours = isinstance(error, pykka.Timeout) and until is not None and not self._raised(error)
            late = self._late(timeout) if ours else error
            self._drop()
            if ours:
                raise late from None
            raise

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what `get` would raise, or None if it would return a value.

        Raises:
            Timeout, concurrent.futures.CancelledError: as `get`.
        """
        try:
            self.get(timeout=timeout)
        except (pykka.Timeout, concurrent.futures.CancelledError) as error:
            if self._raised(error) and not self.cancelled():
                return error  # the call itself raised one of these
            raise
        except Exception as error:
            return error
        except BaseException as error:
            if self._raised(error):
                return error
            raise
        finally:
            del self  # as in `get`
        return None

    def _raised(self, error: BaseException) -> bool:
        return self._error is error

    def done(self) -> bool:
        """Whether `get` returns or raises at once."""
        return self._settled or self._hook_done

    def _is_done(self) -> bool:
        return self._settled or self._hook_done

    def cancelled(self) -> bool:
        """Whether the call was cancelled: before it began, or because it, a coroutine, was cancelled itself."""
        return self._cancelled

    def cancel(self, kill_after: float | None = None) -> bool:
        """Give up on the call.  True if it will never begin.

        One that has begun is told: its coroutine is cancelled at its next ``await``, other code sees
        `piactors.cancelled`, and what it has asked of other isolates and waits for is cancelled with it.

        Args:
            kill_after: after how many seconds its process is ended if it still runs; default None: never.
        """
        if self._settled or self._get_hook is not None:
            return self._cancelled
        if not self._give_up():
            return False
        self._settle(_error=concurrent.futures.CancelledError(), _cancelled=True)
        return self._cancelled

    def _drop(self) -> bool:
        """Give up on the call.  True if it will never begin; one that has begun goes on."""
        return self.cancel()

    def add_done_callback(self, callback: Callable[[Future[T]], object]) -> None:
        """Have `callback(self)` called once there is an outcome.

        If this thread has a running event loop, it is called on that loop, as with asyncio's own futures; else on the
        thread for callbacks.
        """
        if not callable(callback):
            raise TypeError(f"add_done_callback: {callback!r} cannot be called")
        self._listen(OutcomeListener(callback, self, waiting.running_loop()))

    def remove_done_callback(self, callback: Callable[[Future[T]], object]) -> int:
        """Have `callback` not called if it has not been; returns how often it was added, as asyncio's futures do."""
        return self._forget_all(lambda listener: listener.callback == callback)

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio  # code that awaits has it; an isolate mostly does without it

        if "trio" in sys.modules or "curio" in sys.modules:
            waiting.refuse_another_kind_of_loop("future.get")
        if not self._is_done():
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                yield  # some other kind of event loop: pykka's own way
                return self.get()
            if self._has_hook():
                shadow: Future[T] = Future()
                self._run_hook_in_thread(shadow)
                return (yield from shadow.__await__())
            yield from self._await_on(loop)
        if self.cancelled():
            raise asyncio.CancelledError
        return self.get()

    __iter__ = __await__

    # Settling

    def set(self, value: T | None = None) -> None:
        """Set the value.

        Raises:
            queue.Full: if there is an outcome already.
        """
        if self._get_hook is not None or not self._settle(_value=value):
            raise queue.Full

    def set_exception(self, exc_info: ExcInfo | BaseException | None = None) -> None:
        """Set an exception: the given one (also as `sys.exc_info` returns it), or the one being handled.

        Raises:
            queue.Full: if there is an outcome already.
        """
        if isinstance(exc_info, BaseException):
            exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
        kind, error, traceback = exc_info or sys.exc_info()
        if error is None:
            error = kind() if kind is not None else RuntimeError("set_exception() without an exception")
        if self._get_hook is not None or not self._settle(_error=error, _error_traceback=traceback):
            raise queue.Full

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        """Set a function that makes the value when it is asked for, as in pykka.

        Raises:
            queue.Full: if there is an outcome already.
        """
        if self._settled:
            raise queue.Full
        super().set_get_hook(func)

    # Deriving

    def filter(self: Any, func: Callable[[Any], bool]) -> Any:
        """Return a future of the items for which `func` is true."""
        return Derived((self,), lambda timeout: list(filter(func, self.get(timeout=timeout))))

    def join(self: Any, *futures: Any) -> Any:
        """Return a future of the list of this future's value and those of `futures`."""
        return Derived((self, *futures), functools.partial(_collect, (self, *futures)))

    def map(self, func: Callable[[T], Any]) -> Any:
        """Return a future of `func` of the value."""
        return Derived((self,), lambda timeout: func(self.get(timeout=timeout)))

    def reduce(self: Any, func: Callable[[Any, Any], Any], *args: Any) -> Any:
        """Return a future of the items reduced by `func`, as `functools.reduce` does."""
        return Derived((self,), lambda timeout: functools.reduce(func, self.get(timeout=timeout), *args))

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a method of what this will be, a ref or something that was lent with `by_ref`; return a future of that.

        If the result is to come from an isolate that has lent it, the call is sent there at once, and begins when it
        can: calls on results of calls take one way there and back together.  If this fails, or is cancelled, so does
        that, which has not begun then.  Arguments that go to a ref are sent once that is known.

        Args:
            name: of a public method; ``__call__`` for what was lent itself.

        Raises:
            TypeError, ValueError: if `name` is not such a name.
            NotSendable: if an argument cannot be sent.

        Example:
            ::

                value = store.proxy().open("db").call("get", "key").get(timeout=5)
        """
        future: Future[Any] = results.call(self, name, args, kwargs)
        return future

    # Inside

    def _result_at(self) -> results.Result | None:
        """Return where the result will be, if that is a process that has been told to make it."""
        return None

    def _came_from(self, there: results.Result) -> bool:
        """Whether the result has come from there, and not in some other way."""
        return False

    def _one_at_a_time(self) -> Any:
        """Return the lock under which this future's result is made."""
        if self._hook_lock is None:
            with self._guard:
                if self._hook_lock is None:
                    self._hook_lock = threading.RLock()
        return self._hook_lock

    def _get_by_hook(self, timeout: float | None) -> T:
        seconds = waiting.seconds_of(timeout)
        started = time.monotonic()
        lock = self._one_at_a_time()
        if not lock.acquire(timeout=-1.0 if seconds is None else seconds):
            raise self._late(timeout)
        try:
            left = None if seconds is None else max(0.0, seconds - (time.monotonic() - started))
            value = pykka.Future.get(self, timeout=left)
            with self._guard:
                self._hook_done = True
                callbacks, self._callbacks = self._callbacks or (), None
        finally:
            lock.release()
        for callback in callbacks:
            outcome._call_quick(callback)
        return value

    def _await_on(self, loop: asyncio.AbstractEventLoop) -> Generator[Any, None, None]:
        """Wait for an outcome on an event loop, which runs in this thread."""
        return self._wait_on(loop, self._when_done)

    def _wait_on(
        self, loop: asyncio.AbstractEventLoop, when_done: Callable[[Callable[[], object]], object]
    ) -> Generator[Any, None, None]:
        return waiting.wait_on(loop, when_done, self.cancel)

    def _see_to_outcome(self) -> None:
        if not self.done() and self._has_hook():
            shadow: Future[Any] = Future()
            shadow._when_done(self._close_book)  # also if the hook raises, which leaves this one as it is
            self._run_hook_in_thread(shadow)

    def _run_hook_in_thread(self, shadow: Future[Any]) -> None:
        """Ask for an outcome that comes about only when somebody does."""
        thread = threading.Thread(target=self._run_hook, args=(shadow,), daemon=True, name="piactors-hook")
        late_threads.start_or_run(thread)

    def _run_hook(self, shadow: Future[Any]) -> None:
        try:
            shadow.set(self.get())
        except BaseException as error:
            shadow.fail(error)

    def _has_hook(self) -> bool:
        """Whether somebody has to ask for an outcome to come about, here or further up."""
        return self._get_hook is not None and not self._hook_done


class Derived(Future[T]):
    """A future that is made of others: `make` is called with a time-out when the value is first asked for."""

    def __init__(self, sources: tuple[pykka.Future[Any], ...], make: Callable[[float | None], T]) -> None:
        self._sources = sources
        self._get_hook = make

    def _raised(self, error: BaseException) -> bool:
        return any(isinstance(source, Future) and source._raised(error) for source in self._sources)

    def done(self) -> bool:
        """Whether `get` returns or raises at once, except for the function that makes its value."""
        return self._hook_done or all(isinstance(source, Future) and source.done() for source in self._sources)

    def _is_done(self) -> bool:
        return self._hook_done or all(isinstance(source, Future) and source._is_done() for source in self._sources)

    def cancelled(self) -> bool:
        """Whether one of those that it is made of was cancelled."""
        return any(isinstance(source, Future) and source.cancelled() for source in self._sources)

    def cancel(self, kill_after: float | None = None) -> bool:
        """Give up on all that it is made of.  True if none of it will begin."""
        # A list, so that each source is cancelled, not only those up to the first that cannot be.
        return all([isinstance(source, Future) and source.cancel(kill_after) for source in self._sources])  # noqa: C419

    def _drop(self) -> bool:
        """Give up on all that it is made of.  True if none of it will begin; what has begun goes on."""
        return all([isinstance(source, Future) and source._drop() for source in self._sources])  # noqa: C419

    def _late(self, timeout: float | None) -> BaseException:
        first = self._sources[0]
        return first._late(timeout) if isinstance(first, Future) else super()._late(timeout)

    def _when_done(self, callback: Callable[[], object]) -> None:
        waited_for = [source for source in self._sources if isinstance(source, Future) and not source.done()]
        if waited_for:
            waited_for[0]._when_done(lambda: self._when_done(callback))
        else:
            super()._when_done(callback)

    def _has_hook(self) -> bool:
        return any(not isinstance(source, Future) or source._has_hook() for source in self._sources)


def _collect(futures: tuple[pykka.Future[Any], ...], timeout: float | None) -> list[Any]:
    """Return the values of all, within `timeout` seconds for all together."""
    end, found = None if timeout is None else time.monotonic() + timeout, []
    for future in futures:
        try:
            found.append(future.get(timeout=None if end is None else max(0.0, end - time.monotonic())))
        except pykka.Timeout as error:
            if isinstance(future, Future) and not future._raised(error):
                raise future._late(timeout) from None
            raise
    return found

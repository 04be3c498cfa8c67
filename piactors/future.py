"""`Future`: pykka's future, settled exactly once, that can also be awaited, cancelled and watched."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pykka

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("piactors")

T = TypeVar("T")
ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]

_NO_RESULT = pykka.Future()._get_hook_result
"""How pykka marks that a hook has not run."""

Producer = Callable[[], Any]
"""Makes a result when it is first asked for, in the thread that asks; it may raise."""

_lock = threading.Lock()
"""Held for the few steps that settle a future or add a callback, and never while foreign code runs."""

_run_callback: Callable[..., object] = lambda callback, *args: callback(*args)  # noqa: E731
"""Runs done-callbacks; the runtime puts its dispatcher here, so that they never run on the I/O thread."""


def run_callbacks_with(submit: Callable[..., object]) -> None:
    """Say who runs done-callbacks."""
    global _run_callback
    _run_callback = submit


def renew_lock_after_fork() -> None:
    """Replace the lock that another thread may have held when this process was forked."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=renew_lock_after_fork)


class Future(pykka.Future[T], Generic[T]):
    """The outcome of a call, now or later: a value, an exception, or that it was cancelled.

    Everything that `pykka.Future` offers holds.  Besides, it can be awaited without blocking the
    event loop, cancelled, and watched.  Results are decoded when first asked for, in the thread
    that asks.
    """

    # What a future begins with.  There may be a million of them, so an instance holds only what differs from this.
    _get_hook: Callable[[float | None], Any] | None = None
    _get_hook_result: Any = _NO_RESULT
    _settled: bool = False
    _cancelled: bool = False
    _producer: Producer | None = None
    _value: Any = None
    _error: BaseException | None = None
    _error_traceback: TracebackType | None = None
    _callbacks: tuple[tuple[Callable[..., object], bool], ...] = ()
    _wakers: tuple[Callable[[], object], ...] = ()
    """How to wake those who wait in `get`."""
    _canceller: Callable[[], bool] | None = None
    _sources: tuple[pykka.Future[Any], ...] | None = None
    _hook_lock: Any = None
    _hook_done: bool = False

    def __init__(self) -> None:
        """Make one without an outcome; pykka's own would only set what stands above."""

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "done" if self.done() else "pending"
        return f"<piactors.Future {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from piactors import promises  # a future that crosses a border is rare, and its room is above this one

        return promises.received, (promises.token_of(self),)

    # Asking

    def get(self, *, timeout: float | None = None) -> T:
        """Return the value, waiting for it for at most `timeout` seconds.

        Raises:
            pykka.Timeout: where the time is over first; the call goes on.
            concurrent.futures.CancelledError: where the call was cancelled.
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

    def get_or_cancel(self, timeout: float | None) -> T:
        """Return the value as `get` does, and give up on the call where `timeout` seconds are over first."""
        try:
            return self.get(timeout=timeout)
        except pykka.Timeout:
            self.cancel()
            raise

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what `get` would raise, or None where it would return a value.

        Raises:
            pykka.Timeout, concurrent.futures.CancelledError: as `get`.
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
        if self._sources is not None:
            return any(isinstance(source, Future) and source._raised(error) for source in self._sources)
        return self._error is error

    def done(self) -> bool:
        """Whether `get` returns or raises at once."""
        if self._settled:
            return True
        if self._sources is not None:
            return self._hook_done or all(isinstance(source, Future) and source.done() for source in self._sources)
        return self._hook_done

    def is_settled(self) -> bool:
        """Whether there is an outcome; unlike `done`, of this very future, and nobody is asked for it."""
        return self._settled

    def cancelled(self) -> bool:
        """Whether the call was cancelled before it began."""
        if self._sources is not None:
            return any(isinstance(source, Future) and source.cancelled() for source in self._sources)
        return self._cancelled

    def cancel(self) -> bool:
        """Give up on the call.  True where it will never begin; one that has begun goes on."""
        if self._sources is not None:
            # A list, so that each source is cancelled, not only those up to the first that cannot be.
            return all([isinstance(source, Future) and source.cancel() for source in self._sources])  # noqa: C419
        if self._settled or self._get_hook is not None:
            return self._cancelled
        if not self._give_up():
            return False
        self._settle(_error=concurrent.futures.CancelledError(), _cancelled=True)
        return self._cancelled

    def add_done_callback(self, callback: Callable[[Future[T]], object]) -> None:
        """Have `callback(self)` called once there is an outcome, on the thread for callbacks."""
        self._when_done(functools.partial(callback, self), direct=False)

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio  # whoever awaits has it; an isolate mostly does without

        if not self.done():
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                yield  # some other kind of event loop: pykka's own way
                return self.get()
            if self._has_hook():
                shadow: Future[T] = Future()
                threading.Thread(target=self._run_hook, args=(shadow,), daemon=True, name="piactors-hook").start()
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
            queue.Full: where there is an outcome already.
        """
        if self._get_hook is not None or not self._settle(_value=value):
            raise queue.Full

    def set_exception(self, exc_info: ExcInfo | None = None) -> None:
        """Set an exception: the given one (as `sys.exc_info` returns it), or the one being handled.

        Raises:
            queue.Full: where there is an outcome already.
        """
        kind, error, traceback = exc_info or sys.exc_info()
        if error is None:
            error = kind() if kind is not None else RuntimeError("set_exception() without an exception")
        if self._get_hook is not None or not self._settle(_error=error, _error_traceback=traceback):
            raise queue.Full

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        """Set a function that makes the value when it is asked for, as in pykka.

        Raises:
            queue.Full: where there is an outcome already.
        """
        if self._settled:
            raise queue.Full
        super().set_get_hook(func)

    def settle_with(self, producer: Producer) -> bool:
        """Settle with a result that `producer` makes when asked; False where there is an outcome already."""
        try:
            with _lock:
                if self._settled or self._get_hook is not None:
                    return False
                self._producer = producer
                self._settled = True
            if self._wakers or self._callbacks or self._canceller is not None:
                self._tell()
        except BaseException:  # a KeyboardInterrupt: this thread may settle the futures of others
            self._tell_again()
            raise
        return True

    def fail(self, error: BaseException) -> bool:
        """Settle with an exception; False where there is an outcome already."""
        return self._settle(_error=error)

    def cancel_with(self, canceller: Callable[[], bool]) -> None:
        """Say how the call behind this future is given up; `canceller` returns whether it will never begin."""
        self._canceller = canceller

    # Deriving

    def filter(self: Any, func: Callable[[Any], bool]) -> Any:
        """Return a future of the items for which `func` is true."""
        return _derived((self,), pykka.Future.filter(self, func))

    def join(self: Any, *futures: Any) -> Any:
        """Return a future of the list of this future's value and those of `futures`."""
        def collect(timeout: float | None) -> list[Any]:
            end = None if timeout is None else time.monotonic() + timeout
            return [f.get(timeout=end and max(0.0, end - time.monotonic())) for f in (self, *futures)]

        joined = self.__class__()
        joined.set_get_hook(collect)
        return _derived((self, *futures), joined)

    def map(self, func: Callable[[T], Any]) -> Any:
        """Return a future of `func` of the value."""
        return _derived((self,), super().map(func))

    def reduce(self: Any, func: Callable[[Any, Any], Any], *args: Any) -> Any:
        """Return a future of the items reduced by `func`, as `functools.reduce` does."""
        return _derived((self,), pykka.Future.reduce(self, func, *args))

    # Inside

    def _give_up(self) -> bool:
        """Give up on what is behind it; True where it will never begin."""
        return self._canceller is None or self._canceller()

    def _settle(self, **outcome: Any) -> bool:
        try:
            with _lock:
                if self._settled or self._get_hook is not None:
                    return False
                self.__dict__.update(outcome)
                self._settled = True
            self._tell()
        except BaseException:
            self._tell_again()
            raise
        return True

    def _tell_again(self) -> None:
        if self._settled:
            self._tell()

    def _tell(self) -> None:
        """It has an outcome: tell who waits.  Nobody is added any more."""
        if self._canceller is not None:
            self._canceller = None
        if self._wakers:
            wakers, self._wakers = self._wakers, ()
            try:
                for wake in wakers:
                    wake()
            except BaseException:
                self._wakers += tuple(functools.partial(_wake_again, wake) for wake in wakers)
                raise
        if self._callbacks:
            callbacks, self._callbacks = self._callbacks, ()
            try:
                for callback, direct in callbacks:
                    self._call(callback, direct)
            except BaseException:
                self._callbacks += callbacks  # one too often rather than never
                raise

    def _when_done(self, callback: Callable[[], object], *, direct: bool) -> None:
        waited_for = [source for source in self._sources or () if isinstance(source, Future) and not source.done()]
        if waited_for:
            waited_for[0]._when_done(lambda: self._when_done(callback, direct=direct), direct=True)
            return
        if not self.done():
            with _lock:
                if not (self._settled or self._hook_done):
                    self._callbacks = (*self._callbacks, (callback, direct))
                    return
        self._call(callback, direct)

    @staticmethod
    def _call(callback: Callable[[], object], direct: bool) -> None:
        try:
            if direct:
                callback()
            else:
                _run_callback(callback)
        except Exception:
            logger.exception("a done-callback has failed: %r", callback)

    def _wait(self, timeout: float | None) -> None:
        limit = -1.0 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX)
        latch = threading.Lock()
        latch.acquire()
        self._wake_with(latch.release)
        try:
            if not self._settled and not latch.acquire(timeout=limit) and not self._settled:
                raise pykka.Timeout(f"{timeout} seconds")
        finally:
            self._let_sleep(latch.release)

    def _wake_with(self, wake: Callable[[], object]) -> None:
        """Have `wake()` called once there is an outcome, from any thread, until `_let_sleep`."""
        with _lock:
            if not self._settled:
                self._wakers = (*self._wakers, wake)

    def _let_sleep(self, wake: Callable[[], object]) -> None:
        if self._wakers:
            with _lock:
                self._wakers = tuple(other for other in self._wakers if other != wake)

    def _outcome(self) -> Any:
        if self._producer is not None:
            self._produce()
        if self._error is not None:
            try:
                raise self._error.with_traceback(self._error_traceback)
            finally:
                del self  # as in `get`
        return self._value

    def _produce(self) -> None:
        me = threading.get_ident()
        if self.__dict__.setdefault("_maker", me) != me:  # one step for Python: one thread is the first
            self._await_maker()
            return
        producer = self._producer
        if producer is None:
            return
        try:
            self._value = producer()
        except BaseException as error:
            self._error, self._error_traceback = error.with_traceback(None), None
        self._producer = None
        if self._wakers:
            self._tell()

    def _await_maker(self) -> None:
        """Wait until the thread has made the result that was the first to ask for it."""
        while self._producer is not None:  # whoever settles it may wake this one too early
            latch = threading.Lock()
            latch.acquire()
            with _lock:
                self._wakers = (*self._wakers, latch.release)
            if self._producer is not None:
                latch.acquire()

    def _one_at_a_time(self) -> Any:
        """Return the lock under which this future's result is made."""
        if self._hook_lock is None:
            with _lock:
                if self._hook_lock is None:
                    self._hook_lock = threading.RLock()
        return self._hook_lock

    def _get_by_hook(self, timeout: float | None) -> T:
        limit = -1.0 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX)
        started = time.monotonic()
        lock = self._one_at_a_time()
        if not lock.acquire(timeout=limit):
            raise pykka.Timeout(f"{timeout} seconds")
        try:
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
            value = pykka.Future.get(self, timeout=left)
            with _lock:
                self._hook_done = True
                callbacks, self._callbacks = self._callbacks, ()
        finally:
            lock.release()
        for callback, direct in callbacks:
            self._call(callback, direct)
        return value

    def _await_on(self, loop: asyncio.AbstractEventLoop) -> Generator[Any, None, None]:
        import asyncio

        waiter = loop.create_future()

        def wake() -> None:
            if not waiter.done():
                waiter.set_result(None)

        def done() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(wake)

        self._when_done(done, direct=True)
        try:
            yield from waiter
        except asyncio.CancelledError:
            self.cancel()
            raise

    def _run_hook(self, shadow: Future[Any]) -> None:
        try:
            shadow.set(self.get())
        except BaseException as error:
            shadow.fail(error)

    def _has_hook(self) -> bool:
        """Whether somebody has to ask for an outcome to come about, here or further up."""
        if self._sources is None:
            return self._get_hook is not None and not self._hook_done
        return any(not isinstance(source, Future) or source._has_hook() for source in self._sources)


def _wake_again(wake: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # a latch that is open already
        wake()


def _derived(sources: Iterable[pykka.Future[Any]], future: Any) -> Any:
    future._sources = tuple(sources)
    return future

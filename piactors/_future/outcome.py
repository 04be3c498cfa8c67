"""One outcome, settled exactly once, and those who wait for it; what `Future` is built on."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Callable, Sized
from types import TracebackType
from typing import TYPE_CHECKING, Any

from piactors._future import waiting
from piactors._io import dispatcher
from piactors._platform import reentry
from piactors._text.logs import logger

if TYPE_CHECKING:
    import asyncio

Producer = Callable[[], Any]
"""Makes a result when it is first asked for, in the thread that asks; it may raise."""

_lock = reentry.lock()
"""Held for the few steps that settle an outcome or add a callback, and never while foreign code runs."""

is_held_by_me: Callable[[], bool] = _lock._is_owned
"""Whether this thread holds that lock: then this is a signal handler that has interrupted it."""

_run_callback: Callable[..., object] = lambda callback, *args: callback(*args)  # noqa: E731
"""Runs done-callbacks; the runtime puts its dispatcher here, so that they never run on the I/O thread."""


def run_callbacks_with(submit: Callable[..., object]) -> None:
    """Set what runs done-callbacks."""
    global _run_callback
    _run_callback = submit


def run_callback(callback: Callable[..., object], *args: Any) -> None:
    """Have a callback run by what runs done-callbacks."""
    _run_callback(callback, *args)


def renew_lock_after_fork() -> None:
    """Replace the lock that another thread may have held when this process was forked."""
    global _lock, is_held_by_me
    _lock = reentry.lock()
    is_held_by_me = _lock._is_owned


os.register_at_fork(after_in_child=renew_lock_after_fork)


class Outcome:
    """A value, an exception, or that the call was cancelled; now or later."""

    # What one begins with.  There may be a million of them, so an instance holds only what differs from this.
    _get_hook: Callable[[float | None], Any] | None = None
    _settled: bool = False
    _cancelled: bool = False
    _producer: Producer | None = None
    _value: Any = None
    _error: BaseException | None = None
    _error_traceback: TracebackType | None = None
    _callbacks: list[Callable[[], object]] | None = None
    _wakers: tuple[Callable[[], object], ...] = ()
    """How to wake those who wait in `get`."""
    _listeners: dict[OutcomeListener, None] | None = None
    """What `add_done_callback` has added, until it is called."""
    _canceller: Callable[[], bool] | None = None
    _errands: Sized | None = None
    """What the thread that waits is to do meanwhile (see `Call`)."""

    def is_settled(self) -> bool:
        """Whether there is an outcome; unlike `done`, only of this very future, and without asking for it."""
        return self._settled

    def settle_with(self, producer: Producer) -> bool:
        """Settle with a result that `producer` makes when asked; False if there is an outcome already."""
        try:
            with self._guard:
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
        """Settle with an exception; False if there is an outcome already."""
        return self._settle(_error=error)

    def cancel_with(self, canceller: Callable[[], bool]) -> None:
        """Say how the call behind this future is given up; `canceller` returns whether it will never begin."""
        self._canceller = canceller

    # Inside

    @property
    def _guard(self) -> Any:
        """What is held while this is settled, or who waits for it is noted."""
        return _lock

    def _is_done(self) -> bool:
        """Whether the receiver of the outcome need not wait for it."""
        return self._settled

    def _give_up(self) -> bool:
        """Give up on what is behind it; True if it will never begin."""
        return self._canceller is None or self._canceller()

    def _settle(self, **outcome: Any) -> bool:
        try:
            with self._guard:
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
        """It has an outcome: wake those who wait.  No more are added."""
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
            callbacks, self._callbacks = self._callbacks, None
            try:
                for callback in callbacks:
                    _call_quick(callback)
            except BaseException:
                self._callbacks = callbacks  # one too often rather than never
                raise

    def _when_done(self, callback: Callable[[], object]) -> None:
        """Have `callback()` called once there is an outcome, in the thread that finds it, so it must be quick."""
        self._call_when_done(callback)

    def _call_when_done(self, callback: Callable[[], object]) -> None:
        """Do that, and nothing to have the outcome found soon."""
        if not self._is_done():
            with self._guard:
                if not self._is_done():
                    if self._callbacks is None:
                        self._callbacks = []
                    self._callbacks.append(callback)
                    return
        _call_quick(callback)

    def _listen(self, listener: OutcomeListener) -> None:
        """Have a listener called once there is an outcome."""
        with self._guard:
            if self._listeners is None:
                self._listeners = {}
            self._listeners[listener] = None
        self._when_done(listener)

    def _forget(self, listener: OutcomeListener) -> None:
        """Remove one that is being called."""
        listeners = self._listeners
        if listeners is not None:
            listeners.pop(listener, None)

    def _forget_all(self, unwanted: Callable[[OutcomeListener], bool]) -> int:
        """Remove those that are `unwanted`, and return how many there were."""
        with self._guard:
            listeners = self._listeners or {}
            gone = [listener for listener in listeners if unwanted(listener)]
            for listener in gone:
                del listeners[listener]
        for listener in gone:
            listener.callback = None
        return len(gone)

    def _wait(self, timeout: float | None) -> None:
        """Wait until there is an outcome.

        Raises:
            Timeout: if `timeout` seconds pass first.
        """
        if not self._wait_until_settled(waiting.seconds_of(timeout)):
            raise self._late(timeout)

    def _wait_until_settled(self, seconds: float | None) -> bool:
        reentry.refuse("what is waited for")
        latch = threading.Lock()
        latch.acquire()
        self._wake_with(latch.release)
        try:
            if self._settled or self._errands:
                return True
            return latch.acquire(timeout=-1.0 if seconds is None else seconds) or self._settled
        finally:
            self._let_sleep(latch.release)

    def _late(self, timeout: float | None) -> BaseException:
        """Return the error for a caller that has waited long enough."""
        return waiting.too_late("no answer", timeout)

    def _wake_with(self, wake: Callable[[], object]) -> None:
        """Have `wake()` called once there is an outcome, from any thread, until `_let_sleep`."""
        with self._guard:
            if not self._settled:
                self._wakers = (*self._wakers, wake)

    def _let_sleep(self, wake: Callable[[], object]) -> None:
        if self._wakers:
            with self._guard:
                self._wakers = tuple(other for other in self._wakers if other != wake)

    def _outcome(self) -> Any:
        if self._producer is not None:
            self._produce()
        if self._error is not None:
            try:
                raise self._error.with_traceback(self._error_traceback)
            finally:
                del self  # the traceback of an error holds this frame, and the future the error
        return self._value

    def _produce(self) -> None:
        me = threading.get_ident()
        try:
            if self.__dict__.setdefault("_maker", me) == me:  # one step for Python: one thread is the first
                producer = self._producer
                if producer is None:
                    return
                try:
                    self._value = producer()
                except Exception as error:
                    self._error, self._error_traceback = error.with_traceback(None), None
                self._producer = None
                if self._wakers:
                    self._tell()
                return
        except BaseException:  # this thread was interrupted, and that is not an outcome: the next one makes the result
            if self._producer is not None and self.__dict__.get("_maker") == me:
                del self.__dict__["_maker"]
            self._tell_again()
            raise
        self._await_maker()

    def _await_maker(self) -> None:
        """Wait until the thread has made the result that was the first to ask for it, or has left that to others."""
        while self._producer is not None and "_maker" in self.__dict__:  # the settling thread may wake this too early
            latch = threading.Lock()
            latch.acquire()
            with self._guard:
                self._wakers = (*self._wakers, latch.release)
            if self._producer is not None and "_maker" in self.__dict__:
                latch.acquire()
        if self._producer is not None:
            self._produce()


class OutcomeListener:
    """A function of the user that is called once with a future that has an outcome.

    One that was added in a thread with a running event loop is called by that loop, in the context in which it was
    added, as asyncio's own futures do; any other one by what runs done-callbacks.
    """

    __slots__ = ("_context", "_future", "_loop", "callback")

    def __init__(
        self, callback: Callable[[Any], object], future: Outcome, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self.callback: Callable[[Any], object] | None = callback
        self._future = future
        self._loop = loop
        self._context = None if loop is None else contextvars.copy_context()

    def __call__(self) -> None:
        """Have it called; in the thread that has found the outcome."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._run, context=self._context)
                return
        run_callback(self._run)

    def _run(self) -> None:
        callback = self.callback
        self._future._forget(self)
        if callback is not None:
            run = _call if self._loop is not None else dispatcher.call
            run(callback, (self._future,), "a done-callback has failed: %r", callback)


def _call(callback: Callable[..., object], args: tuple[Any, ...], complaint: str, *about: object) -> None:
    """Call it in a thread of the user's, which a SystemExit may end."""
    try:
        callback(*args)
    except Exception:
        logger.error(complaint, *about, exc_info=True)


def _call_quick(callback: Callable[[], object]) -> None:
    """Call one that is ours, or have another thread call the user's."""
    _call(callback, (), "a done-callback has failed: %r", callback)


def _wake_again(wake: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # a latch that is open already
        wake()

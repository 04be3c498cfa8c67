"""The future of an answer, for isolates in which piactors is not installed."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Generator, List, Optional

from ..pickles import lending
from . import asking, errors


class AnswerFuture:
    """The outcome of something that was asked of the host, now or later."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self._settled = threading.Event()
        self._lock = threading.Lock()  # that it is settled, and who is told of that, are one step
        self._callbacks: List[Callable[[Any], Any]] = []
        self._frame: Any = None
        self._value: Any = None
        self._error: Optional[BaseException] = None
        self.request = 0
        """The number of the request that it is the answer to."""

    def is_of(self, request: int) -> None:
        """It is the answer to the request of this number."""
        self.request = request

    def take(self, frame: Any) -> None:
        """Settle with the frame that the host answered; what it holds is read by the thread that asks."""
        self._frame = frame
        with self._lock:
            self._settled.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def get(self, timeout: Optional[float] = None) -> Any:
        """Return the value, waiting for it for at most `timeout` seconds.

        Raises:
            Timeout: if the time runs out first.
            Exception: what was raised there.
        """
        if not self._wait(timeout):
            raise errors.make("Timeout", "no answer within {:g} s".format(timeout or 0))
        with self._lock:  # whoever asks first makes the value that all get
            if self._frame is not None:
                frame, self._frame = self._frame, None
                try:
                    self._value = self._link.result_of(frame)
                except Exception as error:
                    self._error = error
        if self._error is not None:
            raise self._error
        return self._value

    result = get

    def _wait(self, timeout: Optional[float]) -> bool:
        if self._settled.is_set():
            return True
        return bool(asking.await_answer(self._link, self.request, timeout, self._settled.wait))

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """Return what `get` would raise, or None if it would return a value."""
        try:
            self.get(timeout)
        except Exception as error:
            if error is not self._error:
                raise
            return error
        return None

    def done(self) -> bool:
        """Whether there is an outcome."""
        return self._settled.is_set()

    def _drop(self) -> None:
        """Nobody wants it any more."""
        self._link.forget(self.request)

    give_up = _drop

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        """Have `callback(self)` called once there is an outcome, on the thread that finds it."""
        with self._lock:
            if not self._settled.is_set():
                self._callbacks.append(callback)
                return
        callback(self)

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait in asyncio's event loop, and let it run meanwhile."""
        import asyncio

        loop = asyncio.get_running_loop()
        told = loop.create_future()

        def tell(_: Any) -> None:
            loop.call_soon_threadsafe(settle)

        def settle() -> None:
            if not told.done():
                told.set_result(None)

        self.add_done_callback(tell)
        yield from told.__await__()
        return self.get()


class DirectAnswer(AnswerFuture):
    """The answer to a message that may have gone directly (see `ways`)."""

    def __init__(self, link: Any) -> None:
        super().__init__(link)
        self.sent: Any = None
        """The message that it is the answer to."""

    def goes(self, sent: Any) -> None:
        """It is the answer to this message."""
        self.sent = sent

    def _wait(self, timeout: Optional[float]) -> bool:
        begun, sent = time.monotonic(), self.sent
        if not (self._settled.is_set() or sent.way.wait(sent, timeout)):
            return False
        return super()._wait(None if timeout is None else max(0.0, begun + timeout - time.monotonic()))

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        """Have `callback(self)` called once there is an outcome; see `AnswerFuture`."""
        super().add_done_callback(callback)
        self.sent.way.watch(self.sent)


class FutureStandIn(AnswerFuture):
    """A future of another process: its outcome is asked for when somebody wants it, and it can be set from here."""

    def __init__(self, link: Any, number: int) -> None:
        super().__init__(link)
        self._number = number
        self._is_asked = False

    def set(self, value: Any = None) -> None:
        """Set it to a value, if it has no outcome yet."""
        asking.wait(self._link, self._number, "settle", "", (value,))

    def set_exception(self, error: BaseException) -> None:
        """Set it to an exception, if it has no outcome yet."""
        asking.fail(self._link, self._number, error)

    def cancel(self, kill_after: Optional[float] = None) -> bool:
        """Give up on what it is the outcome of; whether that will never begin.

        Args:
            kill_after: after how many seconds its process is ended if it still runs; None: never.
        """
        seconds = "" if kill_after is None else repr(float(kill_after))
        return bool(asking.wait(self._link, self._number, "cancel", seconds))

    def get(self, timeout: Optional[float] = None) -> Any:
        """Return the value; see `AnswerFuture`."""
        self._ask()
        return super().get(timeout)

    result = get

    def done(self) -> bool:
        """Whether there is an outcome, as far as is known here."""
        self._ask()
        return super().done()

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        """Have `callback(self)` called once there is an outcome; see `AnswerFuture`."""
        self._ask()
        super().add_done_callback(callback)

    def _ask(self) -> None:
        with self._lock:
            asked, self._is_asked = self._is_asked, True
        if not asked:
            self.request = asking.begin(
                self._link, self._number, "outcome", "", on_answer=lambda _, frame: self.take(frame)
            )


class WriterStandIn:
    """The end of a promise of another process that sets it."""

    def __init__(self, link: Any, number: int) -> None:
        self._link, self._number = link, number

    def set(self, value: Any = None) -> None:
        """Set the promise to a value; the first outcome stands."""
        asking.wait(self._link, self._number, "settle", "", (value,))

    def set_exception(self, error: BaseException) -> None:
        """Set the promise to an exception; the first outcome stands."""
        asking.fail(self._link, self._number, error)


def _way(future: Any) -> lending.Entry:
    return (future._number, *lending.HOME)


lending.ways[FutureStandIn] = lending.ways[WriterStandIn] = _way

"""Futures of what is asked of other processes, in an isolate.  Only isolates load this."""

from __future__ import annotations

import importlib
import queue
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from typing import Any

from piactors._future import waiting
from piactors._values.requested import RequestedFuture
from piactors.errors import Timeout
from piactors.future import ExcInfo, Future

_asking: Any = importlib.import_module("_pihost.values.asking")
_ways: Any = importlib.import_module("_pihost.values.ways")


class PeerAnswer(Future[Any]):
    """The answer to something that was asked of another process."""

    def __init__(self, link: Any) -> None:
        super().__init__()
        self._link = link
        self.request = 0
        """The number of the request that it is the answer to."""

    def is_of(self, request: int) -> None:
        """It is the answer to the request of this number."""
        self.request = request

    def cancel(self, kill_after: float | None = None) -> bool:
        """Give up on what it is the answer to, and cancel that if it has begun; see `Future.cancel`."""
        seconds = waiting.seconds_of(kill_after, "kill_after")
        if self._settled:
            return self._cancelled
        answer = RequestedFuture(self._link)
        answer.is_of(
            self._link.request_plain(("cancel", self.request, -1.0 if seconds is None else seconds), answer.take)
        )
        never = bool(answer.get())
        if never:
            super().cancel()
        return never

    def cancelled(self) -> bool:
        """Whether it was cancelled; see `Future.cancelled`."""
        if super().cancelled() or not self._settled:
            return super().cancelled()
        try:
            self.get()
        except BaseException as error:  # of whatever kind its outcome is
            if not self._raised(error):
                raise
            return isinstance(error, CancelledError)
        return False

    def _drop(self) -> bool:
        return super().cancel()

    def _wait(self, timeout: float | None) -> None:
        try:
            _asking.await_answer(self._link, self.request, waiting.seconds_of(timeout), super()._wait)
        except Timeout:
            raise self._late(timeout) from None

    def _await_on(self, loop: Any) -> Generator[Any, None, None]:
        self._ask()
        with self._link.threads.awaited(self.request):
            yield from super()._await_on(loop)

    def _ask(self) -> None:
        """It has been asked for."""

    def take(self, frame: Any) -> None:
        """Settle with the frame that the host answered."""
        link = self._link
        self.settle_with(lambda: link.result_of(frame))


class PeerDirect(PeerAnswer):
    """The answer to a message that may have gone directly."""

    def __init__(self, link: Any) -> None:
        super().__init__(link)
        self.sent: Any = None
        """The message that it is the answer to."""

    def goes(self, sent: Any) -> None:
        """It is the answer to this message."""
        self.sent = sent

    def cancel(self, kill_after: float | None = None) -> bool:
        """Give up on what it is the answer to; see `PeerAnswer.cancel`."""
        if self.sent.way.withdraw(self.sent):
            return self.cancelled()
        if not self.request:
            self.request = self.sent.way.waits(self.sent)
        return super().cancel(kill_after)

    def done(self) -> bool:
        """Whether there is an outcome, as far as is known here."""
        self.sent.look()
        return super().done()

    def _wait(self, timeout: float | None) -> None:
        seconds, begun = waiting.seconds_of(timeout), time.monotonic()
        if self._settled:
            return
        if not self.sent.way.wait(self.sent, seconds):
            raise self._late(timeout)
        if not self._settled:
            super()._wait(None if seconds is None else max(0.0, begun + seconds - time.monotonic()))

    def _when_done(self, callback: Callable[[], object]) -> None:
        super()._when_done(callback)
        self.sent.way.watch(self.sent)

    def _await_on(self, loop: Any) -> Generator[Any, None, None]:
        slots = self._link.threads.slots_of_task()
        noted = loop.call_later(_ways.TOO_LONG, self._note, slots)
        try:
            yield from Future._await_on(self, loop)
        finally:
            noted.cancel()
            self._link.threads.note_wait(slots, 0)

    def _note(self, slots: Any) -> None:
        """It has been awaited for so long that the host is to know of it."""
        self._link.threads.note_wait(slots, self.sent.request or self.sent.way.waits(self.sent))


class PeerPull(PeerAnswer):
    """Items of a stream that were asked for.  Who awaits them may stop that: they come for whoever asks next."""

    def cancel(self, kill_after: float | None = None) -> bool:
        """Go on."""
        return False

    def give_up(self) -> None:
        """Nobody wants them any more."""
        super()._drop()


class PeerFuture(PeerAnswer):
    """A future of another process: its outcome is asked for when somebody wants it, and it can be set from here."""

    def __init__(self, link: Any, number: int) -> None:
        super().__init__(link)
        self._number = number
        self._is_asked = self._was_set = False

    def set(self, value: Any = None) -> None:
        """Set it to a value, where it is; the first outcome stands."""
        self._note_set()
        _asking.begin(self._link, self._number, "settle", "", (value,))

    def set_exception(self, exc_info: ExcInfo | BaseException | None = None) -> None:
        """Set it to an exception, where it is; the first outcome stands."""
        self._note_set()
        error = exc_info if isinstance(exc_info, BaseException) else (exc_info or sys.exc_info())[1]
        _asking.fail(self._link, self._number, error or RuntimeError("set_exception() without an exception"))

    def _note_set(self) -> None:
        if self._was_set:
            raise queue.Full
        self._was_set = True

    def cancel(self, kill_after: float | None = None) -> bool:
        """Give up on what it is the outcome of; whether that will never begin."""
        seconds = waiting.seconds_of(kill_after, "kill_after")
        return bool(_asking.wait(self._link, self._number, "cancel", "" if seconds is None else repr(seconds)))

    def _drop(self) -> bool:
        """Wait for it no longer; what it is the outcome of goes on, as others may wait for that."""
        return False

    def done(self) -> bool:
        """Whether there is an outcome, as far as is known here."""
        self._ask()
        return super().done()

    def _ask(self) -> None:
        with self._guard:
            asked, self._is_asked = self._is_asked, True
        if not asked:
            self.request = _asking.begin(
                self._link, self._number, "outcome", "", on_answer=lambda _, frame: self.take(frame)
            )

    def _wait(self, timeout: float | None) -> None:
        self._ask()
        super()._wait(timeout)

    def _when_done(self, callback: Callable[[], object]) -> None:
        self._ask()
        super()._when_done(callback)

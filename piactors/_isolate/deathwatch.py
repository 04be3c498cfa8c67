"""Those who wait for the end of an actor of any kind."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from piactors.exit_reason import ExitReason
from piactors.future import Future

_KILLED_SECONDS = 2.0
"""How long a cancelled block waits for the end of what it has killed."""


class DeathWatch:
    """Those who wait for the end of one actor.  An actor that is started again can end again."""

    def __init__(self) -> None:
        # Anybody watches, the loop tells; a signal handler may come while its thread has it.
        self._lock = threading.RLock()
        self._waiting: dict[object, Callable[[ExitReason], object]] = {}
        self.reason: ExitReason | None = None
        """Why it has ended, or None while it lives."""

    def add(self, callback: Callable[[ExitReason], object], key: object = None) -> Callable[[], None]:
        """Have `callback` called once with the reason of the end, now if that has come; returns how to call it off.

        It is called in the thread that finds the end, so it must be quick.

        Args:
            key: what is added once more by this takes the place of what was added by it before.
        """
        key = object() if key is None else key
        with self._lock:  # the end may come between the look and the place in the table
            reason = self.reason
            if reason is None:
                self._waiting[key] = callback
        if reason is not None:
            callback(reason)
        return lambda: self._remove(key)

    def _remove(self, key: object) -> None:
        with self._lock:  # `tell` copies the table on another thread
            self._waiting.pop(key, None)

    async def wait(self) -> ExitReason:
        """Return the reason of the end once it has come, and let the event loop run meanwhile."""
        told: Future[ExitReason] = Future()
        call_off = self.add(lambda reason: told.settle_with(lambda: reason))
        try:
            return await told
        finally:
            call_off()

    async def wait_briefly(self) -> None:
        """Wait for the end of what was killed because a task was cancelled, but not for what does not come."""
        import asyncio

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), _KILLED_SECONDS)

    def tell(self, reason: ExitReason) -> None:
        """The actor has ended for good; if a callback fails, this may be called again, and goes on with that one."""
        with self._lock:  # whoever comes after the copy finds the reason
            if self.reason is None:
                self.reason = reason
            reason, waiting = self.reason, dict(self._waiting)
        for key, callback in waiting.items():
            callback(reason)
            self._remove(key)

    def begin_again(self) -> None:
        """The actor lives again."""
        with self._lock:  # as in `add`
            self.reason = None

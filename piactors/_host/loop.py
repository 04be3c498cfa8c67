"""The one I/O thread: descriptors, timers, and calls from other threads.  Nothing here polls."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("piactors")

Handler = Callable[[], object]


class Timer:
    """One call that the loop will make later; `cancel` works from any thread."""

    __slots__ = ("callback", "cancelled", "due")

    def __init__(self, due: float, callback: Handler) -> None:
        self.due = due
        self.callback: Handler | None = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Have the call not made, where it has not begun."""
        self.cancelled = True
        self.callback = None


class Loop:
    """The I/O thread.  `call_soon` and `call_later` work from any thread, the rest from the loop's own."""

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._selector = selectors.DefaultSelector()
        self._on_failure = on_failure
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._wake_read, self._wake_write = os.pipe()
        self._awake = False
        self._wake_lock = threading.Lock()
        self._stopping = False
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, (self._drain_wakes, None))
        self.scratch = bytearray(262_144)
        self.thread = threading.Thread(target=self._run, name="piactors-io", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """End the thread, after the calls made so far, and close what the loop holds."""
        self.call_soon(self._stop)
        if threading.current_thread() is not self.thread:
            self.thread.join()

    def abandon(self) -> None:
        """In a forked copy, where the thread does not exist: close the descriptors, and nothing more."""
        self._awake = True  # nobody writes any more
        self._selector.close()
        for fd in (self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                os.close(fd)

    def is_current(self) -> bool:
        """Whether the caller runs on the loop's thread."""
        return threading.get_ident() == self.thread.ident

    def call_soon(self, callback: Callable[..., None], *args: Any) -> None:
        """Have `callback(*args)` run on the loop, after what was asked for before."""
        self._calls.append((callback, args))
        if not self._awake:
            with self._wake_lock:
                if not self._awake:
                    self._awake = True
                    with contextlib.suppress(BlockingIOError):
                        os.write(self._wake_write, b"\0")

    def call_later(self, delay: float, callback: Handler) -> Timer:
        """Have `callback()` run on the loop after `delay` seconds."""
        timer = Timer(time.monotonic() + delay, callback)
        if self.is_current():
            self._add_timer(timer)
        else:
            self.call_soon(self._add_timer, timer)
        return timer

    def watch(self, fd: int, on_read: Handler, on_write: Handler | None = None) -> None:
        """Call `on_read` while `fd` is readable."""
        self._selector.register(fd, selectors.EVENT_READ, (on_read, on_write))

    def want_write(self, fd: int, wanted: bool) -> None:
        """Say whether the `on_write` of a watched descriptor is to be called while it is writable."""
        with contextlib.suppress(KeyError, ValueError):  # ValueError: a closed socket's -1
            key = self._selector.get_key(fd)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
            if key.events != events:
                self._selector.modify(fd, events, key.data)

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor, before it is closed."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(fd)

    def _add_timer(self, timer: Timer) -> None:
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))

    def _stop(self) -> None:
        self._stopping = True

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        # Cleared after the pipe was read and before the calls are looked at.
        self._awake = False

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        except BaseException as error:
            logger.critical("the I/O thread of piactors has failed", exc_info=True)
            self._on_failure(error)
        finally:
            self.abandon()

    def _turn(self) -> None:
        watched = self._selector.get_map()
        for key, mask in self._selector.select(self._time_to_wait()):
            on_read, on_write = key.data
            if mask & selectors.EVENT_READ and self._still(watched, key):
                on_read()
            if mask & selectors.EVENT_WRITE and on_write is not None and self._still(watched, key):
                on_write()
        self._run_timers()
        for _ in range(len(self._calls)):
            callback, args = self._calls.popleft()
            callback(*args)

    @staticmethod
    def _still(watched: Any, key: selectors.SelectorKey) -> bool:
        now = watched.get(key.fd)
        return now is not None and now.data is key.data

    def _time_to_wait(self) -> float | None:
        if self._calls:
            return 0.0
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return min(max(0.0, self._timers[0][0] - time.monotonic()), 86_400.0)

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()

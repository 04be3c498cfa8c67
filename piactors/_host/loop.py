"""The one I/O thread: descriptors, timers, and calls from other threads.  Nothing here polls."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from piactors._platform.poller import READ, WRITE, open_poller

logger = logging.getLogger("piactors")

Handler = Callable[[], object]

_MANY_CANCELLED = 100
"""From how many cancelled timers on they are taken out before they are due, where they are more than half of all."""

_PAUSED = 0.25
"""Seconds by which a turn of the loop comes too late only if this program could not run."""


class Timer:
    """One call that the loop will make later; `cancel` works from any thread."""

    __slots__ = ("_loop", "callback", "cancelled", "due", "indulgence")

    def __init__(self, loop: Loop, due: float, callback: Handler, indulgence: float = 0.0) -> None:
        self._loop = loop
        self.due = due
        self.indulgence = indulgence
        """For how many seconds it may be put off because the loop did not run when it was due."""
        self.callback: Handler | None = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Have the call not made, where it has not begun."""
        if not self.cancelled:
            self.cancelled = True
            self.callback = None
            self._loop.cancelled += 1


class _Watched:
    """A descriptor that the loop looks after."""

    __slots__ = ("events", "on_read", "on_write", "paused")

    def __init__(self, on_read: Handler, on_write: Handler | None) -> None:
        self.on_read = on_read
        self.on_write = on_write
        self.events = READ
        self.paused = False


class Loop:
    """The I/O thread.  `call_soon`, `call_later`, `pause` and `resume` work from any thread, the rest from its own."""

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._poller = open_poller()
        self._watched: dict[int, _Watched] = {}
        self.can_pause = self._poller.can_pause
        self._on_failure = on_failure
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self.cancelled = 0
        """About how many of the timers have been cancelled: two threads that count at once may lose one."""
        try:
            self._wake_read, self._wake_write = os.pipe()
        except OSError:
            self._poller.close()
            raise
        self._awake = False
        self._wake_lock = threading.RLock()  # a signal handler may call too, in whichever thread holds it
        self._stopping = False
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.watch(self._wake_read, self._drain_wakes)
        self.ident: int | None = None
        """Of its thread, once that runs."""
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
        self._poller.close()
        for fd in (self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                os.close(fd)

    def is_current(self) -> bool:
        """Whether the caller runs on the loop's thread."""
        return threading.get_ident() == self.ident

    def call_soon(self, callback: Callable[..., None], *args: Any) -> None:
        """Have `callback(*args)` run on the loop, after what was asked for before."""
        self._calls.append((callback, args))
        if not self._awake:
            with self._wake_lock:
                if not self._awake:
                    self._awake = True
                    try:
                        os.write(self._wake_write, b"\0")
                    except BlockingIOError:  # it is full, so the loop will wake
                        pass
                    except BaseException:  # a KeyboardInterrupt in a caller's thread: who comes next has to write
                        self._awake = False
                        raise

    def call_later(self, delay: float, callback: Handler) -> Timer:
        """Have `callback()` run on the loop after `delay` seconds."""
        timer = Timer(self, time.monotonic() + delay, callback)
        if self.is_current():
            self._add_timer(timer)
        else:
            self.call_soon(self._add_timer, timer)
        return timer

    def deadline(self, seconds: float, callback: Handler) -> Timer:
        """Call later, as `call_later`, what judges somebody who had to do something by then.

        Time in which this program did not run is not counted: it was stopped, or one of its threads held Python's lock.
        What comes much too late is put off by as much, so that what was done meanwhile is heard of before; once it was
        put off for `seconds` in all, it is not any more.
        """
        timer = Timer(self, time.monotonic() + seconds, callback, seconds)
        if self.is_current():
            self._add_timer(timer)
        else:
            self.call_soon(self._add_timer, timer)
        return timer

    def watch(self, fd: int, on_read: Handler, on_write: Handler | None = None) -> None:
        """Call `on_read` while `fd` is readable, or has hung up."""
        self._poller.add(fd)
        self._watched[fd] = _Watched(on_read, on_write)

    def want_write(self, fd: int, wanted: bool) -> None:
        """Say whether the `on_write` of a watched descriptor is to be called while it is writable."""
        watched = self._watched.get(fd)
        events = READ | (WRITE if wanted else 0)
        if watched is not None and watched.events != events:
            watched.events = events
            self._poller.set(fd, (0 if watched.paused else READ) | (events & WRITE))

    def pause(self, fd: int) -> None:
        """Do not call `on_read` of a watched descriptor until `resume`, unless it hangs up: somebody else reads it.

        Works from any thread, where `can_pause`.  The caller sees to it that nobody unwatches `fd` meanwhile.
        """
        watched = self._watched[fd]
        watched.paused = True
        if watched.events == READ:
            self._poller.pause(fd)
        else:
            self._poller.set(fd, WRITE)

    def resume(self, fd: int) -> None:
        """Watch a descriptor again, as before `pause`."""
        watched = self._watched[fd]
        watched.paused = False
        self._poller.resume(fd, watched.events)

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor, before it is closed."""
        if self._watched.pop(fd, None) is not None:
            self._poller.remove(fd)

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
        self.ident = threading.get_ident()
        try:
            while not self._stopping:
                self._turn()
        except BaseException as error:
            logger.critical("the I/O thread of piactors has failed", exc_info=True)
            self._on_failure(error)
        finally:
            with self._wake_lock:  # nobody is left between his look at `_awake` and his write to what is closed here
                self.abandon()

    def _turn(self) -> None:
        ready = self._poller.wait(self._time_to_wait())
        # Looked up before any is called: a number may be closed, and given to another file, by the first of them.
        for fd, mask, watched in [(fd, mask, self._watched.get(fd)) for fd, mask in ready]:
            if watched is None:
                continue
            if mask & READ and self._watched.get(fd) is watched:
                watched.on_read()
            if mask & watched.events & WRITE and watched.on_write is not None and self._watched.get(fd) is watched:
                watched.on_write()
        self._run_timers()
        for _ in range(len(self._calls)):
            callback, args = self._calls.popleft()
            callback(*args)

    def _time_to_wait(self) -> float | None:
        if self._calls:
            return 0.0
        if self.cancelled > _MANY_CANCELLED and self.cancelled > len(self._timers) // 2:
            self._timers = [entry for entry in self._timers if not entry[2].cancelled]
            heapq.heapify(self._timers)
            self.cancelled = 0
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return min(max(0.0, self._timers[0][0] - time.monotonic()), 86_400.0)

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.indulgence and now - timer.due > _PAUSED:
                more = min(now - timer.due, timer.indulgence)
                timer.due, timer.indulgence = now + more, timer.indulgence - more
                self._add_timer(timer)
                continue
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()

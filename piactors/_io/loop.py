"""The one I/O thread: descriptors, timers, and calls from other threads.  Nothing here polls.

What a callback raises costs only the user it belongs to: each user of the loop has a `Share` of it, which
says who is told.  The thread goes on; it ends only if it cannot wait for anything any more.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from piactors._io.awake import Awake
from piactors._platform.poller import READ, WRITE, open_poller

Handler = Callable[[], object]
OnError = Callable[[BaseException], object]
"""Gets what a callback has raised; on the loop's thread."""

_MANY_CANCELLED = 100
"""From how many cancelled timers on they are taken out before they are due, if they are more than half of all."""
_MOST_FAILURES = 100
"""How many times in a row the thread itself, not a callback, may fail before it gives up."""
_AFTER_FAILURE = 0.01
_MOST_OF_ONE = 3
"""How many times in a row the callback of one descriptor may fail before that is no longer watched."""

_PAUSED = 0.25
"""Seconds by which a turn of the loop comes too late only if this program could not run."""


class LoopTimer:
    """One call that the loop will make later; `cancel` works from any thread."""

    __slots__ = ("_loop", "callback", "cancelled", "due", "indulgence", "on_error")

    def __init__(self, loop: Loop, due: float, callback: Handler, on_error: OnError, indulgence: float = 0.0) -> None:
        self._loop = loop
        self.due = due
        self.indulgence = indulgence
        """For how many seconds it may be put off because the loop did not run when it was due."""
        self.callback: Handler | None = callback
        self.on_error = on_error
        self.cancelled = False

    def cancel(self) -> None:
        """Cancel the call, if it has not begun."""
        if not self.cancelled:
            self.cancelled = True
            self.callback, self.on_error = None, bool  # it may be long until it is due, and holds nobody until then
            self._loop.cancelled += 1


class _Watched:
    """A descriptor that the loop looks after."""

    __slots__ = ("events", "failures", "on_error", "on_read", "on_write", "paused")

    def __init__(self, on_read: Handler, on_write: Handler | None, on_error: OnError) -> None:
        self.on_read = on_read
        self.on_write = on_write
        self.on_error = on_error
        self.failures = 0
        self.events = READ
        self.paused = False


class Share:
    """The loop as one of its users sees it: the same methods, and whatever its callbacks raise goes to `on_error`."""

    def __init__(self, loop: Loop, on_error: OnError) -> None:
        self._loop = loop
        self._on_error = on_error
        self.can_pause = loop.can_pause
        self.ident = loop.ident
        """Of the thread; known once the loop has been started."""
        self.is_current = loop.is_current
        self.want_write = loop.want_write
        self.pause = loop.pause
        self.resume = loop.resume
        self.unwatch = loop.unwatch
        self.stay_awake = loop.alert.expect

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Have `callback(*args)` run on the loop, after what was asked for before."""
        self._loop.add_call(self._on_error, callback, args)

    def call_later(self, delay: float, callback: Handler) -> LoopTimer:
        """Have `callback()` run on the loop after `delay` seconds."""
        return self._loop.call_later(delay, callback, self._on_error)

    def deadline(self, seconds: float, callback: Handler) -> LoopTimer:
        """Call later, as `call_later` does, a function that judges whether something was done by then."""
        return self._loop.deadline(seconds, callback, self._on_error)

    def watch(self, fd: int, on_read: Handler, on_write: Handler | None = None) -> None:
        """Call `on_read` while `fd` is readable, or has hung up."""
        self._loop.watch(fd, on_read, on_write, self._on_error)

    def watch_room(self, fd: int, on_write: Handler) -> None:
        """Call `on_write` while there is room in `fd`, which is only written to, or nobody reads from it any more."""
        self._loop.watch_room(fd, on_write, self._on_error)


class Loop:
    """The I/O thread.  `call_soon`, `call_later`, `pause` and `resume` work from any thread, the rest from its own.

    Args:
        on_failure: called once, on the thread, if that cannot go on.
        on_error: told of what a callback that belongs to nobody has raised (see `share`).
    """

    def __init__(self, on_failure: OnError, on_error: OnError) -> None:
        self._poller = open_poller()
        self._watched: dict[int, _Watched] = {}
        self.can_pause = self._poller.can_pause
        self._on_failure = on_failure
        self._on_error = on_error
        self._calls: deque[tuple[OnError, Callable[..., object], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, LoopTimer]] = []
        self._order = itertools.count()
        self.cancelled = 0
        """About how many of the timers have been cancelled: two threads that count at once may lose one."""
        try:
            self._wake_read, self._wake_write = os.pipe()
        except BaseException:
            self._poller.close()
            raise
        self._pipe = _file_of(self._wake_read)
        self._awake = False
        self._wake_lock = threading.RLock()  # a signal handler may call too, in whichever thread holds it
        self._stopping = False
        self.alert = Awake()
        self._is_between_waits = False
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.watch(self._wake_read, self._drain_wakes)
        self.ident: int | None = None
        """The ident of its thread, once that runs."""
        self.thread = threading.Thread(target=self._run, name="piactors-io", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()
        self.ident = self.thread.ident

    def share(self, on_error: OnError) -> Share:
        """Return the loop for a user that is told what its callbacks raise."""
        return Share(self, on_error)

    def stop(self) -> None:
        """End the thread, after the calls made so far, and close what the loop holds."""
        self.call_soon(self._stop)
        if threading.current_thread() is not self.thread:
            self.thread.join()

    def abandon(self) -> None:
        """In a forked copy, where the thread does not exist: close the descriptors, and nothing more."""
        self._awake = True  # nothing writes any more
        self._poller.close()
        for fd in (self._wake_read, self._wake_write):
            if self._is_of_its_pipe(fd):  # else its number is the next one's
                os.close(fd)

    def is_current(self) -> bool:
        """Whether the caller runs on the loop's thread."""
        return threading.get_ident() == self.ident

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Have `callback(*args)` run on the loop, after what was asked for before."""
        self.add_call(self._on_error, callback, args)

    def add_call(self, on_error: OnError, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Have a function called with arguments on the loop's thread, soon, from any thread."""
        self._calls.append((on_error, callback, args))
        if self._is_between_waits and threading.get_ident() == self.ident:
            return  # it looks at the calls before it waits again
        if not self._awake:
            with self._wake_lock:
                if not self._awake:
                    self._awake = True
                    try:
                        os.write(self._wake_write, b"\0")
                    except BlockingIOError:  # it is full, so the loop will wake
                        pass
                    except OSError as error:
                        if self._has_its_pipe():
                            self._awake = False  # as below
                            raise
                        self._lost(error)
                    except BaseException:  # a KeyboardInterrupt in a caller's thread: the next caller has to write
                        self._awake = False
                        raise

    def _has_its_pipe(self) -> bool:
        """Whether what wakes the thread is still open: its numbers may be other files' by now."""
        return all(map(self._is_of_its_pipe, (self._wake_read, self._wake_write)))

    def _is_of_its_pipe(self, fd: int) -> bool:
        try:
            return _file_of(fd) == self._pipe
        except OSError:
            return False

    def _lost(self, error: OSError) -> None:
        """What wakes the thread has been closed: nobody could call it any more, and it is given up."""
        if not self._stopping:
            self._stopping = True  # `_awake` stays: nobody else tries
            threading.Thread(target=self._on_failure, args=(error,), name="piactors-lost", daemon=True).start()

    def call_later(self, delay: float, callback: Handler, on_error: OnError | None = None) -> LoopTimer:
        """Have `callback()` run on the loop after `delay` seconds."""
        return self._timed(LoopTimer(self, time.monotonic() + delay, callback, on_error or self._on_error))

    def deadline(self, seconds: float, callback: Handler, on_error: OnError | None = None) -> LoopTimer:
        """Call later, as `call_later` does, a function that judges whether something was done by then.

        Time in which this program did not run is not counted: it was stopped, or one of its threads held Python's lock.
        What comes much too late is put off by as much, so that what was done meanwhile is heard of first; once it was
        put off for `seconds` in all, it is put off no more.
        """
        return self._timed(LoopTimer(self, time.monotonic() + seconds, callback, on_error or self._on_error, seconds))

    def _timed(self, timer: LoopTimer) -> LoopTimer:
        if self.is_current():
            self._add_timer(timer)
        else:
            self.call_soon(self._add_timer, timer)
        return timer

    def watch(
        self, fd: int, on_read: Handler, on_write: Handler | None = None, on_error: OnError | None = None
    ) -> None:
        """Call `on_read` while `fd` is readable, or has hung up."""
        watched = _Watched(on_read, on_write, on_error or self._on_error)
        self._poller.add(fd)
        self._watched[fd] = watched

    def watch_room(self, fd: int, on_write: Handler, on_error: OnError | None = None) -> None:
        """Call `on_write` while there is room in `fd`, which is only written to, or nobody reads from it any more."""
        if fd not in self._watched:
            watched = _Watched(on_write, None, on_error or self._on_error)
            watched.events = WRITE
            self._poller.add(fd, WRITE)
            self._watched[fd] = watched

    def want_write(self, fd: int, wanted: bool) -> None:
        """Say whether the `on_write` of a watched descriptor is to be called while it is writable."""
        watched = self._watched.get(fd)
        events = READ | (WRITE if wanted else 0)
        if watched is not None and watched.events != events:
            watched.events = events
            self._poller.set(fd, (0 if watched.paused else READ) | (events & WRITE))

    def pause(self, fd: int) -> None:
        """Do not call `on_read` of a watched descriptor until `resume`, unless it hangs up: somebody else reads it.

        Works from any thread, if `can_pause`.  The caller sees to it that nobody unwatches `fd` meanwhile.
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

    def _add_timer(self, timer: LoopTimer) -> None:
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))

    def _stop(self) -> None:
        self._stopping = True

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if not os.read(self._wake_read, 4096):
                with self._wake_lock:
                    self._lost(OSError(errno.EBADF, "somebody has closed a descriptor of the I/O thread"))
                return
        # Cleared after the pipe was read and before the calls are looked at.
        self._awake = False

    def _run(self) -> None:
        self.ident = threading.get_ident()
        try:
            self._turn_until_stopped()
        except BaseException as error:
            self._on_failure(error)
        finally:
            with self._wake_lock:  # no thread is left between its look at `_awake` and its write to what is closed here
                self.abandon()

    def _turn_until_stopped(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                self._turn()
                failures = 0
            except BaseException as error:  # of the loop itself: what it had found ready is found again
                failures += 1
                if failures > _MOST_FAILURES:
                    raise
                if failures == 1:
                    self._tell(self._on_error, error)
                else:
                    time.sleep(_AFTER_FAILURE)

    def _turn(self) -> None:
        try:
            self._is_between_waits = False  # before the look at the calls: a finalizer may add one after it
            wait = self._poller.wait
            ready = (self.alert.until and self.alert.look(wait, self._calls)) or wait(self._time_to_wait())
        finally:
            self._is_between_waits = True
        # Looked up before any is called: a number may be closed, and given to another file, by the first of them.
        for fd, mask, watched in [(fd, mask, self._watched.get(fd)) for fd, mask in ready]:
            if watched is None:
                continue
            try:
                if (mask & READ or watched.events == WRITE) and self._watched.get(fd) is watched:
                    watched.on_read()
                if mask & watched.events & WRITE and watched.on_write is not None and self._watched.get(fd) is watched:
                    watched.on_write()
                watched.failures = 0
            except BaseException as error:
                self._watched_failed(fd, watched, error)
        self._run_timers()
        for _ in range(len(self._calls)):
            on_error, callback, args = self._calls.popleft()
            try:
                callback(*args)
            except BaseException as error:
                self._tell(on_error, error)

    def _watched_failed(self, fd: int, watched: _Watched, error: BaseException) -> None:
        """Tell its owner; without an end to it, what is ready all the time would keep the thread busy forever."""
        watched.failures += 1
        if watched.failures >= _MOST_OF_ONE and fd != self._wake_read and self._watched.get(fd) is watched:
            self.unwatch(fd)
        self._tell(watched.on_error, error)

    def _tell(self, on_error: OnError, error: BaseException) -> None:
        try:
            on_error(error)
        except BaseException as second:
            # There is nobody else to tell; `logging` itself may have been what failed.
            with contextlib.suppress(BaseException):
                self._on_error(second)

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
            callback, on_error, timer.callback = timer.callback, timer.on_error, None
            if callback is not None:
                try:
                    callback()
                except BaseException as error:
                    self._tell(on_error, error)


def _file_of(fd: int) -> tuple[int, int]:
    """Return what distinguishes the file behind a descriptor from all others; both ends of a pipe are one."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino

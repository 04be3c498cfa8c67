"""The threads that run what users hand in, and never the I/O thread: what is slow delays only others of its kind.

One calls done-callbacks, subscribers and watches. The other one writes output and records of isolates to the program's
log, which may be slow, and of which there may be more than anybody can read: it serves the isolates in turn.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from piactors._text import shown
from piactors._text.logs import logger

Job = tuple[Callable[..., object], tuple[Any, ...]]
Later = Callable[[float, Callable[[], object]], object]

SLOW_SECONDS = 1.0
"""How long a callback may run before that is reported: those after it wait."""
_MOST_TOLD = 1000
_MOST_NOTES = 1000


class Source(Protocol):
    """Something that has output or records to pass on."""

    def serve(self) -> bool:
        """Pass some of it on, for a few milliseconds; whether there is more to do at once."""


class Working:
    """What a thread that runs callbacks is doing now."""

    def __init__(self) -> None:
        self.callback: object = None
        """The callback that is running, or None."""
        self.since = 0.0
        self.ident = 0


_mine = threading.local()


def log(level: int, text: str, *args: object, exc_info: BaseException | None = None) -> None:
    """Log something; on the thread for callbacks, which must not wait for a log handler, by its companion."""
    notes: Notes | None = getattr(_mine, "notes", None)
    if notes is None:
        logger.log(level, text, *args, exc_info=exc_info)
    else:
        notes.add(level, text, *args, exc_info=exc_info)


def call(callback: Callable[..., object], args: tuple[Any, ...], complaint: str, *about: object) -> None:
    """Call what a user has handed in, on a thread of ours: whatever it raises is logged, and the thread goes on.

    Args:
        complaint, about: what the log says then.
    """
    working: Working | None = getattr(_mine, "working", None)
    if working is not None:
        working.callback, working.since = callback, time.monotonic()
    try:
        callback(*args)
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: this thread serves everybody
        log(logging.ERROR, complaint, *about, exc_info=error)
    finally:
        if working is not None:
            working.callback = None


class Dispatcher:
    """Runs jobs in order on a thread of its own; `rota` is its slower companion.

    Both threads begin at once: later it may not be possible to start them.

    Args:
        later: has a function called on the I/O thread after some seconds.
    """

    def __init__(self, later: Later | None = None) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._idle: deque[Job] = deque()
        self._working = Working()
        self.rota = Rota()
        self._notes = Notes(self.rota)
        self._slow = SlowCalls(later, (self._working, self.rota.working))
        self.rota.slow = self._slow
        self._thread = threading.Thread(target=self._run, name="piactors-events", daemon=True)
        self._thread.start()
        try:
            self.rota.thread.start()
        except BaseException:
            self._jobs.put(None)
            raise

    def submit(self, job: Callable[..., object], *args: Any) -> None:
        """Run `job(*args)` after what was submitted before; whatever it raises is logged."""
        self._jobs.put((job, args))

    def submit_idle(self, job: Callable[..., object], *args: Any) -> None:
        """Run `job(*args)` once nothing that was submitted waits; it is to look at `is_wanted` now and then."""
        self._idle.append((job, args))
        self.submit(_nothing)

    def log(self, level: int, text: str, *args: object) -> None:
        """Have something logged by the companion, from any thread."""
        self._notes.add(level, text, *args)

    def is_wanted(self) -> bool:
        """Whether jobs wait that go before those of `submit_idle`."""
        return not self._jobs.empty()

    def is_current(self) -> bool:
        """Whether the caller runs on the dispatcher's thread, or on its companion's."""
        return threading.current_thread() in (self._thread, self.rota.thread)

    def drain(self, timeout: float) -> bool:
        """Wait until all that has come from isolates has been passed on; False if that takes longer."""
        deadline = time.monotonic() + timeout
        while True:
            told = threading.Event()
            self.submit(told.set)
            if not told.wait(max(0.0, deadline - time.monotonic())):
                return False
            if self.rota.is_idle():
                return True
            if not self.rota.wait_idle(max(0.0, deadline - time.monotonic())):
                return False

    def stop(self, timeout: float) -> None:
        """Run what was submitted, for at most `timeout` seconds, and end the threads."""
        until = time.monotonic() + timeout
        outside = not self.is_current()
        if outside:
            self.drain(timeout)
        self.rota.stop()
        self._jobs.put(None)
        for thread in (self.rota.thread, self._thread) if outside else ():
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        working = _mine.working = self._working
        _mine.notes = self._notes
        working.ident = threading.get_ident()
        while True:
            entry = self._next()
            if entry is None:
                return
            job, args = entry
            if not self._slow.armed:
                self._slow.arm()
            try:
                job(*args)
            except BaseException as error:
                log(logging.ERROR, "a callback has failed: %r", job, exc_info=error)
            entry = job = args = None  # type: ignore[assignment]  # what it held is not kept until the next one comes

    def _next(self) -> Job | None:
        with contextlib.suppress(queue.Empty):
            return self._jobs.get_nowait()
        if self._idle:
            return self._idle.popleft()
        return self._jobs.get()


class Rota:
    """Serves sources in turn, on a thread of its own."""

    def __init__(self) -> None:
        self._turns: queue.SimpleQueue[Source | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._busy = 0
        self.thread = threading.Thread(target=self._run, name="piactors-output", daemon=True)
        self.working = Working()
        self.slow: SlowCalls | None = None

    def wake(self, source: Source) -> None:
        """Have a source served that has something to do, and is not waiting for its turn already."""
        self._turns.put(source)

    def count(self, change: int) -> None:
        """One more source has something to do, or one fewer."""
        with self._changed:
            self._busy += change
            if not self._busy:
                self._changed.notify_all()

    def is_idle(self) -> bool:
        """Whether no source has anything to do."""
        return not self._busy

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no source has anything to do."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, timeout)

    def stop(self) -> None:
        """End the thread, after the turn that runs."""
        self._turns.put(None)

    def _run(self) -> None:
        working = _mine.working = self.working
        working.ident = threading.get_ident()
        while True:
            source = self._turns.get()
            if source is None:
                return
            if self.slow is not None and not self.slow.armed:
                self.slow.arm()
            more = False
            try:
                more = source.serve()
            except BaseException:
                logger.error("piactors failed to pass on what an isolate has written", exc_info=True)
            if more:
                self._turns.put(source)
            source = None


class Notes:
    """What piactors itself has to log that is not about an isolate: a source like the others, and bounded."""

    def __init__(self, rota: Rota) -> None:
        self._rota = rota
        # Any thread adds; that the last one is taken, and it leaves the rota, is one step.
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._dropped = 0
        self._is_served = False

    def add(self, level: int, text: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Have something logged."""
        with self._lock:
            if len(self._waiting) >= _MOST_NOTES:
                self._dropped += 1
                return
            self._waiting.append(partial(logger.log, level, text, *args, exc_info=exc_info))
            if self._is_served:
                return
            self._is_served = True
            self._rota.count(1)
        self._rota.wake(self)

    def serve(self) -> bool:
        """Pass some of it on, for a few milliseconds; whether there is more to do at once."""
        with self._lock:
            note = self._waiting.popleft()
            dropped = 0
            if not self._waiting:
                dropped, self._dropped = self._dropped, 0
        note()
        if dropped:
            logger.warning("%d more messages of piactors were dropped: they came faster than they are logged", dropped)
        with self._lock:
            more = self._is_served = bool(self._waiting)
            if not more:
                self._rota.count(-1)
        return more


class SlowCalls:
    """Reports callbacks that run for long, while they run.

    There is one timer while anything is called, and it is set again at most once a second: a callback costs a look at
    the clock.
    """

    def __init__(self, later: Later | None, workers: tuple[Working, ...]) -> None:
        self._later = later
        self._workers = workers
        self._told: dict[object, None] = {}
        self.armed = later is None

    def arm(self) -> None:
        """Have a look in a second."""
        self.armed = True
        if self._later is not None:
            self._later(SLOW_SECONDS, self._look)

    def _look(self) -> None:
        now, due = time.monotonic(), None
        for working in self._workers:
            callback, since = working.callback, working.since
            if callback is None:
                continue
            left = since + SLOW_SECONDS - now
            if left <= 0:
                self._tell(callback, now - since, working.ident)
                left = SLOW_SECONDS
            due = left if due is None else min(due, left)
        self.armed = False
        if due is not None and self._later is not None:
            self.armed = True
            self._later(max(due, 0.01), self._look)

    def _tell(self, callback: object, seconds: float, ident: int) -> None:
        key = _key(callback)
        if key in self._told:
            return
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told[key] = None
        frame = sys._current_frames().get(ident)
        stack = "" if frame is None else "".join(traceback.format_stack(frame))
        text = (
            "a callback has been running for %.1f s, and delays all other callbacks: %s; let it hand its work to other "
            "threads (see `run=` of piactors.events.subscribe).  Where it is:\n%s"
        )
        # A thread of its own: a log handler is the user's code too, and the threads for that may be what is slow.
        args = (text, seconds, _name(callback), shown.below(stack))
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=logger.warning, args=args, name="piactors-slow", daemon=True).start()


def _key(callback: object) -> object:
    """What distinguishes one callback from another; another closure of the same function is the same."""
    function = getattr(callback, "__func__", callback)
    owner = id(getattr(callback, "__self__", None))
    return (owner, getattr(function, "__code__", None) or id(function))


def _name(callback: object) -> str:
    name = getattr(callback, "__qualname__", None)
    module = getattr(callback, "__module__", None)
    return repr(callback) if name is None else f"{module}.{name}"


def _nothing() -> None:
    """Wake the thread."""

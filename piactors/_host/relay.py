"""What isolates write and log, on its way to the host's logging and subscribers.

It goes through a thread that serves the isolates in turn (`dispatcher.Rota`).  When that is slower than the isolate,
what is over the bounds is dropped and counted: an isolate's calls never wait for a reader of its output.

What piactors itself reports of an isolate, its events and their log messages, keeps its place in what that isolate
has written: what it wrote is passed on before its end is reported, as long as that takes no more than a moment.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from piactors import events
from piactors._codec import foreign_records
from piactors._io.dispatcher import Dispatcher, Later, call
from piactors._text import shown
from piactors._text.logs import logger

output_logger = logging.getLogger("piactors.output")

MAX_BACKLOG = 4 << 20
"""Bytes of one isolate that may wait to be passed on."""
MAX_LINES = 10_000
"""Lines and records of one isolate that may wait to be passed on."""
_JOB_BYTES = 512
"""What a queued job takes besides its text: without it, empty lines and records would queue without bound."""
_COST_OF_A_LINE = 100
_TURN_SECONDS = 0.005
"""How long one isolate is served before the others."""
_MOST_TOLD = 64
"""Lines that are handed to the dispatcher together."""
_EVENTS_WAIT = 1.0
"""How long an event waits at most for what the isolate had written before."""
_SUMMARY_SECONDS = 1.0

_LEVELS = {"stdout": logging.INFO, "stderr": logging.WARNING}

Entry = Callable[[], bool]
"""Does a part of something; returns whether that was all of it."""


class Relay:
    """Passes on the output and the records of one isolate, and what is reported of it.

    All but `serve`, and what that calls, may be called by any thread.

    Args:
        later: has a function called on the I/O thread after some seconds.
    """

    def __init__(
        self, dispatcher: Dispatcher, name: str, output: str | Callable[[Any], object], later: Later | None = None
    ) -> None:
        self._dispatcher = dispatcher
        self._rota = dispatcher.rota
        self._name = name
        self._shown_name = shown.line(name)
        self._output = output
        self._later = later
        self._lock = threading.Lock()  # the I/O thread puts, the dispatcher takes, and both count
        self._entries: deque[Entry] = deque()
        self._held = 0
        """How many events, or hand-overs of lines, the dispatcher has to pass on before anything else is passed on."""
        self._is_served = False
        """Whether it is waiting for its turn, or has it."""
        self._is_busy = False
        self._bytes = self._lines = 0
        self._dropped = [0, 0]
        self._summary_due = self._hurries = False
        self._loggers: set[str] = set()

    # What an isolate writes

    def room(self) -> int:
        """How many more lines can be taken."""
        return 0 if self._bytes >= MAX_BACKLOG else max(0, MAX_LINES - self._lines)

    def drop(self, lines: int = 0, records: int = 0) -> None:
        """Count what was dropped, and have that reported within a second."""
        if not (lines or records):
            return
        with self._lock:
            self._dropped[0] += lines
            self._dropped[1] += records
            due, self._summary_due = not self._summary_due, True
        if due and self._later is not None:
            self._later(_SUMMARY_SECONDS, self.tell_dropped)

    def tell_dropped(self) -> None:
        """Report what has been dropped since the last report."""
        with self._lock:
            (lines, records), self._dropped = self._dropped, [0, 0]
            self._summary_due = False
        what = [f"{lines} lines of output"] * bool(lines) + [f"{records} log records"] * bool(records)
        if what:
            text = "isolate %s writes faster than it is read: dropped %s"
            self._put(partial(_done, logger.warning, text, self._shown_name, " and ".join(what)), first=True)

    def lines(self, pid: int | None, generation: int, stream: str, lines: list[str]) -> None:
        """Pass on lines of output, if anybody wants them."""
        wanted = events.bus.is_wanted(events.OutputReceived) or callable(self._output)
        if wanted or (self._output == "log" and output_logger.isEnabledFor(_LEVELS[stream])):
            size = sum(map(len, lines)) + _COST_OF_A_LINE * len(lines) + _JOB_BYTES
            place: dict[str, Any] = {"pid": pid, "generation": generation, "stream": stream, "time": time.time()}
            make = partial(events.OutputReceived, name=self._name, **place)
            if not self._put(_Lines(self, make, stream, lines, size), size, len(lines)):
                self.drop(lines=len(lines))

    def record(self, pid: int | None, payload: bytes, error_of: Callable[[bytes], BaseException]) -> None:
        """Pass on one logging record, as it came."""
        size = len(payload) + _JOB_BYTES
        if not self._put(partial(self._pass_record, size, pid, payload, error_of), size, 1):
            self.drop(records=1)

    # What is reported of it

    def post(self, event: events.Event) -> None:
        """Have the subscribers of an event called, after what was written before it."""
        with self._lock:
            if not self._entries:
                self._hold()
                self._dispatcher.submit(self._publish, event)
                return
            self._entries.append(_Told(self, event))
            hurry, self._hurries = not self._hurries, True
        if hurry and self._later is not None:
            self._later(_EVENTS_WAIT, self._hurry)

    def say(self, level: int, text: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Log something about the isolate, after what was written and reported before."""
        self._put(partial(_done, logger.log, level, text, *args, exc_info=exc_info))

    # Inside

    def _put(self, entry: Entry, size: int = 0, lines: int = 0, *, first: bool = False) -> bool:
        """Queue an entry, if there is room before it: a single large one always finds some."""
        with self._lock:
            if lines and (self._bytes >= MAX_BACKLOG or self._lines >= MAX_LINES):
                return False
            self._bytes += size
            self._lines += lines
            self._entries.appendleft(entry) if first else self._entries.append(entry)
            self._wake()
        return True

    def _taken(self, size: int, lines: int) -> None:
        with self._lock:
            self._bytes -= size
            self._lines -= lines

    def _wake(self) -> None:
        """Have it served; under the lock."""
        wakes = bool(self._entries) and not self._is_served and not self._held
        self._is_served = self._is_served or wakes
        self._count()
        if wakes:
            self._rota.wake(self)

    def _count(self) -> None:
        """Say whether there is anything to do; under the lock."""
        busy = bool(self._entries or self._held or self._is_served)
        if busy != self._is_busy:
            self._is_busy = busy
            self._rota.count(1 if busy else -1)

    def _hold(self) -> None:
        """Pass on nothing until the dispatcher has passed something on; under the lock."""
        self._held += 1
        self._count()

    def _resume(self) -> None:
        with self._lock:
            self._held -= 1
            self._wake()

    def serve(self) -> bool:
        """Pass some of it on, for a few milliseconds; whether there is more to do at once."""
        until = time.monotonic() + _TURN_SECONDS
        while True:
            with self._lock:
                if self._held or not self._entries:
                    self._is_served = False
                    self._count()
                    return False
                entry = self._entries.popleft()
            done = True
            try:
                done = entry()
            finally:
                with self._lock:
                    if not done:
                        self._entries.appendleft(entry)
            if time.monotonic() >= until:
                with self._lock:
                    more = self._is_served = bool(self._entries) and not self._held
                    self._count()
                return more

    def _publish(self, event: events.Event) -> None:
        """Tell subscribers; on the dispatcher's thread."""
        try:
            publish(event)
        finally:
            self._resume()

    def _hand_over(self, event: events.Event) -> None:
        with self._lock:
            self._hold()
        self._dispatcher.submit(self._publish, event)

    def _hurry(self) -> None:
        """Let events wait no longer for what stands before them."""
        with self._lock:
            self._hurries = False
            due = [entry.event for entry in self._entries if isinstance(entry, _Told)]
            self._entries = deque(entry for entry in self._entries if not isinstance(entry, _Told))
            for _ in due:
                self._hold()
            for event in due:
                self._dispatcher.submit(self._publish, event)

    def _publish_lines(self, waiting: deque[events.OutputReceived]) -> None:
        """Tell subscribers of output; on the dispatcher's thread, which has other things to do first."""
        while waiting:
            if self._dispatcher.is_wanted():
                self._dispatcher.submit_idle(self._publish_lines, waiting)
                return
            publish(waiting.popleft())
        self._resume()

    def _publish_output(self, lines: list[events.OutputReceived]) -> None:
        with self._lock:
            self._hold()
        self._dispatcher.submit_idle(self._publish_lines, deque(lines))

    def _log_line(self, stream: str, line: str) -> None:
        extra = {"isolate": self._name}
        output_logger.log(_LEVELS[stream], "[%s] %s", self._shown_name, shown.words(line), extra=extra)

    def _pass_record(
        self, size: int, pid: int | None, payload: bytes, error_of: Callable[[bytes], BaseException]
    ) -> bool:
        self._taken(size, 1)
        try:
            record = foreign_records.rebuilt(payload, self._name, pid, self._loggers, error_of)
        except foreign_records.UNREADABLE as error:
            logger.warning("isolate %s sent a logging record that cannot be read: %s", self._shown_name, error)
            return True
        target = logging.getLogger(record.name)
        if target.isEnabledFor(record.levelno):
            _guarded(target.handle, record)
        return True


class _Lines:
    """Lines that came together."""

    __slots__ = ("_lines", "_make", "_position", "_relay", "_size", "_stream")

    def __init__(
        self, relay: Relay, make: Callable[..., events.OutputReceived], stream: str, lines: list[str], size: int
    ) -> None:
        self._relay = relay
        self._make = make
        self._stream = stream
        self._lines = lines
        self._position = 0
        self._size = size

    def __call__(self) -> bool:
        """Pass some on; whether these were the last."""
        relay, output, first = self._relay, self._relay._output, self._position
        until = time.monotonic() + _TURN_SECONDS
        wanted = events.bus.is_wanted(events.OutputReceived)
        told: list[events.OutputReceived] = []
        while self._position < len(self._lines):
            line = self._lines[self._position]
            self._position += 1
            if wanted:
                told.append(self._make(line=line))
            if output == "log":
                _guarded(relay._log_line, self._stream, line)
            elif callable(output):
                text = "the output callback of isolate %s has failed"
                call(output, (told[-1] if wanted else self._make(line=line),), text, relay._shown_name)
            if time.monotonic() >= until or len(told) >= _MOST_TOLD:
                break
        over = self._position == len(self._lines)
        relay._taken(self._size if over else 0, self._position - first)
        if told:
            relay._publish_output(told)
        return over


class _Told:
    """An event that waits for what the isolate has written before it."""

    __slots__ = ("_relay", "event")

    def __init__(self, relay: Relay, event: events.Event) -> None:
        self._relay = relay
        self.event = event

    def __call__(self) -> bool:
        """Have it reported."""
        self._relay._hand_over(self.event)
        return True


def _done(job: Callable[..., object], *args: object, **kwargs: object) -> bool:
    job(*args, **kwargs)
    return True


def _guarded(job: Callable[..., object], *args: object) -> None:
    """Run something that calls the program's log handlers."""
    try:
        job(*args)
    except BaseException:
        logger.error("a log handler has failed", exc_info=True)


def publish(event: events.Event) -> None:
    """Call the subscribers of an event; on the dispatcher's thread only."""
    for callback in events.bus.wanted_by(event):
        call_guarded(callback, event)


def call_guarded(callback: Callable[[Any], object], event: events.Event) -> None:
    """Call what a user has registered for an event; on the dispatcher's thread only."""
    call(callback, (event,), "a subscriber of %s has failed: %r", type(event).__name__, callback)

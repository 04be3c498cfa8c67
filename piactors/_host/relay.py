"""What isolates write and log, on its way to the host's logging and subscribers.

It goes through the dispatcher's thread.  When that is slower than the isolate, what is over the
bound is dropped and counted: an isolate's calls never wait for a reader of its output.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from piactors import events
from piactors._host.dispatcher import Dispatcher
from piactors.pihost import plain_decode

logger = logging.getLogger("piactors")
output_logger = logging.getLogger("piactors.output")

MAX_BACKLOG = 4 << 20
_JOB_BYTES = 512
"""What a queued job takes besides its text: without it, empty lines and records would queue without bound."""
_COST_OF_A_LINE = 100
MAX_LOGGERS = 1000
"""How many logger names one isolate may bring: each name stays in the host's memory for good."""

_LEVELS = {"stdout": logging.INFO, "stderr": logging.WARNING}
_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "isolate"}
_MAX_NAME, _MAX_PARTS = 256, 20
"""A logger's name makes an entry for each of its parts, as long as all before it, that stays for good."""
_MAX_LEVEL = 100
"""Each logger remembers every level that it was ever asked for."""
_MAX_TIME = 253_402_300_800  # the year 10000
_TEXTS = ("name", "message", "pathname", "function", "thread_name", "stack")


class Relay:
    """Passes on the output and the records of one isolate."""

    def __init__(self, dispatcher: Dispatcher, name: str, sink: str | Callable[[Any], object]) -> None:
        self._dispatcher = dispatcher
        self._name = name
        self._sink = sink
        self._lock = threading.Lock()
        self._backlog = 0
        self._dropped = 0
        self._loggers: set[str] = set()

    def has_room(self) -> bool:
        """Whether more output can be taken; counts what is dropped where not."""
        with self._lock:
            full = self._backlog >= MAX_BACKLOG
            self._dropped += full
        return not full

    def lines(self, pid: int | None, generation: int, stream: str, lines: list[str]) -> None:
        """Pass on lines of output, where anybody wants them."""
        wanted = events.bus.is_wanted(events.OutputReceived) or callable(self._sink)
        if wanted or (self._sink == "log" and output_logger.isEnabledFor(_LEVELS[stream])):
            size = sum(map(len, lines)) + _COST_OF_A_LINE * len(lines)
            self._queue(size, self._pass_lines, pid, generation, stream, lines, time.time())

    def record(self, pid: int | None, payload: bytes, error_of: Callable[[bytes], BaseException]) -> None:
        """Pass on one logging record, as it came."""
        self._queue(len(payload), self._pass_record, pid, payload, error_of)

    def _queue(self, size: int, job: Callable[..., None], *args: Any) -> None:
        """Queue one job, where there is room before it: a single large one always finds some."""
        size += _JOB_BYTES
        with self._lock:
            if self._backlog >= MAX_BACKLOG:
                self._dropped += 1
                return
            self._backlog += size
        self._dispatcher.submit(self._run, size, job, args)

    def _run(self, size: int, job: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            job(*args)
        finally:
            with self._lock:
                self._backlog -= size
                dropped, self._dropped = self._dropped, 0
            if dropped:
                logger.warning("isolate %s writes faster than it is read: %d pieces dropped", self._name, dropped)

    def _pass_lines(self, pid: int | None, generation: int, stream: Any, lines: list[str], at: float) -> None:
        for line in lines:
            event = events.OutputReceived(
                name=self._name, pid=pid, generation=generation, time=at, stream=stream, line=line
            )
            if callable(self._sink):
                self._guarded_sink(self._sink, event)
            elif self._sink == "log":
                output_logger.log(_LEVELS[stream], "[%s] %s", self._name, line, extra={"isolate": self._name})
            publish(event)

    def _guarded_sink(self, sink: Callable[[Any], object], event: events.OutputReceived) -> None:
        try:
            sink(event)
        except Exception:
            logger.exception("the output callback of isolate %s has failed", self._name)

    def _pass_record(self, pid: int | None, payload: bytes, error_of: Callable[[bytes], BaseException]) -> None:
        try:
            record = self._rebuilt(pid, plain_decode.decode(payload, budget=64 << 20), error_of)
        except (plain_decode.BadPlain, TypeError, KeyError, ValueError) as error:
            logger.warning("isolate %s sent a logging record that cannot be read: %s", self._name, error)
            return
        target = logging.getLogger(record.name)
        if target.isEnabledFor(record.levelno):
            target.handle(record)

    def _rebuilt(
        self, pid: int | None, fields: Any, error_of: Callable[[bytes], BaseException]
    ) -> logging.LogRecord:
        if not isinstance(fields, dict):
            raise TypeError(f"it is a {type(fields).__name__}")
        text = {key: _writable(_checked(fields, key, str)) for key in _TEXTS}
        numbers = {key: _checked(fields, key, int) for key in ("level", "lineno", "thread")}
        created = _checked(fields, "created", float, int)
        if not 0 <= created < _MAX_TIME:
            raise ValueError("its time is none")
        record = logging.LogRecord(
            self._known(text["name"]), max(0, min(numbers["level"], _MAX_LEVEL)), text["pathname"], numbers["lineno"],
            text["message"], None, None, text["function"], text["stack"] or None,
        )  # fmt: skip
        record.created = float(created)
        record.thread, record.threadName = numbers["thread"], text["thread_name"]
        record.process, record.processName = pid, self._name
        record.isolate = self._name
        payload = _checked(fields, "exception", bytes, type(None))
        if payload is not None:
            error = error_of(payload)
            record.exc_info = (type(error), error, None)
            record.exc_text = str(error.__cause__ or error).strip()
        for key, value in _checked(fields, "extra", dict).items():
            if isinstance(key, str) and key not in _RECORD_FIELDS and not hasattr(logging.LogRecord, key):
                record.__dict__[key] = value
        return record

    def _known(self, name: str) -> str:
        if len(name) > _MAX_NAME or name.count(".") >= _MAX_PARTS:
            return "piactors.isolate"
        if name in self._loggers or len(self._loggers) < MAX_LOGGERS:
            self._loggers.add(name)
            return name
        return "piactors.isolate"


def _writable(text: str) -> str:
    """Return a text that every handler can write: without lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _checked(fields: dict[Any, Any], key: str, *types: type) -> Any:
    """Return a field, which must be of exactly one of the types: calculating with others may take for ever."""
    value = fields[key]
    if type(value) not in types:
        raise TypeError(f"its {key} is a {type(value).__name__}")
    if type(value) is int and not -(2**63) <= value < 2**64:
        raise ValueError(f"its {key} is out of range")
    return value


def publish(event: events.Event) -> None:
    """Call the subscribers of an event; on the dispatcher's thread only."""
    for callback in events.bus.wanted_by(event):
        call_guarded(callback, event)


def call_guarded(callback: Callable[[Any], object], event: events.Event) -> None:
    """Call what a user has given for an event; on the dispatcher's thread only."""
    try:
        callback(event)
    except Exception:
        logger.exception("a subscriber of %s has failed: %r", type(event).__name__, callback)

"""Logging records of isolates, rebuilt in the host: with the isolate's own times, and fit to be shown."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from piactors._text import shown
from piactors.pihost.plain import decode as plain_decode

UNREADABLE = (plain_decode.BadPlain, TypeError, KeyError, ValueError)
"""What is raised if a record cannot be read."""
MAX_LOGGERS = 1000
"""How many logger names one isolate may introduce: each name stays in the host's memory for good."""

_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "isolate", "raw_message"}
_MAX_NAME, _MAX_PARTS = 256, 20
"""A logger's name makes an entry for each of its parts, as long as all before it, that stays for good."""
_MAX_LEVEL = 100
"""Each logger remembers every level that it was ever asked for."""
_MAX_TIME = 253_402_300_800  # the year 10000
_TEXTS = ("name", "message", "pathname", "function", "thread_name")
_USUAL_PROCESS = "MainProcess"
_BUDGET = 64 << 20


def rebuilt(
    payload: bytes, isolate: str, pid: int | None, known: set[str], error_of: Callable[[bytes], BaseException]
) -> logging.LogRecord:
    """Return the record that a payload describes.

    Texts that a formatter may show are escaped, line by line; what the program reads as values is as it was.

    Args:
        known: the names of loggers that the isolate has used; one more is added.

    Raises:
        BadPlain, TypeError, KeyError, ValueError: if it cannot be read.
    """
    fields = plain_decode.decode(payload, budget=_BUDGET)
    if not isinstance(fields, dict):
        raise TypeError(f"it is a {type(fields).__name__}")
    text = {key: shown.line(_checked(fields, key, str)) for key in _TEXTS}
    numbers = {key: _checked(fields, key, int) for key in ("level", "lineno", "thread")}
    record = logging.LogRecord(
        _known(text["name"], known),
        max(0, min(numbers["level"], _MAX_LEVEL)),
        text["pathname"],
        numbers["lineno"],
        text["message"],
        None,
        None,
        text["function"],
        shown.block(_checked(fields, "stack", str)) or None,
    )
    _set_times(record, fields)
    record.thread, record.threadName = numbers["thread"], text["thread_name"]
    process, task = (_checked(fields, key, str, type(None), default=None) for key in ("process_name", "task_name"))
    if process in (None, _USUAL_PROCESS):
        process = isolate  # if isolated code says nothing of it, the isolate's name says more
    record.process, record.processName = pid, shown.line(process)
    record.__dict__["taskName"] = None if task is None else shown.line(task)
    record.isolate = isolate
    record.raw_message = fields["message"]  # for who shows each of its lines with a head of its own
    _set_exception(record, _checked(fields, "exception", bytes, type(None)), error_of)
    for key, value in _checked(fields, "extra", dict).items():
        if isinstance(key, str) and key not in _FIELDS and not hasattr(logging.LogRecord, key):
            record.__dict__[key] = shown.line(value) if isinstance(value, str) else value
    return record


def _set_times(record: logging.LogRecord, fields: dict[Any, Any]) -> None:
    """Let the record have the isolate's times, in each of the fields that formatters look at."""
    created = _checked(fields, "created", float, int)
    if not 0 <= created < _MAX_TIME:
        raise ValueError("its time is not valid")
    msecs = _checked(fields, "msecs", float, int, default=created % 1 * 1000)
    relative = _checked(fields, "relative_created", float, int, default=0.0)
    if not 0 <= msecs < 1000 or not math.isfinite(relative):
        raise ValueError("its milliseconds are not valid")
    record.created, record.msecs, record.relativeCreated = float(created), msecs, float(relative)


def _set_exception(
    record: logging.LogRecord, payload: bytes | None, error_of: Callable[[bytes], BaseException]
) -> None:
    if payload is not None:
        error = error_of(payload)
        record.exc_info = (type(error), error, None)
        cause = error.__cause__
        record.exc_text = shown.block(str(getattr(cause, "text", cause or error)).strip())


def _known(name: str, known: set[str]) -> str:
    if len(name) > _MAX_NAME or name.count(".") >= _MAX_PARTS:
        return "piactors.isolate"
    if name in known or len(known) < MAX_LOGGERS:
        known.add(name)
        return name
    return "piactors.isolate"


_NEEDED: Any = object()


def _checked(fields: dict[Any, Any], key: str, *types: type, default: Any = _NEEDED) -> Any:
    """Return a field, which must be of exactly one of the types: calculating with others may take forever."""
    if default is not _NEEDED and key not in fields:
        return default
    value = fields[key]
    if type(value) not in types:
        raise TypeError(f"its {key} is a {type(value).__name__}")
    if type(value) is int and not -(2**63) <= value < 2**64:
        raise ValueError(f"its {key} is out of range")
    return value

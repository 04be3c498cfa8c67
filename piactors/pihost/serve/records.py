"""The isolate's logging records, sent to the host's logging.

The sender is not a handler of the root logger: it stands behind it, as if the root logger had a parent.  So it gets
all that the root logger's handlers get, and isolated code sets up logging as in any program: `basicConfig` does what it
says, `dictConfig` and `force=True` take nothing away, and the records go to the host besides.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Dict, Iterator, Optional

from ..plain import encode as plain_encode
from . import faults
from .replies import Replies

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


MOST = 1 << 20
"""Bytes of a record, as far as `max_frame` is not less: a longer one is cut."""
_TEXTS = ("message", "stack", "pathname", "function", "thread_name", "name")
_NUMBERS = ("level", "lineno", "thread")
_LEAST_TEXT = 64
_LONGEST_NAME = 256


class HostHandler(logging.Handler):
    """Sends each record; what an extra holds beyond plain data goes as its repr."""

    def __init__(self, send: Callable[[bytes], None], replies: Replies) -> None:
        super().__init__()
        self._send = send
        self._replies = replies
        self._busy = threading.local()

    def attach(self) -> None:
        """Have all records that reach the root logger."""
        root: Any = logging.getLogger()
        root.parent = _Behind(self)

    def replace(self, other: logging.Handler) -> None:
        """In a fork of the isolate: let another handler have the records; one that is being handled may hold a lock."""
        emit: Dict[str, Any] = {"handle": other.handle, "emit": other.emit, "level": other.level}
        self.__dict__.update(emit)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; a record made while sending one (by a repr) is dropped."""
        if getattr(self._busy, "on", False):
            return
        self._busy.on = True
        try:
            self._send(self._fitting(self._described(record)))
        except OSError:
            pass  # the host is gone, and this process is about to go too
        except Exception:
            faults.attempt(lambda: self.handleError(record), None)  # it writes to stderr, which may be gone
        finally:
            self._busy.on = False

    def _fitting(self, described: Dict[str, Any]) -> bytes:
        """Return a record as the host takes it: whole, or cut."""
        most = min(MOST, self._replies.most)
        for key in _TEXTS:
            described[key] = _text(described[key])
        for key in _NUMBERS:
            described[key] = faults.attempt(lambda key=key: int.__int__(described[key]), 0)  # type: ignore[misc]
        payload = plain_encode.encode(described)
        limit = most // 4
        while len(payload) > most and limit >= _LEAST_TEXT:
            if len(described["exception"] or b"") > most // 2 or limit < 4 * _LEAST_TEXT:
                described["exception"] = None
            for key in _TEXTS:
                described[key] = faults.shortened(described[key], limit)
            described["extra"] = {key: _cut(value, limit // 8) for key, value in described["extra"].items()}
            if limit < most // 16:
                described["extra"] = {"left_out": "the extras of this record, which is larger than max_frame allows"}
            payload = plain_encode.encode(described)
            limit //= 2
        return payload

    def _error(self, error: Optional[BaseException]) -> Optional[bytes]:
        if error is None:
            return None
        return self._replies.error(error, room=max(0, self._replies.most - MOST // 2))

    def _described(self, record: logging.LogRecord) -> Dict[str, Any]:
        error = record.exc_info[1] if record.exc_info else None
        return {
            "name": record.name,
            "level": record.levelno,
            "message": record.getMessage(),
            "created": record.created,
            "msecs": record.msecs,
            "relative_created": record.relativeCreated,
            "process_name": _text_or_none(record.processName),
            "task_name": _text_or_none(getattr(record, "taskName", None)),
            "pathname": record.pathname,
            "lineno": record.lineno,
            "function": record.funcName or "",
            "thread": record.thread or 0,
            "thread_name": record.threadName or "",
            "exception": self._error(error),
            "stack": record.stack_info or "",
            "extra": {key: _plain(value) for key, value in vars(record).items() if key not in _STANDARD},
        }


def _text_or_none(value: Any) -> Optional[str]:
    return str.__str__(value)[:_LONGEST_NAME] if isinstance(value, str) else None


class _Behind:
    """Stands behind the root logger, as the parent of a logger does, for whatever walks from logger to logger."""

    level = logging.NOTSET
    propagate = False
    parent = None

    def __init__(self, handler: logging.Handler) -> None:
        self.handlers = _Hidden(handler)


class _Hidden:
    """Handlers that take records, and do not count if somebody asks whether there are any."""

    def __init__(self, handler: logging.Handler) -> None:
        self._handler = handler

    def __iter__(self) -> Iterator[logging.Handler]:
        yield self._handler

    def __len__(self) -> int:
        return 0


def _plain(value: Any) -> Any:
    try:
        plain_encode.encode(value)
        return value
    except Exception:
        lost = "<the repr of a {} is not available>".format(faults.class_name(type(value)))
        return faults.attempt(lambda: str.__str__(repr(value)), lost)


def _text(value: Any) -> str:
    """Return a text as it is; of another class, as the host takes it."""
    if type(value) is str:
        return value
    return str.__str__(value) if issubclass(type(value), str) else str(_plain(value))


def _cut(value: Any, limit: int) -> Any:
    """Return what an extra holds, or a text of it if it is long."""
    if type(value) in (int, float, bool, type(None)):
        return value
    text = value if type(value) is str else repr(value)
    return faults.shortened(text, limit) if len(text) > limit else value

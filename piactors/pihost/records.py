"""The isolate's logging records, sent to the host's logging."""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Dict, Optional

from . import plain_encode

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


class HostHandler(logging.Handler):
    """Sends each record; what an extra holds beyond plain data goes as its repr."""

    def __init__(self, send: Callable[[bytes], None], describe_error: Callable[[BaseException], bytes]) -> None:
        super().__init__()
        self._send = send
        self._describe_error = describe_error
        self._busy = threading.local()

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
            self._send(plain_encode.encode(self._described(record)))
        except OSError:
            pass  # the host is gone, and this process is about to go too
        except Exception:
            self.handleError(record)
        finally:
            self._busy.on = False

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
            "exception": self._describe_error(error) if error is not None else None,
            "stack": record.stack_info or "",
            "extra": {key: _plain(value) for key, value in vars(record).items() if key not in _STANDARD},
        }


def _text_or_none(value: Any) -> Optional[str]:
    return value if isinstance(value, str) else None


def _plain(value: Any) -> Any:
    try:
        plain_encode.encode(value)
        return value
    except ValueError:
        return repr(value)

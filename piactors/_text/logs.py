"""The log of piactors itself: nothing that it says can forge a line, and no handler can end a thread of piactors."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

from piactors._text import shown

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter

_formatter = logging.Formatter()


class _Harmless(logging.Filter):
    """Escapes what a record of ours says that may have come from isolated code."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(shown.block(arg) if isinstance(arg, str) else arg for arg in record.args)
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = shown.block(_formatter.formatException(record.exc_info))
        return True


class GuardedLogger(_Adapter):
    """The logger for threads of piactors: a handler that raises, or exits, costs its record and nothing else."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log as a logger does, and raise nothing."""
        try:
            self.logger.log(level, msg, *args, stacklevel=2, **kwargs)
        except BaseException:
            complain("a log handler has failed")


def complain(text: str) -> None:
    """Write to stderr what cannot be written to the log, with the exception that is being handled."""
    with contextlib.suppress(BaseException):
        print(f"piactors: {text}\n{shown.below(traceback.format_exc())}", file=sys.stderr)


plain = logging.getLogger("piactors")
"""The logger of piactors, for the threads of users."""
plain.addFilter(_Harmless())

logger = GuardedLogger(plain, {})
"""The logger of piactors, for its own threads."""

"""Isolated code that sets up logging for itself."""

from __future__ import annotations

import enum
import io
import logging
import logging.config
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

from piactors import ProcessActor


class Level(enum.IntEnum):
    ODD = 35


class BadText:
    def __str__(self) -> NoReturn:
        raise ValueError("no text")

    __repr__ = __str__


class LogsWhenShown:
    def __str__(self) -> str:
        logging.getLogger("inner").warning("while it is shown")
        return "shown"


class Logger(ProcessActor):
    def pid(self) -> int:
        return os.getpid()

    def basic(self, path: str) -> int:
        logging.basicConfig(filename=path, level=logging.DEBUG, format="%(levelname)s|%(message)s")
        logging.getLogger("of.basic").debug("a detail")
        logging.getLogger("of.basic").warning("a warning")
        return len(logging.getLogger().handlers)

    def forced(self) -> str:
        stream = io.StringIO()
        logging.basicConfig(stream=stream, force=True, format="%(message)s")
        logging.getLogger("of.force").warning("forced")
        return stream.getvalue()

    def by_dict(self, path: str) -> str:
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": True,
                "handlers": {"file": {"class": "logging.FileHandler", "filename": path}},
                "root": {"level": "INFO", "handlers": ["file"]},
            }
        )
        logging.getLogger("of.dict").warning("by dictConfig")
        return Path(path).read_text()

    def without_setup(self) -> bool:
        """Log, with nothing set up: what does not reach a handler is written to stderr by Python."""
        logging.getLogger("of.none").warning("nothing is set up")
        return logging.getLogger().hasHandlers()

    def shut_down(self) -> None:
        logging.shutdown()
        logging.getLogger("of.shutdown").warning("after a shutdown")

    def warns(self) -> None:
        logging.captureWarnings(True)
        warnings.warn("a warning of Python", stacklevel=1)
        logging.captureWarnings(False)

    def odd(self) -> None:
        log = logging.getLogger("of.odd")
        log.warning("%s and %s", "too few")
        log.warning("%s", BadText())
        log.warning("%s", LogsWhenShown())
        log.warning("extra", extra={"bad": BadText(), "fine": 1})
        log.log(Level.ODD, "a level of an enum")
        logging.raiseExceptions = False
        log.warning("%s and %s", "too few")
        logging.raiseExceptions = True
        log.warning("the last one")

    def disabled(self) -> None:
        logging.disable(logging.ERROR)
        logging.getLogger("of.disable").warning("never seen")
        logging.disable(logging.NOTSET)
        logging.getLogger("of.disable").warning("seen again")

    def stderr(self) -> Any:
        return sys.stderr

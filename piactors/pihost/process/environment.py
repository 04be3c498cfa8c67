"""The environment of an isolate that was forked: it differs from that of the process that it was forked from."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Callable, Dict


def take(wanted: Dict[str, str]) -> None:
    """Change what is different: most of it is not, and each change of a variable is a copy of the whole list."""
    before = {name: os.environ.get(name) for name in _READ_ONCE}
    for name in list(os.environ):
        # The launcher's mark stays: it is how the host finds what outlives a lost launcher.
        if name not in wanted and not name.startswith("PIACTORS_"):
            del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    for name, old in before.items():
        if os.environ.get(name) != old:
            _READ_ONCE[name]()


def _zone_changed() -> None:
    if hasattr(time, "tzset"):
        time.tzset()


def _temporary_folder_changed() -> None:
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.tempdir = None


_READ_ONCE: Dict[str, Callable[[], None]] = {
    "TZ": _zone_changed,
    "TMPDIR": _temporary_folder_changed,
    "TEMP": _temporary_folder_changed,
    "TMP": _temporary_folder_changed,
}
"""Variables that a process reads once, which a fork has done already, and what makes it read them again."""

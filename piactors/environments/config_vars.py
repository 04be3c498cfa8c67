"""`sysconfig`, made ready for several threads: while one fills its table, CPython shows others a part of it."""

from __future__ import annotations

import functools
import sysconfig
import threading

_lock = threading.Lock()


def fill() -> None:
    """See that the table is whole; before anything that asks for it."""
    with _lock:
        _filled()


@functools.cache
def _filled() -> None:
    sysconfig.get_config_vars()

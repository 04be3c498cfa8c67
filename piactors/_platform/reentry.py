"""Signal handlers that use piactors while they have interrupted code of piactors, in the same thread.

Such a handler would wait forever for a lock that the interrupted code holds, or for the I/O thread, which waits for
that lock.  So it is refused at once.  Locks that a handler may meet are of type `RLock`: they know whether the thread
holds them.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from types import FrameType
from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_locks: weakref.WeakSet[Any] = weakref.WeakSet()


class Reentered(RuntimeError):
    """A signal handler asks for what the interrupted code is in the middle of doing, in the same thread."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} cannot be used now: this signal handler has interrupted code of piactors that uses it, in "
            "this very thread, and would wait for itself; set a flag in the handler, or leave it to another thread"
        )


def lock() -> Any:
    """Return a lock that the I/O thread, or somebody for whom it waits, may wait for."""
    made = threading.RLock()
    _locks.add(made)
    return made


def refuse(what: str) -> None:
    """Refuse to wait for what the I/O thread does, in a handler that has interrupted code which holds it up.

    Raises:
        Reentered: in that case.
    """
    if threading.get_ident() == threading.main_thread().ident and _within_ours():
        for known in list(_locks):
            if known._is_owned():
                raise Reentered(what)


def _within_ours() -> bool:
    """Whether other code that calls piactors was itself called by piactors, or has interrupted it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    while frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame is not None

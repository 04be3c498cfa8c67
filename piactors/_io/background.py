"""Threads for work that must not hold up the I/O thread, also when there is no task to be had for them just then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from piactors.pihost.process import lacks

_PAUSE = 0.2


class Clock(Protocol):
    """Makes calls later: the loop, or what supervisors live by."""

    def call_later(self, seconds: float, callback: Callable[[], object], /) -> object:
        """Have `callback()` called after so many seconds."""


def run(clock: Clock, name: str, work: Callable[..., object], *args: Any) -> None:
    """Run `work(*args)` on a thread of its own; tried again until one can be had.

    Where the interpreter ends and lets no thread start any more, it runs in this one.
    """
    thread = threading.Thread(target=work, args=args, name=name, daemon=True)
    start(clock, thread, lambda error: thread.run())


def start(clock: Clock, thread: threading.Thread, failed: Callable[[BaseException], object]) -> None:
    """Start a thread; tried again until it can be.

    Args:
        failed: called with the error where it never can be: the interpreter ends.
    """
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        if lacks.is_lack(error):
            clock.call_later(_PAUSE, lambda: start(clock, thread, failed))
        else:
            failed(error)

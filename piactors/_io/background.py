"""Threads for work that must not hold up the I/O thread, even if no thread can be started for it at that moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from piactors.pihost.process import lacks

_PAUSE = 0.2


class TimerSource(Protocol):
    """Makes calls later: the loop, or the clock that supervisors live by."""

    def call_later(self, seconds: float, callback: Callable[[], object], /) -> object:
        """Have `callback()` called after that many seconds."""


def run(clock: TimerSource, name: str, work: Callable[..., object], *args: Any) -> None:
    """Run `work(*args)` on a thread of its own; tried again until one can be started.

    If the interpreter ends and lets no thread start any more, it runs in this one.
    """
    thread = threading.Thread(target=work, args=args, name=name, daemon=True)
    start(clock, thread, lambda error: thread.run())


def start(clock: TimerSource, thread: threading.Thread, failed: Callable[[BaseException], object]) -> None:
    """Start a thread; tried again until it can be.

    Args:
        failed: called with the error if it never can be: the interpreter ends.
    """
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        if lacks.is_lack(error):
            clock.call_later(_PAUSE, lambda: start(clock, thread, failed))
        else:
            failed(error)

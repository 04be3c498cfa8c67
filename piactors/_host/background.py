"""Threads for work that must not hold up the I/O thread, also when there is no task to be had for them just then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from piactors._host.loop import Loop, Share
from piactors.pihost import lacks

_PAUSE = 0.2


def run(loop: Loop | Share, name: str, work: Callable[..., object], *args: Any) -> None:
    """Run `work(*args)` on a thread of its own, on the loop's thread; tried again until one can be had."""
    try:
        threading.Thread(target=work, args=args, name=name, daemon=True).start()
    except (RuntimeError, MemoryError) as error:
        if not lacks.is_lack(error):
            raise
        loop.call_later(_PAUSE, lambda: run(loop, name, work, *args))

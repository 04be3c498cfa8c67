"""The end of the host's main thread.

`atexit` runs only after Python has waited for all threads that are no daemons, and pykka's actors
are such threads.  The standard library's own executors face the same and use a hook of `threading`
that runs earlier; where an interpreter has none, `atexit` has to do.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable


def at_host_end(callback: Callable[[], None]) -> None:
    """Have `callback` run once, in the main thread, when the interpreter begins to end."""
    register = getattr(threading, "_register_atexit", None)
    try:
        if register is not None:
            register(callback)
            return
    except RuntimeError:
        pass  # the end has begun already
    atexit.register(callback)

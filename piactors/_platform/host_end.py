"""The end of the host's main thread.

`atexit` runs only after Python has waited for all threads that are not daemons, and pykka's actors
are such threads.  The standard library's own executors face the same problem and use a hook of `threading`
that runs earlier; if an interpreter has none, `atexit` has to suffice.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable


def at_host_end(callback: Callable[[], None]) -> bool:
    """Have `callback` run once, in the main thread, when the interpreter begins to end; False if it has begun."""
    register = getattr(threading, "_register_atexit", None)
    if register is None:
        atexit.register(callback)
        return True
    try:
        register(callback)
    except RuntimeError:
        return False
    return True

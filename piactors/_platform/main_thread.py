"""Signals in a program that waits in a thread other than its main one.

Python runs handlers of signals in the main thread only, and lets no other thread install one.  What
it has from the start is its own handler of SIGINT, which raises KeyboardInterrupt there.  So SIGTERM
is led to the same place, at the level of C: the function that handles it there is CPython's own
`PyErr_SetInterrupt`, which is made for being called in a signal handler.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Callable


def interrupt_main_on(signum: signal.Signals) -> Callable[[], None] | None:
    """Have a signal raise KeyboardInterrupt in the main thread, as Ctrl-C does; works from any thread.

    Returns a function that undoes it, or None if the signal is already handled, or this is not available.
    """
    if signal.getsignal(signum) is not signal.SIG_DFL:
        return None
    try:
        set_handler = ctypes.CDLL(None).signal
        handler = ctypes.cast(ctypes.pythonapi.PyErr_SetInterrupt, ctypes.c_void_p)
    except (AttributeError, OSError):
        return None
    set_handler.restype = ctypes.c_void_p
    set_handler.argtypes = [ctypes.c_int, ctypes.c_void_p]
    set_handler(signum, handler)
    signal.siginterrupt(signum, True)  # so that the main thread wakes from whatever it waits in

    def take_back() -> None:
        set_handler(signum, None)

    return take_back

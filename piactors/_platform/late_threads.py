"""Threads that are needed while the interpreter ends.

CPython 3.12.0 and 3.12.1 let no thread start once the main thread has ended, and it is then that isolates are stopped.
Later ones, as those before, let threads start until all have ended that are not daemons.
"""

from __future__ import annotations

import threading


def start_or_run(thread: threading.Thread) -> None:
    """Start a thread; if the interpreter lets none start any more, do its work in this one."""
    if not start(thread):
        thread.run()


def start(thread: threading.Thread) -> bool:
    """Start a thread; False if the interpreter lets none start any more."""
    try:
        thread.start()
    except RuntimeError as error:
        if "shutdown" not in str(error):
            raise
        return False
    return True

"""Stops itself as a debugger or a shell's Ctrl-Z would, so that it runs nothing until it is continued."""

from __future__ import annotations

import os
import signal

from telling import say


def stop() -> None:
    """Stop this process."""
    say(at="stopped")
    os.kill(os.getpid(), signal.SIGSTOP)

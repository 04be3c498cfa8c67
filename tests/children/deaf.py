"""Ignores every signal that can be ignored."""

from __future__ import annotations

import signal
import time

from telling import say


def ignore_all() -> None:
    """Ignore what can be ignored."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, signal.SIG_IGN)


def sleep() -> None:
    """Ignore all signals and sleep, over and over."""
    ignore_all()
    say(at="deaf")
    while True:
        time.sleep(1000)

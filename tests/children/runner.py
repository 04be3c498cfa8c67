"""Runs away: a process that is always another one, since it forks and lets the fork go on in its place."""

from __future__ import annotations

import os
import signal


def run_away() -> None:
    """Begin to run, and return."""
    if os.fork():
        return
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        if os.fork():
            os._exit(0)

"""Ctrl-C and SIGTERM as one exception, raised only when the main thread waits.

Raised anywhere else it could tear what is being set up or cleaned up.  A signal that comes at such
a time is kept for the next wait; one that comes during the last cleanup changes nothing.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asks for the end.

    Attributes:
        signum: its number.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Interrupts:
    """Takes the signals from `install` on, until the process ends."""

    def __init__(self) -> None:
        self._pending: int | None = None
        self._waiting = False

    def install(self) -> None:
        """Take the signals, except those that the process was started to ignore, as with ``nohup``."""
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Let a signal raise `Interrupted` within the block, also one that has come before it."""
        self._waiting = True
        try:
            if self._pending is not None:
                raise Interrupted(self._pending)
            yield
        finally:
            self._waiting = False

    def _take(self, signum: int, _: FrameType | None) -> None:
        self._pending = signum
        if self._waiting:
            self._waiting = False
            raise Interrupted(signum)

"""Giving up on a build: one flag that work, and the kernel's waits, can look at."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancelled(Exception):
    """Nobody wants it any more."""


class CancelFlag:
    """Set once; whoever waits for its descriptor is woken too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # who sets it may come when who has waited is done
        self._is_set = False
        self._callbacks: list[Callable[[], object]] = []
        self._reading, self._writing = os.pipe()

    def set(self) -> bool:
        """Set it, and return True."""
        with self._lock:
            was_set, self._is_set = self._is_set, True  # first: whoever is woken looks at it at once
            if not was_set and self._writing >= 0:
                os.write(self._writing, b"x")
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()
        return True

    @contextmanager
    def calls(self, callback: Callable[[], object]) -> Iterator[None]:
        """Have `callback()` called if it is set meanwhile."""
        with self._lock:
            self._callbacks.append(callback)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def check(self) -> None:
        """Go on only if nobody has given up.

        Raises:
            Cancelled: if somebody has.
        """
        if self._is_set:
            raise Cancelled

    def fileno(self) -> int:
        """Return a descriptor that can be read once it is set."""
        return self._reading

    def close(self) -> None:
        """Give its descriptors back: nobody waits any more."""
        with self._lock:
            fds, self._reading, self._writing = (self._reading, self._writing), -1, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)

"""Waiting for a descriptor and for another thread at once: an eventfd, or a pipe if there is none."""

from __future__ import annotations

import contextlib
import math
import os
import select
import threading

from piactors._platform import taken_away
from piactors.pihost.process import lacks, stdio


class Waker:
    """Belongs to one thread: it waits in `wait`, and `wake` in any other thread ends that."""

    _read = _write = -1

    def __init__(self) -> None:
        stdio.fill()
        if hasattr(os, "eventfd") and not taken_away("eventfd"):
            self._read = self._write = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._read, self._write = os.pipe()
            os.set_blocking(self._read, False)
            os.set_blocking(self._write, False)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        self.poll = self._poll.poll
        """As that of `select.poll`; for callers that look very often."""
        self.watched = -1
        self._owner = threading.get_ident()
        self._depth = 0
        self.nested = False
        """Whether this is a wait within a wait, in a signal handler."""
        self.looks = True
        """Whether the waiting thread is about to see for itself what `wake` would tell it."""

    def begin(self) -> None:
        """The thread begins to wait in turns; perhaps in a signal handler, while it is already waiting."""
        self._depth += 1
        self.nested = self._depth > 1

    def end(self) -> None:
        """The thread ends that.  A wait around this one looks again: this one may have taken what was meant for it."""
        self._depth -= 1
        self.nested = self._depth > 1
        self.looks = not self._depth
        if self._depth:
            self.wake()

    def watch(self, fd: int) -> None:
        """Say which descriptor `ready` and `wait` are about."""
        if fd != self.watched:
            self.watched = -1  # until all of it has been done: it may be interrupted, by a KeyboardInterrupt
            poll = select.poll()
            poll.register(self._read, select.POLLIN)
            poll.register(fd, select.POLLIN)
            self._poll = poll
            self.poll = poll.poll
            self.watched = fd

    def ready(self) -> bool:
        """Whether the descriptor is readable, or this has been woken."""
        return self._look(0)

    def wait(self, timeout: float | None) -> bool:
        """Wait until the descriptor is readable or somebody wakes this; False after `timeout` seconds."""
        if timeout is None:
            try:
                return bool(self.poll(None))
            except RuntimeError:  # as in `_look`
                return self._look(None)
        return self._look(min(math.ceil(timeout * 1000), 2**31 - 1))

    def _look(self, milliseconds: int | None) -> bool:
        try:
            return bool(self._poll.poll(milliseconds))
        except RuntimeError:  # in a signal handler that came while this very object was asked
            another = select.poll()
            for fd in {self._read, self.watched} - {-1}:
                another.register(fd, select.POLLIN)
            return bool(another.poll(milliseconds))

    def wake(self) -> None:
        """End the wait, or the next one; nothing to do if the waiting thread calls this itself, and `looks`."""
        if self.looks and threading.get_ident() == self._owner:
            return
        with contextlib.suppress(OSError):  # it has been woken very often, and not looked
            os.write(self._write, b"\1\0\0\0\0\0\0\0")

    def drain(self) -> None:
        """Forget that it was woken."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096 if self._read != self._write else 8):
                pass

    def __del__(self) -> None:
        for fd in {self._read, self._write}:
            with contextlib.suppress(OSError):
                os.close(fd)


_local = threading.local()


def mine() -> Waker | None:
    """Return the waker of this thread, made the first time; None if there is no descriptor or memory for it now."""
    try:
        waker: Waker = _local.waker
    except AttributeError:
        try:
            waker = _local.waker = Waker()
        except (OSError, MemoryError) as error:
            if not lacks.is_lack(error):
                raise
            return None
    return waker


def _forget_all() -> None:
    """In a forked copy of the process: what woke the parent's threads is not meant for its own."""
    global _local
    _local = threading.local()


os.register_at_fork(after_in_child=_forget_all)

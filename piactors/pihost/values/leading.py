"""Who reads the answers of a direct channel: one at a time of the threads that wait for some, and the others follow.

So an answer wakes the thread that waits for it and no other one.  When who reads has its answer, one of the others goes
on.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Optional, Tuple

from ..wire.spin import Spinner

_READ = 65536
_NEVER = float("inf")
Take = Callable[[bytes], bytes]


class Leading:
    """The threads that wait for answers of one channel after the other.

    Args:
        take: gets what was read, in the thread that has read it, and returns what is left of a part of a frame.
        ended: is called in such a thread when there is no more to read, and whenever that is looked at.
    """

    def __init__(self, take: Take, ended: Callable[[], object]) -> None:
        self._take, self._ended = take, ended
        self._lead = threading.Lock()  # one thread reads at a time
        self._followers: Deque[Tuple[Any, Any]] = deque()
        self._receive: Callable[[int], bytes] = _nothing
        self._rest = b""
        self._poll: Any = None
        self._spin: Optional[Spinner] = None
        self._wake: Tuple[int, int] = (-1, -1)
        self.at_end = True
        self._is_due = False

    def begin(self, sock: socket.socket, spins: bool) -> None:
        """Read this channel from now on.

        Args:
            spins: whether to wait awake for a moment.
        """
        if self._wake[0] < 0:
            self._wake = os.pipe()
            os.set_blocking(self._wake[1], False)
        self._poll = select.poll()
        self._poll.register(self._wake[0], select.POLLIN)
        self._poll.register(sock.fileno(), select.POLLIN)
        self._spin = None
        if spins:
            self._spin = Spinner(sock.fileno())
            self._spin.also(self._wake[0])
        self._receive, self._rest, self.at_end = sock.recv, b"", False

    def wait(self, sent: Any, until: float) -> None:
        """Wait until a message is settled, goes another way, or for some time; until then at the latest."""
        if self._lead.acquire(False):
            self._read_for(sent, until)
            return
        latch = threading.Lock()
        latch.acquire()
        latches = sent.add(latch)
        follower = (sent, latch)
        self._followers.append(follower)
        if not (sent.is_done or sent.request):
            if self._lead.acquire(False):
                self._read_for(sent, until)
            else:
                _wait(latch, until)
        with contextlib.suppress(ValueError):
            latches.remove(latch)
        try:
            self._followers.remove(follower)
        except ValueError:  # it has been told to lead
            if sent.is_done or sent.request:
                self._pass_on()
            elif self._lead.acquire(False):  # otherwise who leads passes it on again
                self._read_for(sent, until)

    def _read_for(self, sent: Any, until: float) -> None:
        """Read until a message is settled; who leads."""
        try:
            while not (sent.is_done or sent.request or self.at_end) and self._read(until):
                pass
            at_end = self.at_end and not (sent.is_done or sent.request)
        finally:
            self._leave()
        if at_end:
            self._follow(sent, until)

    def _follow(self, sent: Any, until: float) -> None:
        """There is nothing to read: wait until the host has said what becomes of it."""
        latch = threading.Lock()
        latch.acquire()
        sent.add(latch)
        if not (sent.is_done or sent.request):
            _wait(latch, until)

    def _leave(self) -> None:
        self._lead.release()
        if self._is_due:
            self.look()
        self._pass_on()

    def _pass_on(self) -> None:
        """Have another one lead."""
        if self._followers:
            with contextlib.suppress(IndexError, RuntimeError):  # there is none any more, or it was woken before
                self._followers.popleft()[1].release()

    def look(self) -> None:
        """Read what is there, if nobody reads; who does sees what this was called for."""
        self._is_due = True
        while self._is_due and self._lead.acquire(False):
            try:
                self._is_due = False
                if self.at_end:
                    self._ended()
                while not self.at_end and self._read(0.0):
                    pass
            finally:
                self._lead.release()
            self._pass_on()

    def wake(self) -> None:
        """Have who reads look whether it has what it waits for."""
        if self._wake[1] >= 0 and self._lead.locked():
            with contextlib.suppress(BlockingIOError):  # it has been told so often that it sees it
                os.write(self._wake[1], b"\0")

    def _read(self, until: float) -> bool:
        """Read once; False if nothing has come by then.  Who leads."""
        spin, asleep, limit = self._spin, False, None
        if until != _NEVER:
            limit = max(0.0, min(until - time.monotonic(), 1e6) * 1000)
            limit += limit > 0  # it counts in milliseconds
        if spin is not None and limit != 0:
            asleep = spin.wait()
        found = self._poll.poll(limit)
        if asleep and spin is not None:
            spin.came()
        if not found:
            return False
        if found[0][0] == self._wake[0]:
            os.read(self._wake[0], 4096)
            if len(found) == 1:
                return True
        try:
            data = self._receive(_READ)
        except OSError:
            data = b""
        if not data:
            self.at_end = True
            self._ended()
            return True
        rest = self._rest
        self._rest = self._take(rest + data if rest else data)
        return True

    def close(self) -> None:
        """Let go of what wakes who reads."""
        for fd in self._wake:
            if fd >= 0:
                os.close(fd)
        self._wake = (-1, -1)
        self._lead = threading.Lock()  # in a fork another thread may have held the old one

    __del__ = close


def _wait(latch: Any, until: float) -> None:
    latch.acquire(timeout=min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX))


def _nothing(_: int) -> bytes:
    return b""

"""The sequence page: what an isolate publishes about its calls, readable after its death.

Host and isolate share a small file in memory.  Before the isolate deserialises and runs a message
it writes the message's sequence number here.  So when it dies the host knows exactly which calls
had begun, however sudden the death was.  The file also takes faulthandler's text.

Layout, in 8-byte words of the machine: word 1 the highest number begun; words 8 to 263 what each
thread began last; 512 to 1535 calls that their callers gave up on, written by the host at
``number % WINDOW``; from byte 12288 on, text of faulthandler.

The isolate maps the file.  The host does so only if an isolate cannot cut the file short, which could kill it with
SIGBUS; else it reads and writes with system calls.
"""

from __future__ import annotations

import mmap
import os
import signal
import threading
from typing import FrozenSet, NamedTuple

WINDOW = 1024
"""How many consecutive messages may be in flight to an isolate at once."""
MAX_THREADS = 256
SIZE = 32768
FAULT_OFFSET = 12288
DUMP_SIGNAL = int(signal.SIGRTMAX) - 5 if hasattr(signal, "SIGRTMAX") else 0
"""The signal at which faulthandler writes all stacks into the page; 0 if there is none to spare."""
BEGUN = 1
SLOTS = 8
CANCELLED = 512
TWO_ROUNDS = not hasattr(os, "uname") or os.uname().machine not in ("x86_64", "amd64", "i386", "i586", "i686")


class Snapshot(NamedTuple):
    """What the page of an isolate said: the highest number begun, and what its threads began last."""

    begun: int
    running: FrozenSet[int]


class Fence:
    """A full barrier for memory: nothing passes it, in either direction.

    On x86 taking a lock is one.  Elsewhere taking it keeps what follows behind it, and giving it back keeps what was
    before it in front, so that it takes two rounds: nothing passes both of them.
    """

    def __init__(self) -> None:
        lock = threading.Lock()
        self._lock, self.acquire, self.release = lock, lock.acquire, lock.release

    def pass_through(self) -> None:
        """Let nothing after this come before it, nor the other way round; a KeyboardInterrupt leaves the lock free."""
        with self._lock:
            pass
        if TWO_ROUNDS:
            with self._lock:
                pass


class SequencePage:
    """The isolate's side of the page."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._fence = Fence()

    def close(self) -> None:
        """Let go of the memory; nothing begins after that."""
        self._words.release()
        self._map.close()

    def begin(self, slot: int, seq: int) -> bool:
        """Publish that the thread `slot` begins `seq`; False if its caller has given up on it.

        The order matters.  The host writes that a call is given up and then reads what has begun;
        here it is the other way round, so that at least one side sees the other's word.
        """
        words = self._words
        words[SLOTS + slot] = seq
        words[BEGUN] = seq
        fence = self._fence  # the stores above have to be out before the load below
        fence.acquire()
        fence.release()
        if TWO_ROUNDS:
            fence.acquire()
            fence.release()
        return words[CANCELLED + seq % WINDOW] != seq


def text_of(data: bytes) -> str:
    """Return the text that is in the last part of a page."""
    return data.rstrip(b"\0").decode("utf-8", "replace")

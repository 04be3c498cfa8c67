"""The sequence page: what an isolate publishes about its calls, readable after its death.

Host and isolate share a small file in memory.  Before the isolate deserialises and runs a message
it writes the message's sequence number here.  So when it dies the host knows exactly which calls
had begun, however sudden the death was.  The file also takes faulthandler's text.

Layout, in 8-byte words of the machine: word 1 the highest number begun; words 8 to 263 what each
thread began last; 512 to 1535 calls that their callers gave up on, written by the host at
``number % WINDOW``; from byte 12288 on, text of faulthandler.

The isolate maps the file.  The host only reads and writes it with system calls, because a mapping
of a file that an isolate may cut short could kill the host with SIGBUS.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
from typing import FrozenSet, NamedTuple

WINDOW = 1024
"""How many consecutive messages may be in flight to an isolate at once."""
MAX_THREADS = 256
SIZE = 32768
FAULT_OFFSET = 12288
DUMP_SIGNAL = int(signal.SIGRTMAX) - 5 if hasattr(signal, "SIGRTMAX") else 0
"""The signal at which faulthandler writes all stacks into the page; 0 if there is none to spare."""
_BEGUN = 1
_SLOTS = 8
_CANCELLED = 512
_WORD = struct.Struct("=Q")


class Snapshot(NamedTuple):
    """What the page of an isolate said: the highest number begun, and what its threads began last."""

    begun: int
    running: FrozenSet[int]


class SequencePage:
    """The isolate's side of the page."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._fence = threading.Lock()

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
        words[_SLOTS + slot] = seq
        words[_BEGUN] = seq
        # Taking a lock is a full memory barrier: the stores above are out before the load below.
        self._fence.acquire()
        self._fence.release()
        return bool(words[_CANCELLED + seq % WINDOW] != seq)


def snapshot(fd: int, threads: int) -> Snapshot:
    """Read the page; called by the host."""
    data = os.pread(fd, (_SLOTS + threads) * 8, 0)
    if len(data) < (_SLOTS + threads) * 8:
        return Snapshot(0, frozenset())
    words = memoryview(data).cast("Q")
    return Snapshot(words[_BEGUN], frozenset(words[_SLOTS : _SLOTS + threads]) - {0})


def begun(fd: int) -> int:
    """Read the highest number begun; called by the host."""
    data = os.pread(fd, 8, _BEGUN * 8)
    return int(_WORD.unpack(data)[0]) if len(data) == 8 else 0


def give_up(fd: int, seq: int) -> None:
    """Write that the caller of `seq` has given up on it; called by the host."""
    os.pwrite(fd, _WORD.pack(seq), (_CANCELLED + seq % WINDOW) * 8)


def fault_text(fd: int) -> str:
    """Return what faulthandler wrote, or an empty text."""
    data = os.pread(fd, SIZE - FAULT_OFFSET, FAULT_OFFSET)
    return data.rstrip(b"\0").decode("utf-8", "replace")

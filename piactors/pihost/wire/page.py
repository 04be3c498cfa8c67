"""The sequence page: what an isolate publishes about its calls, readable after its death.

Host and isolate share a small file in memory.  Before the isolate deserialises and runs a message
it writes the message's sequence number here.  So when it dies the host knows exactly which calls
had begun, however sudden the death was.  The file also takes faulthandler's text.

Layout, in 8-byte words of the machine: word 1 the highest number begun; words 8 to 263 what each thread began last;
512 to 1535 calls that their callers gave up on, written by the host at ``number % WINDOW``; 1536 to 1791 the request
whose answer each thread waits for, or 0, with READS if it reads the data channel; 1792 to 3839 pairs that the host
writes at ``number % WINDOW``, of a call and the moment, as a double, after which it is not wanted any more; 3840 to
3871 the highest number begun of what came through each direct channel (see `direct`); 4096 to 6143, 64 for each of
these, calls of theirs that are given up on, written by the host at ``number % 64``; from byte 49152 on, text of
faulthandler.

The isolate maps the file.  The host does so only if an isolate cannot cut the file short, which could kill it with
SIGBUS; else it reads and writes with system calls.
"""

from __future__ import annotations

import math
import mmap
import os
import signal
import threading
from typing import FrozenSet, NamedTuple, Tuple

WINDOW = 1024
"""How many consecutive messages may be in flight to an isolate at once."""
MAX_THREADS = 256
SIZE = 65536
FAULT_OFFSET = 49152
DUMP_SIGNAL = int(signal.SIGRTMAX) - 5 if hasattr(signal, "SIGRTMAX") else 0
"""The signal at which faulthandler writes all stacks into the page; 0 if there is none to spare."""
BEGUN = 1
SLOTS = 8
CANCELLED = 512
WAITS = 1536
READS = 1 << 63
UNTIL = 1792
DIRECT_WINDOW = 64
"""How many consecutive messages may be unanswered on one direct channel."""
DIRECT_PLACES = 32
"""Direct channels that an isolate may be reached through at once."""
DIRECT_BEGUN = 3840
DIRECT_CANCELLED = 4096
TWO_ROUNDS = not hasattr(os, "uname") or os.uname().machine not in ("x86_64", "amd64", "i386", "i586", "i686")


class Snapshot(NamedTuple):
    """What the page of an isolate said: the highest number begun, and what its threads began last.

    Attributes:
        direct: of each place for a direct channel, the highest number begun.
    """

    begun: int
    running: FrozenSet[int]
    direct: Tuple[int, ...] = ()


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
        self._times = memoryview(self._map).cast("d")
        self._fence = Fence()

    def close(self) -> None:
        """Let go of the memory; nothing begins after that."""
        self._words.release()
        self._times.release()
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

    def begin_direct(self, slot: int, call: int, number: int, place: int, lock: threading.Lock) -> bool:
        """Publish that the thread `slot` begins a call that came directly, as `begin` does; False if it is not to.

        Args:
            call: its number among all of this process (see `direct.call_number`).
            number, place: its own in its channel, and that of the channel in the page.
            lock: is held, and given back here: on x86 that is the barrier which `begin` needs.
        """
        words = self._words
        words[SLOTS + slot] = call
        words[DIRECT_BEGUN + place] = number
        lock.release()
        if TWO_ROUNDS:
            self._fence.pass_through()
        return words[DIRECT_CANCELLED + place * DIRECT_WINDOW + number % DIRECT_WINDOW] != number

    def until(self, seq: int) -> float:
        """Return when a message is not wanted any more, on the monotonic clock; infinite: never, as for 0, none."""
        if not seq:
            return math.inf
        place = UNTIL + seq % WINDOW * 2
        return self._times[place + 1] if self._words[place] == seq else math.inf

    def wait(self, slot: int, request: int) -> None:
        """Publish that the thread `slot` waits for the answer to a request; 0: not any more."""
        self._words[WAITS + slot] = request

    def nested(self, slot: int) -> Tuple[int, int]:
        """Return what the thread `slot` runs and waits for, to be told `unnest` once it has run something else."""
        return self._words[SLOTS + slot], self._words[WAITS + slot]

    def unnest(self, slot: int, before: Tuple[int, int]) -> None:
        """The thread `slot` goes on with what it ran, and waits for, before."""
        self._words[SLOTS + slot], self._words[WAITS + slot] = before

    def begun_by(self, slot: int) -> int:
        """Return what the thread `slot` has begun last."""
        return self._words[SLOTS + slot]


def text_of(data: bytes) -> str:
    """Return the text that is in the last part of a page."""
    return data.rstrip(b"\0").decode("utf-8", "replace")

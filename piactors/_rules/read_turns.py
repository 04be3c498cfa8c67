"""Whose turn it is to read a channel: the loop's, or that of one caller that waits for an answer.

    watched ──take──> read by a caller ──give back──> watched, if more answers are due
       ▲  ▲             │        ▲                      or
       │  └──answers────┼──────take                     │
       │      due       │        │                      │
       └──unused────── unwatched <──────────────────────┘
                        │
    all of them ──close─┴──> closed

The loop watches a channel unless a caller reads it.  After its turn the channel is *unwatched*: nobody watches it,
because the next call's caller will read it, and a loop that woke for that answer would be in the way.  It is
watched again as soon as answers are due that nobody waits for, and after a moment without use.

One reads at a time, so frames are handled in the order in which they came.  Regardless of the turn, the loop may
read as well if it must (at the end of a process): what is received is handled under one lock, and this object
is only touched under that lock.  What a caller must not handle is `handed` to the loop, and goes first then.

Pure: no lock, no thread and no descriptor of its own.
"""

from __future__ import annotations


class ReadTurn:
    """Which thread reads one channel."""

    __slots__ = ("closed", "depth", "handed", "reader", "used", "watched")

    def __init__(self) -> None:
        self.reader: int | None = None
        """The thread of the caller that reads; None if none does."""
        self.watched = True
        """Whether the loop reads what comes."""
        self.closed = False
        self.handed = False
        """Whether something was read that waits for the loop."""
        self.used = False
        """Whether a caller has had a turn since the last `unused`."""
        self.depth = 0
        """How many turns within each other the reader has."""

    def take(self, thread: int) -> bool:
        """Let a caller read; False if it cannot.  A caller may take its turn again (in a signal handler)."""
        if self.closed or self.handed or self.reader not in (None, thread):
            return False
        self.reader = thread
        self.watched = False
        self.used = True
        self.depth += 1
        return True

    def give_back(self, depth: int, *, answers_due: bool) -> bool:
        """A caller ends its turn; True if the loop has to watch the channel from here on.

        Args:
            depth: how many turns the caller had when it took this one; so ending one twice does nothing.
        """
        self.depth = depth
        if depth:
            return False
        self.reader = None
        return (answers_due or self.handed) and self.watch()

    def watch(self) -> bool:
        """Answers are due that nobody waits for; True if the loop has to watch the channel from here on."""
        if self.closed or self.watched or self.reader is not None:
            return False
        self.watched = True
        return True

    def unused(self) -> bool:
        """A moment has passed; True if there was no turn in it, and nobody has one."""
        used, self.used = self.used, False
        return not used and self.reader is None

    def hand_over(self) -> None:
        """Something was read that only the loop may handle: it goes first from here on."""
        self.handed = True

    def taken_over(self) -> None:
        """The loop has handled what was handed to it."""
        self.handed = False

    def close(self) -> None:
        """There is nothing to read any more; the reader finds out."""
        self.closed = True

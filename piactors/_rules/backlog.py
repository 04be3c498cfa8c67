"""What waits for one subscriber of a topic, and what is done about what does not fit.  Not thread-safe."""

from __future__ import annotations

from collections import deque
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Overflow = Literal["drop_oldest", "latest", "block", "fail"]
"""What is done if a publication does not fit: the one that waits longest is dropped; only the newest waits; whoever
publishes waits; or is told that it was not taken."""


class Backlog(Generic[T]):
    """Publications for one subscriber.

    Attributes:
        dropped: how many did not fit.
        under_way: how many the subscriber has, and has not finished with.

    Args:
        most: how many may wait.
        at_once: how many the subscriber may have.
    """

    def __init__(self, most: int, overflow: Overflow, at_once: int) -> None:
        self._most = 1 if overflow == "latest" else most
        self._drops = overflow in ("drop_oldest", "latest")
        self._at_once = at_once
        self._waiting: deque[T] = deque()
        self.dropped = 0
        self.under_way = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, publication: T) -> bool:
        """Take one more; False if there is no room."""
        if len(self._waiting) >= self._most:
            if not self._drops:
                return False
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(publication)
        return True

    def refuse(self) -> None:
        """One did not fit, and nobody waits for room."""
        self.dropped += 1

    def next(self) -> T | None:
        """Return what goes to the subscriber now, if anything does."""
        if not self._waiting or self.under_way >= self._at_once:
            return None
        self.under_way += 1
        return self._waiting.popleft()

    def done(self) -> None:
        """The subscriber has finished with one."""
        self.under_way -= 1

    def clear(self) -> None:
        """Nobody wants what waits any more."""
        self._waiting.clear()

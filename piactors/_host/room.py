"""Room in a full mailbox: who waits for it, and how they are told."""

from __future__ import annotations

import threading
from collections import deque


class Room:
    """Those who wait for room; used under the isolate's lock, but for the waiting itself."""

    def __init__(self) -> None:
        self._places: deque[tuple[int, threading.Lock]] = deque()

    def enter(self) -> threading.Lock:
        """Stand in the queue; what is returned can be acquired once there may be room."""
        latch, me = threading.Lock(), threading.get_ident()
        latch.acquire()
        if any(thread == me for thread, _ in self._places):  # a signal handler: what it interrupted can only wait
            self._places.appendleft((me, latch))
        else:
            self._places.append((me, latch))
        return latch

    def notify(self) -> None:
        """There is room for one more."""
        if self._places:
            latch = self._places[0][1]
            if latch.locked():
                latch.release()
            self._places.popleft()  # after it was told: what is interrupted is done once more

    def notify_all(self) -> None:
        """Have all of them look."""
        while self._places:
            self.notify()

    def leave(self, latch: threading.Lock) -> None:
        """Wait no longer; the next one is told if this one had been."""
        place = (threading.get_ident(), latch)
        if place in self._places:
            self._places.remove(place)
        else:
            self.notify()

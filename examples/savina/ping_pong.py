"""Ping-pong: two actors send each other a message, and wait for the other's before the next.

python examples/savina/ping_pong.py [--actors threads] [--size N]
"""

from __future__ import annotations

from typing import Any

import stage
from stage import Actor


class Ping(Actor):
    """Begins, and counts the answers."""

    def begin(self, pong: Any, count: int, done: Any) -> None:
        """Send the first of `count` messages."""
        self._pong, self.left, self.answers, self.done = pong.proxy(), count, 0, done
        self._pong.meet.defer(self.actor_ref)
        self._pong.ping.defer()

    def answer(self) -> None:
        """Send the next one, or be done."""
        self.answers += 1
        self.left -= 1
        if self.left:
            self._pong.ping.defer()
        else:
            self.done.set(self.answers)


class Pong(Actor):
    """Answers."""

    def meet(self, ping: Any) -> None:
        """Answer this one from now on."""
        self._other = ping.proxy()

    def ping(self) -> None:
        """Answer."""
        self._other.answer.defer()


def run(size: int) -> int:
    """Send `size` messages each way."""
    done = stage.future()
    Ping.start().proxy().begin(Pong.start(), size, done).get()
    stage.check(done.get(timeout=stage.SECONDS), size)
    return 2 * size


if __name__ == "__main__":
    stage.main(__doc__, run, 2000)

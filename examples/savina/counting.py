"""Counting: one actor sends another many messages without waiting, and then asks how many have come.

python examples/savina/counting.py [--actors threads] [--size N]
"""

from __future__ import annotations

from typing import Any

import stage
from stage import Actor


class Counter(Actor):
    """Counts."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def increment(self) -> None:
        """Count one up."""
        self.count += 1

    def tell(self, done: Any) -> None:
        """Tell how many there were: behind all that was sent before."""
        done.set(self.count)


class Producer(Actor):
    """Sends."""

    def produce(self, counter: Any, number: int, done: Any) -> None:
        """Send so many messages, and ask for the count."""
        proxy = counter.proxy()
        for _ in range(number):
            proxy.increment.defer()
        proxy.tell.defer(done)


def run(size: int) -> int:
    """Send `size` messages."""
    done = stage.future()
    Producer.start().proxy().produce.defer(Counter.start(), size, done)
    stage.check(done.get(timeout=stage.SECONDS), size)
    return size + 2


if __name__ == "__main__":
    stage.main(__doc__, run, 10_000)

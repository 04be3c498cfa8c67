"""Fork-join throughput: many messages go to each of several actors at once, and all of them have to be done.

python examples/savina/fork_join.py [--actors threads] [--size N]
"""

from __future__ import annotations

import math
from typing import Any

import stage
from stage import Actor

ACTORS = 4


class Worker(Actor):
    """Does a little work for each message."""

    def __init__(self, number: int, done: Any) -> None:
        super().__init__()
        self.left, self.total, self.done = number, 0.0, done

    def work(self, value: float) -> None:
        """Work, and tell once all is done."""
        self.total += math.sin(value) ** 2 + math.cos(value) ** 2
        self.left -= 1
        if not self.left:
            self.done.set(self.total)


def run(size: int) -> int:
    """Send `size` messages to each actor."""
    done = [stage.future() for _ in range(ACTORS)]
    workers = [Worker.start(size, each).proxy() for each in done]
    for number in range(size):
        for worker in workers:
            worker.work.defer(float(number))
    totals = [round(each.get(timeout=stage.SECONDS)) for each in done]
    stage.check(totals, [size] * ACTORS)
    return size * ACTORS


if __name__ == "__main__":
    stage.main(__doc__, run, 10_000)

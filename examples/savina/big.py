"""Big: each of several actors sends messages to random others, one at a time, and answers theirs meanwhile.

python examples/savina/big.py [--actors threads] [--size N]
"""

from __future__ import annotations

import random
from typing import Any

import stage
from stage import Actor

ACTORS = 6


class Sink(Actor):
    """Waits for all."""

    def __init__(self, actors: int, done: Any) -> None:
        super().__init__()
        self.left, self.total, self.done = actors, 0, done

    def finished(self, answers: int) -> None:
        """One has had all its answers."""
        self.total += answers
        self.left -= 1
        if not self.left:
            self.done.set(self.total)


class Node(Actor):
    """Asks others, and answers."""

    def __init__(self, number: int, sink: Any) -> None:
        super().__init__()
        self.number, self._sink = number, sink.proxy()
        self.random = random.Random(number)
        self.answers = 0

    def meet(self, others: list[Any]) -> None:
        """Know all, oneself included."""
        self.others = {place: other.proxy() for place, other in enumerate(others) if place != self.number}

    def begin(self, count: int) -> None:
        """Ask so often."""
        self.left = count
        self.ask()

    def ask(self) -> None:
        """Ask one of the others."""
        other = self.random.choice(list(self.others))
        self.others[other].ping.defer(self.number)

    def ping(self, sender: int) -> None:
        """Answer."""
        self.others[sender].pong.defer()

    def pong(self) -> None:
        """Ask the next one, or be done."""
        self.answers += 1
        self.left -= 1
        if self.left:
            self.ask()
        else:
            self._sink.finished.defer(self.answers)


def run(size: int) -> int:
    """Have each actor ask `size` times."""
    done = stage.future()
    sink = Sink.start(ACTORS, done)
    nodes = [Node.start(number, sink) for number in range(ACTORS)]
    for node in nodes:
        node.proxy().meet(nodes).get()
    for node in nodes:
        node.proxy().begin.defer(size)
    stage.check(done.get(timeout=stage.SECONDS), ACTORS * size)
    return 2 * ACTORS * size


if __name__ == "__main__":
    stage.main(__doc__, run, 500)

"""Concurrent dictionary: several actors write to and read from one that holds a dictionary.

python examples/savina/concurrent_dictionary.py [--actors threads] [--size N]
"""

from __future__ import annotations

import random
from typing import Any

import stage
from stage import Actor

WORKERS = 4
WRITES = 0.1
"""The share of operations that write."""


class Dictionary(Actor):
    """Holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[int, int] = {}
        self.writes = self.reads = 0

    def write(self, key: int, value: int) -> int:
        """Write, and return the value."""
        self.writes += 1
        self.entries[key] = value
        return value

    def read(self, key: int) -> int | None:
        """Return what was written."""
        self.reads += 1
        return self.entries.get(key)

    def counts(self) -> tuple[int, int]:
        """Return how often it was written to, and read."""
        return self.writes, self.reads


class Worker(Actor):
    """Works on keys of its own, so that it knows what it has to find."""

    def work(self, dictionary: Any, number: int, operations: int) -> tuple[int, int]:
        """Return how often it has written and read."""
        proxy, chance, known = dictionary.proxy(), random.Random(number), {}
        writes = 0
        for _ in range(operations):
            key = number * 1000 + chance.randrange(100)
            if chance.random() < WRITES:
                value = chance.randrange(1 << 30)
                known[key] = proxy.write(key, value).get()
                writes += 1
            else:
                stage.check(proxy.read(key).get(), known.get(key))
        return writes, operations - writes


def run(size: int) -> int:
    """Do `size` operations by each worker."""
    dictionary = Dictionary.start()
    futures = [Worker.start().proxy().work(dictionary, number, size) for number in range(WORKERS)]
    done = [future.get(timeout=stage.SECONDS) for future in futures]
    counts = dictionary.proxy().counts().get()
    stage.check(counts, (sum(writes for writes, _ in done), sum(reads for _, reads in done)))
    stage.check(sum(counts), WORKERS * size)
    return WORKERS * size


if __name__ == "__main__":
    stage.main(__doc__, run, 500)

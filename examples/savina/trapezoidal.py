"""Trapezoidal approximation: several actors integrate a part of a function each, and a master adds up.

python examples/savina/trapezoidal.py [--actors threads] [--size N]
"""

from __future__ import annotations

import math
from typing import Any

import stage
from stage import Actor

WORKERS = 4
LEFT, RIGHT = 0.0, math.pi


class Master(Actor):
    """Adds up."""

    def __init__(self, parts: int, done: Any) -> None:
        super().__init__()
        self.left, self.total, self.done = parts, 0.0, done

    def part(self, area: float) -> None:
        """Take one part."""
        self.total += area
        self.left -= 1
        if not self.left:
            self.done.set(self.total)


class Worker(Actor):
    """Integrates."""

    def integrate(self, left: float, right: float, pieces: int, master: Any) -> None:
        """Approximate the area below the sine between two points by so many pieces."""
        width = (right - left) / pieces
        area = (math.sin(left) + math.sin(right)) / 2
        area += sum(math.sin(left + piece * width) for piece in range(1, pieces))
        master.proxy().part.defer(area * width)


def run(size: int) -> int:
    """Use `size` pieces for each part."""
    done = stage.future()
    master = Master.start(WORKERS, done)
    width = (RIGHT - LEFT) / WORKERS
    for number in range(WORKERS):
        left = LEFT + number * width
        Worker.start().proxy().integrate.defer(left, left + width, size, master)
    total = done.get(timeout=stage.SECONDS)
    bound = (RIGHT - LEFT) ** 3 / 12 / (WORKERS * size) ** 2 + 1e-9  # of the error of the approximation
    stage.check(abs(total - 2) <= bound, True)
    return 2 * WORKERS


if __name__ == "__main__":
    stage.main(__doc__, run, 500_000)

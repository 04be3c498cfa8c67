"""Dining philosophers: each needs the forks at both sides to eat, and asks a waiter for them.

python examples/savina/dining_philosophers.py [--actors threads] [--size N]
"""

from __future__ import annotations

from typing import Any

import stage
from stage import Actor

PHILOSOPHERS = 5


class Waiter(Actor):
    """Gives two forks at once, or none."""

    def __init__(self, philosophers: int, done: Any) -> None:
        super().__init__()
        self.free = [True] * philosophers
        self.philosophers: dict[int, Any] = {}
        self.left, self.meals, self.done = philosophers, 0, done

    def sit(self, number: int, philosopher: Any) -> None:
        """Know one."""
        self.philosophers[number] = philosopher.proxy()

    def hungry(self, number: int) -> None:
        """Give the forks, or say that there are none."""
        left, right = number, (number + 1) % len(self.free)
        if self.free[left] and self.free[right]:
            self.free[left] = self.free[right] = False
            self.philosophers[number].eat.defer()
        else:
            self.philosophers[number].wait.defer()

    def fed(self, number: int) -> None:
        """Take the forks back."""
        left, right = number, (number + 1) % len(self.free)
        stage.check((self.free[left], self.free[right]), (False, False))
        self.free[left] = self.free[right] = True
        self.meals += 1

    def gone(self) -> None:
        """One has eaten enough."""
        self.left -= 1
        if not self.left:
            self.done.set((self.meals, self.free))


class Philosopher(Actor):
    """Eats so often, and goes."""

    def begin(self, number: int, meals: int, waiter: Any) -> None:
        """Be hungry for the first time."""
        self.number, self.meals, self._waiter, self.denied = number, meals, waiter.proxy(), 0
        self._waiter.sit.defer(number, self.actor_ref)
        self._waiter.hungry.defer(number)

    def wait(self) -> None:
        """Ask once more."""
        self.denied += 1
        self._waiter.hungry.defer(self.number)

    def eat(self) -> None:
        """Eat, and give the forks back."""
        self.meals -= 1
        self._waiter.fed.defer(self.number)
        if self.meals:
            self._waiter.hungry.defer(self.number)
        else:
            self._waiter.gone.defer()


def run(size: int) -> int:
    """Have each eat `size` times."""
    done = stage.future()
    waiter = Waiter.start(PHILOSOPHERS, done)
    for number in range(PHILOSOPHERS):
        Philosopher.start().proxy().begin(number, size, waiter).get()
    stage.check(done.get(timeout=stage.SECONDS), (PHILOSOPHERS * size, [True] * PHILOSOPHERS))
    return 3 * PHILOSOPHERS * size


if __name__ == "__main__":
    stage.main(__doc__, run, 300)

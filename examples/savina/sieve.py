"""Sieve of Eratosthenes: numbers go through a chain of actors, each of which drops the multiples of its primes.

python examples/savina/sieve.py [--actors threads] [--size N]
"""

from __future__ import annotations

import itertools
from typing import Any

import stage
from stage import Actor

PRIMES_EACH = 60
"""How many primes one actor of the chain knows."""
AT_ONCE = 100
"""Numbers in a message."""


class Filter(Actor):
    """Knows some primes, and passes on what is a multiple of none of them."""

    def __init__(self, done: Any) -> None:
        super().__init__()
        self.primes: list[int] = []
        self._following: Any = None
        self.done = done

    def link(self, following: Any) -> None:
        """Pass on to this one."""
        self._following = following.proxy()

    def sift(self, numbers: list[int]) -> None:
        """Keep new primes as long as there is room, and pass on the rest."""
        rest = []
        for number in numbers:
            if all(number % prime for prime in self.primes):
                if len(self.primes) < PRIMES_EACH:
                    self.primes.append(number)
                else:
                    rest.append(number)
        if rest:
            self._following.sift.defer(rest)

    def end(self, primes: list[int]) -> None:
        """There are no more numbers: pass on all primes so far."""
        primes = primes + self.primes
        if self._following is None:
            self.done.set(primes)
        else:
            self._following.end.defer(primes)


def primes_up_to(last: int) -> list[int]:
    """Return them, as one finds them without actors."""
    is_prime = [True] * (last + 1)
    for number in range(2, int(last**0.5) + 1):
        if is_prime[number]:
            is_prime[number * number :: number] = [False] * len(is_prime[number * number :: number])
    return [number for number in range(2, last + 1) if is_prime[number]]


def run(size: int) -> int:
    """Find the primes up to `size`."""
    wanted, done = primes_up_to(size), stage.future()
    chain = [Filter.start(done) for _ in range(-(-len(wanted) // PRIMES_EACH))]
    for one, following in itertools.pairwise(chain):
        one.proxy().link(following).get()
    first = chain[0].proxy()
    for number in range(2, size + 1, AT_ONCE):
        first.sift.defer(list(range(number, min(number + AT_ONCE, size + 1))))
    first.end.defer([])
    stage.check(done.get(timeout=stage.SECONDS), wanted)
    return len(chain) * (size // AT_ONCE + 2)


if __name__ == "__main__":
    stage.main(__doc__, run, 3000)

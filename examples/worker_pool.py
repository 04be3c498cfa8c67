"""A pool of isolates that work in parallel: count prime numbers, range by range, and collect all futures at once.

    python examples/worker_pool.py [--pool-size 4] [--below 200000]

Each isolate is a process, so pure Python uses all cores.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time

import pykka

from piactors import ProcessActor

RANGES = 40


class PrimeCounter(ProcessActor):
    """Counts prime numbers."""

    def count(self, numbers: range) -> tuple[int, int]:
        """Return how many of the numbers are prime, and in which process that was found out."""
        return sum(map(is_prime, numbers)), os.getpid()


def is_prime(number: int) -> bool:
    """Whether the number is prime, found out in the slow way."""
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def main() -> None:
    """Share out the ranges among the pool, and add up what comes back."""
    parser = argparse.ArgumentParser(description="Count prime numbers in parallel.")
    parser.add_argument("--pool-size", type=int, default=os.cpu_count() or 1, help="how many isolates; default: cores")
    parser.add_argument("--below", type=int, default=200_000, help="count the primes below this number")
    given = parser.parse_args()

    started = time.monotonic()
    pool = [PrimeCounter.start().proxy() for _ in range(given.pool_size)]

    # One range after the other, to one worker after the other.  No call waits: each returns a future at once.
    width = given.below // RANGES + 1
    ranges = [range(start, min(start + width, given.below)) for start in range(0, given.below, width)]
    futures = [worker.count(numbers) for worker, numbers in zip(itertools.cycle(pool), ranges, strict=False)]
    results = pykka.get_all(futures, timeout=60)

    for pid in sorted({pid for _, pid in results}):
        found = [count for count, other in results if other == pid]
        print(f"process {pid} found {sum(found):,} primes in {len(found)} ranges")
    total = sum(count for count, _ in results)
    print(f"{total:,} primes below {given.below:,}, in {time.monotonic() - started:.1f} s")

    for worker in pool:
        worker.stop()


if __name__ == "__main__":
    main()

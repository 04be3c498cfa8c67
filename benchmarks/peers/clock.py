"""How the workers of other libraries time their calls; apart, because they import it, and it should take no time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Iterable


def p50(call: Callable[[], object], calls: int) -> float:
    """Return the median of the times of a call, in microseconds."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


async def awaited_p50(call: Callable[[], Awaitable[object]], calls: int) -> float:
    """Return the same of a call that is awaited."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def per_item(begin: Callable[[], Iterable[int]], number: int) -> float:
    """Return how many microseconds each item takes of a stream of so many numbers from 0, its begin included.

    Raises:
        AssertionError: if others come.
    """
    began = time.perf_counter()
    total = sum(begin())
    took = time.perf_counter() - began
    assert total == sum(range(number)), "other items came"
    return took / number * 1e6

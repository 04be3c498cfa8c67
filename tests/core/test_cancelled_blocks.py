"""A time-out or a cancellation that strikes anywhere in an ``async with``: what it has started ends with the block."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import piactors
from piactors import ChildSpec, ProcessActor, ProcessIsolator, Supervisor
from piactors._host import runtime
from tests.children.plain import give


class Slow(ProcessActor):
    """One whose end takes a while."""

    def on_stop(self) -> None:
        import time

        time.sleep(0.03)


async def isolator() -> None:
    async with ProcessIsolator() as one:
        await one.invoke_method(give, 1)
        await one.invoke_method("time:sleep", 0.01)


async def isolator_that_hangs() -> None:
    async with ProcessIsolator() as one:
        one.invoke_method("time:sleep", 1000)


async def actor() -> None:
    ref = await Slow.start_async()
    try:
        await asyncio.sleep(0.01)
    finally:
        ref.terminate()


async def tree() -> None:
    async with await Supervisor.start_async(children=[ChildSpec("a", Slow), ChildSpec("b", Slow)]) as one:
        await one.child("a").stop_async()


async def time_of(block: Callable[[], Awaitable[Any]], most: float) -> float:
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(most):
            await block()
    except TimeoutError:
        pass
    return asyncio.get_running_loop().time() - began


@pytest.mark.parametrize("block", [isolator, isolator_that_hangs, actor, tree])
def test_what_a_cancelled_block_has_started_ends_with_it(block: Callable[[], Awaitable[Any]]) -> None:
    """At twelve moments of it, from the first on to after its end."""

    async def main() -> None:
        kept = await piactors.spawn_async(give)  # the runtime stays
        lasts = min(await time_of(block, 0.3), 0.3)
        alive = runtime.current()._alive
        for part in range(12):
            await time_of(block, lasts * (part + random.random()) / 12)
            left = [member for member in alive.values() if member is not kept._isolate]
            assert left == [], f"after {part} twelfths of {lasts} seconds"
        await kept.stop_async()

    asyncio.run(main())

"""Actors that ask each other and yield: Ray's and xoscar's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from benchmarks.peers import Cannot
from benchmarks.peers.actors import RayNode
from benchmarks.peers.clock import p50, per_item


class OfRay:
    """Is asked, asks another one, and yields."""

    def echo(self, value: int) -> int:
        """Return the value."""
        return value

    def ask(self, other: Any, calls: int) -> float:
        """Return the p50 of calls of another actor."""
        import ray

        echo = other.echo
        return p50(lambda: ray.get(echo.remote(1)), calls)

    def items(self, number: int) -> Iterator[int]:
        """Yield numbers.  Ray sends to the generator, which rules out `yield from` of what only iterates."""
        for value in range(number):  # noqa: UP028
            yield value


class RayTalker:
    """Two actors in a cluster of one node."""

    @staticmethod
    def check() -> None:
        """Import it."""
        import ray  # noqa: F401

    def __init__(self) -> None:
        self._node = RayNode(2)
        self._ray = self._node.ray
        remote: Any = self._ray.remote(OfRay)
        self._first, self._second = remote.remote(), remote.remote()

    def callback(self, calls: int) -> float:
        """See `Talker`."""
        raise Cannot("an actor cannot call the program that started it")

    def ask(self, calls: int) -> float:
        """See `Talker`."""
        found: float = self._ray.get(self._first.ask.remote(self._second, calls))
        return found

    def stream(self, items: int) -> float:
        """See `Talker`: an `ObjectRefGenerator`, whose items are refs."""
        method = self._first.items.options(num_returns="streaming")
        return per_item(lambda: map(self._ray.get, method.remote(items)), items)

    def stream_in_chunks(self, items: int) -> float:
        """See `Talker`."""
        raise Cannot("each item is an object with a ref of its own")

    def close(self) -> None:
        """See `Talker`."""
        self._node.close()


class XoscarTalker:
    """Two actors, each in a process of one pool.  What is awaited runs here in one event loop."""

    @staticmethod
    def check() -> None:
        """Import it."""
        import xoscar  # noqa: F401

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._run = self._loop.run_until_complete
        self._run(self._start())

    async def _start(self) -> None:
        import xoscar

        from benchmarks.peers import xoscar_actor

        self._pool: Any = await xoscar.create_actor_pool("127.0.0.1", n_process=2)
        self._own, self._first, self._second = [
            await xoscar.create_actor(
                xoscar_actor.Talker,
                address=self._pool.external_address,
                allocate_strategy=xoscar.allocate_strategy.ProcessIndex(number),
            )
            for number in (0, 1, 2)  # 0 is this process
        ]

    def callback(self, calls: int) -> float:
        """See `Talker`: of an actor, since only those are called."""
        found: float = self._run(self._first.ask(self._own, calls))
        return found

    def ask(self, calls: int) -> float:
        """See `Talker`."""
        found: float = self._run(self._first.ask(self._second, calls))
        return found

    def stream(self, items: int) -> float:
        """See `Talker`: one trip for each item."""

        async def read() -> list[int]:
            return [item async for item in await self._first.items(items)]

        return per_item(lambda: self._run(read()), items)

    def stream_in_chunks(self, items: int) -> float:
        """See `Talker`."""
        raise Cannot("each item takes a trip")

    def close(self) -> None:
        """See `Talker`."""
        self._run(asyncio.wait_for(self._pool.stop(), 10))
        self._loop.close()

"""Programs of `examples/savina` as one writes them with xoscar: the same actors, messages and checks of the result.

Actors only tell each other, except where a program is about answers: one that awaits an answer takes no other message
meanwhile, so two that ask each other would wait for ever.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any

import xoscar


def check(found: object, wanted: object) -> None:
    """See that a result is right.

    Raises:
        AssertionError: if it is not.
    """
    if found != wanted:
        raise AssertionError(f"the result is {found!r}, and should be {wanted!r}")


class Done(xoscar.StatelessActor):
    """Holds results until all of them are there.  Stateless: it is told while somebody waits."""

    def __init__(self, results: int) -> None:
        super().__init__()
        self._left = results
        self._results: list[Any] = []
        self._all = asyncio.Event()

    async def put(self, result: Any) -> None:
        """Take one."""
        self._results.append(result)
        self._left -= 1
        if not self._left:
            self._all.set()

    async def results(self) -> list[Any]:
        """Return all."""
        await self._all.wait()
        return self._results


class Stage:
    """A pool, with a process of its own for each actor."""

    def __init__(self, pool: Any) -> None:
        self._address, self._next = pool.external_address, 1

    async def start(self, cls: type, *arguments: Any) -> Any:
        """Start an actor in the next process."""
        self._next += 1
        return await self._create(cls, self._next - 1, *arguments)

    async def done(self, results: int = 1) -> Any:
        """Return what holds results, in this process."""
        return await self._create(Done, 0, results)

    async def _create(self, cls: type, process: int, *arguments: Any) -> Any:
        strategy = xoscar.allocate_strategy.ProcessIndex(process)
        return await xoscar.create_actor(cls, *arguments, address=self._address, allocate_strategy=strategy)


class Ping(xoscar.Actor):
    """Begins, and counts the answers."""

    async def begin(self, pong: Any, count: int, done: Any) -> None:
        """Send the first of `count` messages."""
        self._pong, self._left, self._answers, self._done = pong, count, 0, done
        await pong.meet.tell(self.ref())
        await pong.ping.tell()

    async def answer(self) -> None:
        """Send the next one, or be done."""
        self._answers += 1
        self._left -= 1
        if self._left:
            await self._pong.ping.tell()
        else:
            await self._done.put.tell(self._answers)


class Pong(xoscar.Actor):
    """Answers."""

    async def meet(self, ping: Any) -> None:
        """Answer this one from now on."""
        self._other = ping

    async def ping(self) -> None:
        """Answer."""
        await self._other.answer.tell()


async def ping_pong(stage: Stage, size: int) -> int:
    """Send `size` messages each way."""
    done = await stage.done()
    await (await stage.start(Ping)).begin(await stage.start(Pong), size, done)
    check(await done.results(), [size])
    return 2 * size


class Counter(xoscar.Actor):
    """Counts."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    async def increment(self) -> None:
        """Count one up."""
        self._count += 1

    async def tell_count(self, done: Any) -> None:
        """Tell how many there were."""
        await done.put.tell(self._count)


class Producer(xoscar.Actor):
    """Sends."""

    async def produce(self, counter: Any, number: int, done: Any) -> None:
        """Send so many messages, and ask for the count."""
        for _ in range(number):
            await counter.increment.tell()
        await counter.tell_count.tell(done)


async def counting(stage: Stage, size: int) -> int:
    """Send `size` messages."""
    done = await stage.done()
    await (await stage.start(Producer)).produce.tell(await stage.start(Counter), size, done)
    check(await done.results(), [size])
    return size + 2


class Worker(xoscar.Actor):
    """Does a little work for each message."""

    def __init__(self, number: int, done: Any) -> None:
        super().__init__()
        self._left, self._total, self._done = number, 0.0, done

    async def work(self, value: float) -> None:
        """Work, and tell once all is done."""
        self._total += math.sin(value) ** 2 + math.cos(value) ** 2
        self._left -= 1
        if not self._left:
            await self._done.put.tell(self._total)


async def fork_join(stage: Stage, size: int) -> int:
    """Send `size` messages to each of four actors."""
    done = await stage.done(4)
    workers = [await stage.start(Worker, size, done) for _ in range(4)]
    for number in range(size):
        for worker in workers:
            await worker.work.tell(float(number))
    check([round(total) for total in await done.results()], [size] * 4)
    return 4 * size


class RingNode(xoscar.Actor):
    """One place in the ring."""

    def __init__(self, number: int, done: Any) -> None:
        super().__init__()
        self._number, self._done = number, done

    async def link(self, following: Any) -> None:
        """Pass the token on to this one."""
        self._following = following

    async def token(self, left: int) -> None:
        """Pass it on, or say who has it at last."""
        if left:
            await self._following.token.tell(left - 1)
        else:
            await self._done.put.tell(self._number)


async def thread_ring(stage: Stage, size: int) -> int:
    """Pass the token on `size` times among eight."""
    done = await stage.done()
    nodes = [await stage.start(RingNode, number, done) for number in range(8)]
    for node, following in zip(nodes, nodes[1:] + nodes[:1], strict=True):
        await node.link(following)
    await nodes[0].token.tell(size)
    check(await done.results(), [size % 8])
    return size


class BigNode(xoscar.Actor):
    """Asks others, and answers."""

    def __init__(self, number: int, sink: Any) -> None:
        super().__init__()
        self._number, self._sink = number, sink
        self._random, self._answers = random.Random(number), 0

    async def meet(self, others: list[Any]) -> None:
        """Know all, oneself included."""
        self._others = {place: other for place, other in enumerate(others) if place != self._number}

    async def begin(self, count: int) -> None:
        """Ask so often."""
        self._left = count
        await self._ask()

    async def _ask(self) -> None:
        other = self._random.choice(list(self._others))
        await self._others[other].ping.tell(self._number)

    async def ping(self, sender: int) -> None:
        """Answer."""
        await self._others[sender].pong.tell()

    async def pong(self) -> None:
        """Ask the next one, or be done."""
        self._answers += 1
        self._left -= 1
        if self._left:
            await self._ask()
        else:
            await self._sink.finished.tell(self._answers)


class Sink(xoscar.Actor):
    """Waits for all."""

    def __init__(self, actors: int, done: Any) -> None:
        super().__init__()
        self._left, self._total, self._done = actors, 0, done

    async def finished(self, answers: int) -> None:
        """One has had all its answers."""
        self._total += answers
        self._left -= 1
        if not self._left:
            await self._done.put.tell(self._total)


async def big(stage: Stage, size: int) -> int:
    """Have each of six ask `size` times."""
    done = await stage.done()
    sink = await stage.start(Sink, 6, done)
    nodes = [await stage.start(BigNode, number, sink) for number in range(6)]
    for node in nodes:
        await node.meet(nodes)
    for node in nodes:
        await node.begin.tell(size)
    check(await done.results(), [6 * size])
    return 12 * size


class Dictionary(xoscar.Actor):
    """Holds it."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[int, int] = {}
        self._writes = self._reads = 0

    async def write(self, key: int, value: int) -> int:
        """Write, and return the value."""
        self._writes += 1
        self._entries[key] = value
        return value

    async def read(self, key: int) -> int | None:
        """Return what was written."""
        self._reads += 1
        return self._entries.get(key)

    async def counts(self) -> tuple[int, int]:
        """Return how often it was written to, and read."""
        return self._writes, self._reads


class Client(xoscar.Actor):
    """Works on keys of its own, so that it knows what it has to find."""

    async def work(self, dictionary: Any, number: int, operations: int) -> tuple[int, int]:
        """Return how often it has written and read."""
        chance, known, writes = random.Random(number), {}, 0
        for _ in range(operations):
            key = number * 1000 + chance.randrange(100)
            if chance.random() < 0.1:
                known[key] = await dictionary.write(key, chance.randrange(1 << 30))
                writes += 1
            else:
                check(await dictionary.read(key), known.get(key))
        return writes, operations - writes


async def concurrent_dictionary(stage: Stage, size: int) -> int:
    """Do `size` operations by each of four clients."""
    dictionary = await stage.start(Dictionary)
    clients = [await stage.start(Client) for _ in range(4)]
    counts = await asyncio.gather(*(client.work(dictionary, number, size) for number, client in enumerate(clients)))
    check(await dictionary.counts(), (sum(writes for writes, _ in counts), sum(reads for _, reads in counts)))
    return 4 * size


class Master(xoscar.Actor):
    """Adds up."""

    def __init__(self, parts: int, done: Any) -> None:
        super().__init__()
        self._left, self._total, self._done = parts, 0.0, done

    async def part(self, area: float) -> None:
        """Take one part."""
        self._total += area
        self._left -= 1
        if not self._left:
            await self._done.put.tell(self._total)


class Integrator(xoscar.Actor):
    """Integrates."""

    async def integrate(self, left: float, right: float, pieces: int, master: Any) -> None:
        """Approximate the area below the sine between two points by so many pieces."""
        width = (right - left) / pieces
        area = (math.sin(left) + math.sin(right)) / 2
        area += sum(math.sin(left + piece * width) for piece in range(1, pieces))
        await master.part.tell(area * width)


async def trapezoidal(stage: Stage, size: int) -> int:
    """Use `size` pieces for each of four parts."""
    done, width = await stage.done(), math.pi / 4
    master = await stage.start(Master, 4, done)
    for number in range(4):
        integrator = await stage.start(Integrator)
        await integrator.integrate.tell(number * width, (number + 1) * width, size, master)
    [total] = await done.results()
    check(abs(total - 2) <= math.pi**3 / 12 / (4 * size) ** 2 + 1e-9, True)
    return 8


Program = Callable[[Stage, int], Awaitable[int]]
PROGRAMS: dict[str, tuple[int, Program]] = {
    "ping_pong": (2, ping_pong),
    "counting": (2, counting),
    "fork_join": (4, fork_join),
    "thread_ring": (8, thread_ring),
    "big": (7, big),
    "concurrent_dictionary": (5, concurrent_dictionary),
    "trapezoidal": (5, trapezoidal),
}
"""How many processes each needs, and what runs it: it returns how many messages were sent."""

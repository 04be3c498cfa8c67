"""Actors for the tests of streams: they yield items, and read those that they are given."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import piactors
from piactors import ProcessActor, stream, stream_options


class Point:
    """A class of a module."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x

    __hash__ = None  # type: ignore[assignment]


class Maker(ProcessActor):
    """Yields items."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.closed: list[str] = []
        self.saw_cancel = False

    def on_stop(self) -> None:
        for name in self.closed:
            print("closed", name, flush=True)

    def count(self, number: int, step: int = 1) -> Iterator[int]:
        try:
            for n in range(0, number * step, step):
                self.made += 1
                yield n
        except GeneratorExit:
            self.closed.append("count")
            raise

    @stream_options(window=4)
    def narrow(self, number: int) -> Iterator[int]:
        yield from self.count(number)

    @stream_options(window=1000, window_bytes="64 KiB")
    def texts(self, size: int) -> Iterator[str]:
        while True:
            self.made += 1
            yield "x" * size

    @stream_options(window=256)
    def wide(self, number: int) -> Iterator[int]:
        yield from self.count(number)

    async def acount(self, number: int) -> AsyncIterator[int]:
        try:
            for n in range(number):
                self.made += 1
                yield n
                if n % 10 == 0:
                    await asyncio.sleep(0)
        finally:
            self.closed.append("acount")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def first(self, items: Any) -> Any:
        return next(iter(items))

    def gated(self, gate: Any) -> Iterator[int]:
        """Yield two items, and go on when they have come."""
        yield 1
        yield 2
        gate()
        yield 3

    async def agated(self, gate: Any) -> AsyncIterator[int]:
        yield 1
        yield 2
        await gate.future()
        yield 3

    def fails(self, after: int) -> Iterator[int]:
        yield from range(after)
        raise LookupError("no more", after)

    def dies(self, gate: Any) -> Iterator[int]:
        yield 1
        yield 2
        gate()
        os.kill(os.getpid(), signal.SIGKILL)
        yield 3

    def one_list(self, number: int) -> Iterator[list[int]]:
        found: list[int] = []
        for n in range(number):
            found.append(n)
            yield found

    def points(self, number: int) -> Iterator[Point]:
        for n in range(number):
            yield Point(n)

    def unsendable(self, after: int) -> Iterator[Any]:
        try:
            yield from range(after)
            yield open(os.devnull)  # noqa: SIM115
        finally:
            self.closed.append("unsendable")

    def arrays(self, number: int, size: int) -> Iterator[Any]:
        import numpy

        for n in range(number):
            self.made += 1
            yield numpy.full(size, n, "u1")

    def mixed(self) -> Iterator[Any]:
        yield 1
        yield "x" * 100_000
        yield [2]
        yield b"y" * 200_000
        yield None

    def refs(self) -> Iterator[Any]:
        yield self.actor_ref

    def patient(self) -> Iterator[int]:
        """Yield one item, and then run until nobody wants more."""
        yield 1
        while not piactors.cancelled():
            time.sleep(0.001)
        self.saw_cancel = True
        time.sleep(0.1)
        yield 2

    @stream_options(window=1)
    def bad_end(self) -> Iterator[int]:
        try:
            yield 1
        finally:
            raise RuntimeError("the end has failed")

    def doubled(self, items: Any) -> Iterator[int]:
        for item in items:
            yield item * 2

    async def adoubled(self, items: Any) -> AsyncIterator[int]:
        async for item in items:
            yield item * 2

    def sum(self, items: Any) -> int:
        return sum(items)

    async def asum(self, items: Any) -> int:
        total = 0
        async for item in items:
            total += item
        return total

    def some(self, items: Any, number: int) -> list[Any]:
        found = []
        for item in items:
            found.append(item)
            if len(found) == number:
                break
        return found

    def keep(self, items: Any) -> Any:
        self.kept = items
        return next(items)

    def rest(self) -> list[Any]:
        return list(self.kept)

    def back(self, thing: Any) -> Any:
        return thing

    def let_go(self) -> None:
        self.kept = None

    def ends_with(self, items: Any, tell: Any = None) -> tuple[list[Any], str]:
        found = []
        try:
            for item in items:
                found.append(item)
                if tell is not None:
                    tell(item)
        except Exception as error:
            return found, f"{type(error).__name__}: {error}"
        return found, ""

    def sum_of(self, ref: Any, number: int) -> int:
        return sum(ref.proxy().count(number))

    async def asum_of(self, ref: Any, number: int) -> int:
        total = 0
        async for item in ref.proxy().acount(number):
            total += item
        return total

    def lends(self, number: int) -> Any:
        return stream(range(number))

    def lends_to(self, ref: Any, number: int) -> int:
        return int(ref.proxy().sum(stream(range(number))).get(timeout=20))

    def about(self) -> tuple[int, list[str]]:
        return self.made, self.closed

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def numbers(count: int) -> Iterator[int]:
    """Yield numbers; a function that is called by name, or handed over."""
    yield from range(count)


async def anumbers(count: int) -> AsyncIterator[int]:
    """Do so as an asynchronous generator."""
    for number in range(count):
        yield number


class Keeper(ProcessActor):
    """Keeps itself to one reader, and sends items as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Any] = []

    def note(self, value: Any) -> Any:
        self.log.append(value)
        return value

    def logged(self) -> list[Any]:
        return self.log

    @stream_options(exclusive=True)
    def kept(self, number: int) -> Iterator[int]:
        for n in range(number):
            self.log.append(n)
            yield n
        self.log.append("end")

    @stream_options(exclusive=True, window=4)
    async def kept_async(self, number: int) -> AsyncIterator[int]:
        for n in range(number):
            self.log.append(n)
            yield n

    @stream_options(exclusive=True)
    def kept_fails(self) -> Iterator[int]:
        yield 1
        raise LookupError("in the middle")

    @stream_options(batch=1)
    def one_by_one(self, number: int) -> Iterator[int]:
        yield from range(number)

    @stream_options(batch=5, window=20)
    def fives(self, number: int, seconds: float = 0.0) -> Iterator[int]:
        for n in range(number):
            time.sleep(seconds)
            yield n

    @stream_options(exclusive=True)
    @piactors.call_options(call_timeout=0.3)
    def stuck(self) -> Iterator[int]:
        yield 1
        time.sleep(60)
        yield 2

    def read(self, items: Any) -> list[Any]:
        return list(items)

    def read_one(self, items: Any) -> Any:
        return next(iter(items))

"""Actors for the tests.  They import little, since each generation imports this module anew."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import Any

import attrs

import piactors
from piactors import ProcessActor


@attrs.frozen
class Point:
    """A value class that both sides can import."""

    x: int
    y: int


class Worker(ProcessActor):
    """An actor with a bit of everything."""

    def __init__(self, greeting: str = "hello") -> None:
        super().__init__()
        self.greeting = greeting
        self.seen: list[Any] = []

    def greet(self, name: str) -> str:
        return f"{self.greeting}, {name}"

    def move(self, point: Point, by: int) -> Point:
        return Point(point.x + by, point.y + by)

    def on_receive(self, message: Any) -> Any:
        self.seen.append(message)
        return len(self.seen)

    def fail(self) -> None:
        raise KeyError("gone")

    def result_that_cannot_be_sent(self) -> Any:
        return threading.Lock()

    def stop_myself(self) -> str:
        self.stop()
        return "stopping"

    def pid(self) -> int:
        return os.getpid()

    def exit(self, code: int) -> None:
        os._exit(code)

    async def slow_echo(self, value: Any, seconds: float) -> Any:
        await asyncio.sleep(seconds)
        return value

    async def meet(self, number: int, parties: int) -> int:
        """Return once so many of these calls have begun."""
        self.seen.append(number)
        while len(self.seen) < parties:
            await asyncio.sleep(0.005)
        return number

    def later_by_myself(self, value: int) -> Any:
        return self.actor_ref.proxy().greet(str(value))


class Fragile(ProcessActor):
    """Dies on demand, and writes down what it runs."""

    def __init__(self, log: str = os.devnull) -> None:
        super().__init__()
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def work(self, number: int) -> int:
        os.write(self._log, b"%d\n" % number)
        return number

    def work_for(self, number: int, seconds: float) -> int:
        self.work(number)
        time.sleep(seconds)
        return number

    def on_receive(self, message: int) -> int:
        return self.work(message)

    def die(self, number: int = -1) -> None:
        self.work(number)
        os.kill(os.getpid(), signal.SIGKILL)

    @piactors.idempotent(retries=2)
    def die_once(self, flag: str) -> str:
        if not os.path.exists(flag):
            open(flag, "w").close()
            os._exit(1)
        return "survived"

    @piactors.idempotent(retries=2)
    def die_always(self, number: int) -> None:
        self.die(number)

    def hold(self, begun: str, until: str) -> None:
        open(begun, "w").close()
        while not os.path.exists(until):
            time.sleep(0.005)

    def pid(self) -> int:
        return os.getpid()

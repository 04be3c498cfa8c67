"""An actor whose calls return what is lent, for the tests of calls on results."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import piactors
from piactors import ProcessActor, by_ref


class Book:
    """Something that is lent: it leads to the next one."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.notes: list[Any] = []

    def next(self) -> Any:
        return by_ref(Book(self.number + 1))

    def read(self, *more: Any, **named: Any) -> Any:
        return (self.number, *more, *named.values())

    def note(self, value: Any) -> int:
        self.notes.append(value)
        return len(self.notes)

    def all_notes(self) -> list[Any]:
        return self.notes

    def where(self) -> tuple[int, str]:
        return os.getpid(), threading.current_thread().name

    def fail(self) -> None:
        raise LookupError("torn", self.number)

    def copy(self) -> list[int]:
        return [self.number]

    def use(self, function: Any) -> Any:
        return function(self.number)

    def wait_for(self, path: str) -> str:
        while not os.path.exists(path):
            time.sleep(0.005)
        return path

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Shelf(ProcessActor):
    """Gives out what is lent."""

    def __init__(self, other: Any = None) -> None:
        super().__init__()
        self.other = other
        self.handle = by_ref(Book(0))
        self.count = 0

    def pid(self) -> int:
        return os.getpid()

    def note(self, value: Any) -> int:
        self.count += 1
        return value - self.count

    def use(self, function: Any) -> Any:
        return function(0)

    def give(self, value: Any) -> Any:
        return value

    def open(self, number: int) -> Any:
        return by_ref(Book(number))

    async def open_async(self, number: int) -> Any:
        return by_ref(Book(number))

    def the_same(self) -> Any:
        return self.handle

    def release(self) -> None:
        self.handle.release()

    def open_after(self, path: str, number: int) -> Any:
        while not os.path.exists(path):
            time.sleep(0.005)
        return by_ref(Book(number))

    def doubler(self) -> Any:
        return by_ref(lambda value: value * 2)

    def me(self) -> Any:
        return self.actor_ref

    def the_other(self) -> Any:
        return self.other

    def book_of_other(self) -> Any:
        return self.other.proxy().open(40).get()

    def nested(self) -> list[Any]:
        return [by_ref(Book(1))]

    def plain(self) -> list[int]:
        return [1]

    def fail(self) -> None:
        raise ValueError("no books")

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @piactors.idempotent
    def die_once(self, path: str) -> Any:
        if not os.path.exists(path):
            with open(path, "w"):
                self.die()
        return by_ref(Book(7))

    def chain(self, number: int) -> Any:
        """Do what a host does with results, here."""
        future = self.other.proxy().open(number)
        return future.call("next").call("read", 5).get(timeout=20)

    def chain_to_ref(self) -> Any:
        return self.other.proxy().me().call("pid").get(timeout=20)

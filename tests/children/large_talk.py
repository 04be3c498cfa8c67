"""Actors that send each other what is large."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy

from piactors import ProcessActor, by_ref


class Taker(ProcessActor):
    """Takes and gives what is large."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def size(self, value: Any) -> int:
        return len(value)

    def back(self, value: Any) -> Any:
        return value

    def make(self, size: int) -> Any:
        return numpy.arange(size, dtype="u1")

    def text(self, size: int) -> Any:
        return "é" * size, b"x" * size

    def plain(self, size: int) -> bytes:
        return b"y" * size

    def change(self, array: Any) -> int:
        array[0] = 7
        return int(array[0])

    def keep(self, value: Any) -> None:
        self.kept.append(value)

    def sizes(self) -> list[int]:
        return [len(value) for value in self.kept]

    def lend(self) -> Any:
        return by_ref(self, methods=["size", "back", "make"])

    def hold(self, handle: Any) -> None:
        handle()

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def raise_large(self, size: int) -> None:
        raise LookupError("z" * size)

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    def leave_no_descriptor(self) -> None:
        """Have no descriptor left."""
        import resource

        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


class Giver(ProcessActor):
    """Sends it."""

    def __init__(self, taker: Any) -> None:
        super().__init__()
        self.ref, self.taker = taker, taker.proxy()

    def ask(self, method: str, *args: Any) -> Any:
        return getattr(self.taker, method)(*args).get(timeout=20)

    def array(self, size: int) -> bool:
        """Whether one goes there and back unchanged, and is its receiver's own."""
        array = numpy.arange(size, dtype="u1")
        found = self.taker.back([array, {"a": array[:10]}]).get(timeout=20)
        found[0][1] = 9
        changed = self.taker.change(array).get(timeout=20)
        same: bool = bool((found[0][2:] == array[2:]).all()) and len(found[1]["a"]) == 10
        return same and changed == 7 and array[0] == 0 and array[1] == 1

    def with_ref(self, size: int) -> Any:
        """Send something that is lent beside what is large."""
        found = self.taker.back({"me": self.ref, "bytes": b"x" * size}).get(timeout=20)
        return found["me"] == self.ref, len(found["bytes"])

    def use_lent(self, size: int) -> Any:
        """Use what the other one lends."""
        lent, array = self.taker.lend().get(timeout=20), numpy.arange(size, dtype="u1")
        same = bool((lent.back([array])[0] == array).all())
        return lent.size(array), same, len(lent.make(size))

    def call_back(self, function: Any, size: int) -> Any:
        return function(numpy.ones(size, "u1"), b"x" * size)

    def made(self, size: int) -> bool:
        array = self.taker.make(size).get(timeout=20)
        array[0] = 1
        return bool((array[1:256] == numpy.arange(1, 256, dtype="u1")).all()) and len(array) == size

    def received(self, method: str, size: int) -> Any:
        found = getattr(self.taker, method)(size).get(timeout=20)
        return [len(part) for part in found] if type(found) is tuple else len(found)

    def tell(self, count: int, size: int) -> None:
        for number in range(count):
            self.taker.keep.defer(numpy.full(size + number, number, "u1"))

    def many(self, count: int, size: int) -> int:
        array, same = numpy.ones(size, "u1"), 0
        for _ in range(count):
            same += self.taker.size(array).get(timeout=20) == len(self.taker.make(size).get(timeout=20))
        return same

    def keep_many(self, count: int, size: int) -> int:
        """Hold so many at once; return how many descriptors that takes."""
        before = self.descriptors()
        kept = [self.taker.make(size).get(timeout=20) for _ in range(count)]
        return self.descriptors() - before + 0 * len(kept)

    def unheard(self, count: int, size: int) -> None:
        """Ask, and let go of what comes."""
        for future in [self.taker.make(size) for _ in range(count)]:
            future.exception(timeout=20)
            del future

    def late(self, size: int) -> str:
        try:
            self.taker.size.with_options(timeout=0.1)(numpy.ones(size, "u1")).get()
        except Exception as error:
            return type(error).__name__
        return "in time"

    def fail(self, *args: Any) -> str:
        try:
            self.ask(*args)
        except Exception as error:
            return f"{type(error).__name__} {len(str(error)) > 1000}"
        return "no error"

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))

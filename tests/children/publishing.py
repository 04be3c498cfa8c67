"""An actor for the tests of topics."""

from __future__ import annotations

import os
import signal
from typing import Any

from piactors import ProcessActor, Topic


class Reader(ProcessActor):
    """Takes what is published."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def take(self, value: Any) -> None:
        if value == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if value == "raise":
            raise LookupError(value)
        self.seen.append(value)

    def change(self, array: Any) -> None:
        """Change what was published, here."""
        array[0] += 1
        self.seen.append((int(array[0]), int(array.sum()), array.flags.writeable))

    def keep(self, array: Any) -> None:
        self.seen.append(array)

    def weigh_array(self, array: Any) -> int:
        return len(array)

    def nothing(self) -> None:
        """Answer."""

    def weigh(self, found: dict[str, Any]) -> None:
        self.seen.append({name: len(value) for name, value in found.items()})

    def sums(self) -> list[int]:
        return [int(array.sum()) for array in self.seen]

    def leave_descriptors(self, count: int) -> None:
        """Have no more than so many descriptors left."""
        import resource

        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + count, used + count))

    def forget(self) -> None:
        self.seen.clear()

    def held_by(self, wait: Any) -> None:
        wait()

    def makes_one(self) -> Any:
        return Topic("mine")

    def subscribe_to(self, topic: Any) -> None:
        topic.subscribe(self.actor_ref, "take")

    def publish(self, topic: Any, count: int) -> None:
        for number in range(count):
            topic.publish(("isolate", number))

    def publish_array(self, topic: Any, size: int) -> None:
        import numpy

        topic.publish(numpy.ones(size, "u1"))

    def read(self, topic: Any, count: int) -> list[Any]:
        publications = topic.stream()
        return [next(publications) for _ in range(count)]


class PlainReader:
    """The same without being an actor."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def take(self, value: Any) -> None:
        self.seen.append(len(value))

    def sizes(self) -> list[int]:
        return self.seen

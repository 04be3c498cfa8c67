"""Actors and functions for the programs that type checkers are run over; isolates import this, so it needs little."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import pykka

import piactors
from piactors import IsolationOptions, ProcessActor

if TYPE_CHECKING:
    from piactors import IsolateRef

T = TypeVar("T")


class Calc(ProcessActor):
    isolation = IsolationOptions(restart="transient")
    made: ClassVar[int] = 0

    def __init__(self, base: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.names: list[str] = []

    def on_start(self) -> None:
        self.names.append("started")

    def on_receive(self, message: Any) -> Any:
        return message

    def add(self, k: int) -> int:
        return self.base + k

    def several(self, first: int, /, *rest: int, last: int = 0, **named: int) -> list[int]:
        return [first, *rest, last, *named.values()]

    async def later(self, k: int) -> str:
        await asyncio.sleep(0)
        return str(k)

    def untyped(self, k):  # type: ignore[no-untyped-def]
        return k

    @piactors.idempotent
    def sure(self, k: int) -> int:
        return k

    @piactors.idempotent(retries=2)
    def surer(self, k: int) -> int:
        return k

    @piactors.call_options(call_timeout=20, retries=1)
    def timed(self, k: int) -> int:
        return k

    @property
    def doubled(self) -> int:
        return 2 * self.base

    @staticmethod
    def helper(k: int) -> int:
        return k

    def again(self) -> str:
        return str(self.actor_ref.actor_urn)

    def end(self) -> None:
        self.stop()

    @classmethod
    def begun(cls, base: int) -> IsolateRef[Self]:
        return cls.start(base)


class Loud(Calc):
    """A subclass with another constructor and an override."""

    def __init__(self, name: str) -> None:
        super().__init__(10)
        self.name = name

    def add(self, k: int, more: int = 0) -> int:
        return super().add(k) + more + 100


class Bare(ProcessActor):
    def ping(self) -> str:
        return "pong"


class Other(ProcessActor):
    def __init__(self) -> None:
        super().__init__()

    def add(self, k: int) -> int:
        return k


class Passing(ProcessActor):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.given = args

    def count(self) -> int:
        return len(self.given)


class Box(ProcessActor, Generic[T]):
    def __init__(self, content: T) -> None:
        super().__init__()
        self.content = content

    def swap(self, content: T) -> T:
        before, self.content = self.content, content
        return before


class Plain:
    """A class that knows nothing of piactors."""

    def __init__(self, size: int) -> None:
        self.size = size

    def shout(self, text: str) -> str:
        return text.upper() * self.size


class Thread(pykka.ThreadingActor):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def double(x: int) -> int:
    return 2 * x


def nothing() -> str:
    return "nothing"


async def slowly(x: int) -> str:
    await asyncio.sleep(0)
    return str(x)

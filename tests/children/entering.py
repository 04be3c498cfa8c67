"""Actors that are entered again while they wait, for the tests of `reentrant`."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import Any

import piactors
from piactors import ProcessActor


class Room(ProcessActor):
    """Asks another one, which asks it in turn, and keeps a log."""

    def __init__(self) -> None:
        super().__init__()
        self.other: Any = None
        self.log: list[Any] = []
        self.running = 0

    def link(self, other: Any) -> None:
        self.other = other.proxy()

    def logged(self) -> list[Any]:
        return self.log

    def note(self, value: Any) -> Any:
        self.log.append(value)
        return value

    def note_in(self, path: str, value: Any) -> None:
        """Append to a file, once for each run."""
        with open(path, "a") as file:
            file.write(f"{value}\n")

    def go(self, steps: int) -> Any:
        self.log.append(("in", steps))
        found = self.other.go(steps - 1).get(timeout=20) if steps else "end"
        self.log.append(("out", steps))
        return found

    def go_threads(self, steps: int) -> list[str]:
        name = threading.current_thread().name
        return [name, *(self.other.go_threads(steps - 1).get(timeout=20) if steps else [])]

    @piactors.reentrant
    def waits(self, method: str, *args: Any) -> Any:
        """It may be entered while it waits."""
        return self.other.ask_back(method, *args).get(timeout=20)

    def waits_unmarked(self, method: str, *args: Any) -> Any:
        return self.other.ask_back(method, *args).get(timeout=20)

    def ask_back(self, method: str, *args: Any) -> Any:
        return getattr(self.other, method)(*args).get(timeout=20)

    def ask_back_later(self, seconds: float, method: str, *args: Any) -> Any:
        time.sleep(seconds)
        return self.ask_back(method, *args)

    @piactors.reentrant
    def price(self, item: str) -> str:
        """It may run while another method of it waits."""
        self.log.append(("price", item))
        return f"price of {item}"

    def fail(self) -> None:
        raise LookupError("in the middle")

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def exit(self) -> None:
        raise SystemExit(3)

    def own(self, depth: int) -> Any:
        return self.actor_ref.proxy().own(depth - 1).get(timeout=20) + 1 if depth else 0

    def wait_briefly(self, seconds: float) -> Any:
        """Give up on an answer while what it waits for is entered."""
        try:
            return self.other.ask_back_later(0.0, "sleep", 0.5).get(timeout=seconds)
        except piactors.Timeout:
            return "late"

    def go_later(self, seconds: float, method: str = "note", value: int = 1) -> Any:
        return self.other.ask_back_later(seconds, method, value).get(timeout=20)

    def pid(self) -> int:
        return os.getpid()

    def ask_often(self, count: int) -> int:
        for _ in range(count):
            self.other.ask_back("note", "inner").get(timeout=20)
        return count

    def time_left(self, count: int) -> list[float]:
        """Return how much time this call has, before and after it was entered."""
        call = piactors.current_call()
        assert call is not None
        before = call.remaining()
        self.ask_often(count)
        after = piactors.current_call()
        assert after is not None
        return [before, after.remaining()]

    def sleep(self, seconds: float) -> str:
        self.running += 1
        time.sleep(seconds)
        self.running -= 1
        return f"{self.running} others"

    def use(self, function: Any, data: Any) -> Any:
        return function(data)

    async def go_async(self, steps: int) -> Any:
        await asyncio.sleep(0)
        return await self.other.go_async(steps - 1) if steps else "end"

    def id_of_call(self) -> Any:
        call = piactors.current_call()
        assert call is not None
        return call.id

    def ids(self) -> tuple[int, int, int]:
        """What is known of this call, before, in and after the one in its middle."""
        before = self.id_of_call()
        between = self.other.ask_back("id_of_call").get(timeout=20)
        return before, between, self.id_of_call()

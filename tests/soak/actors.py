"""The `ProcessActor` and the thread actor of the chaos program, which its isolates import."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable
from typing import Any

import pykka

import piactors
from piactors import ProcessActor
from tests.soak.behaviour import Behaviour, die_unless_there, leave, step

RETRIES = 2
"""How often the idempotent methods may be tried again."""
SHORT = 1.0
"""Seconds that `Actor.brief` may run."""


def step_async(method: Callable[..., Any]) -> Callable[..., Any]:
    """As `step`, of a coroutine method."""

    @functools.wraps(method)
    async def noted(self: Any, number: int, *args: Any) -> Any:
        self.journal.note("B", number)
        result = await method(self, number, *args)
        self.journal.note("E", number)
        return result

    return noted


class Actor(Behaviour, ProcessActor):
    """All that `Behaviour` does, as an actor, and what only an actor can."""

    def __init__(self, journal: str, start_seconds: float = 0.0) -> None:
        ProcessActor.__init__(self)
        Behaviour.__init__(self, journal, start_seconds)

    def on_receive(self, message: Any) -> Any:
        return getattr(self, message["method"])(message["number"], *message["args"])

    @piactors.idempotent(retries=RETRIES)
    @step
    def retried_unless(self, number: int, flag: str) -> Any:
        die_unless_there(flag)
        return number

    @piactors.idempotent(retries=RETRIES)
    @step
    def retried_always(self, number: int) -> Any:
        os._exit(5)

    @piactors.idempotent(retries=RETRIES)
    @step
    def retried(self, number: int) -> int:
        return number

    @piactors.call_options(call_timeout=SHORT)
    @step
    def brief(self, number: int, hangs: bool) -> int:
        if hangs:
            time.sleep(3600)
        return number

    @step_async
    async def doze(self, number: int, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return number

    @step_async
    async def leave_asleep(self, number: int, how: str) -> None:
        await asyncio.sleep(0.001)
        leave(how)

    @step
    def stop_myself(self, number: int) -> int:
        self.stop()
        return number


class Threaded(pykka.ThreadingActor):
    """A child in a thread of the host."""

    def on_receive(self, message: Any) -> Any:
        if message == "fail":
            raise ValueError("planned")
        return message

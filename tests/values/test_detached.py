"""What is asked in a detached block belongs to no call: it is not cancelled with one, and has none of its time."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import piactors
from piactors import ProcessActor, by_ref
from tests.support import wait_until

SECONDS = 20


class Target(ProcessActor):
    """Does what others ask."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def hold(self, began: Any, gate: Any) -> str:
        began()
        gate()
        self.seen.append("told" if piactors.cancelled() else "not told")
        return "held"

    def left(self) -> float:
        call = piactors.current_call()
        assert call is not None
        return call.remaining()


class Asker(ProcessActor):
    """Asks it, detached."""

    def ask(self, other: Any, began: Any, gate: Any) -> Any:
        with piactors.detached():
            future = other.proxy().hold(began, gate)
        return future.get()

    async def await_it(self, other: Any, began: Any, gate: Any) -> Any:
        with piactors.detached():
            return await asyncio.shield(asyncio.ensure_future(_awaited(other.proxy().hold(began, gate))))

    def left(self, other: Any) -> tuple[float, float]:
        with piactors.deadline(5), piactors.detached():
            without = other.proxy().left().get()
        return other.proxy().left().get(), without


async def _awaited(future: Any) -> Any:
    return await future


@pytest.fixture
def refs() -> Iterator[tuple[Any, Any]]:
    found = Asker.start(), Target.start()
    yield found
    for ref in found:
        ref.stop(timeout=SECONDS)


@pytest.mark.parametrize("ask", ["ask", "await_it"])
def test_it_goes_on_if_the_call_is_cancelled(refs: tuple[Any, Any], ask: str) -> None:
    asker, target = refs
    began, gate = threading.Event(), threading.Event()
    future = getattr(asker.proxy(), ask)(target, by_ref(began.set), by_ref(lambda: gate.wait(SECONDS) and None))
    assert began.wait(SECONDS)
    future.cancel()
    gate.set()
    wait_until(lambda: target.proxy().seen.get(timeout=SECONDS) == ["not told"])


def test_it_has_none_of_the_time_of_the_call(refs: tuple[Any, Any]) -> None:
    asker, target = refs
    bounded, without = asker.proxy().left.with_options(timeout=SECONDS)(target).get(timeout=SECONDS)
    assert 0 < bounded <= SECONDS
    assert without == math.inf
    with piactors.deadline(SECONDS), piactors.detached():
        assert target.proxy().left().get(timeout=SECONDS) == math.inf

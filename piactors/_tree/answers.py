"""Awaiting an answer from something that goes on whether the wait is cancelled or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from piactors.future import Future


async def answer(call: Future[Any]) -> Any:
    """Return the outcome of a call, and let the event loop run meanwhile; a cancelled wait leaves the call as it is."""
    shown: Future[Any] = Future()
    call._when_done(lambda: shown.settle_with(call.get))
    return await shown


def if_it_succeeds(call: Future[Any], then: Callable[[], object]) -> None:
    """Call `then()` once a call has succeeded, in the thread that finds that out, so it must be quick."""
    call._when_done(lambda: then() if call.exception() is None else None)

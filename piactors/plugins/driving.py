"""Drives the steps of a hook call: in the thread that calls, or on an event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs

from piactors.plugins.multicall import Ask, Steps, Stopped, Surround, carried


class Isolated(Protocol):
    """How implementations in isolates are asked."""

    def surround(self, step: Surround, rest: Callable[[], Any]) -> Any:
        """Have a wrapper go around the rest, and return what comes of that."""

    async def surround_async(self, step: Surround, rest: Callable[[], Awaitable[Any]]) -> Any:
        """The same, awaited."""


@attrs.frozen
class _End:
    """There is no further step."""

    result: Any


def _next(send: Callable[[Any], Ask | Surround], value: Any) -> Ask | Surround | _End:
    """Return the next step of a hook call.

    Raises:
        BaseException: what the call comes to, if that is an exception.
    """
    try:
        return send(value)
    except StopIteration as end:
        return _End(end.value)
    except Stopped as stopped:
        raise stopped.error from None


def drive(steps: Steps, isolated: Isolated) -> Any:
    """Run a hook call to its end, and return its result."""
    send, value = steps.send, None
    while True:
        step = _next(send, value)
        if isinstance(step, _End):
            return step.result
        try:
            value, send = _performed(step, isolated), steps.send
        except BaseException as error:
            value, send = carried(error), steps.throw


def _performed(step: Ask | Surround, isolated: Isolated) -> Any:
    if isinstance(step, Ask):
        return step.begun.result()
    return isolated.surround(step, lambda: drive(step.rest(), isolated))


async def drive_async(steps: Steps, isolated: Isolated) -> Any:
    """Run a hook call to its end as `drive` does, and let the event loop run while isolates are asked."""
    send, value = steps.send, None
    while True:
        step = _next(send, value)
        if isinstance(step, _End):
            return step.result
        try:
            value, send = await _performed_async(step, isolated), steps.send
        except BaseException as error:
            value, send = carried(error), steps.throw


async def _performed_async(step: Ask | Surround, isolated: Isolated) -> Any:
    if isinstance(step, Ask):
        return await step.begun.result_async()
    return await isolated.surround_async(step, lambda: drive_async(step.rest(), isolated))

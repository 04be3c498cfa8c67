"""What a wrapper in an isolate goes around, which runs once, in its caller's thread or on its loop."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any

import attrs
import pykka

from piactors.errors import CallTimeout, IsolateCrashed, Timeout
from piactors.future import Future

Told = tuple[bool, Any]
"""Whether it has succeeded, and its result, or its exception: as a wrapper gets it."""


class Inner:
    """What a wrapper goes around.

    Args:
        rest: runs it, and returns its result.
    """

    def __init__(self, rest: Callable[[], Any]) -> None:
        self._rest = rest
        self.has_begun = False
        self.ended_at = 0.0
        """When it has ended, on the monotonic clock; 0: it has not."""
        self._told: Told = (True, None)

    @property
    def has_ended(self) -> bool:
        """Whether there is an outcome."""
        return self.ended_at > 0

    def begins(self) -> None:
        """It begins.

        Raises:
            RuntimeError: if it has begun before.
        """
        if self.has_begun:
            raise RuntimeError("what a wrapper goes around runs once")
        self.has_begun = True

    def ends(self, succeeded: bool, value: Any) -> Told:
        """This is its outcome."""
        self._told, self.ended_at = (succeeded, value), time.monotonic()
        return self._told

    def run(self) -> Told:
        """Run it, for the wrapper."""
        self.begins()
        try:
            return self.ends(True, self._rest())
        except BaseException as error:
            return self.ends(False, error)

    def outcome(self) -> Any:
        """Return its result.

        Raises:
            BaseException: what it has raised.
        """
        succeeded, value = self._told
        if succeeded:
            return value
        raise value


class InnerTask(Inner):
    """What a wrapper goes around, on an event loop, in the context of who has called the hook.

    Args:
        rest: runs it.
    """

    def __init__(self, rest: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(rest)
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[Any] | None = None

    async def run_async(self) -> Told:
        """Run it, for the wrapper; it goes on if nobody waits for that any more."""
        self.begins()
        coroutine: Coroutine[Any, Any, Any] = self._rest()
        self._task = asyncio.get_running_loop().create_task(coroutine, context=self._context)
        await asyncio.wait({self._task})
        return self._note()

    run = run_async  # type: ignore[assignment]

    def _note(self) -> Told:
        assert self._task is not None
        if self._task.cancelled():
            return self.ends(False, asyncio.CancelledError())
        error = self._task.exception()
        return self.ends(True, self._task.result()) if error is None else self.ends(False, error)

    async def awaited(self) -> Any:
        """Return its result once there is one."""
        if self._task is not None and not self.has_ended:
            await asyncio.wait({self._task})
            self._note()
        return self.outcome()

    def cancel(self) -> None:
        """Nobody wants it any more."""
        if self._task is not None:
            self._task.cancel()


def wrapped(future: Future[Any], inner: Inner, seconds: float | None) -> Any:
    """Return what a wrapper answers, which has so many seconds before what it goes around, and as many after it."""
    since = time.monotonic()
    while True:
        try:
            return future.get(timeout=_left(since, inner, seconds))
        except pykka.Timeout:
            if future.done():
                return future.get()
            if _is_over(since, inner, seconds):
                return _ended(future, seconds)


async def wrapped_async(future: Future[Any], inner: Inner, seconds: float | None) -> Any:
    """Return what a wrapper answers as `wrapped` does, and let the event loop run meanwhile."""
    since, waiting = time.monotonic(), asyncio.ensure_future(_awaited(future))
    try:
        while True:
            await asyncio.wait({waiting}, timeout=_left(since, inner, seconds))
            if waiting.done():
                return waiting.result()
            if _is_over(since, inner, seconds):
                return await asyncio.to_thread(_ended, future, seconds)
    finally:
        waiting.cancel()


async def _awaited(future: Future[Any]) -> Any:
    return await future


def _left(since: float, inner: Inner, seconds: float | None) -> float | None:
    """Return for how long to wait before somebody looks again; None: until there is an answer."""
    if seconds is None:
        return None
    if inner.has_begun and not inner.has_ended:
        return seconds  # what it goes around takes its own time
    return max(0.0, max(since, inner.ended_at) + seconds - time.monotonic())


def _is_over(since: float, inner: Inner, seconds: float | None) -> bool:
    if seconds is None or (inner.has_begun and not inner.has_ended):
        return False
    return time.monotonic() - max(since, inner.ended_at) >= seconds


def _ended(future: Future[Any], seconds: float | None) -> Any:
    """End the process of a wrapper that takes too long.

    Raises:
        CallTimeout: in place of what says that it was killed.
        Timeout: if it has not begun: its process had other things to do, and goes on.
    """
    if future.cancel(kill_after=0):
        raise Timeout(f"a wrapper did not begin within its hook_timeout, {seconds:g} s")
    try:
        return future.get()
    except CancelledError:  # it has looked whether it is wanted, and returned
        raise Timeout(f"a wrapper took longer than its hook_timeout, {seconds:g} s") from None
    except IsolateCrashed as error:
        detail = f"a wrapper took longer than its hook_timeout, {seconds:g} s"
        reason = attrs.evolve(error.reason, kind="call_timeout", detail=detail)
        raise _too_long(error, reason) from None


def _too_long(error: IsolateCrashed, reason: Any) -> CallTimeout:
    fields = {"name": error.name, "pid": error.pid, "generation": error.generation, "reason": reason}
    text = f"isolate {error.name} (pid {error.pid}) was ended: {reason.detail}"
    return CallTimeout(text, **fields, stack="")

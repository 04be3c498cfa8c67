"""The one function that the host lends to each process of a plugin: everything that is asked here comes through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from piactors._values.lent import Handle, ObjectLoan

_AT_ONCE = 8


class AnswerPort(Protocol):
    """What came of something that was asked."""

    reply: Any
    awaited: Any

    def has(self, value: Any) -> None:
        """This came."""

    def fails(self, error: BaseException) -> None:
        """This was raised."""


class Asking(Protocol):
    """What does what is asked."""

    loop: asyncio.AbstractEventLoop | None

    def asked(self, *arguments: Any) -> AnswerPort:
        """Do it, and return what came of it."""

    def failed(self, error: BaseException) -> Any:
        """Return the answer that says that it has failed."""


class Gateway(ObjectLoan):
    """Runs what a plugin asks for where its call is waited for: in that thread, or on that event loop.

    What is asked in no call, or in one that nobody waits for, runs on a thread of its own.
    """

    def __init__(self, asking: Asking, name: str) -> None:
        super().__init__(asking.asked, None, self._not_run)
        self.name = name
        self._asking = asking
        self._others = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=name)
        self._tasks: set[asyncio.Task[None]] = set()

    @staticmethod
    def _not_run(answer: Any, request: Any) -> None:
        raise AssertionError("it runs its requests itself")

    def perform(self, request: Any) -> None:
        """Have what is asked done where its call is waited for; on the I/O thread."""
        job = partial(self._done, request)
        request.in_caller_or_loop(job, partial(self._elsewhere, request, job))

    def _elsewhere(self, request: Any, job: Callable[[], None]) -> None:
        try:
            self._others.submit(job)
        except RuntimeError as error:  # it is closed
            request.fail(error)

    def _done(self, request: Any) -> None:
        """Do it, and answer."""
        if not request.begin():
            return
        with request:
            try:
                args, _ = request.arguments()
                found = self._asking.asked(*args)
            except BaseException as error:  # it goes on by way of the plugin, which may have something to end
                request.reply(self._asking.failed(error))
                return
        if found.awaited is not None:
            self._await(found, request)
        else:
            request.reply(found.reply)

    def _await(self, found: AnswerPort, request: Any) -> None:
        """Await what is not there yet: on the event loop that runs here, or else on that of the application."""

        async def awaited() -> None:
            try:
                found.has(await found.awaited)
            except BaseException as error:
                found.fails(error)
                if not isinstance(error, Exception):
                    raise
            finally:
                request.reply(found.reply)

        with contextlib.suppress(RuntimeError):
            task = asyncio.get_running_loop().create_task(awaited())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        loop = self._asking.loop
        if loop is not None and not loop.is_closed() and loop.is_running():
            asyncio.run_coroutine_threadsafe(awaited(), loop)
        else:
            self._others.submit(asyncio.run, awaited())

    def close(self) -> None:
        """Do nothing more."""
        self._others.shutdown(wait=False, cancel_futures=True)


def handle_of(gateway: Gateway) -> Handle:
    """Return what can be sent to an isolate."""
    return Handle(gateway)

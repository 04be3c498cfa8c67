"""The event loop of an isolate, on a thread of its own, made when the first coroutine comes."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Optional

if TYPE_CHECKING:
    import asyncio


class CoroutineRunner:
    """Runs coroutines to their end; tasks that they leave behind go on between calls."""

    def __init__(self) -> None:
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._lock = threading.Lock()
        self._ended: Optional[Callable[[Optional[BaseException]], None]] = None
        self._forking: Any = None

    def cut(self, ended: Callable[[Optional[BaseException]], None]) -> None:
        """In a fork of the isolate: run nothing more, but for the task that forked, to its next `await`.

        The fork shares the loop's epoll with the isolate, so it cannot wait in it.
        """
        loop, self._loop = self._loop, None
        self._lock = threading.Lock()
        if loop is None:
            return
        import asyncio

        self._ended = ended
        with contextlib.suppress(RuntimeError):
            self._forking = asyncio.current_task(loop)
        getattr(loop, "_ready", []).clear()
        loop.stop()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run one coroutine on the loop and return its result, or raise what it raised."""
        import asyncio  # here, and not above: most isolates never need it, and it is slow to import

        return asyncio.run_coroutine_threadsafe(coroutine, self._running_loop()).result()

    def close(self) -> None:
        """Cancel what still runs, close asynchronous generators, and end the loop."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        import asyncio

        try:
            asyncio.run_coroutine_threadsafe(_wind_down(loop), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._serve, args=(self._loop,), name="pihost-asyncio", daemon=True).start()
            return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            if self._ended is not None:
                self._ended(_outcome(self._forking))


def _outcome(task: Any) -> Optional[BaseException]:
    """Return what a task has raised, in a fork that it made."""
    if task is None:
        return None
    if not task.done():
        text = "a fork made by a coroutine of an isolate cannot wait in the event loop of the isolate"
        return RuntimeError(text)
    if task.cancelled():
        return None
    error: Optional[BaseException] = task.exception()
    return error


async def _wind_down(loop: asyncio.AbstractEventLoop) -> None:
    import asyncio

    tasks = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task(loop)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()

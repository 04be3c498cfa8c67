"""The event loop of an isolate, on a thread of its own, made when the first coroutine comes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Coroutine, Optional

if TYPE_CHECKING:
    import asyncio


class CoroutineRunner:
    """Runs coroutines to their end; tasks that they leave behind go on between calls."""

    def __init__(self) -> None:
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._lock = threading.Lock()

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

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        asyncio.set_event_loop(loop)
        loop.run_forever()


async def _wind_down(loop: asyncio.AbstractEventLoop) -> None:
    import asyncio

    tasks = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task(loop)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()

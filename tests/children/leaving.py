"""Coroutines, tasks and threads of an isolate that end, stop, close or cancel what they run on."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Coroutine
from typing import Any, NoReturn

from piactors import ProcessActor

ERRORS: dict[str, type[BaseException]] = {
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
}


def fail(name: str) -> NoReturn:
    raise ERRORS[name](3)


async def later(name: str) -> None:
    await asyncio.sleep(0.01)
    fail(name)


class Leaver(ProcessActor):
    def __init__(self, marks: str = "") -> None:
        super().__init__()
        self.marks = marks
        self.begun = 0
        self.kept: list[Any] = []

    async def on_stop(self) -> None:
        await self._mark("on_stop")

    async def on_failure(self, *_: Any) -> None:
        await self._mark("on_failure")

    async def _mark(self, name: str) -> None:
        await asyncio.sleep(0)
        if self.marks:
            with open(self.marks, "a") as file:
                file.write(name + "\n")

    def pid(self) -> int:
        return os.getpid()

    def raises(self, name: str) -> None:
        fail(name)

    async def coroutine(self, name: str) -> None:
        await later(name)

    async def at_once(self, name: str) -> None:
        fail(name)

    async def awaited_task(self, name: str) -> None:
        await asyncio.create_task(later(name))

    async def task(self, name: str) -> str:
        """Leave a task behind that raises later."""
        self.kept.append(asyncio.create_task(later(name)))
        return "left"

    async def task_and_wait(self, name: str) -> None:
        self.kept.append(asyncio.create_task(later(name)))
        await asyncio.sleep(60)

    async def callback(self, name: str) -> None:
        asyncio.get_running_loop().call_soon(fail, name)
        await asyncio.sleep(60)

    async def executor(self, name: str) -> None:
        await asyncio.get_running_loop().run_in_executor(None, fail, name)

    async def tidy_task(self) -> str:
        """Leave a task behind that marks its end where it is cancelled."""

        async def wait() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await self._mark("cancelled")

        self.kept.append(asyncio.create_task(wait()))
        await asyncio.sleep(0)
        return "left"

    async def waits(self) -> None:
        self.begun += 1
        await asyncio.sleep(60)

    def waits_briefly(self) -> str:
        self.begun += 1
        time.sleep(0.3)
        return "done"

    # What a loop survives

    async def stops_loop(self) -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)
        return "went on"

    async def closes_loop(self) -> str:
        asyncio.get_running_loop().close()
        return "closed"

    async def cancels_itself(self) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("enough")
        await asyncio.sleep(0)
        return "not cancelled"

    async def raises_cancelled(self) -> None:
        raise asyncio.CancelledError

    async def cancels_all(self) -> None:
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)

    async def sets_policy(self) -> str:
        class Policy(asyncio.DefaultEventLoopPolicy):
            def new_event_loop(self) -> Any:
                raise RuntimeError("no loops of this policy")

        asyncio.set_event_loop_policy(Policy())
        asyncio.set_event_loop(None)
        return "set"

    async def sets_factory(self) -> str:
        def refuse(loop: Any, coroutine: Coroutine[Any, Any, Any], **_: Any) -> NoReturn:
            raise RuntimeError("no tasks of this factory")

        asyncio.get_running_loop().set_task_factory(refuse)
        return "set"

    async def closes_loop_by_force(self) -> None:
        """Close the loop as another thread may in a moment in which it does not run, and wait for ever."""
        loop: Any = asyncio.get_running_loop()
        loop._thread_id = None
        loop.close()
        await asyncio.sleep(60)

    async def breaks_loop(self) -> None:
        """Close the descriptor that the loop waits at."""
        loop: Any = asyncio.get_running_loop()
        loop._selector.close()
        await asyncio.sleep(60)

    async def is_fine(self) -> str:
        await asyncio.sleep(0.001)
        return "fine"

    def in_thread(self, name: str) -> str:
        thread = threading.Thread(target=fail, args=(name,))
        thread.start()
        thread.join()
        return "only the thread"

"""The event loop of an isolate, on a thread of its own, made when the first coroutine comes."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Optional, Set

if TYPE_CHECKING:
    import asyncio


call_here: "contextvars.ContextVar[int]" = contextvars.ContextVar("pihost-call", default=0)
"""The number of the call that a coroutine runs for."""


class CancelledError(Exception):
    """A coroutine of a call was cancelled in the isolate: not the host's doing, as nobody has cancelled its future."""

    def __reduce__(self) -> Any:
        """Refuse: it arrives as described."""
        raise TypeError("it has no class in the host")


CancelledError.__module__ = "asyncio"


class _Run:
    """One coroutine of a call, and the thread that waits for it."""

    def __init__(self, call: int) -> None:
        self.call = call
        self.task: Any = None
        self._result: Any = None
        self._error: Optional[BaseException] = None
        self._over = threading.Event()

    def settle(self, result: Any, error: Optional[BaseException]) -> None:
        """Wake the waiting thread; what comes after the first outcome is ignored."""
        if not self._over.is_set():
            self._result, self._error = result, error
            self._over.set()

    def take(self, task: Any) -> None:
        """Settle with what has become of a task."""
        try:
            result = task.result()
        except BaseException as error:
            self.settle(None, _cancelled(error) if task.cancelled() else error)
        else:
            self.settle(result, None)

    def outcome(self) -> Any:
        """Wait for the outcome, and return the result or raise the error."""
        self._over.wait()
        result, error, self._result, self._error = self._result, self._error, None, None
        if error is None:
            return result
        try:
            raise error
        finally:
            del error  # it holds this frame


class CoroutineRunner:
    """Runs coroutines to their end; tasks that they leave behind go on between calls.

    What isolated code does to the loop leaves no call without an outcome.  A loop that is stopped goes on.  One that is
    closed, or broken, is replaced when the next coroutine comes.  What ends a program (SystemExit, KeyboardInterrupt)
    is told to `ends`, even if no call waits for the task that raised it, and raised in all that wait here.
    """

    def __init__(self, ends: Callable[[BaseException], None]) -> None:
        self._ends = ends
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._lock = threading.Lock()  # what waits is told of an end by the loop's thread, and comes on those of calls
        self._runs: Set[_Run] = set()
        self._is_closing = False
        self._is_closed = False
        self._ended: Optional[Callable[[Optional[BaseException]], None]] = None
        self._forking: Any = None

    def cut(self, ended: Callable[[Optional[BaseException]], None]) -> None:
        """In a fork of the isolate: run nothing more, except the task that forked, to its next `await`.

        The fork shares the loop's epoll with the isolate, so it cannot wait in it.
        """
        loop, self._loop = self._loop, None
        self._lock = threading.Lock()  # another thread of the isolate may have held the old one
        if loop is None:
            return
        import asyncio

        self._ended = ended
        with contextlib.suppress(RuntimeError):
            self._forking = asyncio.current_task(loop)
        getattr(loop, "_ready", []).clear()
        loop.stop()

    def run(self, coroutine: Coroutine[Any, Any, Any], call: int = 0, is_cancelled: Callable[[], bool] = bool) -> Any:
        """Run one coroutine on the loop and return its result, or raise what it raised.

        Args:
            call: the number of the call that it is the result of.
            is_cancelled: returns whether the caller of that has cancelled it.
        """
        run = _Run(call)
        try:
            self._submit(run, coroutine, is_cancelled)
            return run.outcome()
        finally:
            with self._lock:
                self._runs.discard(run)

    def call_of_task(self) -> int:
        """Return the number of the call whose coroutine runs here; 0 if it is none, or a task that it has made."""
        import asyncio

        call, task = call_here.get(), asyncio.current_task()
        with self._lock:
            return call if any(run.call == call and run.task is task for run in self._runs) else 0

    def cancel(self, call: int) -> None:
        """Cancel the coroutine of a call, at its next `await`."""
        with self._lock:
            loop, found = self._loop, [run for run in self._runs if run.call == call]
        if loop is not None:
            for run in found:
                with contextlib.suppress(RuntimeError):  # isolated code has closed it
                    loop.call_soon_threadsafe(_cancel, run)

    def close(self) -> None:
        """Cancel what still runs, close asynchronous generators, and end the loop."""
        with self._lock:
            loop = self._loop
            self._is_closing = True
        if loop is None:
            return
        try:
            self.run(_wind_down())
        finally:
            self._is_closed = True
            with contextlib.suppress(RuntimeError):  # isolated code has closed it
                loop.call_soon_threadsafe(loop.stop)

    def _submit(self, run: _Run, coroutine: Coroutine[Any, Any, Any], is_cancelled: Callable[[], bool]) -> None:
        import asyncio  # here, and not above: most isolates never need it, and it is slow to import

        def begin() -> None:
            try:
                task = run.task = asyncio.ensure_future(coroutine)
                task.add_done_callback(run.take)
            except BaseException as error:  # of a task factory of isolated code
                coroutine.close()
                run.settle(None, error)

        with self._lock:
            if self._loop is None or self._loop.is_closed():
                self._loop = self._new_loop()
            self._runs.add(run)
            context = contextvars.copy_context()
            context.run(call_here.set, run.call)
            self._loop.call_soon_threadsafe(begin, context=context)
            if is_cancelled():  # before it was made; later on, `cancel` finds it
                self._loop.call_soon_threadsafe(_cancel, run)

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        import asyncio

        loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, args=(loop,), name="pihost-asyncio", daemon=True).start()
        return loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        error: Optional[BaseException] = None
        while not (self._is_closed or loop.is_closed() or isinstance(error, Exception)):
            error = None
            try:
                asyncio.set_event_loop(loop)
                loop.run_forever()
            except BaseException as raised:
                error = raised
            if self._ended is not None:
                self._ended(_outcome(self._forking))
            if error is not None and not isinstance(error, Exception):
                self._exits(error)
        self._lose(loop, error)

    def _exits(self, error: BaseException) -> None:
        """Something on the loop has raised what ends a program: end the isolate, and what waits for coroutines.

        The loop goes on: the isolate's last hooks may be coroutines, and its tasks are to be cancelled in order.
        """
        if self._is_closing:
            return
        self._ends(error)
        with self._lock:
            for run in self._runs:
                run.settle(None, error)

    def _lose(self, loop: asyncio.AbstractEventLoop, error: Optional[BaseException]) -> None:
        """The loop cannot go on: those who wait for it are told."""
        text = "the event loop of this isolate was closed, or broken, by code that ran in it"
        with self._lock:
            if self._loop is loop:
                self._loop = None
                for run in self._runs:
                    lost = RuntimeError(text)
                    lost.__cause__ = error
                    run.settle(None, lost)


def _cancel(run: _Run) -> None:
    if run.task is not None:
        run.task.cancel()


def _cancelled(error: BaseException) -> CancelledError:
    found = CancelledError(*(error.args or ("the coroutine was cancelled in its isolate",)))
    return found.with_traceback(error.__traceback__)


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


async def _wind_down() -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    tasks = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task(loop)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()

"""In which thread of an isolate the calls of a plugin run."""

from __future__ import annotations

import contextlib
import contextvars
import queue
import sys
import threading
from typing import Any, Callable, Dict, Iterator, List, Optional


def run_here(work: Callable[[], Any]) -> Any:
    """Run something in the thread that calls this."""
    return work()


class MainThread:
    """The thread in which a plugin is imported and called, unless that is busy: code may count on it being one.

    What runs at the same time as something else has another one, as it would have in the application.
    """

    def __init__(self) -> None:
        self._jobs: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._is_free = threading.Lock()
        self._number = 0
        self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=_work, args=(self._jobs,), name="plugin", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], Any]) -> Any:
        """Run something, and return its result, or raise what it raises."""
        if not self._is_free.acquire(False):
            return work()
        try:
            context = contextvars.copy_context()
            context.run(_call_of_thread)
            done = threading.Lock()
            done.acquire()
            outcome: List[Any] = []
            self._jobs.put((context, work, outcome, done))
            done.acquire()
        finally:
            self._is_free.release()
        succeeded, value = outcome
        if succeeded:
            return value
        try:
            raise value
        finally:
            del value, outcome


def _call_of_thread() -> None:
    """What runs in this context, on whichever thread, belongs to the call that runs in this thread now."""
    control: Any = sys.modules.get("_pihost.serve.control")
    coroutines: Any = sys.modules.get("_pihost.serve.coroutines")
    link = getattr(control, "current", None)
    if link is not None and coroutines is not None:
        coroutines.call_here.set(link.call_here())


def _work(jobs: "queue.SimpleQueue[Any]") -> None:
    while True:
        context, work, outcome, done = jobs.get()
        try:
            outcome[:] = True, context.run(work)
        except BaseException as error:
            outcome[:] = False, error
        done.release()
        del context, work, outcome, done


def runs_a_loop() -> bool:
    """Whether an event loop runs in this thread: nothing else runs in it, then."""
    events: Any = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None


class Waiters:
    """The threads that wait for the host, each for what one call has asked.

    If the host calls the plugin meanwhile, for that very call, that runs in the thread that waits: there is none that
    it could wait for, and it is the one that it would run in if the plugin were in the application.
    """

    def __init__(self) -> None:
        self._jobs: Dict[int, "queue.SimpleQueue[Optional[Callable[[], None]]]"] = {}

    def wait(self, call: int, ask: Callable[[], Any]) -> Any:
        """Ask for something in a call, wait for the answer, and run what comes for that call meanwhile.

        Args:
            ask: asks, and returns the future of the answer.  What comes may come before it returns.
        """
        before = self._jobs.get(call)
        jobs = self._jobs[call] = queue.SimpleQueue()
        try:
            future = ask()
            future.add_done_callback(lambda _: jobs.put(None))
            while True:
                job = jobs.get()
                if job is None:
                    return future.get()
                job()
        finally:
            if before is None:
                del self._jobs[call]
            else:
                self._jobs[call] = before

    def place_of(self, call: int) -> Optional[Callable[[Callable[[], Any]], Any]]:
        """Return what runs something in the thread that waits for a call; None if none does."""
        jobs = self._jobs.get(call) if call else None
        return None if jobs is None else lambda work: _run_by(jobs.put, work)


def _run_by(put: Callable[[Callable[[], None]], Any], work: Callable[[], Any]) -> Any:
    here, done = _call_here(), threading.Lock()
    done.acquire()
    outcome: List[Any] = []

    def job() -> None:
        with _as_call(here):
            try:
                outcome[:] = True, work()
            except BaseException as error:
                outcome[:] = False, error
        done.release()

    put(job)
    done.acquire()
    succeeded, value = outcome
    if succeeded:
        return value
    raise value


def _call_here() -> int:
    """Return the number of the call of this process that runs here."""
    link = getattr(sys.modules.get("_pihost.serve.control"), "current", None)
    return 0 if link is None else link.call_here()


@contextlib.contextmanager
def _as_call(number: int) -> Iterator[None]:
    """What runs here meanwhile belongs to another call."""
    coroutines: Any = sys.modules.get("_pihost.serve.coroutines")
    if coroutines is None:
        yield
        return
    token = coroutines.call_here.set(number)
    try:
        yield
    finally:
        coroutines.call_here.reset(token)

"""Jobs in rows: those of one row run one after the other, in order; those of different rows side by side."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from piactors.errors import PiactorsError
from piactors.future import Future

T = TypeVar("T")
_Waiting = deque[tuple[Callable[[], Any], Future[Any]]]


class Rows:
    """Runs jobs.

    Args:
        at_once: how many rows run at the same time.
        name: of the threads.
    """

    def __init__(self, at_once: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(at_once, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._rows: dict[str, _Waiting] = {}

    def submit(self, row: str, job: Callable[[], T]) -> Future[T]:
        """Run a job after those that its row has; return a future of its result."""
        future: Future[T] = Future()
        with self._lock:
            waiting = self._rows.get(row)
            if waiting is not None:
                waiting.append((job, future))
                return future
            self._rows[row] = deque([(job, future)])
        try:
            self._executor.submit(self._run, row)
        except RuntimeError:  # it is closed
            with self._lock:
                self._rows.pop(row, None)
            future.fail(PiactorsError("the plugin host has stopped"))
        return future

    def _run(self, row: str) -> None:
        while True:
            with self._lock:
                waiting = self._rows[row]
                if not waiting:
                    del self._rows[row]
                    return
                job, future = waiting.popleft()
            _settle(future, job)

    def close(self) -> None:
        """Take no more jobs, and wait for those that run."""
        with self._lock:
            left = [waiting.popleft() for waiting in self._rows.values() for _ in range(len(waiting))]
        for _, future in left:
            future.fail(PiactorsError("the plugin host has stopped"))
        self._executor.shutdown(wait=True)


def _settle(future: Future[Any], job: Callable[[], Any]) -> None:
    if future.done():  # cancelled
        return
    try:
        value = job()
    except BaseException as error:
        future.fail(error)
        return
    with contextlib.suppress(queue.Full):
        future.set(value)

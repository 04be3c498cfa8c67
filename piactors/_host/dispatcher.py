"""The one thread that runs what users hand in: event callbacks, log handlers, done-callbacks.

It keeps them off the I/O thread, so that a slow or failing callback delays callbacks and nothing else.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("piactors")

Job = tuple[Callable[..., object], tuple[Any, ...]]


class Dispatcher:
    """Runs jobs in order on a thread that starts with the first one."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()

    def submit(self, job: Callable[..., object], *args: Any) -> None:
        """Run `job(*args)` after what was submitted before; an exception of it is logged."""
        if self._thread is None:
            self._start()
        self._jobs.put((job, args))

    def is_current(self) -> bool:
        """Whether the caller runs on the dispatcher's thread."""
        return threading.current_thread() is self._thread

    def stop(self, timeout: float) -> None:
        """Run what was submitted, for at most `timeout` seconds, and end the thread."""
        thread = self._thread
        if thread is not None:
            self._jobs.put(None)
            if not self.is_current():
                thread.join(timeout)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="piactors-events", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        with self._lock:  # whoever started it may have been interrupted before he noted that
            me = threading.current_thread()
            if self._thread not in (None, me):
                return
            self._thread = me
        while True:
            entry = self._jobs.get()
            if entry is None:
                return
            job, args = entry
            try:
                job(*args)
            except Exception:
                logger.exception("a callback has failed: %r", job)

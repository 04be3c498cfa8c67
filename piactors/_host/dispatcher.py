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
    """Runs jobs in order on a thread of its own, which begins now: later there may be no task to be had for it."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="piactors-events", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[..., object], *args: Any) -> None:
        """Run `job(*args)` after what was submitted before; an exception of it is logged."""
        self._jobs.put((job, args))

    def is_current(self) -> bool:
        """Whether the caller runs on the dispatcher's thread."""
        return threading.current_thread() is self._thread

    def stop(self, timeout: float) -> None:
        """Run what was submitted, for at most `timeout` seconds, and end the thread."""
        self._jobs.put(None)
        if not self.is_current():
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            entry = self._jobs.get()
            if entry is None:
                return
            job, args = entry
            try:
                job(*args)
            except Exception:
                logger.exception("a callback has failed: %r", job)

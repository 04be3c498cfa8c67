"""Calls that may have to wait for room in a mailbox: in order for each ref, on a thread that ends with the last."""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import Any, Protocol

from piactors._platform import late_threads, reentry


class Due(Protocol):
    """A call that is to be made."""

    def begin_at(self, target: Any) -> None:
        """Make it; what that raises is its outcome."""

    def fail(self, error: BaseException) -> Any:
        """It cannot be made."""


_lines: dict[Any, deque[Due]] = {}
_lock = reentry.lock()


def put(ref: Any, call: Due) -> None:
    """Have a call of this ref made after those that were put before."""
    with _lock:  # the thread must not end between the look and the append
        line = _lines.get(ref)
        if line is not None:
            line.append(call)
            return
        _lines[ref] = deque([call])
    thread = threading.Thread(target=partial(_run, ref), name="piactors-waits", daemon=True)
    try:
        late_threads.start_or_run(thread)
    except RuntimeError as error:  # there are too many threads
        with _lock:
            left = _lines.pop(ref)
        for call in left:
            call.fail(error)


def _run(ref: Any) -> None:
    line = _lines[ref]
    while True:
        line[0].begin_at(ref)
        with _lock:
            line.popleft()
            if not line:
                del _lines[ref]
                return

"""What isolated code can know of the call that it runs for: whether that is still wanted, and until when."""

from __future__ import annotations

import contextlib
import contextvars
import math
import sys
import time
from collections.abc import Iterator
from typing import Any

import attrs

_until: contextvars.ContextVar[float] = contextvars.ContextVar("piactors-deadline", default=math.inf)
_detached: contextvars.ContextVar[bool] = contextvars.ContextVar("piactors-detached", default=False)
scopes: list[object] = []
"""The blocks of `deadline` and `detached` that are open in this process: without any, calls look no further."""


@attrs.frozen
class CurrentCall:
    """The call that this code runs for.

    Attributes:
        id: its number, which no other call to this process has.
        deadline: when it is not wanted any more, on `time.monotonic`; infinite if it has none.
    """

    id: int
    deadline: float

    @property
    def cancelled(self) -> bool:
        """Whether it is not wanted any more: its caller has cancelled it, or its time is over."""
        link = _link()
        return self.remaining() <= 0 or (link is not None and bool(link.threads.is_cancelled(self.id)))

    def remaining(self) -> float:
        """Return how many seconds there are until the deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())


def current_call() -> CurrentCall | None:
    """Return the call that this code runs for; None if it runs for none, as in the host."""
    link = _link()
    number = 0 if link is None else link.call_here()
    return CurrentCall(number, link.deadline_of(number)) if number else None


def cancelled() -> bool:
    """Whether the call that this code runs for is not wanted any more; False if it runs for none.

    Code that takes long asks this now and then, and returns early.
    """
    call = current_call()
    return call is not None and call.cancelled


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound the calls that are made within the block: what has not begun by then never begins.

    Within another such block, the earlier end holds.

    Raises:
        ValueError: if it is not a number of seconds, more than 0.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise ValueError(f"deadline({seconds!r}) is not allowed; use a number of seconds, more than 0")
    token = _until.set(min(_until.get(), time.monotonic() + seconds))
    scopes.append(token)
    try:
        yield
    finally:
        scopes.remove(token)
        _until.reset(token)


@contextlib.contextmanager
def detached() -> Iterator[None]:
    """Have what is asked of others within the block belong to no call.

    If the call that this code runs for is cancelled, what was asked here goes on.  It is not bound by the time limit of
    that call, nor by that of a `deadline`.

    Example:
        ::

            with piactors.detached():
                audit.record(entry)  # also if nobody wants the result of this call any more
    """
    time_token, token = _until.set(math.inf), _detached.set(True)
    scopes.append(token)
    try:
        yield
    finally:
        scopes.remove(token)
        _detached.reset(token)
        _until.reset(time_token)


def is_detached() -> bool:
    """Whether what is asked here belongs to no call."""
    return _detached.get()


def until(timeout: float | None) -> float:
    """Return when a call that is made now, with such a time limit, is not wanted any more; infinite: never."""
    own = math.inf if timeout is None else time.monotonic() + timeout
    return min(own, _until.get()) if scopes else own


def seconds_left(timeout: float | None) -> float | None:
    """Return for how many seconds what is asked now, with such a time limit, is wanted; None: for ever."""
    end = until(timeout)
    return None if end == math.inf else max(0.0, end - time.monotonic())


def _link() -> Any:
    return getattr(sys.modules.get("_pihost.serve.control"), "current", None)

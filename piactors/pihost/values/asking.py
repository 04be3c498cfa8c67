"""What an isolate asks of things that it has borrowed: requests to the host, and their answers.

`link` is the isolate's end of the control channel, a `serve.control.HostLink`, throughout.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from typing import Any, Callable, Dict, Optional, Tuple

from ..pickles import lending
from ..wire import wire
from . import errors, packing, uses

Answer = Callable[[int, wire.Frame], None]
_NEVER = 1e12
READING, ELSEWHERE = 1, 2
"""Where a thread waits for an answer: it reads the data channel, or it does not."""
_ROOM = 512
"""What such a request takes besides the exception."""
_NOTHING = (wire.PLAIN, b"", ())  # type: Any


def begin(
    link: Any,
    number: int,
    operation: str,
    name: str,
    args: Tuple[Any, ...] = (),
    kwargs: Optional[Dict[str, Any]] = None,
    timeout: Optional[float] = None,
    on_answer: Optional[Answer] = None,
) -> int:
    """Ask for something to be done to a thing of the host, and return the number of the request.

    Args:
        number: of the thing.
        operation: what is to be done (see `piactors._isolate.loans`).
        name: the method or attribute that it is about, or nothing.
        timeout: after how many seconds the asker gives up; what has not begun by then never begins.
        on_answer: gets the answer, on the control thread; None if none is wanted.
    """
    encoded = packing.packed(link, (args, kwargs or {})) if args or kwargs else _NOTHING
    return _send(link, number, operation, name, encoded, timeout, on_answer)


def context(link: Any, timeout: Optional[float]) -> Tuple[int, float]:
    """Return the call that something is asked in, and until when it is wanted, with such a time limit."""
    current: Any = sys.modules.get("piactors._values.current")
    if getattr(current, "scopes", None):  # a block of `deadline` or `detached` is open somewhere
        call = link.call_asking()
        return call, link.until(call, timeout)
    call = link.call_here()
    until: float = link.threads.deadline_of(call) if call else math.inf
    return call, until if timeout is None else min(until, time.monotonic() + timeout)


def fail(link: Any, number: int, error: BaseException) -> None:
    """Set a future of the host to an exception: as it is, or described if it cannot be sent."""
    lending.begin()
    try:
        payload = link.replies.error(error, room=_ROOM)
    except BaseException:
        lending.call_off()
        raise
    _send(link, number, "fail", "", (wire.PLAIN, payload, lending.end()), None, None)


def _send(
    link: Any,
    number: int,
    operation: str,
    name: str,
    encoded: Tuple[int, bytes, Any],
    timeout: Optional[float],
    on_answer: Optional[Answer],
    answer: int = uses.ON_CONTROL,
    waits: bool = False,
) -> int:
    call = link.call_asking()
    within = -1.0 if on_answer is None else _within(link, call, timeout)
    return send(link, number, operation, name, encoded, call, within, on_answer, answer, READING if waits else 0)


def send(
    link: Any,
    number: int,
    operation: str,
    name: str,
    encoded: Tuple[int, bytes, Any],
    call: int,
    within: float,
    on_answer: Optional[Answer],
    answer: int = uses.ON_CONTROL,
    waits: int = 0,
) -> int:
    """Ask for something to be done, and return the number of the request.

    Args:
        encoded: the arguments: flags, payload and what they lend.
        call: the number of the call that it is asked in; 0 if in none.
        within: after how many seconds the asker gives up; less than 0: it waits for as long as it takes.
        waits: whether this thread waits for the answer from now on, and where (see `lending_link.READING`).
    """
    flags, payload, entries = encoded
    lends = link.border.sent(entries) if entries else b""
    use = uses.Use(
        number,
        call,
        within,
        operation,
        uses.UNWANTED if on_answer is None else answer,
        flags,
        name,
        lends,
        payload,
    )
    try:
        number_of_request: int = link.use(*uses.packed(use), on_answer, waits)
    except BaseException:
        if entries:
            link.border.not_sent(entries)
        raise
    return number_of_request


def wait(
    link: Any,
    number: int,
    operation: str,
    name: str,
    args: Tuple[Any, ...] = (),
    kwargs: Optional[Dict[str, Any]] = None,
    timeout: Optional[float] = None,
) -> Any:
    """Ask for something to be done to a thing of the host, wait, and return the result.

    Raises:
        Timeout: if the time runs out first.
        Exception: what was raised there.
    """
    if link.threads.reads_here():
        return _wait_reading(link, number, operation, name, args, kwargs, timeout)
    latch, found = threading.Lock(), []  # type: Any, Any
    latch.acquire()

    def answered(_: int, frame: wire.Frame) -> None:
        found.append(frame)
        latch.release()

    request = begin(link, number, operation, name, args, kwargs, timeout, answered)
    link.threads.waits_for(request)
    try:
        in_time = latch.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
    except BaseException:
        link.forget(request)
        raise
    finally:
        link.threads.waits_for(0)
    if not in_time:
        link.forget(request)
        if not found:
            raise _late(name or operation, timeout)
    return link.result_of(found[0])


def _within(link: Any, call: int, timeout: Optional[float]) -> float:
    """Return how many seconds there are for an answer, as the asker and its own call say; -1: no limit."""
    until = link.until(call, timeout)
    return -1.0 if until > _NEVER else max(0.0, until - time.monotonic())


def await_answer(link: Any, request: int, timeout: Optional[float], otherwise: Callable[[Optional[float]], Any]) -> Any:
    """Wait for the answer to a request, which is noted meanwhile; `otherwise` waits for what comes in another way."""
    threads = link.threads
    threads.waits_for(request)
    try:
        if request and threads.reads_here() and not link.await_here(request, timeout):
            timeout = 0.0
        return otherwise(timeout)
    finally:
        threads.waits_for(0)


def _wait_reading(
    link: Any,
    number: int,
    operation: str,
    name: str,
    args: Tuple[Any, ...],
    kwargs: Optional[Dict[str, Any]],
    timeout: Optional[float],
) -> Any:
    """Do that in the only thread that reads the data channel: the answer comes there, and no other thread is woken."""
    encoded = packing.packed(link, (args, kwargs or {})) if args or kwargs else _NOTHING
    request = 0
    try:
        request = _send(link, number, operation, name, encoded, timeout, _unheard, uses.ON_DATA, waits=True)
        frame = link.read_answer(request, timeout)
    finally:
        link.threads.waits_for(0)
        link.forget(request)
    if frame is None:
        raise _late(name or operation, timeout)
    return link.result_of(frame)


def _unheard(_: int, __: wire.Frame) -> None:
    """The answer is read by the thread that waits."""


def _late(what: str, timeout: Optional[float]) -> Any:
    return errors.make("Timeout", "no answer from {} within {:g} s".format(what, timeout or 0))

"""How long a caller is willing to wait, and the error when that time is over."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from piactors.errors import Timeout

if TYPE_CHECKING:
    import asyncio

_ALLOWED = "use a number of seconds, math.inf, or None to wait forever"
_LONGEST = min(threading.TIMEOUT_MAX, 1e9)


def seconds_of(timeout: float | None, name: str = "timeout") -> float | None:
    """Return how many seconds to wait, at least 0; None for no limit, which `math.inf` means too.

    Raises:
        TypeError: if it is not a number of seconds.
        ValueError: if it is not a number (NaN).
    """
    if timeout is None:
        return None
    if not isinstance(timeout, int | float) or isinstance(timeout, bool):
        raise TypeError(f"{name}={timeout!r} is not allowed; {_ALLOWED}")
    if timeout != timeout:  # which no whole number is too large for
        raise ValueError(f"{name}=nan is not allowed; {_ALLOWED}")
    return None if timeout > _LONGEST else max(0.0, timeout)


def until(timeout: float | None) -> float | None:
    """Return when that many seconds will be over, on the monotonic clock.

    Raises:
        TypeError, ValueError: as `seconds_of`.
    """
    seconds = seconds_of(timeout)
    return None if seconds is None else time.monotonic() + seconds


def told(timeout: float | None) -> str:
    """Return a number of seconds for people."""
    seconds = 0.0 if timeout is None else max(0.0, round(timeout, 3))
    return "1 second" if seconds == 1 else f"{seconds:g} seconds"


def too_late(what: str, timeout: float | None) -> Timeout:
    """Return the error for a caller that has waited for `timeout` seconds."""
    return Timeout(f"{what} within {told(timeout)}")


_warned = False


def warn_if_it_blocks_a_loop(what: str, instead: str) -> None:
    """Warn, once in a program, that an event loop stands still while this thread waits for a start."""
    global _warned
    if not _warned and running_loop() is not None:
        _warned = True
        text = f"{what} blocks the event loop of this thread until the start is complete; use await {instead} there"
        warnings.warn(text, RuntimeWarning, stacklevel=_first_frame_of_user())


def _first_frame_of_user() -> int:
    """Return how far up the first caller is that is not part of piactors, as `warnings.warn` above counts."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "piactors":
        frame, level = frame.f_back, level + 1
    return level


def refuse_another_kind_of_loop(instead: str) -> None:
    """Refuse to be awaited on an event loop that is not asyncio's: trio's, or curio's.

    Raises:
        RuntimeError: if one of these runs the calling thread; it says what to do there.
    """
    library = _another_kind_of_loop()
    if library is not None:
        to_thread = {"trio": "trio.to_thread.run_sync", "curio": "curio.run_in_thread"}[library]
        raise RuntimeError(
            f"piactors needs asyncio's event loop, and {library} runs here; make blocking calls in a thread: "
            f"await {to_thread}({instead})"
        )


def _another_kind_of_loop() -> str | None:
    """Return which library runs the calling thread, if that is not asyncio; it is not imported for this."""
    asyncio, trio, curio = (sys.modules.get(name) for name in ("asyncio", "trio", "curio.meta"))
    with contextlib.suppress(RuntimeError):  # trio may run on top of asyncio, and asyncio on top of trio
        if asyncio is not None and asyncio.current_task() is not None:
            return None
    with contextlib.suppress(RuntimeError, AttributeError):
        if trio is not None and trio.lowlevel.current_task() is not None:
            return "trio"
    with contextlib.suppress(RuntimeError, AttributeError):
        if curio is not None and curio.curio_running():
            return "curio"
    return None


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in the calling thread, which must not be blocked, or None."""
    events = sys.modules.get("asyncio.events")  # an isolate mostly does without it
    return None if events is None else events._get_running_loop()


def wait_on(
    loop: asyncio.AbstractEventLoop, when_done: Callable[[Callable[[], object]], object], cancel: Callable[[], object]
) -> Generator[Any, None, None]:
    """Wait on an event loop, which runs in this thread, for what `when_done` tells of; `cancel` that if its task is."""
    import asyncio

    waiter, me = loop.create_future(), threading.get_ident()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    def done() -> None:
        if threading.get_ident() == me:  # the loop itself has read the answer
            wake()
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(wake)

    when_done(done)
    try:
        yield from waiter
    except asyncio.CancelledError:
        cancel()
        raise

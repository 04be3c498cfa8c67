"""What is to be done where a call is waited for, meanwhile: callbacks with ``run="caller"``, and those of plugins."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from piactors._io.loop import Share

SECONDS = 5.0
"""How long an errand waits for a thread that waits for its call."""
_LOOK_EVERY = 1.0


class Errand(NamedTuple):
    """One thing to do.

    Attributes:
        do: does it.
        give_up: tells that nobody does.
        since: when it was asked for, on the monotonic clock; infinite if it waits for as long as its call runs.
        on_loop: has it done on the event loop that awaits the call; None if only a thread may do it.
    """

    do: Callable[[], object]
    give_up: Callable[[], object]
    since: float
    on_loop: Callable[[Any], object] | None = None


class WaitedFor(Protocol):
    """A call, as its errands see it."""

    _settled: bool

    @property
    def is_waited_for(self) -> bool:
        """Whether a thread waits for it."""


class Errands:
    """The errands of one call.  Those are added under the call's guard, and done by the thread that waits for it."""

    def __init__(self) -> None:
        self._waiting: deque[Errand] = deque()
        self.are_looked_after = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, errand: Errand) -> None:
        """Have one done."""
        self._waiting.append(errand)

    def do(self, call: WaitedFor) -> None:
        """Do those that are there; in the thread that waits."""
        while self._waiting and not call._settled:
            self._waiting.popleft().do()

    def take(self) -> list[Errand]:
        """Return all that are there: they are done elsewhere."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def look_after(self, call: WaitedFor, loop: Share) -> None:
        """Give up, from now on, on those for which nobody comes to wait: a caller may have dropped the call.

        It looks a second later, and again as long as there are some; not once for each, as that would wake the I/O
        thread each time.
        """
        loop.call_later(min(_LOOK_EVERY, SECONDS), partial(self._look, call, loop))
        self.are_looked_after = True

    def _look(self, call: WaitedFor, loop: Share) -> None:
        for errand in () if call.is_waited_for else list(self._waiting):
            if call._settled or errand.since + SECONDS <= time.monotonic():
                errand.give_up()  # does nothing to one that a thread has begun, which has come just now
        if call._settled and not call.is_waited_for:
            self._waiting.clear()
        self.are_looked_after = False  # before the next look: what is added from now on sees to that itself
        if self._waiting:
            self.look_after(call, loop)


def left_to(loop: Any, errand: Errand) -> bool:
    """Have an event loop do something; False if it is not for one, or the loop is closed."""
    if errand.on_loop is None:
        return False
    try:
        errand.on_loop(loop)
    except RuntimeError:
        return False
    return True

"""Restarts that lack something: descriptors, tasks, memory, disk.  They wait until it is back.

So do starts whose launcher is lost before it has made their process: nothing of the isolate has run.

The isolate does not answer for what the machine or the host lacks: its restart has been charged once, and what follows
costs nothing more.  A first start does not wait: whoever asked for it is told, and decides.  All of it runs on the I/O
thread.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from piactors import endings
from piactors._host.owning import End
from piactors._lifecycle.states import State

if TYPE_CHECKING:
    from piactors.isolate import Isolate

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds until it is tried again: longer each time."""
_MOST_OF_ITSELF = 100
"""So often in a row a process may say itself that it lacks something: it may be that its own limits are too narrow."""
_MOST_COUNTED = 1000


def refused(isolate: Isolate, text: str, *, lack: bool) -> None:
    """There is no process: the isolate's rules decide what follows, but for a restart that only lacks something."""
    if not (lack and _wait(isolate, text)):
        endings.ended_without_process(isolate, text)


def ended(isolate: Isolate, end: End) -> bool:
    """Whether a process has ended for a lack, before any code of users ran in it, and is tried again."""
    current = isolate.current
    if isolate.ended.is_set() or current.intent is not None:
        return False
    if end.lost:
        return _await_launcher(isolate)
    if not current.lacked or isolate.lacks >= _MOST_OF_ITSELF:
        return False
    return _wait(isolate, isolate.decoder.traceback(current.start_failure or b"").strip().rpartition("\n")[2])


def _await_launcher(isolate: Isolate) -> bool:
    """Have a start made by another launcher, if its own one was lost before that."""
    if isolate.pid is not None or isolate.launchers_lost >= endings.MOST_LAUNCHERS_LOST:
        return False
    with isolate.lock:
        tried = _try_later(isolate, _FIRST_PAUSE, (State.STARTING, State.RESTARTING))
        isolate.launchers_lost += tried
    return tried


def _wait(isolate: Isolate, text: str) -> bool:
    """Try again in a moment; False if nothing is to be restarted."""
    with isolate.lock:
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(isolate.lacks, 10))
        if not _try_later(isolate, pause, (State.RESTARTING,)):
            return False
        isolate.lacks = min(isolate.lacks + 1, _MOST_COUNTED)
    if isolate.lacks == 1:
        place = (isolate.spec.name, text.strip())
        isolate.log(logging.WARNING, "isolate %s cannot be restarted now, and is tried again until it can: %s", *place)
    return True


def _try_later(isolate: Isolate, pause: float, states: tuple[State, ...]) -> bool:
    """Launch the next process after a pause, under the lock; False if none is wanted."""
    if isolate.stop_requested or isolate.halting or isolate.state not in states:
        return False
    current, isolate.process = isolate.current, None
    for timer in current.timers:
        timer.cancel()
    if current.confined is not None:
        current.confined.ended(None, None)
    isolate.recycler.take_back_number()
    isolate.restart_timer = isolate.loop.call_later(pause, isolate.restart_due)
    return True

"""When an isolate is to have a fresh process: after so many calls or seconds, or above so much memory.

How one process takes over from another is up to the rules (`piactors._rules.replacement`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from piactors._platform import process_stats
from piactors._platform.late import LateModule
from piactors._platform.limits import cgroups
from piactors._rules.replacement import PAUSE_AFTER_FAILURE

if TYPE_CHECKING:
    import psutil
else:
    psutil = LateModule("psutil")

if TYPE_CHECKING:
    from piactors._isolate.reports import Reports
    from piactors._isolate.view import IncarnationView
    from piactors.options import IsolationOptions

_SPARE = 2
"""How many times what the old process has in RAM must be free for a new one beside it."""


class RecyclePolicy:
    """Asks for a replacement; `call_done` comes under the isolate's lock, `request` from any thread.

    Args:
        replace: is called with the number of the process that is to be replaced, and why; from any thread.
    """

    def __init__(self, options: IsolationOptions, reports: Reports, replace: Callable[[int, str], None]) -> None:
        recycle, limits = options.recycle, options.limits
        self._after_calls = None if recycle is None else recycle.after_calls
        self._after_seconds = None if recycle is None else recycle.after_seconds
        bounds = [] if recycle is None else [recycle.above_memory]
        if limits is not None and limits.on_soft_memory == "recycle":
            bounds.append(limits.soft_memory)
        self._most_memory = min((bound for bound in bounds if bound is not None), default=None)
        self._reports = reports
        self._replace = replace
        self._number = self._calls = 0
        self._is_asked = self._has_warned = False
        self._not_before = 0.0

    @property
    def counts(self) -> bool:
        """Whether it wants to know of calls that are done."""
        return self._after_calls is not None

    def begin(self, body: IncarnationView) -> None:
        """A process runs the calls: count those, and its seconds."""
        self._number, self._calls, self._is_asked = body.number, 0, False
        self._look_at_birth(body)
        if self._after_seconds is not None:
            body.after(self._after_seconds, partial(self._replace, body.number, "after_seconds"))

    def again(self) -> None:
        """What was asked for has failed: it may be asked for once more."""
        self._is_asked = False

    def call_done(self) -> None:
        """A message has been answered."""
        self._calls += 1
        if self._after_calls is not None and self._calls >= self._after_calls:
            self.request(self._number, "after_calls")

    def request(self, number: int, reason: str) -> None:
        """Have this process replaced, if it still runs the calls; nothing happens if that was asked for."""
        if number == self._number and not self._is_asked and time.monotonic() >= self._not_before:
            self._is_asked = True
            self._replace(number, reason)

    def _look_at_birth(self, body: IncarnationView) -> None:
        """See whether a fresh process is larger already than one should grow: then replacing it is useless."""
        most, pid = self._most_memory, body.pid
        if most is None or pid is None or process_stats.resident(pid) <= most:
            return
        found = process_stats.memory(pid)
        if found is None or (found.anon_pss or 0) <= most:
            return
        self._not_before = time.monotonic() + PAUSE_AFTER_FAILURE
        if not self._has_warned:
            self._has_warned = True
            self._reports.warn(
                "isolate %s uses %.1f MiB as soon as it is ready, and is to be recycled at %.1f MiB",
                body.spec.name,
                (found.anon_pss or 0) / (1 << 20),
                most / (1 << 20),
            )


def has_room_beside(pid: int | None) -> bool:
    """Whether there is memory for a second process beside this one, on the machine and within the host's own limit."""
    used = sum(map(process_stats.resident, [] if pid is None else process_stats.tree(pid)))
    free, allowed = int(psutil.virtual_memory().available), cgroups.headroom()
    return min(free, free if allowed is None else allowed) > _SPARE * used

"""A second process of an isolate, kept ready beside the one that runs, so that a restart is only a handover.

    none ──a generation runs──> starting ──ready──> ready
     ▲                             │                  │
     ├──────dead, after a pause────┴──────────────────┤
     │                                                │
     └──taken: by a restart, or by a recycling────────┘

Whether and when an isolate is restarted is decided as without it (`endings`, the supervisors): only where a process
would be started next, `take_over` makes this one the next generation.  One that is still starting is taken as well:
from then on its start is the start of that generation, with all that follows where it fails.

It runs nothing of the isolate's before that, so its own end is no end of the isolate: it is logged, and another one is
started after a pause.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from piactors import arrivals, endings, starting
from piactors._lifecycle.states import State
from piactors._policies.companions import Newcomer
from piactors.exit_reason import ExitReason

if TYPE_CHECKING:
    from piactors._host.loop import Timer
    from piactors._policies.recycling import Recycler
    from piactors.isolate import Isolate

_FIRST_PAUSE = 1.0
"""Seconds until another one is started after one that has ended; twice as many after each that follows it."""
_LONGEST_PAUSE = 30.0
"""Seconds that no pause exceeds; one that was ready for as long is no failure any more."""


class Standby:
    """What stands by for one isolate.  All of it runs on the I/O thread, but for `look_again`.

    Attributes:
        newcomer: the process, or None where there is none (yet).
    """

    def __init__(self, isolate: Isolate, recycler: Recycler) -> None:
        self.newcomer: Newcomer | None = None
        self._isolate = isolate
        self._recycler = recycler
        self._pause = _FIRST_PAUSE
        self._not_before = 0.0
        self._timer: Timer | None = None
        self._closed = False

    # Having one

    def begin(self) -> None:
        """A generation runs: start one beside it, or after the pause that a failure asks for."""
        if self._timer is not None or not self._is_wanted():
            return
        wait = self._not_before - time.monotonic()
        if wait > 0:
            self._timer = self._isolate.loop.call_later(wait, self._due)
        else:
            self._start()

    def _is_wanted(self) -> bool:
        isolate = self._isolate
        if self.newcomer is not None or not self._may_be_of_use():
            return False
        return isolate.state is State.RUNNING and isolate.process is not None and not isolate.halting

    def _may_be_of_use(self) -> bool:
        """Whether another generation may ever follow."""
        isolate = self._isolate
        return isolate.options.standby and not (self._closed or isolate.stop_requested or isolate.final)

    def _due(self) -> None:
        self._timer = None
        self.begin()

    def _start(self) -> None:
        number = self._recycler.next_number()
        try:
            self.newcomer = Newcomer(self._isolate, number, _let_wait, self._gone, announced=False)
        except Exception as error:
            self._gone(ExitReason(kind="start_failed", detail=f"no process could be made: {error!r}"))

    def _gone(self, reason: ExitReason) -> None:
        """It has ended by itself, or did not start, or was told to end before it was ready."""
        newcomer, self.newcomer = self.newcomer, None
        if reason.kind != "shutdown" and self._may_be_of_use():
            pause, pid = self._put_off(newcomer), None if newcomer is None else newcomer.generation.pid
            self._isolate.log(
                logging.WARNING, "isolate %s: its standby (pid %s) has ended, and none is started for %g s: %s",
                self._isolate.spec.name, pid, pause, reason.report(),
            )  # fmt: skip
        self.begin()
        self._recycler.go_on_with_end()

    def _put_off(self, newcomer: Newcomer | None) -> float:
        """Have the next one wait, longer each time, so that one that cannot live costs next to nothing."""
        now = time.monotonic()
        ready_at = None if newcomer is None else newcomer.current.ready_at
        if ready_at is not None and now - ready_at >= _LONGEST_PAUSE:
            self._pause = _FIRST_PAUSE
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        self._not_before = now + pause
        return pause

    # Using it

    def is_fit(self) -> bool:
        """Whether one is there that could take over, now or once it is ready."""
        newcomer, isolate = self.newcomer, self._isolate
        if newcomer is None or not newcomer.is_fit():
            return False
        # A supervisor that was restarted itself may have declared this child anew.
        return newcomer.spec is isolate.spec and newcomer.number > isolate.generation_number

    def give(self) -> Newcomer | None:
        """Give it away, as the newcomer of a recycling; None where none could take over."""
        newcomer = self.newcomer if self.is_fit() else None
        if newcomer is not None:
            self.newcomer, self._pause = None, _FIRST_PAUSE
        return newcomer

    def keep(self, newcomer: Newcomer) -> bool:
        """Take the newcomer of a recycling that does not come to its end; False where it is not needed here."""
        if self.newcomer is not None or not self._may_be_of_use() or not newcomer.is_fit():
            return False
        self._cancel_timer()
        newcomer.serve(_let_wait, self._gone, announced=False)
        self.newcomer = newcomer
        return True

    def take_over(self) -> bool:
        """Make it the next generation of an isolate that is to start one; False where there is none that could be."""
        stale = self.newcomer if not self.is_fit() else None
        if stale is not None and stale.is_fit():
            self._let_go("it was made for what is not to run any more")
        newcomer = self.give()
        if newcomer is None:
            return False
        isolate = self._isolate
        with isolate.lock:  # from the check on: a stop that comes between would find no process
            called_off = isolate.stop_requested or isolate.halting
            if not called_off:
                seconds, ready = _time_left(newcomer), newcomer.is_ready
                newcomer.install()
                newcomer.current.ready_at = None  # from here on it is a start like any other one
                if seconds is not None:
                    late = partial(starting.start_too_late, isolate)
                    isolate.current.start_timer = isolate.after(seconds, late)
        if called_off:
            self.newcomer = newcomer
            endings.called_off(isolate)
        elif ready:
            self._let_run(newcomer)
        return True

    def _let_run(self, newcomer: Newcomer) -> None:
        """Let what has taken over run, once it knows all that was set with `set_data`."""
        isolate, current = self._isolate, newcomer.current
        with isolate.lock:
            if isolate.process is not newcomer.generation or current.intent is not None or current.ready_at is not None:
                return
            unknown = newcomer.unknown_data()
            if not unknown:
                newcomer.begin_to_run()
                arrivals.let_run(isolate)
        if unknown:
            newcomer.tell_data(unknown, partial(self._let_run, newcomer))
        else:
            arrivals.tell_started(isolate, [])

    # Ending it

    def look_again(self) -> None:
        """Something ends: soon, end this as well where no generation can follow.  From any thread."""
        if self._isolate.options.standby:
            self._isolate.loop.call_soon(self._look)

    def _look(self) -> None:
        if not self._may_be_of_use():
            self.close()

    def close(self) -> None:
        """End it, and start no other one: the isolate ends for good."""
        self._closed = True
        self._cancel_timer()
        self._let_go("its isolate ends")

    def _let_go(self, detail: str) -> None:
        if self.newcomer is not None and self._recycler.let_go(self.newcomer, detail):
            self.newcomer = None

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def _let_wait() -> None:
    """A standby is ready: it waits until it is needed."""


def _time_left(newcomer: Newcomer) -> float | None:
    """Take away the timer of its start, and return the seconds that it has left."""
    timers = newcomer.current.timers
    due = None if newcomer.is_ready or not timers else timers[0].due
    newcomer.cancel_timers()
    return None if due is None else max(0.0, due - time.monotonic())

"""Why and when one process of an isolate ends: the one place that records the reason, before the process can end.

What the process says, and what follows from its end, is in `incarnation`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from piactors._host.confiner import Plan
from piactors._io.loop import LoopTimer
from piactors._isolate.home import Home
from piactors._isolate.policies.limits import LimitGuard
from piactors._isolate.spec import IsolateSpec
from piactors._process.placement import End, Process
from piactors._rules.bodies import ProcessEnding, Role
from piactors._rules.incarnation import IncarnationFacts
from piactors._rules.message import Message
from piactors.exit_reason import Breach, Kind
from piactors.pihost.wire import wire


class Fate:
    """One process of an isolate, and what ends it.

    Attributes:
        number: which process of its isolate it is.
        facts: what is known of it; changed under the isolate's lock if other threads may.
        plan: what enforces its limits; None if it has none.
        role: what it is there for.
        version: of which specification it was made.
        ran: whether it has been the one that runs the calls, or was to.
        has_started: whether it has begun to run them.
        announced: whether a supervisor knows that it has started.
        stop_wanted: whether its own code has asked for its end.
        description: what is hosted in it, as it said when it became ready.
        timed_out: the call that it is killed for, because that ran too long.
        ending, end: what is known of its end, once that has come.
    """

    def __init__(
        self,
        home: Home,
        spec: IsolateSpec,
        plan: Plan | None,
        number: int,
        role: Role,
        version: int,
    ) -> None:
        self.number, self.role, self.version = number, role, version
        self.facts = IncarnationFacts()
        self.spec, self.plan = spec, plan
        self.ran = role is Role.CURRENT
        self.announced = self.stop_wanted = self.has_started = False
        self.description = b""
        self.process: Process | None = None
        self.guard: LimitGuard | None = None
        self.timed_out: Message | None = None
        self.ending: ProcessEnding | None = None
        self.end: End | None = None
        self._home = home
        self._timers: list[LoopTimer] = []

    @property
    def pid(self) -> int | None:
        """The pid of its process, or None."""
        return None if self.process is None else self.process.pid

    @property
    def is_ready(self) -> bool:
        """Whether its start is complete."""
        return self.facts.ready_at is not None

    @property
    def is_stopping(self) -> bool:
        """Whether it has said that it stops."""
        return self.facts.report is not None

    @property
    def is_doomed(self) -> bool:
        """Whether it is to be killed."""
        return self.facts.kill_kind is not None

    def lives(self) -> bool:
        """Whether it lives, as far as the kernel tells, and has not failed to start."""
        process = self.process
        return process is not None and self.facts.start_failure is None and not process.has_ended()

    def after(self, seconds: float, callback: Callable[[], object]) -> LoopTimer:
        """Have `callback()` called on the I/O thread later, unless it has ended by then."""
        timer = self._home.loop.deadline(seconds, callback)
        self._timers.append(timer)
        return timer

    def kill(self, kind: Kind, detail: str, breach: Breach | None = None) -> bool:
        """End it at once, for this reason unless there is one already; False if there is.  From any thread.

        The reason stands before the process can be seen to end, and nothing more is sent to it from then on.
        """
        try:
            return self.doom(kind, detail, breach)
        finally:  # whoever cannot be told of it: it is ended
            if self.process is not None:
                self.process.kill()

    def doom(self, kind: Kind, detail: str, breach: Breach | None = None, *, timed_out: Message | None = None) -> bool:
        """Record why it will be killed, and let nothing more be sent to it; False if there is a reason already."""
        delivery = self._home.delivery
        with delivery.lock:  # a sender looks at `flows`: nothing may be sent after the reason is recorded
            first = self.facts.kill(kind, detail, breach)
            self.timed_out = self.timed_out or timed_out
            if delivery.process is self.process:
                delivery.shut()
        if first:
            self._is_doomed_for(kind, detail)
        return first

    def retire(self) -> None:
        """Ask it to stop in its own time, at most the shutdown time; it runs nothing any more."""
        self._cancel_timers()
        self.bound()
        if self.process is not None:
            self.process.send(wire.STOP, wire.PICKLE, 0, b"")

    def bound(self) -> None:
        """Kill it if it has not ended within the shutdown time."""
        seconds = self.spec.options.shutdown_timeout
        if seconds is not None:
            late = partial(self.kill, "killed", f"did not stop within shutdown_timeout, {seconds:g} s")
            self.after(seconds, late)

    def note_stack(self, stack: str) -> None:
        """Record where it was when its end was decided."""
        self.facts.note_stack(stack)

    def let_run(self) -> None:
        """No longer hold it to its share of the processors: it has to say where it is."""
        if self.guard is not None:
            self.guard.let_run()

    def want_stop(self) -> None:
        """Its own code asks for its end."""
        self.stop_wanted = True

    def note_started(self) -> None:
        """It has begun to run the calls."""
        self.has_started = True

    def note_announced(self) -> None:
        """A supervisor knows that it has started."""
        self.announced = True

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _is_doomed_for(self, kind: Kind, detail: str) -> None:
        """It is about to be killed, and this is why; from any thread."""
        raise NotImplementedError

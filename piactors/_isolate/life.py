"""Gives the rules of an isolate's life their inputs, one after the other; `performing` does what they ask for.

All of it runs on the I/O thread, except `doomed` and `request_replacement`, which only post.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from piactors._host.confiner import Plan
from piactors._isolate.incarnation import Incarnation, IncarnationListener
from piactors._isolate.spec import IsolateSpec
from piactors._isolate.telling import PERFORM, Telling
from piactors._process.placement import End, Process
from piactors._rules import actions as do
from piactors._rules.bodies import ProcessEnding, Role
from piactors._rules.moment import Moment
from piactors._rules.phases import Phase, Wish
from piactors.exit_reason import ExitReason, Kind
from piactors.future import Future

_RESTARTING = (Phase.STARTING, Phase.WAITING, Phase.LEAVING, Phase.HELD)


class Life(Telling):
    """The life of one isolate."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._inputs: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._actions: deque[do.Action] = deque()
        self._is_busy = self._is_final = False

    @property
    def _listener(self) -> IncarnationListener:
        return self

    # Inputs in, actions out

    def feed(self, name: str, *args: Any) -> None:
        """Give the rules one input, and perform what they ask for; an input that comes meanwhile is next."""
        self._inputs.append((name, args))
        if not self._is_busy:
            self.work_off()

    def work_off(self) -> None:
        """Perform what is left to perform, and give the rules what has come meanwhile."""
        self._is_busy = True
        try:
            self._take_steps()
            while self._actions or self._inputs:
                if self._actions:
                    action = self._actions.popleft()  # first: what fails is not tried again
                    PERFORM[type(action)](self, action)
                    continue
                self._settle_lost()
                name, args = self._inputs.popleft()
                moment = Moment(time.monotonic(), random.random())
                self._actions += getattr(self.machine, name)(moment, *args)
                self._reflect()
            self._settle_lost()
        finally:
            self._is_busy = False

    def _reflect(self) -> None:
        """Have the mailbox take or refuse messages, as it stands now."""
        machine, delivery = self.machine, self._home.delivery
        over = machine.phase in (Phase.CLOSING, Phase.STOPPED)
        if machine.is_final and (not self._is_final or over):
            self._news.closing(machine.ending.reason if over else None)
            if not self._is_final:
                self._is_final = True
                delivery.refuse(self._texts.takes_nothing)
        again = machine.has_run and machine.phase in _RESTARTING and not machine.is_final
        refuses = again and self.options.while_restarting == "fail"
        if refuses != self._refuses and not self._is_final:
            self._refuses = refuses
            delivery.refuse(self._texts.restarts if refuses else None)

    # What incarnations tell (see `incarnation.IncarnationListener`)

    def incarnation_ready(self, body: Incarnation) -> None:
        """Its start is complete."""
        self.feed("ready", body.number)

    def incarnation_stops(self, body: Incarnation) -> None:
        """It has said that it stops."""
        error = None if body.facts.report is None else body.facts.report["error"]
        kind: Kind = "error" if error is not None else "shutdown" if self._stops() else "normal"
        self._note_stop()
        self.feed("stop_begun", body.number, ExitReason(kind=kind, error=error))

    def incarnation_gone(self, body: Incarnation, ending: ProcessEnding, end: End | None) -> None:
        """It is gone with all that it has started, or was never made."""
        self._bodies.pop(body.number, None)
        self._gone = body
        try:
            if body.role is not Role.CURRENT:
                self._tell_of_other(body, ending)
        finally:  # whatever fails of that, others wait for its end
            self._note_stop()
            self.feed("gone", body.number, ending)

    def _note_stop(self) -> None:
        """Somebody has asked for its end, and the input that says so is on its way: what comes before it counts too."""
        if self._stops() and self.machine.wish is Wish.NONE:
            self.feed("stop")

    def doomed(self, body: Incarnation, kind: Kind, detail: str) -> None:
        """It is about to be killed for this; from any thread."""
        self._home.loop.call_soon(self.feed, "doom", body.number)

    def was_told_to_stop(self, body: Incarnation) -> bool:
        """Whether its end was asked for, as far as its isolate knows."""
        return body.role is not Role.CURRENT or self._stops() or self.machine.halting

    def has_failed(self, error: BaseException) -> None:
        """The host itself has failed at something that concerns it."""
        self._home.has_failed(error)

    # What the code in a process, and the policies, ask for

    def wants_stop(self, process: Process) -> bool:
        """Note that its own code asks for its end; True if it is the process that runs the calls."""
        for body in list(self._bodies.values()):
            if body.process is process and body.role is not Role.RETIRING:
                body.want_stop()
                self.feed("own_stop", body.number)
                if body is self.current:
                    self._clock.run()
        return self.current is not None and self.current.process is process

    def replace(self, future: Future[int], reason: str, spec: IsolateSpec | None, plan: Plan | None) -> None:
        """Have another process take over between two calls, of another specification if one is given."""
        if self.machine.phase is Phase.STOPPED:
            future.fail(self._texts.takes_nothing())
            return
        version = self.add_version(spec or self.spec, self.plan if spec is None else plan)
        self.replacements.add(version, future)
        self.feed("replace", reason, version)

    def request_replacement(self, number: int, reason: str) -> None:
        """Have a process replaced, if it still runs the calls; from any thread."""
        self._home.loop.call_soon(self._replace, number, reason)

    # When the host itself has failed

    def end_process(self, detail: str) -> bool:
        """End the process that runs, and what is beside it; False if there is none whose end will be reported."""
        body = self.current
        if body is None or body.number not in self._bodies or body.process is None or body.process.is_over:
            return False  # also if its end was reported, and the rules have failed on that
        for other in [*self._bodies.values()]:
            if other.role is not Role.STANDBY or self._stops():  # what stands by takes over
                other.kill("killed", detail)
        return True

    def give_up(self, reason: ExitReason) -> list[Callable[[], object]]:
        """End it for good, whatever has been done; return the steps, each to be taken even if others fail."""
        self._inputs.clear()
        self._actions.clear()
        actions = self.machine.fail(Moment(time.monotonic()), reason)
        kills = [partial(body.kill, "killed", reason.detail or "") for body in self._bodies.values()]
        closed = next((action for action in actions if isinstance(action, do.Closed)), None)
        # It may have stopped before, and the action that says so may have been lost.
        self._end = self._end or closed or do.Closed(self.machine.ending, wanted=self._stops())
        timers = [timer.cancel for timer in (self._restart_timer, self._standby_timer) if timer is not None]
        steps: list[Callable[[], object]] = [*timers, *kills, self._settle_lost]
        return [*steps, partial(self._news.closing, reason), *self.steps_left()]

    def abandon(self) -> None:
        """In a forked copy of the host: close the descriptors of what is not this process's."""
        for body in self._bodies.values():
            if body.process is not None:
                body.process.abandon()
        self.current = None
        self.machine.abandon()

"""An isolate as it is looked at, or asked about, from any thread: nothing here waits, or changes anything."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from piactors._host.confiner import Plan
from piactors._isolate import control, dead
from piactors._isolate.delivery import Delivery
from piactors._isolate.life import Life
from piactors._isolate.news import News
from piactors._isolate.remote_attributes import Described
from piactors._isolate.spec import IsolateSpec
from piactors._process.placement import Process
from piactors._rules.phases import Phase
from piactors.exit_reason import ExitReason
from piactors.future import Future
from piactors.options import IsolationOptions


class Looks:
    """What can be seen of an isolate.

    Attributes:
        delivery: its messages.
        life: its processes.
        news: who has been told what of them.
        stop_requested: whether its end has been asked for.
    """

    delivery: Delivery
    life: Life
    news: News
    stop_requested: bool

    @property
    def spec(self) -> IsolateSpec:
        """What runs, or is to run next."""
        return self.life.spec

    @property
    def options(self) -> IsolationOptions:
        """The options of that."""
        return self.life.spec.options

    @property
    def process(self) -> Process | None:
        """The process that messages go to, or None."""
        current = self.life.current
        return None if current is None else current.process

    @property
    def pid(self) -> int | None:
        """The pid of the process that runs, or None."""
        current = self.life.current
        return None if current is None else current.pid

    @property
    def generation_number(self) -> int:
        """How many processes it has had."""
        return self.life.generation_number

    @property
    def last_reason(self) -> ExitReason | None:
        """Why the last process has ended."""
        return self.news.last_reason

    @property
    def final_reason(self) -> ExitReason | None:
        """Why it has ended for good, once that is decided."""
        return self.news.final_reason

    @property
    def actor_stopped(self) -> threading.Event:
        """Set once it takes no message any more."""
        return self.news.actor_stopped

    @property
    def ended(self) -> threading.Event:
        """Set once it and all its processes are gone for good."""
        return self.news.ended

    @property
    def shown_state(self) -> str:
        """Its state as users see it: it counts as stopping from the moment it is asked to."""
        state, current = self.state, self.life.current
        wanted = self.stop_requested or (current is not None and current.stop_wanted)
        halted = self.life.machine.halting and state == "running"
        return "stopping" if halted or (wanted and state != "stopped") else state

    @property
    def state(self) -> str:
        """``starting``, ``running``, ``restarting``, ``stopping`` or ``stopped``."""
        machine = self.life.machine
        phase = machine.phase
        if phase in (Phase.RUNNING, Phase.STOPPING, Phase.STOPPED):
            return phase.value
        if phase is Phase.CLOSING:
            return "stopping"
        return "restarting" if machine.has_run else "starting"

    def is_alive(self) -> bool:
        """Whether messages are taken."""
        return not self.news.actor_stopped.is_set()

    @property
    def plan(self) -> Plan | None:
        """What enforces its limits, once it has been started."""
        return self.life.plan

    def control(self, operation: str, *args: Any) -> Future[Any]:
        """Ask the isolate's control thread, which answers while a call runs.

        The future fails with `ActorDeadError` if no process runs to answer.
        """
        gone = partial(dead.no_process, self)
        return control.request(self._process(), self.delivery.decoder, gone, operation, *args)

    def _process(self) -> Process | None:
        body = self.life.current
        return body.process if body is not None and body.is_ready else None

    def description(self) -> Described:
        """Return what the hosted object offered when it became ready."""
        return control.description(self.spec.name, self.life.description)

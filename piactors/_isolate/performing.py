"""What the rules of an isolate's life ask for, done: one method for each action, on the I/O thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from piactors import events
from piactors._host.confiner import Plan
from piactors._io.loop import LoopTimer
from piactors._isolate.home import Home
from piactors._isolate.incarnation import Incarnation, IncarnationListener
from piactors._isolate.news import News
from piactors._isolate.parent import Losses
from piactors._isolate.policies.call_timeout import CallClock
from piactors._isolate.policies.recycling import RecyclePolicy, has_room_beside
from piactors._isolate.replacing import Replacements
from piactors._isolate.reply_ports import fail_all
from piactors._isolate.reports import settle_lost
from piactors._isolate.spec import IsolateSpec
from piactors._rules import actions as do
from piactors._rules.lifecycle import Lifecycle
from piactors._rules.mailbox import Aftermath, Evidence
from piactors._rules.message import Message
from piactors._rules.parent import Parent
from piactors._rules.phases import Swap
from piactors._text.record import ByAttributes
from piactors.exit_reason import ExitReason
from piactors.options import IsolationOptions
from piactors.pihost.process import lacks


@attrs.frozen(eq=False, repr=False)
class Texts(ByAttributes):
    """What makes the errors of messages: that no process runs them, that the isolate takes none, or only restarts."""

    not_run: Callable[[Message, ExitReason | None], BaseException]
    not_begun: Callable[[ExitReason | None], BaseException]
    takes_nothing: Callable[[], BaseException]
    restarts: Callable[[], BaseException]


class Performing:
    """The processes of one isolate, and what is done with them; `Life` says when.

    Attributes:
        machine: the rules.
        current: the process that runs the calls, or is to.
        generation_number: of that one, or of the last one.
        description: what is hosted, as the last process that became ready said.
    """

    def __init__(
        self,
        home: Home,
        spec: IsolateSpec,
        parent: Parent,
        news: News,
        losses: Losses,
        recycling: RecyclePolicy,
        clock: CallClock,
        texts: Texts,
        stops: Callable[[], bool],
    ) -> None:
        self.machine = Lifecycle(parent, self, keeps_standby=spec.options.standby)
        self.current: Incarnation | None = None
        self.generation_number = 0
        self.description: bytes | None = None
        self._home, self._news, self._losses = home, news, losses
        self._recycling, self._clock, self._texts, self._stops = recycling, clock, texts, stops
        self._specs = {0: spec}
        self._plans: dict[int, Plan | None] = {}
        self.replacements = Replacements(spec.name)
        self._bodies: dict[int, Incarnation] = {}
        self._last: Incarnation | None = None
        """The process that ran the calls last, or was to."""
        self._refuses = False
        self._lost: tuple[Incarnation, Aftermath] | None = None
        """What the last process has taken with it, until that is reported."""
        self._old_pid: int | None = None
        """The pid of the process that retired last."""
        self._gone: Incarnation | None = None
        """The process that has ended last."""
        self._restart_timer: LoopTimer | None = None
        self._standby_timer: LoopTimer | None = None
        self._end: do.Closed | None = None
        self._steps: deque[Callable[[], object]] = deque()
        """What has still to be done for its end for good."""

    @property
    def spec(self) -> IsolateSpec:
        """The specification of what runs, or is to run next."""
        return self._specs[self.machine.version]

    @property
    def options(self) -> IsolationOptions:
        """The options of that."""
        return self.spec.options

    @property
    def plan(self) -> Plan | None:
        """What enforces the limits of that; None if it has none, or was not begun."""
        return self._plans.get(self.machine.version)

    def continue_from(self, earlier: Performing) -> None:
        """Count processes from where an isolate of the same ref has ended."""
        self.generation_number, self.description = earlier.generation_number, earlier.description
        self.machine.count_from(earlier.machine.last_number)

    def use_plan(self, plan: Plan | None) -> None:
        """Say what enforces the limits of the first specification."""
        self._plans[0] = plan

    def add_version(self, spec: IsolateSpec, plan: Plan | None) -> int:
        """Add another specification, and return its version; what is older than what runs is not needed any more."""
        version = max(self._specs) + 1
        self._specs[version], self._plans[version] = spec, plan
        in_use = {self.machine.version, version, *(body.version for body in self._bodies.values())}
        for old in [old for old in self._specs if old not in in_use and old < self.machine.version]:
            del self._specs[old]
            self._plans.pop(old, None)
        return version

    def feed(self, name: str, *args: Any) -> None:
        """Give the rules one input; see `Life`."""
        raise NotImplementedError

    @property
    def _listener(self) -> IncarnationListener:
        """What hears of the processes."""
        raise NotImplementedError

    # What the rules ask in the middle of a decision

    def has_room_beside(self, number: int) -> bool:
        """Whether there is memory for another process beside this one."""
        body = self._bodies.get(number)
        return body is not None and has_room_beside(body.pid)

    def lives(self, number: int) -> bool:
        """Whether a process lives, as far as the kernel tells now."""
        body = self._bodies.get(number)
        return body is not None and body.lives()

    # Processes

    def _launch(self, action: do.Launch) -> None:
        spec = self._specs[action.version]
        plan = self._plans.get(action.version)
        body = Incarnation(self._home, self._listener, spec, plan, action.number, action.role, action.version)
        self._bodies[action.number] = body
        try:
            why_not = body.launch()
        except Exception as error:
            text = str(error) if isinstance(error, OSError) else repr(error)
            body.not_made(f"no process could be made: {text}", lack=lacks.is_lack(error))
            return
        if why_not is not None:
            body.not_made(why_not, lack=False)

    def _of(self, number: int, step: Callable[[Incarnation], object]) -> None:
        body = self._bodies.get(number)  # it may be gone, and the rules hear of that next
        if body is not None:
            step(body)

    def _assign(self, action: do.Assign) -> None:
        self._of(action.number, lambda body: body.assign(action.role))

    def _sync(self, action: do.Sync) -> None:
        self._of(action.number, lambda body: body.sync(partial(self.feed, "synced", action.number)))

    def _retire(self, action: do.Retire) -> None:
        self._of(action.number, Incarnation.retire)

    def _kill(self, action: do.Kill) -> None:
        self._of(action.number, lambda body: body.kill(action.kind, action.detail))

    def _bound(self, action: do.Bound) -> None:
        self._of(action.number, Incarnation.bound)

    # Messages

    def _attach(self, action: do.Attach) -> None:
        body = self._bodies.get(action.number) or self._gone  # it may have failed at once
        self.generation_number = action.number
        if body is None or body.number != action.number:
            return
        self.current = self._last = body
        self._home.delivery.attach(body.process)
        if body.stop_wanted:
            self._clock.run()

    def _detach(self, action: do.Detach) -> None:
        body, self.current = self.current, None
        if body is None:
            return
        ending, end = body.ending, body.end
        where = () if ending is None else (body.spec.name, body.pid, body.number, ending.reason)
        # What was in flight in one that is gone, and of which no more is known, may have begun.
        unknown = None if ending is None or not ending.made else Evidence(0, credible=False)
        aftermath = self._home.delivery.detach(unknown if end is None else end.evidence, where)
        if ending is not None:  # otherwise it only retires
            self._losses.note(ending)
            self._lost = (body, aftermath)
            if action.reported:
                self._news.process_ended(body, ending, wanted=self._stops())
            else:
                self.generation_number = self.machine.last_number

    def _settle_lost(self) -> None:
        """Tell those whose calls the last process has taken with it, and those that must not wait for the next one."""
        found, self._lost = self._lost, None
        if found is not None and found[0].ending is not None:
            (body, aftermath), ending = found, found[0].ending
            place = (body.spec.name, body.pid, body.number)
            not_begun = partial(self._texts.not_begun, ending.reason)
            settle_lost(aftermath, place, ending.reason, body.timed_out, body.facts.stack, not_begun)
            self._home.delivery.all_settled()
        if self._refuses and self.current is None:
            fail_all(self._home.delivery.take_unbegun(in_flight=False, tried=False), self._texts.restarts)

    def _shut(self, _: do.Shut) -> None:
        self._home.delivery.shut()

    def _pause(self, _: do.Pause) -> None:
        self._home.delivery.pause(partial(self.feed, "drained"))

    def _resume(self, _: do.Resume) -> None:
        if self.current is not None:
            self.current.tell_rest()  # after it has become the one that is told, and before it gets a call
        self._home.delivery.resume()

    def _ask_to_stop(self, _: do.AskToStop) -> None:
        self._home.delivery.ask_to_stop()

    def _fail_waiting(self, action: do.FailWaiting) -> None:
        self._fail_not_run(self._home.delivery.take_unbegun(in_flight=action.in_flight), action.reason)

    def _fail_not_run(self, left: list[Message], reason: ExitReason | None) -> None:
        for message in left:
            fail_all([message], partial(self._texts.not_run, message, reason), unless_given_up=False)

    # Waiting

    def _wait(self, action: do.Wait) -> None:
        self._restart_timer = self._home.loop.call_later(action.delay, self.restart_due)
        if action.attempt:
            fields = {"attempt": action.attempt, "delay": action.delay}
            self._home.reports.publish(events.IsolateRestarting, None, self.generation_number, **fields)

    def restart_due(self) -> None:
        """The wait for the next start is over; one that was told to stop meanwhile starts nothing."""
        self.feed("stop" if self._stops() else "due")

    def _cancel_wait(self, _: do.CancelWait) -> None:
        if self._restart_timer is not None:
            self._restart_timer.cancel()

    def _wait_for_standby(self, action: do.WaitForStandby) -> None:
        if self._standby_timer is not None:
            self._standby_timer.cancel()
        self._standby_timer = self._home.loop.call_later(action.delay, partial(self.feed, "standby_due"))

    def _replace_later(self, action: do.ReplaceLater) -> None:
        ask = partial(self._replace, action.number, action.reason)
        self._of(action.number, lambda body: body.after(action.delay, ask))

    # Replacing

    def _replace(self, number: int, reason: str) -> None:
        if self.current is not None and self.current.number == number:
            self.feed("replace", reason)
        if self.machine.swap is Swap.NONE and not self.machine.is_asked:
            self._recycling.again()

"""What the rules of an isolate's life have told: of starts, replacements and ends; and the table of all actions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from piactors import events
from piactors._isolate import crash_errors
from piactors._isolate.incarnation import Incarnation
from piactors._isolate.performing import Performing
from piactors._isolate.policies import heartbeat
from piactors._isolate.reply_ports import fail_all
from piactors._rules import actions as do
from piactors._rules.bodies import ProcessEnding, Role
from piactors._rules.mailbox import Aftermath
from piactors._rules.phases import Swap

_NO_MESSAGES = Aftermath([], [], [])


class Telling(Performing):
    """Tells those of one isolate's life who want to know."""

    def _started(self, action: do.Started) -> None:
        body = self.current
        if body is not None and body.number == action.number:
            self._describe(body)  # first: whatever fails of the rest, its proxies know it
            body.note_started()
            self._losses.forget()
            self.replacements.runs(body.version, body.number)
            self._news.runs(body, partial(self._begin_policies, body))

    def _describe(self, body: Incarnation) -> None:
        """Its proxies offer what this process does; what is known of that stays known if it is the same as before."""
        if body.description != self.description:
            self.description = body.description

    def _replaced(self, action: do.Replaced) -> None:
        body, reports = self.current, self._home.reports
        if body is None or body.number != action.new:
            return
        self._describe(body)
        body.note_started()
        body.note_announced()  # to its supervisor the child has been running all the time
        old = self._bodies.get(action.old)
        reports.publish(events.IsolateStarted, body.pid, body.number)
        pid = self._old_pid if old is None else old.pid
        fields = {"reason": action.reason, "new_pid": body.pid, "warm": action.warm}
        reports.publish(events.IsolateRecycled, pid, action.old, **fields)
        self._begin_policies(body)
        self.replacements.runs(body.version, body.number)

    def _begin_policies(self, body: Incarnation) -> None:
        self._recycling.begin(body)
        heartbeat.start(body, self._home)

    def _not_replaced(self, action: do.NotReplaced) -> None:
        self._recycling.again()
        gone, ending = self._gone, action.ending
        cause = None if ending is None or gone is None else self._news.start_error(gone, ending)
        self.replacements.has_failed(action.version, cause)
        if action.ending is not None and self.current is not None:
            self._home.reports.warn(
                "isolate %s is not %s, generation %s goes on: %s",
                self.current.spec.name,
                "recycled" if action.version is None else "replaced",
                self.generation_number,
                action.ending.reason.report(),
            )

    def _lacking(self, action: do.Lacking) -> None:
        text = (action.reason.error or action.reason.detail or "").strip().rpartition("\n")[2]
        place = (self.spec.name, text)
        self._home.reports.warn("isolate %s cannot be restarted now, and will be retried until it can: %s", *place)

    def _standby_lost(self, action: do.StandbyLost) -> None:
        self._home.reports.warn(
            "isolate %s: its standby (pid %s) has ended, and none is started for %g s: %s",
            self.spec.name,
            None if self._gone is None else self._gone.pid,
            action.delay,
            action.reason.report(),
        )

    def _held(self, action: do.Held) -> None:
        aftermath = _NO_MESSAGES if self._lost is None else self._lost[1]
        self._settle_lost()
        self._news.held(self._last, action.ending, aftermath, halted=self.machine.halting)

    def _exceeded(self, _: do.Exceeded) -> None:
        self._news.exceeded()

    def _closed(self, action: do.Closed) -> None:
        self._end = action
        self._steps += [self._settle_lost, *self._steps_of_end(action), self._die_of_crash]
        self._take_steps()

    def _take_steps(self) -> None:
        while self._steps:
            self._steps[0]()  # it is taken out after it: one that fails is tried once more
            self._steps.popleft()

    def _die_of_crash(self) -> None:
        reason = self.machine.ending.reason
        if self.options.die_on_crash and not reason.is_normal and not self._stops():
            crash_errors.die(reason)

    def steps_left(self) -> list[Callable[[], object]]:
        """Return what has still to be done if the end for good has come: nothing of it is lost by a failure."""
        if self._end is None:
            return []
        return list(self._steps) or self._steps_of_end(self._end)

    def _steps_of_end(self, closed: do.Closed) -> list[Callable[[], object]]:
        """Return what has to be done at the end for good, step by step, in order."""
        home, reason = self._home, closed.ending.reason
        left = home.delivery.close(self._texts.takes_nothing)
        stops = [message for message in left if message.kind == "stop"]
        rest = [message for message in left if message.kind != "stop"]
        told = self._news.steps_of_end(self._last, self.generation_number, closed.ending, wanted=closed.wanted)
        steps: list[Callable[[], object]] = [home.leave, home.reports.relay.tell_dropped, *told[:2]]
        steps += [partial(self._fail_not_run, rest, reason), *told[2:]]
        steps.append(lambda: self.replacements.fail_all(self._texts.not_begun(reason)))
        # last: the caller that stopped it finds all of this done
        return [*steps, partial(fail_all, stops, partial(self._texts.not_begun, reason))]

    def _tell_of_other(self, body: Incarnation, ending: ProcessEnding) -> None:
        """One that does not run the calls has ended: the rules say what of it is worth reporting."""
        reason, reports = ending.reason, self._home.reports
        if body.role is Role.SUCCESSOR and self.machine.swap is Swap.COLD:  # nothing else runs that could go on
            self._last = body
            self._news.process_ended(body, ending, wanted=self._stops())
        elif body.role is Role.SUCCESSOR and reason.kind != "shutdown":
            reports.publish(events.IsolateStartFailed, body.pid, body.number, reason=reason)
        elif body.role is Role.RETIRING:
            self._old_pid = body.pid
            if body.ran:
                reports.publish(events.IsolateExited, body.pid, body.number, reason=reason)
            if not reason.is_normal and body.is_ready and body.spec.options.shutdown_timeout != 0:
                what = "recycled" if body.ran else "not needed"
                place = (body.spec.name, body.pid, body.number, what)
                reports.warn("isolate %s (pid %s, generation %s), %s: %s", *place, reason.report())


PERFORM: dict[type, Callable[[Telling, Any], None]] = {
    do.Launch: Telling._launch,
    do.Assign: Telling._assign,
    do.Sync: Telling._sync,
    do.Retire: Telling._retire,
    do.Kill: Telling._kill,
    do.Bound: Telling._bound,
    do.Attach: Telling._attach,
    do.Detach: Telling._detach,
    do.Shut: Telling._shut,
    do.Pause: Telling._pause,
    do.Resume: Telling._resume,
    do.AskToStop: Telling._ask_to_stop,
    do.FailWaiting: Telling._fail_waiting,
    do.Wait: Telling._wait,
    do.CancelWait: Telling._cancel_wait,
    do.WaitForStandby: Telling._wait_for_standby,
    do.ReplaceLater: Telling._replace_later,
    do.Started: Telling._started,
    do.Replaced: Telling._replaced,
    do.NotReplaced: Telling._not_replaced,
    do.Lacking: Telling._lacking,
    do.StandbyLost: Telling._standby_lost,
    do.Held: Telling._held,
    do.Exceeded: Telling._exceeded,
    do.Closed: Telling._closed,
}

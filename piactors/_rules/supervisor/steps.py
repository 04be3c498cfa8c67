"""How jobs are done step by step, and how a supervisor ends: the part of its decisions that is not a rule."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from piactors._rules.budget import Ledger, postpone
from piactors._rules.moment import Moment
from piactors._rules.supervisor.actions import (
    Action,
    Answer,
    Ended,
    Forget,
    Release,
    Start,
    StartRefused,
    Stop,
    Up,
    WaitBeforeStart,
)
from piactors._rules.supervisor.child import Child, ChildPhase
from piactors._rules.supervisor.jobs import Job, Purpose
from piactors._rules.supervisor.rules import TreeRule
from piactors.exit_reason import ExitReason


@attrs.define
class _Ending:
    """Why the supervisor ends, and which children have still to stop, in order."""

    reason: ExitReason
    keep: bool
    failed: str | None
    left: deque[str]


class Steps:
    """The state of one supervisor's decisions, and what does their steps."""

    def __init__(self, rule: TreeRule) -> None:
        self.rule = rule
        self.children: dict[str, Child] = {}
        self.ended: ExitReason | None = None
        self._exclusive = rule.strategy != "one_for_one"
        self._moment = Moment(0.0)
        self._actions: list[Action] = []
        self._ledger: Ledger = ()
        self._job: Job | None = None
        self._put_off: deque[Callable[[], None]] = deque()
        self._ending: _Ending | None = None

    def _when_free(self, what: Callable[[], None]) -> None:
        """Do it now, or after the job that is under way."""
        if self._ending is None and self._job is None:
            what()
        elif self._ending is None:
            self._put_off.append(what)

    def _for_child(self, child: Child, what: Callable[[], None]) -> Callable[[], None]:
        """Return `what`, to be done unless something else has become of the child by then."""
        epoch = child.epoch
        return lambda: what() if child.epoch == epoch and self.children.get(child.id) is child else None

    def _begin(self, job: Job) -> None:
        if self._exclusive or job.purpose is Purpose.START_UP:
            self._job = job
        self._advance(job)

    def _advance(self, job: Job) -> None:
        """Do the steps of a job up to the next one that takes time."""
        while job.stops:
            child = self.children.get(job.stops[0])
            if child is not None and not self._is_stopped(child, job):
                return
            job.stops.popleft()
            if child is not None:
                self._stopped(child, job)
        while job.starts:
            child = self.children.get(job.starts.popleft())
            if child is not None and child.unwanted:
                child.unwanted = False
                self._stay_down(child)
            elif child is not None and child.phase is ChildPhase.DOWN:
                self._start_one(child, job)
                return
        self._finish(job)

    def _is_stopped(self, child: Child, job: Job) -> bool:
        if child.phase in (ChildPhase.RUNNING, ChildPhase.STARTING):
            keep = job.keep and child.rule.leaves_spec
            self._actions.append(Stop(child.id, keep))
            child.phase, child.job = ChildPhase.STOPPING, job
            return False
        return True

    def _stopped(self, child: Child, job: Job) -> None:
        self._cut_wait_short(child)
        child.phase, child.retry = ChildPhase.DOWN, False
        child.epoch += 1
        if not job.keep:
            self._stay_down(child)
        elif child.rule.leaves_spec:
            child.comes_back = True
        else:
            self._forget(child)

    def _start_one(self, child: Child, job: Job) -> None:
        child.phase, child.job = ChildPhase.STARTING, job
        child.epoch += 1
        child.restarts += job.purpose is Purpose.RESTART
        attempt = max(1, child.attempt) if job.purpose is Purpose.RESTART else 0
        self._actions.append(Start(child.id, attempt))

    def _step_done(self, child: Child) -> None:
        """A child has started or stopped, as was asked for: go on with what wanted it."""
        job, child.job = child.job, None
        if self._ending is not None:
            self._continue_end()
        elif job is not None:
            self._advance(job)

    def _start_failed(self, child: Child, reason: ExitReason) -> None:
        job, child.job = child.job, None
        if self._ending is not None or job is None:
            self._continue_end()
        elif job.purpose is Purpose.START_UP:
            self._end(reason, keep=False, failed=child.id)
        elif job.purpose is Purpose.RESTART:
            for id in job.starts:  # they come back with the next try
                self.children[id].comes_back = False
            child.retry = True
            self._wait(child, 0.0)
            self._finish(job)
        else:
            self._actions.append(StartRefused(job.call, child.id, reason))
            job.call = None
            if job.purpose is Purpose.START_CHILD:
                self._forget(child)
            else:
                self._stay_down(child)
            self._finish(job)

    def _finish(self, job: Job) -> None:
        if self._job is job:
            self._job = None
        if job.purpose is Purpose.START_UP:
            self._actions.append(Up())
        if job.call is not None:
            self._actions.append(Answer(job.call, job.subject))
        self._put_off.extend(job.after)
        while self._put_off and self._job is None and self._ending is None:
            self._put_off.popleft()()

    # The end

    def _end(self, reason: ExitReason, keep: bool, failed: str | None = None) -> None:
        if self._ending is not None:
            self._ending.keep = self._ending.keep and keep
            return
        self._job = None
        self._put_off.clear()
        for child in self.children.values():
            child.job = None
        self._ending = _Ending(reason, keep, failed, deque(reversed(self.children)))
        self._continue_end()

    def _continue_end(self) -> None:
        ending = self._ending
        if ending is None or self.ended is not None:
            return
        if self.rule.parallel:
            self._stop_all_at_once(ending)
        while ending.left:
            child = self.children[ending.left[0]]
            if child.phase in (ChildPhase.RUNNING, ChildPhase.STARTING):
                self._ask_to_stop(child, ending)
            if child.phase is ChildPhase.STOPPING:
                return
            child.phase, child.comes_back = ChildPhase.DOWN, False
            child.epoch += 1
            ending.left.popleft()
        self.ended = ending.reason
        self._actions.append(Ended(ending.reason, ending.failed))

    def _stop_all_at_once(self, ending: _Ending) -> None:
        for child in self.children.values():
            if child.phase in (ChildPhase.RUNNING, ChildPhase.STARTING):
                self._ask_to_stop(child, ending)

    def _ask_to_stop(self, child: Child, ending: _Ending) -> None:
        self._actions.append(Stop(child.id, ending.keep and child.rule.leaves_spec))
        child.phase = ChildPhase.STOPPING

    # Children

    def _stay_down(self, child: Child) -> None:
        child.comes_back = False
        if child.rule.leaves_spec:
            self._actions.append(Release(child.id))
        else:
            self._forget(child)

    def _forget(self, child: Child) -> None:
        del self.children[child.id]
        self._actions.append(Forget(child.id))

    def _wait(self, child: Child, seconds: float) -> None:
        child.phase, child.comes_back = ChildPhase.WAITING, True
        child.epoch += 1
        self._actions.append(WaitBeforeStart(child.id, seconds, child.epoch, max(1, child.attempt)))

    def _postpone(self, child: Child, seconds: float) -> None:
        if child.rule.budget is not None:
            child.ledger = postpone(child.ledger, child.id, seconds)
        else:
            self._ledger = postpone(self._ledger, child.id, seconds)

    def _cut_wait_short(self, child: Child) -> None:
        """The part of its wait that does not happen makes its past older again."""
        until, child.waits_until = child.waits_until, None
        if until is not None and until > self._moment.now:
            self._postpone(child, self._moment.now - until)

    def _known(self, id: str, phase: ChildPhase) -> Child | None:
        child = self.children.get(id)
        return child if child is not None and child.phase is phase else None

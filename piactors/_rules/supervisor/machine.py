"""What a supervisor does: inputs and the time go in, actions come out.  Pure, like a protocol without I/O.

An input is the news of one child, a call of a user, or the end of a wait.  Each method takes one and
returns the actions that it asks for, in order.  The rules are those of Erlang/OTP's `supervisor`;
when a start or a stop takes time there, nothing else is handled meanwhile, and so it is here for
strategies that restart groups: what comes in between is put off until the job is done.  Under
one_for_one each child goes its own way, so a slow start delays nobody else.

An impossible input, such as news of a child that does not exist, changes nothing: it is late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec

from piactors import errors
from piactors._rules import restart
from piactors._rules.exit import Exit
from piactors._rules.moment import Moment
from piactors._rules.supervisor.actions import Action, Answer, BudgetExceeded, Release, StartRefused
from piactors._rules.supervisor.child import Child, ChildPhase
from piactors._rules.supervisor.jobs import Job, Purpose, in_order
from piactors._rules.supervisor.rules import ChildRule
from piactors._rules.supervisor.steps import Steps
from piactors.exit_reason import ExitReason

P = ParamSpec("P")


def _input(
    method: Callable[Concatenate[SupervisorMachine, P], None],
) -> Callable[Concatenate[SupervisorMachine, Moment, P], list[Action]]:
    """Make a method an input: it takes the moment first, and returns the actions."""

    def handle(self: SupervisorMachine, moment: Moment, /, *args: P.args, **kwargs: P.kwargs) -> list[Action]:
        self._moment = moment
        method(self, *args, **kwargs)
        actions, self._actions = self._actions, []
        return actions

    handle.__doc__, handle.__name__ = method.__doc__, method.__name__
    return handle


class SupervisorMachine(Steps):
    """The decisions of one supervisor, from its start to its end."""

    # Inputs: the supervisor's own life

    @_input
    def start(self, rules: Iterable[ChildRule]) -> None:
        """Start the supervisor with these children, in order."""
        for rule in rules:
            self.children[rule.id] = Child(rule)
        self._begin(Job(Purpose.START_UP, starts=in_order(self.children)))

    @_input
    def stop(self, keep: bool = False) -> None:
        """Stop the supervisor: its children in reverse order, even if it is still starting."""
        self._end(ExitReason(kind="shutdown"), keep)

    # Inputs: news of children

    @_input
    def started(self, id: str) -> None:
        """The child is ready."""
        child = self._known(id, ChildPhase.STARTING)
        if child is not None:
            child.phase, child.announced, child.comes_back = ChildPhase.RUNNING, True, False
            child.ready_at = self._moment.now
            self._step_done(child)

    @_input
    def start_failed(self, id: str, reason: ExitReason) -> None:
        """The child did not become ready."""
        child = self.children.get(id)
        if child is None or child.phase not in (ChildPhase.STARTING, ChildPhase.STOPPING):
            return
        child.reason, was_stopping = reason, child.phase is ChildPhase.STOPPING
        child.phase = ChildPhase.DOWN
        if was_stopping:
            self._step_done(child)
        else:
            self._start_failed(child, reason)

    @_input
    def exited(self, id: str, exit: Exit) -> None:
        """A child that ran has ended, told to or by itself."""
        child = self.children.get(id)
        if child is None or not child.is_active:
            return
        child.unwanted = child.unwanted or (exit.wanted and not _is_being_released(child))
        child.reason, stopping = exit.reason, child.phase is ChildPhase.STOPPING
        self._has_run(child)
        child.phase = ChildPhase.DOWN if stopping else ChildPhase.DEAD
        if stopping:
            self._step_done(child)
        else:
            self._when_free(self._for_child(child, lambda: self._died(child, exit)))

    @_input
    def due(self, id: str, ticket: int) -> None:
        """The wait of a child is over."""
        child = self.children.get(id)
        if child is not None and child.epoch == ticket and child.phase is ChildPhase.WAITING:
            self._when_free(self._for_child(child, lambda: self._due(child)))

    @_input
    def stopped_by_ref(self, id: str) -> None:
        """Somebody stops the child through its ref while it is down: as `terminate_child`, and no job starts it."""
        child = self.children.get(id)
        if child is not None and not _is_being_released(child):
            child.unwanted = True
            self._when_free(lambda: self._terminate_child(id, None) if self.children.get(id) is child else None)

    # Inputs: calls

    @_input
    def start_child(self, rule: ChildRule, call: Any) -> None:
        """Add a child and start it."""
        self._when_free(lambda: self._start_child(rule, call))

    @_input
    def terminate_child(self, id: str, call: Any) -> None:
        """Stop a child, or call off its restart; its specification stays, unless it is temporary."""
        self._when_free(lambda: self._terminate_child(id, call))

    @_input
    def restart_child(self, id: str, call: Any) -> None:
        """Start a child that is down."""
        self._when_free(lambda: self._restart_child(id, call))

    @_input
    def delete_child(self, id: str, call: Any) -> None:
        """Forget a child that is down."""
        self._when_free(lambda: self._delete_child(id, call))

    @_input
    def redeclare_child(self, rule: ChildRule, call: Any) -> None:
        """Decide by another rule on a child from now on."""
        child = self._find(rule.id, call)
        if child is not None:
            child.rule = rule
            self._actions.append(Answer(call))

    # Calls

    def _start_child(self, rule: ChildRule, call: Any) -> None:
        present = self.children.get(rule.id)
        most = self.rule.max_children
        if present is not None and present.job is not None:
            present.job.after.append(lambda: self._start_child(rule, call))
        elif present is not None and present.is_active:
            self._refuse(call, errors.ChildAlreadyStarted(f"child {rule.id!r} has been started already and is running"))
        elif present is not None:
            text = f"child {rule.id!r} already exists and does not run: call restart_child or delete_child"
            self._refuse(call, errors.ChildAlreadyPresent(text))
        elif most is not None and len(self.children) >= most:
            text = f"child {rule.id!r}: there are {most} children already, as many as max_children allows"
            self._refuse(call, errors.TooManyChildren(text))
        else:
            self.children[rule.id] = Child(rule)
            self._begin(Job(Purpose.START_CHILD, starts=in_order([rule.id]), call=call, subject=rule.id))

    def _terminate_child(self, id: str, call: Any) -> None:
        child = self._find(id, call)
        if child is None:
            return
        child.unwanted = False
        if child.job is not None and child.phase is ChildPhase.STOPPING:
            child.job.after.append(lambda: self._terminate_child(id, call))
            return
        self._give_up_start(child)
        job = Job(Purpose.TERMINATE, stops=in_order([id]), call=call)
        self._begin(job)

    def _give_up_start(self, child: Child) -> None:
        """A child that is starting is terminated: those who wait for the start learn that it failed."""
        if child.phase is ChildPhase.WAITING:
            self._let_go_of_group(child)
        job, child.job = child.job, None
        child.announced = True
        if job is not None and job.call is not None:
            reason = ExitReason(kind="start_failed", detail="terminated while it started")
            self._actions.append(StartRefused(job.call, child.id, reason))
        if job is not None:
            self._put_off.extend(job.after)

    def _let_go_of_group(self, child: Child) -> None:
        """This child's next try will not start those that a failed group restart has left down."""
        waiting = [
            other for other in self.children.values() if other.phase is ChildPhase.WAITING and other is not child
        ]
        awaited = {id for other in waiting for id in self._group(other)}
        for id in self._group(child):
            if id != child.id and id not in awaited and self.children[id].phase is ChildPhase.DOWN:
                self._actions.append(Release(id))

    def _restart_child(self, id: str, call: Any) -> None:
        child = self._find(id, call)
        if child is None:
            return
        if child.job is not None and child.job.purpose is not Purpose.RESTART:
            child.job.after.append(lambda: self._restart_child(id, call))
        elif self._is_down(child, call):
            child.announced, child.unwanted = True, False
            self._begin(Job(Purpose.RESTART_CHILD, starts=in_order([id]), call=call, subject=id))

    def _delete_child(self, id: str, call: Any) -> None:
        child = self._find(id, call)
        if child is None:
            return
        if child.job is not None and child.job.purpose is not Purpose.RESTART:
            child.job.after.append(lambda: self._delete_child(id, call))
        elif self._is_down(child, call):
            self._forget(child)
            self._actions.append(Answer(call))

    def _is_down(self, child: Child, call: Any) -> bool:
        if child.is_active:
            self._refuse(call, errors.ChildRunning(f"child {child.id!r} is running: call terminate_child first"))
        elif child.phase is not ChildPhase.DOWN:
            text = f"child {child.id!r} is being restarted: terminate_child calls that off"
            self._refuse(call, errors.ChildRestarting(text))
        else:
            return True
        return False

    def _find(self, id: str, call: Any) -> Child | None:
        child = self.children.get(id)
        if child is None:
            names = ", ".join(map(repr, list(self.children)[:20])) or "none"
            self._refuse(call, errors.ChildNotFound(f"there is no child {id!r}; the children are: {names}"))
        return child

    def _refuse(self, call: Any, error: errors.PiactorsError) -> None:
        self._actions.append(Answer(call, error=error))

    # Deaths

    def _died(self, child: Child, exit: Exit) -> None:
        child.phase = ChildPhase.DOWN
        if child.unwanted:
            child.unwanted = False
            self._stay_down(child)
        elif not child.rule.wants_restart(exit.reason):
            self._stay_down(child)
            self._shut_down_after(child)
        else:
            self._decide_restart(child, charged=exit.charged)

    def _due(self, child: Child) -> None:
        retry, child.retry, child.waits_until = child.retry, False, None
        child.phase = ChildPhase.DOWN
        if retry:
            self._decide_restart(child, charged=True)
        else:
            self._restart(child)

    def _decide_restart(self, child: Child, *, charged: bool) -> None:
        """Count a restart, and begin it, let it wait, or end what has used up its budget."""
        backoff = child.rule.backoff or self.rule.backoff
        if not charged:
            self._restart(child)
            return
        budget = child.rule.budget or self.rule.budget
        shared = child.rule.budget is None
        past = restart.Past(child.attempt, self._ledger if shared else child.ledger)
        decision, past = restart.charged_restart(
            budget, backoff, past, child.id, now=self._moment.now, uniform=self._moment.uniform
        )
        child.attempt = past.attempt
        if shared:
            self._ledger = past.ledger
        else:
            child.ledger = past.ledger
        if isinstance(decision, restart.Exhausted):
            self._exhausted(child, child.rule.escalates or (decision.by_budget and shared))
        elif decision.delay > 0:
            child.waits_until = self._moment.now + decision.delay
            self._wait(child, decision.delay)
        else:
            self._restart(child)

    def _has_run(self, child: Child) -> None:
        """Its run is over; one that was long enough lets the waits start again from the first."""
        ready_at, child.ready_at = child.ready_at, None
        if ready_at is not None:
            backoff = child.rule.backoff or self.rule.backoff
            child.attempt = restart.attempts_after(child.attempt, backoff, self._moment.now - ready_at)

    def _exhausted(self, child: Child, escalates: bool) -> None:
        self._actions.append(BudgetExceeded(child.id, escalates))
        if escalates:
            child.comes_back = False
            self._end(ExitReason(kind="shutdown", detail=f"child {child.id!r} has used up its restarts"), keep=True)
        else:
            self._let_go_of_group(child)
            self._stay_down(child)
            self._shut_down_after(child)

    def _restart(self, child: Child) -> None:
        """Start a child again, and its group with it."""
        ids = list(self._group(child))
        stops = [] if len(ids) == 1 else [id for id in reversed(ids) if id != child.id]
        child.comes_back = True
        starts = [id for id in ids if self.children[id].rule.leaves_spec or id == child.id]
        self._begin(Job(Purpose.RESTART, stops=in_order(stops), starts=in_order(starts), keep=True))

    def _group(self, child: Child) -> Iterable[str]:
        if self.rule.strategy == "one_for_one":
            return (child.id,)
        ids = list(self.children)
        return ids if self.rule.strategy == "one_for_all" else ids[ids.index(child.id) :]

    def _shut_down_after(self, child: Child) -> None:
        """End the supervisor if this child's end says so."""
        how = self.rule.auto_shutdown
        if how == "never" or not child.rule.significant or self._ending is not None:
            return
        others = any(other.rule.significant and other.phase is not ChildPhase.DOWN for other in self.children.values())
        if how == "any_significant" or not others:
            text = f"significant child {child.id!r} has ended, and auto_shutdown is {how!r}"
            self._end(ExitReason(kind="shutdown", detail=text), keep=True)


def _is_being_released(child: Child) -> bool:
    """Whether a child is being stopped for good already, by its supervisor itself."""
    return child.phase is ChildPhase.STOPPING and (child.job is None or not child.job.keep)


Input = Callable[[SupervisorMachine, Moment], list[Action]]
"""Gives a machine one input, and returns what is to be done."""

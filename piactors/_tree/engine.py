"""A supervisor at work: takes news and calls from its mailbox, asks the rules, and performs what they say.

One thread per supervisor.  It never waits for a child: starts and stops are begun here, and their
outcomes come back through the mailbox.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable
from typing import Any

from piactors import events
from piactors._isolate import dead
from piactors._isolate.parent import made
from piactors._rules.moment import Moment
from piactors._rules.supervisor.actions import (
    Action,
    Answer,
    BudgetExceeded,
    Ended,
    Forget,
    Release,
    Start,
    StartRefused,
    Stop,
    Up,
    WaitBeforeStart,
)
from piactors._rules.supervisor.child import ChildPhase
from piactors._rules.supervisor.machine import Input, SupervisorMachine
from piactors._rules.supervisor.rules import ChildRule, TreeRule
from piactors._text import shown
from piactors._text.logs import logger
from piactors._tree.clock import Cancellable, Clock
from piactors._tree.news import publish
from piactors._tree.runner import Runner
from piactors.errors import StartError
from piactors.exit_reason import ExitReason
from piactors.future import Future


class Engine:
    """One incarnation of a supervisor, from its start to its end.

    Args:
        runners: those of its children, which it adds to and removes from.
        on_ended: called with the reason, and the child whose start failed if that is why, on its own thread.
    """

    def __init__(
        self,
        name: str,
        rule: TreeRule,
        clock: Clock,
        runners: dict[str, Runner],
        on_started: Callable[[], None],
        on_ended: Callable[[ExitReason, str | None], None],
    ) -> None:
        self.name = name
        self.machine = SupervisorMachine(rule)
        self.runners = runners
        self.killing = False
        self.exhausted = False
        """Whether it ends because restarts have been used up."""
        self._rule = rule
        self._clock = clock
        self._on_started = on_started
        self._on_ended = on_ended
        self._inputs: queue.SimpleQueue[Input] = queue.SimpleQueue()
        self._waits: dict[str, Cancellable] = {}
        self._calls: set[Future[Any]] = set()
        self._lock = threading.RLock()  # inputs come from any thread; a signal handler may come while its thread has it
        self._over = False
        self._reason: ExitReason | None = None
        self._pending = 0
        self._thread: threading.Thread | None = None

    def post(self, give: Input) -> None:
        """Put an input into the mailbox; from any thread."""
        with self._lock:
            self._pending += 1
        self._inputs.put(give)

    def is_busy(self) -> bool:
        """Whether there are inputs to handle, or children that are starting or stopping."""
        moving = (ChildPhase.STARTING, ChildPhase.STOPPING, ChildPhase.DEAD)
        children = list(self.machine.children.values())
        return not self._over and (self._pending > 0 or any(child.phase in moving for child in children))

    def is_over(self) -> bool:
        """Whether the supervisor has ended."""
        return self._over

    def call(self, give: Callable[[SupervisorMachine, Moment, Future[Any]], list[Action]]) -> Future[Any]:
        """Put a call into the mailbox, and return the future of its answer."""
        future: Future[Any] = Future()
        with self._lock:
            if self._over:
                future.fail(dead.supervisor(self.name, "has ended", self._reason))
                return future
            self._calls.add(future)
        self.post(lambda machine, at: give(machine, at, future))
        return future

    def sync(self) -> bool:
        """Wait until the news that has come so far is known; False if the supervisor has ended."""
        if self.is_current():
            return True

        def reached(_: SupervisorMachine, __: Moment, future: Future[Any]) -> list[Action]:
            return [Answer(future)]

        return self.call(reached).exception() is None

    def stop(self, keep: bool) -> None:
        """Begin to stop, within the shutdown times of the children."""
        self.post(lambda machine, at: machine.stop(at, keep))

    def kill(self) -> None:
        """End all children at once, and then stop."""
        self.killing = True
        self.stop(keep=False)  # first, so that no end of a child counts as a death
        for runner in list(self.runners.values()):
            runner.kill()

    def is_current(self) -> bool:
        """Whether the caller runs on this supervisor's thread."""
        return threading.current_thread() is self._thread

    # On its own thread

    def run(self, rules: list[ChildRule]) -> None:
        """Start the children in order, and supervise them until the end; in the thread that calls it."""
        self._thread = threading.current_thread()
        try:
            self._handle(lambda machine, at: machine.start(at, rules))
            while self.machine.ended is None:
                self._handle(self._inputs.get())
                with self._lock:
                    self._pending -= 1
        except BaseException as error:
            logger.critical("supervisor %s has failed, and ends its children", self.name, exc_info=True)
            self._fail(error)

    def _handle(self, give: Input) -> None:
        for action in give(self.machine, Moment(self._clock.now(), random.random())):
            self._perform(action)

    def _fail(self, error: BaseException) -> None:
        for runner in list(self.runners.values()):
            runner.kill()
        self._ended(Ended(ExitReason(kind="error", error=repr(error))))

    def _perform(self, action: Action) -> None:
        match action:
            case Start(id):
                self._start(id, action.attempt)
            case Stop(id, keep):
                self._stop(id, keep)
            case WaitBeforeStart():
                self._wait(action)
            case Release(id):
                self._end_wait(id)
                if id in self.runners:
                    self.runners[id].release()
            case Forget(id):
                self._end_wait(id)
                if id in self.runners:
                    self.runners.pop(id).release()
            case Answer() | StartRefused():
                self._answer(action)
            case BudgetExceeded():
                self._tell_exceeded(action)
            case Up():
                self._on_started()
            case Ended():
                self._ended(action)

    def _start(self, id: str, attempt: int) -> None:
        waited = self._end_wait(id)
        runner = self.runners[id] = self.machine.children[id].rule.runner
        runner.link.report_to(self.post)
        if attempt and not waited:
            self._tell_restarting(runner, attempt, 0.0)
        try:
            runner.start()
        except Exception as error:
            reason = ExitReason(kind="start_failed", detail=str(error))
            runner.link.start_failed(reason, made(error))

    def _stop(self, id: str, keep: bool) -> None:
        runner = self.runners[id]
        runner.stop(keep)
        if self.killing:
            runner.kill()

    def _wait(self, wait: WaitBeforeStart) -> None:
        def due() -> None:
            self.post(lambda machine, at: machine.due(at, wait.id, wait.ticket))

        if wait.delay == 0:
            due()
            return
        self._tell_restarting(self.runners[wait.id], wait.attempt, wait.delay)
        self._waits[wait.id] = self._clock.call_later(wait.delay, due)

    def _end_wait(self, id: str) -> bool:
        timer = self._waits.pop(id, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _answer(self, action: Answer | StartRefused) -> None:
        future: Future[Any] | None = action.call
        if future is None:
            return
        with self._lock:
            self._calls.discard(future)
        if isinstance(action, StartRefused):
            what = f"child {action.id!r} of supervisor {shown.line(self.name)}"
            future.fail(start_error(what, action.reason, self.runners.get(action.id)))
        elif action.error is not None:
            action.error.args = (f"supervisor {shown.line(self.name)}: {action.error}",)
            future.fail(action.error)
        else:
            future.set(None if action.id is None else self.runners[action.id].ref)

    def _ended(self, ended: Ended) -> None:
        for timer in self._waits.values():
            timer.cancel()
        with self._lock:
            self._over, self._reason = True, ended.reason
            calls, self._calls = self._calls, set()
        for future in calls:
            future.fail(dead.supervisor(self.name, "ended before it could do what was asked", ended.reason))
        self._on_ended(ended.reason, ended.failed)

    # What others learn

    def _tell_exceeded(self, action: BudgetExceeded) -> None:
        child = self.machine.children[action.id]
        budget = child.rule.budget or self._rule.budget
        self.exhausted = self.exhausted or action.escalates
        what = "and ends with its children" if action.escalates else "and lets it stay down"
        logger.warning(
            "supervisor %s: child %r has used up its restarts (%s within %g s), %s; its last exit: %s",
            self.name,
            action.id,
            budget.max_restarts,
            budget.within,
            what,
            "unknown" if child.reason is None else child.reason.summary,
        )
        fields = {"max_restarts": budget.max_restarts or 0, "within": budget.within}
        publish(events.RestartsExceeded, self.runners[action.id].ref, **fields)

    def _tell_restarting(self, runner: Runner, attempt: int, delay: float) -> None:
        publish(events.IsolateRestarting, runner.ref, attempt=attempt, delay=delay)


def start_error(what: str, reason: ExitReason, runner: Runner | None) -> StartError:
    """Return the error of a child that did not start, caused by what its code raised."""
    cause = None if runner is None or runner.link.error is None else runner.link.error()
    text = f"{what} did not start: {reason.summary if cause is None else shown.block(str(cause))}"
    error = StartError(text, reason)
    error.__cause__ = cause.__cause__ if isinstance(cause, StartError) and cause.__cause__ is not None else cause
    return error

"""Those who hear of an isolate's life: its ref, pykka's registry, its supervisor, its starter, and subscribers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from pykka import ActorRegistry

from piactors import events
from piactors._codec.decode import Decoder
from piactors._host import runtime
from piactors._host.confiner import Plan
from piactors._isolate import crash_errors
from piactors._isolate.incarnation import Incarnation
from piactors._isolate.parent import Losses, ParentLink
from piactors._isolate.reports import Reports
from piactors._isolate.spec import IsolateSpec
from piactors._rules.bodies import ProcessEnding
from piactors._rules.exit import Exit
from piactors._rules.mailbox import Aftermath
from piactors.exit_reason import ExitReason
from piactors.future import Future
from piactors.pihost.process import stdio


class News:
    """Tells of one isolate, on the I/O thread, except `begin` and what it calls.

    Attributes:
        actor_stopped: set once it takes no message any more.
        ended: set once it and all its processes are gone for good.
        started: settled once the first process is ready, or will not be.
        last_reason: why the last process has ended.
        final_reason: why the isolate has ended for good, once that is decided.
    """

    def __init__(
        self, spec: IsolateSpec, ref: Any, link: ParentLink | None, losses: Losses, reports: Reports, decoder: Decoder
    ) -> None:
        self.actor_stopped, self.ended = threading.Event(), threading.Event()
        self.started: Future[None] = Future()
        self.last_reason: ExitReason | None = None
        self.final_reason: ExitReason | None = None
        self.is_registered = False
        self._spec, self._ref, self._link = spec, ref, link
        self._losses, self._reports, self._decoder = losses, reports, decoder
        self._is_told = False
        """Whether its supervisor knows that it has ended."""
        self._awaits_start = True
        """Whether its supervisor waits to hear how a start has gone; otherwise it hears of an end."""
        self._is_exceeded = False

    # Its beginning

    def begin(self) -> None:
        """It is about to be started: its ref can be found from now on."""
        ActorRegistry.register(self._ref)
        self.is_registered = True
        self._ref._ends.begin_again()

    def begin_again(self) -> None:
        """Do so once more: the first attempt may have been interrupted."""
        ActorRegistry.unregister(self._ref)
        self.begin()

    def continue_from(self, earlier: News) -> None:
        """Take over why the last process of an isolate of the same ref has ended."""
        self.last_reason = earlier.last_reason

    def abandon(self) -> None:
        """In a forked copy of the host: it has ended, here."""
        self.actor_stopped, self.ended = threading.Event(), threading.Event()
        self.actor_stopped.set()
        self.ended.set()
        self.unregister()

    def unregister(self) -> None:
        """Leave pykka's registry, once."""
        if self.is_registered:
            self.is_registered = False
            ActorRegistry.unregister(self._ref)

    def tell_of_missing(self, plan: Plan | None) -> None:
        """Log what its options ask for that this machine or program does not have."""
        for found in plan.missing if plan is not None and plan.refusal is None else ():
            self._reports.warn("isolate %s: %s", self._spec.name, found)
        if self._spec.options.output == "inherit":
            missing = [name for number, name in ((1, "stdout"), (2, "stderr")) if stdio.is_missing(number)]
            if missing:
                text = "isolate %s: output='inherit', but this program has no %s: that output is discarded"
                self._reports.warn(text, self._spec.name, " and no ".join(missing))

    # A process runs, or has ended

    def runs(self, body: Incarnation, begin: Callable[[], None]) -> None:
        """A process runs the calls after a start: tell, and `begin` what looks after it."""
        try:
            self._reports.publish(events.IsolateStarted, body.pid, body.number)
            self.started.settle_with(_nothing)
            begin()
        finally:  # whatever fails in that ends this process: its end must not be what the supervisor hears first
            self.announce(body)

    def announce(self, body: Incarnation) -> None:
        """Tell the supervisor that a process has started, if it does not know: it hears of the end of no other."""
        if self._link is not None and not body.announced:
            self._link.started()
            self._awaits_start = False
            body.note_announced()

    def process_ended(self, body: Incarnation, ending: ProcessEnding, *, wanted: bool) -> None:
        """A process that ran the calls, or was to, has ended."""
        self.last_reason = ending.reason
        calm = wanted and ending.reason.kind == "killed" and body.timed_out is None
        self._reports.ended(body.pid, body.number, ending.reason, started=ending.started, wanted=calm)

    def expect_start(self) -> None:
        """Its supervisor has it start again, and waits for the outcome."""
        self._is_told, self._awaits_start = False, True

    def held(self, body: Incarnation | None, ending: ProcessEnding, aftermath: Aftermath, *, halted: bool) -> None:
        """Tell its supervisor of an end, so that it decides."""
        link = self._link
        assert link is not None
        if self._awaits_start and (not ending.started or body is None):
            link.start_failed(ending.reason, self._start_error_maker(body, ending))
        else:  # also if what was to replace the process that ran did not start
            by_message = link.quarantine and bool(aftermath.retried or aftermath.poisoned)
            if body is not None and ending.started:
                self.announce(body)
            link.exited(Exit(ending.reason, charged=not by_message and self._losses.charged(ending)))
        self._is_told = True  # only now: if the report fails, the isolate ends, and the supervisor hears of that
        crashed = not (ending.reason.is_normal or halted)
        if ending.started and body is not None and body.spec.options.die_on_crash and crashed:
            crash_errors.die(ending.reason)

    # Its end

    def closing(self, reason: ExitReason | None) -> None:
        """It takes no message any more, and has ended for good if there is a `reason`."""
        self.final_reason = reason
        self.actor_stopped.set()
        self._ref._lend().tell_holders(alive=False)
        self.unregister()

    def exceeded(self) -> None:
        """Its restarts are used up."""
        self._is_exceeded = True

    def steps_of_end(
        self, body: Incarnation | None, number: int, ending: ProcessEnding, *, wanted: bool
    ) -> list[Callable[[], object]]:
        """Return what is reported at its end, step by step, in order: each is taken, whatever becomes of the others."""
        self.last_reason = self.final_reason = ending.reason
        steps: list[Callable[[], object]] = [
            partial(self._tell_parent, body, ending, wanted=wanted),
            partial(self._publish_exceeded, number),
            # nobody may be left waiting for the start, however far it got
            partial(self.started.settle_with, partial(self._raise_start_error, body, ending)),
            self.ended.set,
            partial(self._ref._ends.tell, ending.reason),
        ]
        return steps

    def tell_no_start(self, why: str) -> None:
        """It ended before its supervisor came to start it, which waits to hear how that has gone."""
        self.unregister()
        self.expect_start()
        self._tell_parent(None, ProcessEnding(ExitReason(kind="start_failed", detail=why), started=False), wanted=False)

    def _tell_parent(self, body: Incarnation | None, ending: ProcessEnding, *, wanted: bool) -> None:
        link = self._link
        if link is None:
            return
        if wanted:
            link.terminated()
        if self._is_told:
            return
        # Of a process that its supervisor knows, it has heard before: what it waits for is the start after that.
        has_started = ending.started and body is not None and body.is_ready and not body.announced
        if self._awaits_start and not has_started:
            link.start_failed(ending.reason, self._start_error_maker(body, ending))
        else:  # also if piactors has failed on it, and knows of no process
            if self._awaits_start and body is not None:
                self.announce(body)
            link.exited(Exit(ending.reason, wanted=wanted))
        self._is_told = True  # only now: what fails of it is done once more

    def _publish_exceeded(self, number: int) -> None:
        if self._is_exceeded:
            options = self._spec.options
            fields = {"max_restarts": options.max_restarts or 0, "within": options.within}
            self._reports.publish(events.RestartsExceeded, None, number, **fields)

    def _start_error_maker(self, body: Incarnation | None, ending: ProcessEnding) -> Callable[[], BaseException]:
        return partial(self.start_error, body, ending)

    def start_error(self, body: Incarnation | None, ending: ProcessEnding) -> BaseException:
        """Return the error of a start that has failed."""
        try:
            self._raise_start_error(body, ending)
        except Exception as error:
            return error
        raise AssertionError("a start error is always raised")

    def _raise_start_error(self, body: Incarnation | None, ending: ProcessEnding) -> None:
        failure = None if body is None else body.facts.start_failure
        crash_errors.raise_start_error(self._spec, self._decoder, ending.reason, failure)


def _nothing() -> None:
    return None


def _renew_registry_lock() -> None:
    """In a forked copy of the host: another thread may have held the lock of pykka's registry."""
    ActorRegistry._actor_refs_lock = threading.RLock()


runtime.after_fork(_renew_registry_lock)

"""One process of an isolate, from its launch to the verdict on its end, whatever it is there for.

The handshake of a process (greeting, ready or failed, stopping) is here and nowhere else; what records why it is killed
is in `fate`.  What follows from any of that is for the listener (`IncarnationListener`), and for the rules.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import attrs

from piactors._codec import lending
from piactors._codec.encode import Whole
from piactors._codec.lending import Loan
from piactors._host.confiner import Confinement, Plan
from piactors._io.channel import Take
from piactors._io.loop import LoopTimer
from piactors._isolate import crash_errors, frames
from piactors._isolate.data_sync import DataSync
from piactors._isolate.delivery import Unanswered
from piactors._isolate.fate import Fate
from piactors._isolate.home import Home
from piactors._isolate.policies.call_timeout import Capture
from piactors._isolate.policies.limits import LimitGuard
from piactors._isolate.spec import IsolateSpec, lent_at_start
from piactors._process.placement import End, Process, ProcessOrder
from piactors._rules.bodies import ProcessEnding, Role
from piactors._rules.incarnation import Unconfined
from piactors._rules.verdict import verdict
from piactors._values.borrowed import Lender
from piactors.errors import ProtocolError
from piactors.exit_reason import ExitReason, Kind
from piactors.pihost import PROTOCOL
from piactors.pihost.process import inherit
from piactors.pihost.wire import wire


class IncarnationListener(Protocol):
    """What hears of an incarnation; called on the I/O thread, except `doomed`."""

    def incarnation_ready(self, body: Incarnation) -> None:
        """Its start is complete."""

    def incarnation_stops(self, body: Incarnation) -> None:
        """It has said that it stops."""

    def incarnation_gone(self, body: Incarnation, ending: ProcessEnding, end: End | None) -> None:
        """It is gone with all that it has started, or was never made."""

    def doomed(self, body: Incarnation, kind: Kind, detail: str) -> None:
        """It is about to be killed for this; from any thread."""

    def was_told_to_stop(self, body: Incarnation) -> bool:
        """Whether its end was asked for, as far as its isolate knows."""

    def has_failed(self, error: BaseException) -> None:
        """The host itself has failed at something that concerns it."""


class Incarnation(Fate):
    """One process, as its owner: see `Fate` for what is known of it."""

    def __init__(
        self,
        home: Home,
        listener: IncarnationListener,
        spec: IsolateSpec,
        plan: Plan | None,
        number: int,
        role: Role,
        version: int,
    ) -> None:
        super().__init__(home, spec, plan, number, role, version)
        self._listener = listener
        self._start_timer: LoopTimer | None = None
        self._data = DataSync(home.data)
        self._is_told = False
        self._lender: Lender | None = None
        self.on_answer = self._answer_handler()

    # Its process

    def launch(self) -> str | None:
        """Have its process made, confined to its limits; return why none may be made here, or None.

        Raises:
            OSError: if the kernel refuses.
        """
        home, options, plan = self._home, self.spec.options, self.plan
        if plan is not None and plan.refusal is not None:
            return f"its limits cannot be enforced here: {plan.refusal}"
        order = self._order()
        why_not = home.placement.why_not(order)
        if why_not is not None:
            return why_not
        confinement = Confinement()
        if plan is not None:
            confinement = home.runtime.confiner.confine(plan, f"{self.spec.name}-{self.number}")
        self.guard = LimitGuard(self, home, confinement)
        orders = {"inherited": inherit.read(), **confinement.orders}  # limits win
        try:
            self.process = home.placement.launch(attrs.evolve(order, how=attrs.evolve(order.how, orders=orders)), self)
        except BaseException:
            self.guard.ended(None, None)
            raise
        foreign = not self.spec.own_interpreter
        soon = home.loop.call_soon
        self._lender = Lender(self.spec.name, self.process, home.decoder, home.ref, soon, foreign=foreign)
        if not options.debug:
            self._start_timer = self.after(options.start_timeout, self._start_is_late)
        if self.facts.kill_kind is not None:  # decided while it was made
            self.process.kill()
        return None

    def _order(self) -> ProcessOrder:
        spec, options, owner = self.spec, self.spec.options, lending.next_owner()
        return ProcessOrder(
            number=self.number,
            how=spec.order,
            init=spec.init(self._home.urn, self.number, owner, self._data.known),
            needs=spec.needs,
            lends=tuple(lent_at_start(() if spec.needs is None else spec.needs.all_loans(), self._data.known)),
            owner=owner,
            name=spec.name,
            preload=options.preload,
            own_interpreter=spec.own_interpreter,
            concurrency=options.concurrency,
            output=options.output if isinstance(options.output, str) else "callable",
            max_frame=options.max_frame,
            shares=self._home.delivery.outbox.offers,
            fell_back=self._home.reports.fell_back,
            on_large=self._home.on_large,
            lock=self._home.delivery.lock,
        )

    def assign(self, role: Role) -> None:
        """Be there for something else from now on."""
        self.role = role
        self.ran = self.ran or role is Role.CURRENT
        self.on_answer = self._answer_handler()
        if self.process is not None:
            self.process.hand_over(self)

    def _start_is_late(self) -> None:
        """It has not become ready within its time: have it say where it is, and end it."""
        if self.is_ready or self.process is None:
            return
        seconds = self.spec.options.start_timeout
        if not self.doom("start_failed", f"not ready within start_timeout, {seconds:g} s"):
            self.process.kill()
            return
        self.let_run()
        Capture(self.process, self._kill_late).begin()

    def _kill_late(self, stack: str) -> None:
        self.note_stack(stack)
        if self.process is not None:
            self.process.kill()

    def _is_doomed_for(self, kind: Kind, detail: str) -> None:
        self._listener.doomed(self, kind, detail)

    def sync(self, then: Callable[[], None]) -> None:
        """Give it what was set with `set_data` since its start, and call `then()` once it has that."""
        self._data.sync(self, then)

    def tell_rest(self) -> None:
        """Give it what was set with `set_data` while it took over."""
        self._data.tell_rest(self)

    def note_data(self, key: str, value: Whole) -> None:
        """It is being told of this value, from any thread."""
        self._data.note(key, value)

    # What it says (see `ProcessOwner`)

    @property
    def answers_anywhere(self) -> bool:
        """Whether it runs the calls: only then does it have any to answer."""
        return self.role is Role.CURRENT

    @property
    def take_answers(self) -> Take | None:
        """What settles the answers of the one that runs the calls, many at once."""
        if self.role is not Role.CURRENT:
            return None
        return partial(self._home.delivery.take_answers, self.number & 0xFFFF)

    def on_launched(self, process: Process) -> None:
        """The process exists: begin to watch its limits."""
        if self.guard is not None:
            self.guard.launched(process)

    def on_lines(self, stream: str, lines: list[str]) -> None:
        """Pass on what it has written."""
        self._home.reports.relay.lines(self.pid, self.number, stream, lines)

    def output_room(self) -> int:
        """How many bytes of output may be passed on now."""
        return self._home.reports.relay.room()

    def on_dropped(self, lines: int) -> None:
        """Pass on how many lines were dropped."""
        self._home.reports.relay.drop(lines=lines)

    def _answer_handler(self) -> Callable[[wire.Frame, bool], None]:
        """Return what takes answers (see `ProcessOwner`): only the one that runs the calls has any to give."""
        return self._home.delivery.answered if self.role is Role.CURRENT else self._no_answer

    def _no_answer(self, frame: wire.Frame, again: bool) -> None:
        if not (self.role is Role.RETIRING and frame.kind == wire.SKIPPED):
            raise ProtocolError(f"a frame of kind {frame.kind} does not come from an isolate that runs no calls")

    def on_frame(self, frame: wire.Frame) -> None:
        """A frame has come: it is ready, has failed to start, asks something of the host, or tells of its calls."""
        handler = _HANDLERS.get(frame.kind)
        if handler is None:
            raise ProtocolError(f"a frame of kind {frame.kind} does not come from an isolate")
        handler(self, frame)

    def on_lends(self, payload: bytes) -> dict[int, Loan]:
        """Return what an answer lends or gives back, by number; on whichever thread reads it."""
        if self._lender is None:
            raise ProtocolError("it lends something before it has been made")
        return self._lender.take(payload)

    def _on_hello(self, frame: wire.Frame) -> None:
        self.facts.greet(frames.small(frame), PROTOCOL)

    def _on_ready(self, frame: wire.Frame) -> None:
        description = frames.raw_description(frame)
        with self._home.delivery.lock:  # `doom` may come from any thread, and then it is not ready any more
            if not self.facts.become_ready(time.monotonic()):
                return  # it is being asked where it was, and ended then
        self.description = description
        if self._start_timer is not None:
            self._start_timer.cancel()  # otherwise each start wakes the I/O thread once more, `start_timeout` later
        self._listener.incarnation_ready(self)

    def _on_start_failed(self, frame: wire.Frame) -> None:
        self.facts.fail_start(bytes(frame.payload), lacked=bool(frame.flags & wire.LACK))

    def _on_stopping(self, frame: wire.Frame) -> None:
        if self.role not in (Role.CURRENT, Role.RETIRING):
            raise ProtocolError("it stops before it has run anything")
        report = frames.stop_report(frame)
        with self._home.delivery.lock:  # a call that asks what has begun looks at the facts from its own thread
            self.facts.stop(report)
        if self.role is Role.CURRENT:
            self._listener.incarnation_stops(self)
        if self.process is not None:
            self.process.send_control(wire.PROCEED, 0, b"")

    def _on_request(self, frame: wire.Frame) -> None:
        if self.process is not None:
            self._home.services.handle(self.process, frame, may_ask=self.spec.takes_requests)

    def on_use(self, frame: wire.Frame, again: bool) -> None:
        """Something is asked of a thing that the process holds; on whichever thread reads the data channel."""
        if self.process is not None:
            self._home.services.use(self.process, frame, again=again, may_ask=self.spec.takes_requests)

    def on_await(self, number: int) -> None:
        """The answer to a request is waited for by the thread that reads the data channel."""
        if self.process is not None:
            self._home.services.awaited(self.process, number)

    def _on_early_use(self, frame: wire.Frame) -> None:
        self.on_use(frame, False)

    def _on_drop(self, frame: wire.Frame) -> None:
        if self.process is not None:
            self.process.ledger.drop(frame.seq, frames.counts(frame))

    def _on_log(self, frame: wire.Frame) -> None:
        self._home.reports.relay.record(self.pid, bytes(frame.payload), self._home.decoder.error)

    def _on_lost(self, frame: wire.Frame) -> None:
        self._home.delivery.outbox.forget(frame.seq)

    def on_fault(self, error: Exception) -> None:
        """What came from the process is not possible: end it."""
        if isinstance(error, Unanswered):
            reply_to, error = (
                error.unanswered.reply_to,
                ProtocolError(f"{self.spec.name} left a call without an answer"),
            )
            self.doom("killed", f"ProtocolError: {error}")  # before its caller knows, and may end the isolate
            reply_to.fail(error)
        if not isinstance(error, ProtocolError):
            self._home.reports.defect("piactors failed to handle what isolate %s sent", error)
        kind: Kind = "start_failed" if isinstance(error, Unconfined) else "killed"
        self.kill(kind, f"{type(error).__name__}: {error}")

    def on_failure(self, error: BaseException) -> None:
        """The host has failed at something of the process; that may concern the whole isolate."""
        try:
            if self.process is not None and self.process.is_over and not self._is_told:
                reason = ExitReason(kind="killed", detail=f"piactors has failed on it: {error!r}")
                self._gone(ProcessEnding(reason, started=self.has_started), None)
        finally:
            self._listener.has_failed(error)

    # Its end has come

    def on_refused(self, text: str, lack: bool) -> None:
        """There will be no process: say why, as its end."""
        self.not_made(text, lack=lack)

    def not_made(self, text: str, *, lack: bool) -> None:
        """There is no process, and will not be one."""
        if self.guard is not None:
            self.guard.ended(None, None)
        self.facts.kill("start_failed", text)
        reason = ExitReason(kind="start_failed", detail=text)
        self._gone(ProcessEnding(reason, started=False, made=False, lacked=lack), None)

    def on_end(self, end: End) -> None:
        """The process is gone: say what its end says about it."""
        reason = self._verdict(end)
        lacked = self.facts.only_lacks and not end.lost
        ending = ProcessEnding(
            reason,
            started=self.has_started,
            made=self.pid is not None,
            lost=self.facts.by_loss,
            lacked=lacked,
            by_own_word=lacked,
        )
        self._gone(ending, end)

    def _gone(self, ending: ProcessEnding, end: End | None) -> None:
        if self._is_told:
            return
        self._cancel_timers()
        self._is_told = True
        self.ending, self.end = ending, end
        if self._lender is not None:
            self._lender.ended(partial(crash_errors.broken_off, self.spec.name, self.pid, self.number, ending.reason))
        self._listener.incarnation_gone(self, ending, end)

    def _verdict(self, end: End) -> ExitReason:
        """Return why it ended, and let go of what confined it."""
        guard, facts = self.guard, self.facts
        breach = None if guard is None else guard.ended(end.status, end.usage)
        with self._home.delivery.lock:  # `doom` may come from any thread: the first reason stands
            by_kernel = facts.found(breach=breach, lost=end.lost, note=end.note)
        if end.note:
            self._home.reports.error("isolate %s: %s", self.spec.name, end.note)
        if by_kernel and guard is not None and breach is not None:
            guard.publish(breach, hard=True)
        findings = facts.findings(
            told_to_stop=self._listener.was_told_to_stop(self),
            report=self._report(),
            status=end.status,
            usage=end.usage,
            stderr_tail=end.stderr_tail,
            fault=end.fault,
        )
        return verdict(findings)

    def _report(self) -> dict[str, Any] | None:
        failure = self.facts.start_failure
        if failure is None:
            return self.facts.report
        if len(failure) > frames.SMALL_FRAME:
            return {"error": "(an exception too large to be shown here)"}
        return {"error": self._home.decoder.traceback(failure)}


_HANDLERS: dict[int, Callable[[Incarnation, wire.Frame], None]] = {
    wire.HELLO: Incarnation._on_hello,
    wire.READY: Incarnation._on_ready,
    wire.START_FAILED: Incarnation._on_start_failed,
    wire.STOPPING: Incarnation._on_stopping,
    wire.REQUEST: Incarnation._on_request,
    wire.LOG: Incarnation._on_log,
    wire.LOST: Incarnation._on_lost,
    wire.DROP: Incarnation._on_drop,
    wire.USE: Incarnation._on_early_use,
}

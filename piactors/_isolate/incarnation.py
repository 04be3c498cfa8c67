"""One process of an isolate, from its launch to the verdict on its end, whatever it is there for.

The handshake of a process (greeting, ready or failed, stopping) is here and nowhere else, and so is the one place that
records why it is killed.  What follows from any of that is for whoever listens (`Listener`), and for the rules.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import attrs

from piactors._host.confiner import Confinement, Plan
from piactors._io.loop import Timer
from piactors._isolate import frames
from piactors._isolate.data_sync import DataSync
from piactors._isolate.delivery import Unanswered
from piactors._isolate.home import Home
from piactors._isolate.policies.call_timeout import Capture
from piactors._isolate.policies.limits import LimitGuard
from piactors._isolate.spec import IsolateSpec
from piactors._process.placement import End, Process, ProcessOrder
from piactors._rules.bodies import Ending, Role
from piactors._rules.incarnation import Facts, Unconfined
from piactors._rules.mailbox import Message
from piactors._rules.verdict import verdict
from piactors.errors import ProtocolError
from piactors.exit_reason import Breach, ExitReason, Kind
from piactors.pihost import PROTOCOL
from piactors.pihost.process import inherit
from piactors.pihost.wire import wire


class Listener(Protocol):
    """Who hears of an incarnation; called on the I/O thread, but for `doomed`."""

    def incarnation_ready(self, body: Incarnation) -> None:
        """Its start is complete."""

    def incarnation_stops(self, body: Incarnation) -> None:
        """It has said that it stops."""

    def incarnation_gone(self, body: Incarnation, ending: Ending, end: End | None) -> None:
        """It is gone with all that it has started, or was never made."""

    def doomed(self, body: Incarnation, kind: Kind, detail: str) -> None:
        """It is about to be killed for this; from any thread."""

    def was_told_to_stop(self, body: Incarnation) -> bool:
        """Whether its end was asked for, as far as its isolate knows."""

    def has_failed(self, error: BaseException) -> None:
        """The host itself has failed at something that concerns it."""


class Incarnation:
    """One process; the `Owner` of a `Process`.

    Attributes:
        number: which process of its isolate it is.
        facts: what is known of it; changed under the isolate's lock if other threads may.
        plan: what enforces its limits; None if it has none.
        role: what it is there for.
        version: of which specification it was made.
        ran: whether it has been the one that runs the calls.
        announced: whether a supervisor knows that it has started.
        stop_wanted: whether its own code has asked for its end.
        description: what is hosted in it, as it said when it became ready.
        timed_out: the call that it is killed for, because that ran too long.
        ending, end: what is known of its end, once that has come.
    """

    def __init__(
        self, home: Home, listener: Listener, spec: IsolateSpec, plan: Plan | None, number: int, role: Role,
        version: int,
    ) -> None:  # fmt: skip
        self.number, self.role, self.version = number, role, version
        self.facts = Facts()
        self.spec, self.plan = spec, plan
        self.ran = role is Role.CURRENT
        self.announced = self.stop_wanted = False
        self.description = b""
        self.process: Process | None = None
        self.guard: LimitGuard | None = None
        self.timed_out: Message | None = None
        self.ending: Ending | None = None
        self.end: End | None = None
        self._home = home
        self._listener = listener
        self._timers: list[Timer] = []
        self._start_timer: Timer | None = None
        self._data = DataSync(home.data)
        self._is_told = False

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
            self.process = home.placement.launch(
                attrs.evolve(order, how=attrs.evolve(order.how, orders=orders)), self
            )
        except BaseException:
            self.guard.ended(None, None)
            raise
        self.process.on_large = home.on_large
        if not options.debug:
            self._start_timer = self.after(options.start_timeout, self._start_is_late)
        if self.facts.kill_kind is not None:  # decided while it was made
            self.process.kill()
        return None

    def _order(self) -> ProcessOrder:
        spec, options = self.spec, self.spec.options
        return ProcessOrder(
            number=self.number, how=spec.order, init=spec.init(self._home.urn, self.number, self._data.known),
            needs=spec.needs, preload=options.preload, own_interpreter=spec.own_interpreter,
            concurrency=options.concurrency, output=options.output if isinstance(options.output, str) else "callable",
            max_frame=options.max_frame, fell_back=self._home.reports.fell_back,
        )  # fmt: skip

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

    def after(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Have `callback()` called on the I/O thread later, unless it has ended by then."""
        timer = self._home.loop.deadline(seconds, callback)
        self._timers.append(timer)
        return timer

    def assign(self, role: Role) -> None:
        """Be there for something else from now on."""
        self.role = role
        self.ran = self.ran or role is Role.CURRENT
        if self.process is not None:
            self.process.hand_over(self)

    # Its end

    def kill(self, kind: Kind, detail: str, breach: Breach | None = None) -> bool:
        """End it at once, for this reason unless there is one already; False if there is.  From any thread.

        The reason stands before the process can be seen to end, and nothing more is sent to it from then on.
        """
        first = self.doom(kind, detail, breach)
        if self.process is not None:
            self.process.kill()
        return first

    def doom(
        self, kind: Kind, detail: str, breach: Breach | None = None, *, timed_out: Message | None = None
    ) -> bool:
        """Record why it will be killed, and let nothing more be sent to it; False if there is a reason already."""
        delivery = self._home.delivery
        with delivery.lock:
            first = self.facts.kill(kind, detail, breach)
            self.timed_out = self.timed_out or timed_out
            if delivery.process is self.process:
                delivery.shut()
        if first:
            self._listener.doomed(self, kind, detail)
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

    def note_stack(self, stack: str) -> None:
        """Record where it was when its end was decided."""
        self.facts.note_stack(stack)

    def let_run(self) -> None:
        """Hold it to its share of the processors no more: it has to say where it is."""
        if self.guard is not None:
            self.guard.let_run()

    def want_stop(self) -> None:
        """Its own code asks for its end."""
        self.stop_wanted = True

    def note_announced(self) -> None:
        """A supervisor knows that it has started."""
        self.announced = True

    def _kill_late(self, stack: str) -> None:
        self.note_stack(stack)
        if self.process is not None:
            self.process.kill()

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def sync(self, then: Callable[[], None]) -> None:
        """Give it what was set with `set_data` since its start, and call `then()` once it has that."""
        self._data.sync(self, then)

    # What it says (see `_host.owning.Owner`)

    @property
    def answers_anywhere(self) -> bool:
        """See `Owner`: only the one that runs the calls has any to answer."""
        return self.role is Role.CURRENT

    def on_launched(self, process: Process) -> None:
        """See `Owner`."""
        if self.guard is not None:
            self.guard.launched(process)

    def on_lines(self, stream: str, lines: list[str]) -> None:
        """See `Owner`."""
        self._home.reports.relay.lines(self.pid, self.number, stream, lines)

    def output_room(self) -> int:
        """See `Owner`."""
        return self._home.reports.relay.room()

    def on_dropped(self, lines: int) -> None:
        """See `Owner`."""
        self._home.reports.relay.drop(lines=lines)

    @property
    def on_answer(self) -> Callable[[wire.Frame, bool], None]:
        """See `Owner`: only the one that runs the calls has any to give."""
        return self._home.delivery.answered if self.role is Role.CURRENT else self._no_answer

    def _no_answer(self, frame: wire.Frame, again: bool) -> None:
        if not (self.role is Role.RETIRING and frame.kind == wire.SKIPPED):
            raise ProtocolError(f"a frame of kind {frame.kind} does not come from an isolate that runs no calls")

    def on_frame(self, frame: wire.Frame) -> None:
        """See `Owner`."""
        handler = _HANDLERS.get(frame.kind)
        if handler is None:
            raise ProtocolError(f"a frame of kind {frame.kind} does not come from an isolate")
        handler(self, frame)

    def _on_hello(self, frame: wire.Frame) -> None:
        self.facts.greet(frames.small(frame), PROTOCOL)

    def _on_ready(self, frame: wire.Frame) -> None:
        description = frames.raw_description(frame)
        with self._home.delivery.lock:
            if not self.facts.become_ready(time.monotonic()):
                return  # it is being asked where it was, and ended then
        self.description = description
        if self._start_timer is not None:
            self._start_timer.cancel()  # else each start wakes the I/O thread once more, `start_timeout` later
        self._listener.incarnation_ready(self)

    def _on_start_failed(self, frame: wire.Frame) -> None:
        self.facts.fail_start(bytes(frame.payload), lacked=bool(frame.flags & wire.LACK))

    def _on_stopping(self, frame: wire.Frame) -> None:
        if self.role not in (Role.CURRENT, Role.RETIRING):
            raise ProtocolError("it stops before it has run anything")
        report = frames.stop_report(frame)
        with self._home.delivery.lock:
            self.facts.stop(report)
        if self.role is Role.CURRENT:
            self._listener.incarnation_stops(self)
        if self.process is not None:
            self.process.send_control(wire.PROCEED, 0, b"")

    def _on_request(self, frame: wire.Frame) -> None:
        if not self.spec.takes_requests or self.process is None:
            raise ProtocolError("it asks things of the host, which code that was called by name may not")
        self._home.services.handle(self.process, frame)

    def _on_log(self, frame: wire.Frame) -> None:
        self._home.reports.relay.record(self.pid, bytes(frame.payload), self._home.decoder.error)

    def _on_lost(self, frame: wire.Frame) -> None:
        self._home.delivery.outbox.forget(frame.seq)

    def on_fault(self, error: Exception) -> None:
        """See `Owner`."""
        if isinstance(error, Unanswered):
            sink, error = error.unanswered.sink, ProtocolError(f"{self.spec.name} left a call without an answer")
            self.doom("killed", f"ProtocolError: {error}")  # before its caller knows, and may end the isolate
            sink.fail(error)
        if not isinstance(error, ProtocolError):
            self._home.reports.defect("piactors failed on what isolate %s sent", error)
        kind: Kind = "start_failed" if isinstance(error, Unconfined) else "killed"
        self.kill(kind, f"{type(error).__name__}: {error}")

    def on_failure(self, error: BaseException) -> None:
        """See `Owner`: what has failed of it may concern the whole isolate."""
        try:
            if self.process is not None and self.process.is_over and not self._is_told:
                reason = ExitReason(kind="killed", detail=f"piactors has failed on it: {error!r}")
                self._gone(Ending(reason, started=self.is_ready), None)
        finally:
            self._listener.has_failed(error)

    # Its end has come

    def on_refused(self, text: str, lack: bool) -> None:
        """See `Owner`."""
        self.not_made(text, lack=lack)

    def not_made(self, text: str, *, lack: bool) -> None:
        """There is no process, and will not be one."""
        if self.guard is not None:
            self.guard.ended(None, None)
        self.facts.kill("start_failed", text)
        reason = ExitReason(kind="start_failed", detail=text)
        self._gone(Ending(reason, started=False, made=False, lacked=lack), None)

    def on_end(self, end: End) -> None:
        """See `Owner`."""
        reason = self._verdict(end)
        lacked = self.facts.only_lacks and not end.lost
        ending = Ending(
            reason, started=self.is_ready, made=self.pid is not None, lost=self.facts.by_loss, lacked=lacked,
            by_own_word=lacked,
        )  # fmt: skip
        self._gone(ending, end)

    def _gone(self, ending: Ending, end: End | None) -> None:
        if self._is_told:
            return
        self._cancel_timers()
        self._is_told = True
        self.ending, self.end = ending, end
        self._listener.incarnation_gone(self, ending, end)

    def _verdict(self, end: End) -> ExitReason:
        """Return why it ended, and let go of what confined it."""
        guard, facts = self.guard, self.facts
        breach = None if guard is None else guard.ended(end.status, end.usage)
        with self._home.delivery.lock:
            by_kernel = facts.found(breach=breach, lost=end.lost, note=end.note)
        if end.note:
            self._home.reports.error("isolate %s: %s", self.spec.name, end.note)
        if by_kernel and guard is not None and breach is not None:
            guard.publish(breach, hard=True)
        findings = facts.findings(
            told_to_stop=self._listener.was_told_to_stop(self), report=self._report(), status=end.status,
            usage=end.usage, stderr_tail=end.stderr_tail, fault=end.fault,
        )  # fmt: skip
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
}

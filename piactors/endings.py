"""What follows the end of a generation: the verdict, the next generation or the end of the isolate.

All of it runs on the I/O thread.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from piactors import _crash, dead, events
from piactors._host.owning import End
from piactors._lifecycle import states
from piactors._lifecycle.mailbox import Aftermath, Message
from piactors._lifecycle.states import Happening, State
from piactors._lifecycle.verdict import Findings, verdict
from piactors._supervision import restart
from piactors._supervision.actions import Exit
from piactors.errors import ProtocolError
from piactors.exit_reason import ExitReason, Kind

if TYPE_CHECKING:
    from piactors.isolate import Isolate
    from piactors.keeper import Keeper
    from piactors.spec import Current

SMALL_FRAME = 1 << 18


class Unconfined(ProtocolError):
    """A process could not apply its limits to itself, and must not run anything."""


def ended(isolate: Isolate, end: End) -> None:
    """The process of an isolate, and all that it left, are gone: decide what follows, and let it follow."""
    reason = reason_of(isolate, isolate.current, end)
    if not isolate.ended.is_set():  # else it was given up before (see `containment`)
        isolate.recycler.generation_ended()
        settle_end(isolate, reason, end)


def reason_of(isolate: Isolate, current: Current, end: End, *, told_to_stop: bool = False) -> ExitReason:
    """Return why a generation ended, and let go of what confined it."""
    confined = current.confined
    breach = None if confined is None else confined.ended(end.status, end.usage)
    with isolate.lock:
        by_kernel = current.intent is None and breach is not None
        if by_kernel:
            current.intent, current.detail, current.breach = "limit", str(breach), breach
        if current.intent is None and end.lost:
            current.intent, current.detail, current.by_loss = "killed", "its launcher was lost", True
        if end.note:
            current.detail = "; ".join(filter(None, [current.detail, end.note]))
    if end.note:
        isolate.log(logging.ERROR, "isolate %s: %s", isolate.spec.name, end.note)
    if by_kernel and confined is not None and breach is not None:
        confined.publish(breach, hard=True)
    return verdict(
        Findings(
            intent=current.intent, detail=current.detail, breach=current.breach,
            told_to_stop=told_to_stop or isolate.stop_requested or isolate.halting,
            report=_report(isolate, current), status=end.status,
            started=current.ready_at is not None, stderr_tail=end.stderr_tail, fault=end.fault, usage=end.usage,
            stack=(current.stack or "") if current.intent == "start_failed" else "",
        )
    )  # fmt: skip


def _report(isolate: Isolate, current: Current) -> dict[str, Any] | None:
    if current.start_failure is None:
        return current.report
    if len(current.start_failure) > SMALL_FRAME:
        return {"error": "(an exception too large to be shown here)"}
    return {"error": isolate.decoder.traceback(current.start_failure)}


def ended_without_process(isolate: Isolate, text: str, *, told: bool = True) -> None:
    """There was to be a process, and there will be none.

    Args:
        told: whether that is a start that has failed; not where it was called off before it was begun.
    """
    if isolate.current.confined is not None:
        isolate.current.confined.ended(None, None)
    settle_end(isolate, ExitReason(kind="start_failed", detail=text), None, told=told)


def called_off(isolate: Isolate) -> None:
    """It was told to stop in the moment when its next process was to be made."""
    if isolate.stop_requested and isolate.state is State.RESTARTING:
        _finish_restarting(isolate)
    else:
        ended_without_process(isolate, "stopped before it started", told=isolate.state is State.STARTING)


def settle_end(isolate: Isolate, reason: ExitReason, end: End | None, *, told: bool = True) -> None:
    """Decide what follows the end of a generation, and let it follow."""
    with isolate.lock:
        current, generation = isolate.current, isolate.process
        isolate.process = None
        for timer in current.timers:
            timer.cancel()
        aftermath = Aftermath([], [], [])
        if end is not None:
            aftermath = isolate.mailbox.generation_ended(end.evidence)
            isolate.outbox.generation_ended()
            for message in aftermath.retried:
                pid = None if generation is None else generation.pid
                message.lost_in = (isolate.spec.name, pid, isolate.generation_number, reason)
        lost = current.by_loss  # what was to end for a reason of its own answers for that
        decision = _decide(isolate, reason, current, lost=lost)
        pid = None if generation is None else generation.pid
        isolate.last_reason = reason
    if told:
        _tell_of_end(isolate, reason, pid, current)
    if isinstance(decision, Hold):
        _hold(isolate, reason, current, aftermath, pid, lost=lost)
    elif isinstance(decision, restart.StartAgain):
        _start_again(isolate, decision, reason, aftermath, pid)
    else:
        _finish(isolate, reason, aftermath, pid, exhausted=isinstance(decision, restart.Exhausted))
    isolate.mailbox.leaving.clear()


MOST_LAUNCHERS_LOST = 5
"""Launchers that may be lost in a row before a start succeeds, until it counts as the isolate's own doing."""


class Hold:
    """The isolate's supervisor decides."""


def _decide(isolate: Isolate, reason: ExitReason, current: Current, *, lost: bool) -> restart.Decision | Hold:
    if isolate.stop_requested or isolate.final or isolate.state is State.STARTING:
        return restart.StayDown()
    isolate.launchers_lost = isolate.launchers_lost + 1 if lost else 0
    if isolate.keeper is not None:
        return Hold() if current.ready_at is None or isolate.wants_restart(reason) else restart.StayDown()
    options, now = isolate.options, time.monotonic()
    policy = restart.Policy(options.restart, options.max_restarts, options.within, options.backoff)
    ran_for = 0.0 if current.ready_at is None else now - current.ready_at
    decision, isolate.history = restart.decide(
        policy, isolate.history, reason, now=now, ran_for=ran_for, luck=random.random(),
        charged=not lost or _counts_against(isolate),
    )  # fmt: skip
    return decision


def _counts_against(isolate: Isolate) -> bool:
    """Whether the loss of its launcher is charged to an isolate, as an exit of its own would be."""
    alone = isolate.runtime.lanes.counts(isolate.spec.urn, isolate.options.within, time.monotonic())
    return alone or isolate.launchers_lost > MOST_LAUNCHERS_LOST


def _hold(
    isolate: Isolate, reason: ExitReason, current: Current, aftermath: Aftermath, pid: int | None, *, lost: bool
) -> None:
    """Keep what waits until the supervisor has decided, and tell it."""
    keeper = isolate.keeper
    assert keeper is not None
    with isolate.lock:
        isolate.state = states.after(isolate.state, Happening.WILL_RESTART)
        isolate.held = True
        refused = isolate.mailbox.take_calls(tried=False) if isolate.options.while_restarting == "fail" else []
        isolate.room.notify_all()
    _settle_lost(isolate, aftermath, reason, pid)
    fail_all(refused, partial(dead.restarts, isolate))
    tell = partial(_tell_held, isolate, keeper, reason, current, aftermath, lost=lost)
    if isolate.halting:
        isolate.recycler.when_alone(tell, for_good=False)
    else:
        tell()


def _tell_held(
    isolate: Isolate, keeper: Keeper, reason: ExitReason, current: Current, aftermath: Aftermath, *, lost: bool
) -> None:
    if isolate.stop_requested:
        isolate.told_exit = True
        stop_restarting(isolate)
        return
    if current.ready_at is None:
        keeper.start_failed(reason, partial(_start_error, isolate, reason, current.start_failure))
    else:
        by_message = keeper.quarantine and bool(aftermath.retried or aftermath.poisoned)
        no_fault = lost and not _counts_against(isolate)
        announce(isolate, current)
        keeper.exited(Exit(reason, charged=not (by_message or no_fault)))
    isolate.told_exit = True  # only now: if the telling fails, the isolate ends, and the supervisor hears of that
    if current.ready_at is not None and isolate.options.die_on_crash and not (reason.is_normal or isolate.halting):
        _crash.die(reason)


def _start_error(isolate: Isolate, reason: ExitReason, start_failure: bytes | None) -> BaseException:
    try:
        _crash.raise_start_error(isolate.spec, isolate.decoder, reason, start_failure)
    except Exception as error:
        return error


def _start_again(
    isolate: Isolate, decision: restart.StartAgain, reason: ExitReason, aftermath: Aftermath, pid: int | None
) -> None:
    with isolate.lock:
        isolate.state = states.after(isolate.state, Happening.WILL_RESTART)
        refused = []
        if isolate.options.while_restarting == "fail":
            refused = isolate.mailbox.take_calls(tried=False)
        isolate.restart_timer = isolate.loop.call_later(decision.delay, isolate.restart_due)
        raced = isolate.stop_requested
        isolate.room.notify_all()
    isolate.publish(events.IsolateRestarting, attempt=decision.attempt, delay=decision.delay)
    _settle_lost(isolate, aftermath, reason, pid)
    fail_all(refused, partial(dead.restarts, isolate))
    if raced:
        stop_restarting(isolate)


def _finish(
    isolate: Isolate, reason: ExitReason, aftermath: Aftermath, pid: int | None, exhausted: bool = False
) -> None:
    """No further generation follows: end it for good, once a process that was replaced is gone as well."""
    isolate.final_reason = reason
    isolate.actor_stopped.set()
    isolate.unregister()
    _settle_lost(isolate, aftermath, reason, pid)
    isolate.recycler.when_alone(partial(_finish_alone, isolate, reason, exhausted=exhausted))


def _finish_alone(isolate: Isolate, reason: ExitReason, *, exhausted: bool) -> None:
    with isolate.lock:
        isolate.state = states.after(isolate.state, Happening.ENDED)
        left = isolate.mailbox.close()
        isolate.outbox.close()
        start_failure = isolate.current.start_failure
        isolate.room.notify_all()
    isolate.runtime.remove(isolate)
    isolate.runtime.leave_lane(isolate.spec.urn)
    isolate.relay.tell_dropped()
    tell_keeper(isolate, reason, start_failure)
    if exhausted:
        isolate.publish(
            events.RestartsExceeded, max_restarts=isolate.options.max_restarts or 0, within=isolate.options.within
        )
    stops = [message for message in left if message.kind == "stop"]
    fail_not_run(isolate, [message for message in left if message.kind != "stop"], reason)
    start_error = partial(_crash.raise_start_error, isolate.spec, isolate.decoder, reason, start_failure)
    isolate.started.settle_with(start_error)  # nobody may be left waiting for the start, however far it came
    isolate.outbox.close()
    isolate.ended.set()
    isolate.ref._ends.tell(reason)
    fail_all(stops, partial(dead.not_begun, isolate, reason))  # last: whoever stopped it finds all of this done
    if isolate.options.die_on_crash and not reason.is_normal and not isolate.stop_requested:
        _crash.die(reason)


def fail_not_run(
    isolate: Isolate, left: list[Message], reason: ExitReason | None = None, *, unless_given_up: bool = True
) -> None:
    """Fail messages that no generation will run (any more)."""
    for message in left:
        fail_all([message], partial(error_of_not_run, isolate, message, reason), unless_given_up=unless_given_up)


def error_of_not_run(isolate: Isolate, message: Message, reason: ExitReason | None = None) -> BaseException:
    """Return the error of such a message; one that had begun before, to be tried again, may have been executed."""
    return dead.not_begun(isolate, reason) if message.lost_in is None else _crash.crashed(*message.lost_in)


def tell_keeper(isolate: Isolate, reason: ExitReason, start_failure: bytes | None) -> None:
    """Tell the supervisor of the end, where there is one and it does not know."""
    keeper = isolate.keeper
    if keeper is None:
        return
    if isolate.stop_requested:
        keeper.terminated()
    if isolate.told_exit:
        return
    if isolate.current.ready_at is None:
        keeper.start_failed(reason, partial(_start_error, isolate, reason, start_failure))
    else:
        announce(isolate, isolate.current)
        keeper.exited(Exit(reason, wanted=isolate.stop_requested))


def announce(isolate: Isolate, current: Current) -> None:
    """Tell the supervisor that a generation has started, if it does not know: of no other one can it hear the end."""
    if isolate.keeper is not None and not current.announced:
        isolate.keeper.started()
        current.announced = True


def _tell_of_end(isolate: Isolate, reason: ExitReason, pid: int | None, current: Current) -> None:
    cls = events.IsolateStartFailed if current.ready_at is None else events.IsolateExited
    isolate.publish(cls, pid=pid, reason=reason)
    wanted = isolate.stop_requested and reason.kind == "killed" and current.timed_out is None
    if not reason.is_normal and not wanted:
        place = f"isolate {isolate.spec.name} (pid {pid}, generation {isolate.generation_number})"
        isolate.log(logging.WARNING, "%s: %s", place, reason.report())


def _settle_lost(isolate: Isolate, aftermath: Aftermath, reason: ExitReason, pid: int | None) -> None:
    place = (isolate.spec.name, pid, isolate.generation_number)
    timed_out, stack = isolate.current.timed_out, isolate.current.stack or ""
    again = [*aftermath.retried, *aftermath.poisoned, *aftermath.dropped]
    if timed_out is not None and timed_out not in again:
        late = partial(_crash.timed_out, *place, reason, stack)
        fail_all([timed_out], partial(_crash.crashed, *place, reason) if timed_out.by_stop else late)
    crashed = [message for message in aftermath.crashed if message is not timed_out]
    fail_all(crashed, lambda: _crash.crashed(*place, reason))
    for message in aftermath.poisoned:
        fail_all([message], lambda message=message: _crash.poisoned(*place, reason, message.attempts))  # type: ignore[misc]
    fail_all(aftermath.dropped, partial(dead.not_begun, isolate, reason))


def kind_of_fault(error: Exception) -> Kind:
    """Return the kind of end that something follows which cannot be."""
    return "start_failed" if isinstance(error, Unconfined) else "killed"


def fail_all(messages: list[Message], error: Callable[[], BaseException], *, unless_given_up: bool = True) -> None:
    """Fail whoever waits for these messages; where their caller gave up on them, nobody does."""
    for message in messages:
        # Cancelled, that is: one that was only told to be skipped, so that it waits again, still has its caller.
        if message.sink is not None and not (unless_given_up and message.given_up and message.cancelled):
            message.sink.fail(error())


def stop_restarting(isolate: Isolate) -> None:
    """Somebody stops an isolate that has no process, or one that is just starting: end it."""
    with isolate.lock:
        waiting, isolate.restart_timer = isolate.restart_timer, None
        held, isolate.held = isolate.held, False
        generation = isolate.process if isolate.state is State.RESTARTING else None
    if waiting is not None:
        waiting.cancel()
    if waiting is not None or held:
        _finish_restarting(isolate)
    elif generation is not None:
        isolate.intend("shutdown", "stopped while it restarted")
        generation.kill()


def _finish_restarting(isolate: Isolate) -> None:
    if isolate.last_reason is None or not isolate.halting:
        isolate.last_reason = ExitReason(kind="shutdown", detail="stopped while it waited to be restarted")
    _finish(isolate, isolate.last_reason, Aftermath([], [], []), None)

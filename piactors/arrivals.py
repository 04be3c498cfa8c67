"""What comes from an isolate's process, frame by frame, on the I/O thread.

All of it is input from code that may be hostile: what should not have come raises `ProtocolError`,
and ends that generation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any

from piactors import events, stopping
from piactors._lifecycle import states
from piactors._lifecycle.mailbox import Doubt, Message, UnknownSequence
from piactors._lifecycle.states import Happening
from piactors.endings import SMALL_FRAME, Unconfined, announce, error_of_not_run, fail_all, fail_not_run
from piactors.errors import ProtocolError
from piactors.exit_reason import ExitReason, Kind
from piactors.pihost import PROTOCOL, plain_decode, wire
from piactors.shape import Described

if TYPE_CHECKING:
    from piactors.isolate import Isolate
    from piactors.spec import Current


MAX_DESCRIPTION = 1 << 22
MAX_RETRIES = 1000
_MAX_PATH = 4096
_RESULTS = (wire.REPLY, wire.ERROR)


def handle(isolate: Isolate, frame: wire.Frame) -> None:
    """Handle one frame.

    Raises:
        ProtocolError: where it should not have come.
    """
    handler = _HANDLERS.get(frame.kind)
    if handler is None:
        raise ProtocolError(f"a frame of kind {frame.kind} does not come from an isolate")
    try:
        handler(isolate, frame)
    except states.IllegalTransition as error:
        raise ProtocolError(str(error)) from None


def _on_hello(isolate: Isolate, frame: wire.Frame) -> None:
    greeted(isolate.current, frame)


def greeted(current: Current, frame: wire.Frame) -> None:
    """See that a pihost is of this version, and has taken its limits.

    Raises:
        ProtocolError: where it is not.
        Unconfined: where it has not.
    """
    if current.greeted:
        raise ProtocolError("it greeted twice")
    current.greeted = True
    greeting = _decode_small(frame)
    theirs = greeting.get("protocol")
    if type(theirs) is not int or not 0 <= theirs < 1 << 32:
        raise ProtocolError("pihost does not say which protocol it speaks")
    if theirs != PROTOCOL:
        raise ProtocolError(
            f"pihost speaks protocol {theirs}, and this host speaks {PROTOCOL}: "
            "they are of different versions of piactors; restart the host"
        )
    if greeting.get("unconfined"):
        raise Unconfined(f"its limits could not be applied: {greeting['unconfined']}")


def _on_ready(isolate: Isolate, frame: wire.Frame) -> None:
    with isolate.lock:
        if isolate.current.ready_at is not None:
            raise ProtocolError("it became ready twice")
        if isolate.current.start_failure is not None:
            raise ProtocolError("it became ready after it had failed to start")
        if isolate.current.intent == "start_failed":
            return  # too late: it is being asked where it was, and ended then
        isolate.raw_description = checked_size(frame)
        isolate.current.ready_at = time.monotonic()
        let_run(isolate)
        late = [(key, value) for key, value in isolate.data.items() if isolate.current.data.get(key) is not value]
    tell_started(isolate, late)


def let_run(isolate: Isolate) -> None:
    """Let a generation that is ready run what waits; under the isolate's lock."""
    isolate.launchers_lost = isolate.lacks = 0
    if isolate.current.start_timer is not None:
        isolate.current.start_timer.cancel()  # else each start wakes the I/O thread once more, `start_timeout` later
    isolate.state = states.after(isolate.state, Happening.READY)
    isolate.pump()


def tell_started(isolate: Isolate, late: list[tuple[str, bytes]]) -> None:
    """Tell everybody of a generation that runs, and that itself what was set with `set_data` since its start."""
    try:
        for key, value in late:
            isolate.control("set_data", key, value)
        isolate.publish(events.IsolateStarted)
        isolate.started.settle_with(_nothing)
        isolate.policies_begin()
    finally:  # whatever fails of that ends this generation: its end must not be what the supervisor hears first
        announce(isolate, isolate.current)


def checked_size(frame: wire.Frame) -> bytes:
    """Return the description of what is hosted, as it came.

    Raises:
        ProtocolError: where it is too large.
    """
    if len(frame.payload) > MAX_DESCRIPTION:
        raise ProtocolError(f"it describes itself with {len(frame.payload):,} bytes")
    return bytes(frame.payload)


def _on_start_failed(isolate: Isolate, frame: wire.Frame) -> None:
    if isolate.current.start_failure is not None or isolate.current.ready_at is not None:
        raise ProtocolError("it says that its start has failed, after it has said how its start went")
    note_failed_start(isolate.current, frame)


def note_failed_start(current: Current, frame: wire.Frame) -> None:
    """Keep what a process says of why it does not become ready, until it has ended."""
    current.start_failure, current.lacked = bytes(frame.payload), bool(frame.flags & wire.LACK)


def answered(isolate: Isolate, frame: wire.Frame, again: bool) -> None:
    """Handle an answer, on the thread of whoever has read it.

    Args:
        again: whether the handling of this very frame may have been interrupted before.

    Raises:
        ProtocolError: where it should not have come.
    """
    try:
        if frame.kind in _RESULTS:
            _on_result(isolate, frame)
        else:
            _on_no_result(isolate, frame)
    except UnknownSequence as error:
        if not again:
            raise ProtocolError(str(error)) from None
        with isolate.lock:  # it was taken off its way, and perhaps no more than that
            isolate.room.notify()
            isolate.pump()
        if isolate.recycler.draining:
            isolate.loop.call_soon(isolate.recycler.answered)


def _on_result(isolate: Isolate, frame: wire.Frame) -> None:
    """Settle a call first and take it off its way then: whatever interrupts this, it can be done again."""
    message = isolate.mailbox.expect(frame.seq)  # no lock: it is one look-up, and what it finds may change after it
    if message.kind == "tell":
        raise ProtocolError("an answer to a message that wants none")
    timed = message.call_timeout is not None or message.deadline
    unwanted = message.given_up or (timed and not message.claim("answered"))
    if not unwanted and message.sink is not None:
        if frame.kind == wire.REPLY:
            message.sink.reply(isolate.decoder, frame.flags, frame.payload)
        else:
            message.sink.error(isolate.decoder, frame.payload)
    with isolate.lock:
        others_wait = isolate.mailbox.take_off(message)
        if isolate.options.mailbox_capacity is not None:
            isolate.room.notify()
        if isolate.recycler.counts:
            isolate.recycler.call_done()
        if others_wait or isolate.clock.runs:
            isolate.pump()
        drained = isolate.recycler.draining
    if drained:
        isolate.loop.call_soon(isolate.recycler.answered)


def _on_no_result(isolate: Isolate, frame: wire.Frame) -> None:
    """A message was handled and wants no result, or was skipped; the latter comes to the loop alone."""
    with isolate.lock:
        if frame.kind == wire.SKIPPED and isolate.mailbox.is_recalled(frame.seq):
            isolate.pump()
            return
        message = isolate.mailbox.expect(frame.seq)
        doubt = message.doubt if frame.kind == wire.SKIPPED else ""
        too_late = message is isolate.current.timed_out
        if doubt == "waits":
            isolate.mailbox.put_back(message)
            isolate.pump()
    if doubt != "waits":
        _settle_without_result(isolate, message, frame.kind, "" if too_late else doubt, too_late=too_late)
    if isolate.recycler.draining:
        isolate.loop.call_soon(isolate.recycler.answered)


def _settle_without_result(isolate: Isolate, message: Message, kind: int, doubt: Doubt, *, too_late: bool) -> None:
    """Tell its caller first, if one waits, and take it off its way then, as a result does."""
    fault: ProtocolError | None = None
    if doubt:
        fail_all([message], partial(_skipped, isolate, message, doubt))
    elif not (too_late or message.given_up):
        if message.kind == "tell" and kind != wire.DONE:
            fault = ProtocolError("an answer to a message that wants none")
        elif message.kind != "tell" and message.sink is not None:
            fault = ProtocolError(f"{isolate.spec.name} left a call without an answer")
            with isolate.lock:  # before its caller knows, and may end the isolate for a reason of its own
                isolate.intend("killed", f"ProtocolError: {fault}")
            message.sink.fail(fault)
    with isolate.lock:
        isolate.mailbox.take_off(message)
        isolate.room.notify()
        if isolate.recycler.counts:
            isolate.recycler.call_done()
        isolate.pump()
    if fault is not None:
        raise fault


def _skipped(isolate: Isolate, message: Message, doubt: Doubt) -> BaseException:
    """The error of a call that was given up on in the very moment when it was to begin, and has not begun."""
    if doubt == "stopped":
        return error_of_not_run(isolate, message)
    return CancelledError()


def stop_report(frame: wire.Frame) -> dict[str, Any]:
    """Return what an isolate says of its stop: ``error`` (text) and ``code``.

    Raises:
        ProtocolError: where it cannot be read.
    """
    report = _decode_small(frame)
    return {"error": _text_or_none(report.get("error")), "code": _int_or_none(report.get("code"))}


def _on_stopping(isolate: Isolate, frame: wire.Frame) -> None:
    report = stop_report(frame)
    with isolate.lock:
        generation = isolate.process
        if isolate.current.report is not None or generation is None:
            raise ProtocolError("it reported twice that it stops")
        isolate.current.report = report
        if isolate.current.unheard is not None:
            isolate.current.unheard.cancel()
        isolate.recycler.abort("the isolate stops")
        isolate.state = states.after(isolate.state, Happening.STOP_BEGUN)
        kind: Kind = "error" if report["error"] is not None else "shutdown" if isolate.stop_requested else "normal"
        guess = ExitReason(kind=kind, error=report["error"])
        final = not isolate.wants_restart(guess)
        if final:
            isolate.final = True  # its calls fail and its ref is let go: whatever its last hook does, it stays down
            isolate.actor_stopped.set()
        left = isolate.mailbox.take_calls() if final else []
    if final:
        isolate.unregister()
        fail_not_run(isolate, left, guess)
    stopping.arm_shutdown(isolate)
    generation.send_control(wire.PROCEED, 0, b"")


def _on_request(isolate: Isolate, frame: wire.Frame) -> None:
    generation = isolate.process
    if not isolate.spec.takes_requests or generation is None:
        raise ProtocolError("it asks things of the host, which code that was called by name may not")
    isolate.requests.handle(generation, frame)


def _on_lost(isolate: Isolate, frame: wire.Frame) -> None:
    isolate.outbox.forget(frame.seq)


def _on_log(isolate: Isolate, frame: wire.Frame) -> None:
    isolate.relay.record(isolate.pid, bytes(frame.payload), isolate.decoder.error)


def check_description(found: Any) -> Described:
    """Return what an isolate said of itself, as far as it is a description.

    Raises:
        ProtocolError: where it is none.
    """
    if not isinstance(found, dict):
        raise ProtocolError("a description is no dictionary")
    for name, entry in found.items():
        if not (type(name) is str and len(name) <= _MAX_PATH and _is_public(name)):
            raise ProtocolError("a description names what is no public attribute")
        if not (type(entry) is tuple and [type(part) for part in entry] == [bool, bool, int, float]):
            raise ProtocolError(f"a description says of {name!r} what is none")
        if not 0 <= entry[2] <= MAX_RETRIES:
            raise ProtocolError(f"a description asks for more than {MAX_RETRIES} retries of {name!r}")
        if not entry[3] >= 0:
            raise ProtocolError(f"a description gives {name!r} a time that is none")
    return found


def _is_public(path: str) -> bool:
    return all(part and not part.startswith("_") for part in path.split("."))


def _decode_small(frame: wire.Frame) -> dict[Any, Any]:
    """Decode what has to be known on the I/O thread; its size is bounded, so its cost is."""
    if len(frame.payload) > SMALL_FRAME:
        raise ProtocolError(f"a frame of kind {frame.kind} has {len(frame.payload):,} bytes")
    try:
        fields = plain_decode.decode(frame.payload, budget=8 * SMALL_FRAME)
    except plain_decode.BadPlain as error:
        raise ProtocolError(f"a frame of kind {frame.kind} cannot be read: {error}") from None
    if not isinstance(fields, dict):
        raise ProtocolError(f"a frame of kind {frame.kind} holds a {type(fields).__name__}")
    return fields


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _int_or_none(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _nothing() -> None:
    return None


_HANDLERS: dict[int, Callable[[Isolate, wire.Frame], None]] = {
    wire.HELLO: _on_hello,
    wire.READY: _on_ready,
    wire.START_FAILED: _on_start_failed,
    wire.STOPPING: _on_stopping,
    wire.REQUEST: _on_request,
    wire.LOG: _on_log,
    wire.LOST: _on_lost,
}

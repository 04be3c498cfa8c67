"""One isolate: what joins the pure rules (mailbox, states, restarts) to the processes.

Calls of users come in on their own threads and hold the lock for a few steps.  News of processes
comes in on the I/O thread.  The lock is never held while foreign code runs: outcomes and events are
collected under it and given out after it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from pykka import ActorDeadError, ActorRegistry

from piactors import _crash, events, requests
from piactors._host import relay, runtime, serialise
from piactors._host.generation import End, Generation
from piactors._host.launching import Order
from piactors._host.loop import Timer
from piactors._lifecycle import states
from piactors._lifecycle.mailbox import Aftermath, Mailbox, Message, UnknownSequence
from piactors._lifecycle.states import Happening, State
from piactors._lifecycle.verdict import Findings, verdict
from piactors._supervision import restart
from piactors.errors import MailboxFull, PiactorsError, ProtocolError, StartError
from piactors.exit_reason import ExitReason, Kind
from piactors.future import Future
from piactors.options import IsolationOptions
from piactors.pihost import PROTOCOL, page, plain_decode, wire
from piactors.sinks import StopSink, raise_from

logger = logging.getLogger("piactors")

WINDOW_BYTES = 1 << 20
_SMALL_FRAME = 1 << 18

Job = Callable[[], object]


@attrs.frozen(kw_only=True)
class Spec:
    """What an isolate is made of, the same for all its generations.

    Attributes:
        order: how its processes are made.
        init: makes the first frame of a generation, from what was set with `set_data`.
        code: whether replies may be pickles.
        takes_requests: whether the isolate may ask things of the host (an actor's own ref).
    """

    name: str
    urn: str
    options: IsolationOptions
    order: Order
    own_interpreter: bool
    init: Callable[[dict[str, bytes]], bytes]
    code: bool
    takes_requests: bool


@attrs.define
class _Current:
    """What is known of the generation that runs."""

    ready_at: float | None = None
    intent: Kind | None = None
    detail: str | None = None
    report: dict[str, Any] | None = None
    start_failure: bytes | None = None
    timers: list[Timer] = attrs.field(factory=list)
    data: dict[str, bytes] = attrs.field(factory=dict)


class Isolate:
    """One supervised process and its mailbox; see the module's text for who calls what."""

    def __init__(self, spec: Spec, ref: Any) -> None:
        self.spec = spec
        self.options = spec.options
        self.ref = ref
        self.actor_stopped = threading.Event()
        self.generation_number = 0
        self.last_reason: ExitReason | None = None
        self.decoder = serialise.Decoder(
            spec.name, spec.code, {f"{cls.__module__}:{cls.__qualname__}": cls for cls in spec.options.accept},
            spec.options.max_frame, self._requested_future,
        )  # fmt: skip
        self.state = State.STARTING
        self.data: dict[str, bytes] = {}
        self._requests = requests.Requests(self)
        self._runtime = runtime.current()
        self._loop = self._runtime.loop
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._mailbox = Mailbox(page.WINDOW, WINDOW_BYTES)
        self._generation: Generation | None = None
        self._current = _Current()
        self._stop_requested = False
        self._history = restart.History()
        self._restart_timer: Timer | None = None
        self._started: Future[None] = Future()
        self._ended = threading.Event()
        self._description: bytes | None = None
        self._relay = relay.Relay(self._runtime.dispatcher, spec.name, spec.options.output)

    # For users, on their threads

    @property
    def pid(self) -> int | None:
        """The pid of the process that runs, or None."""
        generation = self._generation
        return None if generation is None else generation.pid

    @property
    def mailbox_size(self) -> int:
        """How many messages wait or are on their way."""
        with self._lock:
            return len(self._mailbox)

    def is_alive(self) -> bool:
        """Whether messages are taken."""
        return not self.actor_stopped.is_set()

    def start(self) -> None:
        """Start the first generation and return when it is ready.

        Raises:
            StartError: where it does not become ready; the cause is what its code raised.
        """
        self._runtime.add(self)
        ActorRegistry.register(self.ref)
        self._loop.call_soon(self._launch)
        try:
            self._started.get()
        except StartError:
            raise
        except BaseException:
            self.terminate()
            raise

    def put(self, message: Message, *, may_block: bool = True) -> None:
        """Take a message into the mailbox, and send it where there is room on the way.

        Raises:
            ActorDeadError: where the isolate takes none (any more).
            MailboxFull: where the mailbox is full and the options say to fail.
        """
        dropped = None
        with self._lock:
            self._refuse_if_closed()
            if message.kind != "stop":
                dropped = self._make_room(may_block)
            self._mailbox.put(message)
            self._pump()
        if dropped is not None and dropped.sink is not None:
            dropped.sink.fail(MailboxFull(f"{self.ref}: dropped for a newer message, as overflow='drop_oldest' says"))

    def give_up(self, message: Message) -> bool:
        """The caller of a message gave up on it: True where it will never begin."""
        with self._lock:
            if self._mailbox.give_up(message):
                self._room.notify()
                return True
            generation = self._generation
            if generation is None or not self._mailbox.is_on_way(message) or not generation.give_up(message.seq):
                return False
            message.given_up = True
            return True

    def stop(self, future: Future[bool]) -> None:
        """Stop once what is in the mailbox has run; `future` gets True when all of it is gone.

        Raises:
            ActorDeadError: where it has stopped already.
        """
        with self._lock:
            if self.state is State.STOPPED:
                raise ActorDeadError(f"{self.ref} not found")
            self._mailbox.put(Message("stop", b"", StopSink(future)))
            self._stop_requested = True
            self._pump()
            idle = self.state is State.RESTARTING
        if idle:
            self._loop.call_soon(self._stop_restarting)

    def shut_down(self) -> None:
        """Begin to stop: fail what has not begun, let running calls finish, kill after the shutdown time."""
        with self._lock:
            if self.state is State.STOPPED:
                return
            self._stop_requested = True
            left = self._mailbox.take_calls() + self._recall()
            self._mailbox.put(Message("stop", b""))
            self._pump()
            idle = self.state is State.RESTARTING
        _fail_all(left, lambda: ActorDeadError(f"{self.ref} is shut down; the call was not begun"))
        if idle:
            self._loop.call_soon(self._stop_restarting)
        else:
            self._arm_shutdown()

    def terminate(self) -> None:
        """End the process tree at once; no restart follows."""
        with self._lock:
            if self.state is State.STOPPED:
                return
            self._stop_requested = True
            self._intend("killed", "terminated")
            generation = self._generation
        if generation is not None:
            generation.kill()
        self._loop.call_soon(self._stop_restarting)

    kill_now = terminate

    def wait_ended(self, timeout: float | None) -> bool:
        """Wait until the isolate has ended for good, its whole process tree included."""
        return self._ended.wait(timeout)

    def control(self, operation: str, *args: Any) -> Future[Any]:
        """Ask the isolate's control thread, which answers while a call runs.

        The future fails with `ActorDeadError` where no process runs to answer.
        """
        future: Future[Any] = Future()

        def answer(frame: wire.Frame | None) -> None:
            if frame is None:
                future.fail(ActorDeadError(f"{self.ref}: no process runs that could answer"))
            elif frame.kind == wire.RESPONSE:
                future.settle_with(partial(self.decoder.value, frame.flags, frame.payload))
            else:
                future.settle_with(partial(raise_from, self.decoder, frame.payload))

        with self._lock:
            generation = self._generation if self._current.ready_at is not None else None
        if generation is None:
            answer(None)
        else:
            generation.request(operation, args, answer)
        return future

    def description(self) -> dict[str, tuple[bool, bool, int]]:
        """Return what the hosted object offered when it became ready (see `pihost.hosted.Described`).

        Raises:
            ProtocolError: where the isolate sent something else.
        """
        raw = self._description
        if raw is None:
            return {}
        try:
            return check_description(plain_decode.decode(raw, budget=16 << 20))
        except plain_decode.BadPlain as error:
            raise ProtocolError(f"{self.ref} described itself in a way that cannot be read: {error}") from None

    def _refuse_if_closed(self) -> None:
        if self.state in (State.STOPPED, State.STOPPING) and not self.is_alive():
            raise ActorDeadError(f"{self.ref} not found")
        if self.state is State.RESTARTING and self.options.while_restarting == "fail":
            raise ActorDeadError(f"{self.ref} is restarting, and while_restarting is 'fail'")

    def _make_room(self, may_block: bool) -> Message | None:
        capacity = self.options.mailbox_capacity
        while capacity is not None and len(self._mailbox) >= capacity:
            if self.options.overflow == "drop_oldest":
                return self._mailbox.drop_oldest()
            if self.options.overflow == "fail" or not may_block or _in_event_loop():
                raise MailboxFull(f"{self.ref}: the mailbox holds {len(self._mailbox)} messages, its capacity")
            self._room.wait()
            self._refuse_if_closed()
        return None

    def _recall(self) -> list[Message]:
        """Give up on everything on its way that has not begun; return it."""
        generation, recalled = self._generation, []
        for message in self._mailbox.unanswered():
            if generation is not None and message.kind != "stop" and not message.given_up:
                message.given_up = generation.give_up(message.seq)
                recalled += [message] if message.given_up else []
        return recalled

    def _pump(self) -> None:
        """Send what has room on its way.  Called under the lock, so messages leave in their order."""
        generation = self._generation
        if generation is None or self.state is not State.RUNNING:
            return
        while (message := self._mailbox.next_to_send()) is not None:
            generation.send(_FRAME_KINDS[message.kind], wire.PICKLE, message.seq, message.payload)

    # On the I/O thread

    def _launch(self) -> None:
        with self._lock:
            if self._stop_requested and self.state is not State.STOPPED:
                stop = True
            else:
                stop = False
                self.generation_number += 1
                self._current = _Current(data=dict(self.data))
        if stop:
            self._ended_without_process("stopped before it started")
            return
        options = self.options
        warm = not self.spec.order.fresh
        try:
            backend = self._runtime.backend(self.spec.order.interpreter, options.preload, self.spec.own_interpreter, warm)
            generation = Generation(
                self._loop, backend, self, self.generation_number, self.spec.order, self.spec.init(self._current.data),
                options.concurrency, options.output if isinstance(options.output, str) else "callable",
                options.max_frame, self._fell_back,
            )  # fmt: skip
        except OSError as error:
            self._ended_without_process(f"no process could be made: {error}")
            return
        with self._lock:
            self._generation = generation
            if not options.debug:
                self._after(options.start_timeout, self._start_too_late)
            doomed = self._stop_requested
        if doomed:
            self._intend("killed", "terminated")
            generation.kill()

    def _after(self, seconds: float, callback: Job) -> None:
        number = self.generation_number
        timer = self._loop.call_later(seconds, lambda: callback() if number == self.generation_number else None)
        self._current.timers.append(timer)

    def _fell_back(self, text: str) -> None:
        self._log(logging.WARNING, "isolate %s starts in a fresh interpreter: %s", self.spec.name, text)

    def _start_too_late(self) -> None:
        with self._lock:
            if self._current.ready_at is not None or self._generation is None:
                return
            self._intend("start_failed", f"not ready within start_timeout, {self.options.start_timeout:g} s")
            generation = self._generation
        generation.kill()

    def _intend(self, kind: Kind, detail: str) -> None:
        """Record why the process is about to be killed, before it is; the first reason stands."""
        if self._current.intent is None:
            self._current.intent, self._current.detail = kind, detail

    def _arm_shutdown(self) -> None:
        seconds = self.options.shutdown_timeout
        if seconds is not None:
            with self._lock:
                self._after(seconds, self._shutdown_too_late)

    def _shutdown_too_late(self) -> None:
        with self._lock:
            generation = self._generation
            self._intend("killed", f"did not stop within shutdown_timeout, {self.options.shutdown_timeout:g} s")
        if generation is not None:
            generation.kill()

    def _stop_restarting(self) -> None:
        """Somebody stops an isolate that has no process, or one that is just starting: end it."""
        with self._lock:
            waiting, self._restart_timer = self._restart_timer, None
            generation = self._generation if self.state is State.RESTARTING else None
        if waiting is not None:
            waiting.cancel()
            self.last_reason = ExitReason(kind="shutdown", detail="stopped while it waited to be restarted")
            self._finish(self.last_reason, Aftermath([], [], []), None)
        elif generation is not None:
            self._intend("shutdown", "stopped while it restarted")
            generation.kill()

    # What generations tell (see `_host.generation.Owner`)

    def on_launched(self) -> None:
        """See `Owner`."""

    def on_line(self, stream: str, line: str) -> None:
        """See `Owner`."""
        self._relay.line(self.pid, self.generation_number, stream, line)

    def on_frame(self, frame: wire.Frame) -> None:
        """See `Owner`."""
        handler = _HANDLERS.get(frame.kind)
        if handler is None:
            raise ProtocolError(f"a frame of kind {frame.kind} does not come from an isolate")
        try:
            handler(self, frame)
        except states.IllegalTransition as error:
            raise ProtocolError(str(error)) from None

    def on_fault(self, error: Exception) -> None:
        """See `Owner`."""
        if not isinstance(error, ProtocolError):
            logger.error("piactors failed on what isolate %s sent", self.spec.name, exc_info=error)
        with self._lock:
            self._intend("killed", f"{type(error).__name__}: {error}")
            generation = self._generation
        if generation is not None:
            generation.kill()

    def on_refused(self, text: str) -> None:
        """See `Owner`."""
        self._ended_without_process(text)

    def on_end(self, end: End) -> None:
        """See `Owner`."""
        current = self._current
        reason = verdict(
            Findings(
                intent="killed" if end.lost and current.intent is None else current.intent,
                detail="its launcher was lost" if end.lost and current.intent is None else current.detail,
                told_to_stop=self._stop_requested, report=self._report(current), status=end.status,
                started=current.ready_at is not None, stderr_tail=end.stderr_tail, fault=end.fault, usage=end.usage,
            )
        )  # fmt: skip
        self._settle_end(reason, end)

    def _report(self, current: _Current) -> dict[str, Any] | None:
        if current.start_failure is None:
            return current.report
        if len(current.start_failure) > _SMALL_FRAME:
            return {"error": "(an exception too large to be shown here)"}
        return {"error": str(self.decoder.error(current.start_failure).__cause__)}

    def _ended_without_process(self, text: str) -> None:
        self._settle_end(ExitReason(kind="start_failed", detail=text), None)

    def _settle_end(self, reason: ExitReason, end: End | None) -> None:
        """Decide what follows the end of a generation, and let it follow."""
        with self._lock:
            current, generation = self._current, self._generation
            self._generation = None
            for timer in current.timers:
                timer.cancel()
            aftermath = Aftermath([], [], [])
            if end is not None:
                aftermath = self._mailbox.generation_ended(end.evidence)
            decision = self._decide(reason, current, lost=end is not None and end.lost)
            pid = None if generation is None else generation.pid
            self.last_reason = reason
        self._tell_of_end(reason, pid, current)
        if isinstance(decision, restart.StartAgain):
            self._start_again(decision, reason, aftermath, pid)
        else:
            self._finish(reason, aftermath, pid, exhausted=isinstance(decision, restart.Exhausted))

    def _decide(self, reason: ExitReason, current: _Current, *, lost: bool) -> restart.Decision:
        if self._stop_requested or self.state is State.STARTING:
            return restart.StayDown()
        options, now = self.options, time.monotonic()
        policy = restart.Policy(options.restart, options.max_restarts, options.within, options.backoff)
        ran_for = 0.0 if current.ready_at is None else now - current.ready_at
        decision, self._history = restart.decide(
            policy, self._history, reason, now=now, ran_for=ran_for, luck=random.random(),
            charged=not (lost and current.ready_at is not None),
        )  # fmt: skip
        return decision

    def _start_again(
        self, decision: restart.StartAgain, reason: ExitReason, aftermath: Aftermath, pid: int | None
    ) -> None:
        with self._lock:
            self.state = states.after(self.state, Happening.WILL_RESTART)
            refused = []
            if self.options.while_restarting == "fail":
                refused = self._mailbox.take_calls()
            self._restart_timer = self._loop.call_later(decision.delay, self._restart_due)
            raced = self._stop_requested
            self._room.notify_all()
        self._publish(events.IsolateRestarting, attempt=decision.attempt, delay=decision.delay)
        self._settle_lost(aftermath, reason, pid)
        _fail_all(refused, lambda: ActorDeadError(f"{self.ref} is restarting, and while_restarting is 'fail'"))
        if raced:
            self._stop_restarting()

    def _restart_due(self) -> None:
        self._restart_timer = None
        self._launch()

    def _finish(self, reason: ExitReason, aftermath: Aftermath, pid: int | None, exhausted: bool = False) -> None:
        with self._lock:
            first = self.state is State.STARTING
            self.state = states.after(self.state, Happening.ENDED)
            self.actor_stopped.set()
            left = self._mailbox.close()
            start_failure = self._current.start_failure
            self._room.notify_all()
        ActorRegistry.unregister(self.ref)
        self._runtime.remove(self)
        if exhausted:
            self._publish(
                events.RestartsExceeded, max_restarts=self.options.max_restarts or 0, within=self.options.within
            )
        self._settle_lost(aftermath, reason, pid)
        _fail_all(left, lambda: ActorDeadError(f"{self.ref} stopped before handling the message"))
        if first:
            self._started.settle_with(partial(_crash.raise_start_error, self.spec, self.decoder, reason, start_failure))
        self._ended.set()
        if self.options.die_on_crash and not reason.is_normal and not self._stop_requested:
            _crash.die(reason)

    def _tell_of_end(self, reason: ExitReason, pid: int | None, current: _Current) -> None:
        cls = events.IsolateStartFailed if current.ready_at is None else events.IsolateExited
        self._publish(cls, pid=pid, reason=reason)
        if not reason.is_normal and not (self._stop_requested and reason.kind == "killed"):
            place = f"isolate {self.spec.name} (pid {pid}, generation {self.generation_number})"
            self._log(logging.WARNING, "%s: %s", place, reason.report())

    def _settle_lost(self, aftermath: Aftermath, reason: ExitReason, pid: int | None) -> None:
        place = (self.spec.name, pid, self.generation_number)
        _fail_all(aftermath.crashed, lambda: _crash.crashed(*place, reason))
        for message in aftermath.poisoned:
            _fail_all([message], lambda message=message: _crash.poisoned(*place, reason, message.attempts))  # type: ignore[misc]
        _fail_all(aftermath.dropped, lambda: ActorDeadError(f"{self.ref} ended first"))

    # Frames

    def _on_hello(self, frame: wire.Frame) -> None:
        greeting = _decode_small(frame)
        if greeting.get("protocol") != PROTOCOL:
            raise ProtocolError(
                f"pihost speaks protocol {greeting.get('protocol')!r}, and this host speaks {PROTOCOL}: "
                "they are of different versions of piactors; restart the host"
            )

    def _on_ready(self, frame: wire.Frame) -> None:
        with self._lock:
            if self._current.ready_at is not None:
                raise ProtocolError("it became ready twice")
            self._current.ready_at = time.monotonic()
            self._description = bytes(frame.payload)
            self.state = states.after(self.state, Happening.READY)
            self._pump()
            late = [(key, value) for key, value in self.data.items() if self._current.data.get(key) is not value]
        for key, value in late:
            self.control("set_data", key, value)
        self._publish(events.IsolateStarted)
        self._started.settle_with(_nothing)

    def _on_start_failed(self, frame: wire.Frame) -> None:
        self._current.start_failure = bytes(frame.payload)

    def _on_answer(self, frame: wire.Frame) -> None:
        with self._lock:
            try:
                message = self._mailbox.answered(frame.seq)
            except UnknownSequence as error:
                raise ProtocolError(str(error)) from None
            self._room.notify()
            self._pump()
        if message.given_up or message.sink is None:
            return
        if frame.kind == wire.REPLY:
            message.sink.reply(self.decoder, frame.flags, frame.payload)
        elif frame.kind == wire.ERROR:
            message.sink.error(self.decoder, frame.payload)
        else:
            error = ProtocolError(f"{self.ref} left a call without an answer")
            message.sink.fail(error)
            raise error

    def _on_stopping(self, frame: wire.Frame) -> None:
        report = _decode_small(frame)
        with self._lock:
            generation = self._generation
            if self._current.report is not None or generation is None:
                raise ProtocolError("it reported twice that it stops")
            self._current.report = {"error": _text_or_none(report.get("error")), "code": _int_or_none(report.get("code"))}
            self.state = states.after(self.state, Happening.STOP_BEGUN)
            guess = ExitReason(kind="normal" if report.get("error") is None else "error")
            final = self._stop_requested or not restart.wants_restart(self.options.restart, guess)
            if final:
                self.actor_stopped.set()
            left = self._mailbox.take_calls() if final else []
        if final:
            ActorRegistry.unregister(self.ref)
            _fail_all(left, lambda: ActorDeadError(f"{self.ref} stopped before handling the message"))
        self._arm_shutdown()
        generation.send_control(wire.PROCEED, 0, b"")

    def _on_request(self, frame: wire.Frame) -> None:
        generation = self._generation
        if not self.spec.takes_requests or generation is None:
            raise ProtocolError("it asks things of the host, which only actors may")
        self._requests.handle(generation, frame)

    def _requested_future(self, number: int) -> Future[Any]:
        return self._requests.future(number)

    def _on_log(self, frame: wire.Frame) -> None:
        self._relay.record(self.pid, bytes(frame.payload), self.decoder.error)

    # For the runtime

    def io_failed(self, error: BaseException) -> None:
        """See `Member`."""
        cause = PiactorsError(f"the I/O thread of piactors has failed: {error!r}")
        cause.__cause__ = error
        with self._lock:
            left = [*self._mailbox.unanswered(), *self._mailbox.close()]
            self.state = State.STOPPED
            self.actor_stopped.set()
            self._room.notify_all()
            generation, self._generation = self._generation, None
        if generation is not None:
            generation.kill()
        ActorRegistry.unregister(self.ref)
        _fail_all(left, lambda: cause)
        self._started.fail(cause)
        self._ended.set()

    def abandon(self) -> None:
        """See `Member`."""
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self.state = State.STOPPED
        self.actor_stopped = threading.Event()
        self.actor_stopped.set()
        self._ended = threading.Event()
        self._ended.set()
        left = [*self._mailbox.unanswered(), *self._mailbox.close()]
        generation, self._generation = self._generation, None
        if generation is not None:
            generation.abandon()
        _fail_all(left, lambda: ActorDeadError(f"{self.ref} belongs to the process that this one was forked from"))

    def _publish(self, cls: type[events.Event], **fields: Any) -> None:
        if events.bus.is_wanted(cls):
            fields.setdefault("pid", self.pid)
            event = cls(name=self.spec.name, generation=self.generation_number, time=time.time(), **fields)
            self._runtime.dispatcher.submit(relay.publish, event)

    def _log(self, level: int, message: str, *args: object) -> None:
        self._runtime.dispatcher.submit(logger.log, level, message, *args)


def check_description(found: Any) -> dict[str, tuple[bool, bool, int]]:
    """Return what an isolate said of itself, as far as it is a description.

    Raises:
        ProtocolError: where it is none.
    """
    if not isinstance(found, dict):
        raise ProtocolError("a description is no dictionary")
    for name, entry in found.items():
        if not (isinstance(name, str) and isinstance(entry, tuple) and [type(part) for part in entry] == [bool, bool, int]):
            raise ProtocolError(f"a description holds {name!r}: {entry!r}")
    return found


def _decode_small(frame: wire.Frame) -> dict[Any, Any]:
    """Decode what has to be known on the I/O thread; its size is bounded, so its cost is."""
    if len(frame.payload) > _SMALL_FRAME:
        raise ProtocolError(f"a frame of kind {frame.kind} has {len(frame.payload):,} bytes")
    try:
        fields = plain_decode.decode(frame.payload, budget=8 * _SMALL_FRAME)
    except plain_decode.BadPlain as error:
        raise ProtocolError(f"a frame of kind {frame.kind} cannot be read: {error}") from None
    if not isinstance(fields, dict):
        raise ProtocolError(f"a frame of kind {frame.kind} holds a {type(fields).__name__}")
    return fields


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _int_or_none(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _fail_all(messages: list[Message], error: Callable[[], BaseException]) -> None:
    for message in messages:
        if message.sink is not None and not message.given_up:
            message.sink.fail(error())


def _nothing() -> None:
    return None


def _in_event_loop() -> bool:
    """Whether the calling thread runs an event loop, which must not be blocked."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


_FRAME_KINDS = {"call": wire.CALL, "tell": wire.TELL, "stop": wire.STOP}
_HANDLERS: dict[int, Callable[[Isolate, wire.Frame], None]] = {
    wire.HELLO: Isolate._on_hello,
    wire.READY: Isolate._on_ready,
    wire.START_FAILED: Isolate._on_start_failed,
    wire.REPLY: Isolate._on_answer,
    wire.ERROR: Isolate._on_answer,
    wire.DONE: Isolate._on_answer,
    wire.SKIPPED: Isolate._on_answer,
    wire.STOPPING: Isolate._on_stopping,
    wire.REQUEST: Isolate._on_request,
    wire.LOG: Isolate._on_log,
}

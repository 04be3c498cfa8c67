"""Processes of an isolate besides the one that runs its calls: one that is to take over, and one that has been.

Both belong to a `Recycler` or its `Standby`, and all of it runs on the I/O thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from piactors import arrivals, endings, events, starting
from piactors._host.generation import Generation
from piactors._host.owning import End
from piactors._lifecycle.mailbox import Message
from piactors._platform import pidfd
from piactors.errors import ProtocolError
from piactors.exit_reason import ExitReason, Kind
from piactors.pihost import wire
from piactors.spec import Current

if TYPE_CHECKING:
    from piactors.isolate import Isolate

_MOST_TIMES_TOLD = 3
"""So many times in a row what was set with `set_data` is waited for."""


class _Companion:
    """What both have in common: they are the `Owner` of a generation that is not the isolate's current one."""

    generation: Generation
    answers_anywhere = False

    def __init__(self, isolate: Isolate, current: Current, number: int) -> None:
        self.isolate = isolate
        self.current = current
        self.number = number
        self.is_told = False
        """Whether those who wait for its end have been told."""

    def kill(self, kind: Kind, detail: str) -> None:
        """End it at once, for this reason."""
        with self.isolate.lock:
            if self.current.intent is None:
                self.current.intent, self.current.detail = kind, detail
        self.generation.kill()

    def on_launched(self, generation: Generation) -> None:
        """See `Owner`."""
        if self.current.confined is not None:
            self.current.confined.launched(generation, self.current)

    def on_lines(self, stream: str, lines: list[str]) -> None:
        """See `Owner`."""
        self.isolate.relay.lines(self.generation.pid, self.number, stream, lines)

    def output_room(self) -> int:
        """See `Owner`."""
        return self.isolate.relay.room()

    def on_dropped(self, lines: int) -> None:
        """See `Owner`."""
        self.isolate.relay.drop(lines=lines)

    def on_fault(self, error: Exception) -> None:
        """See `Owner`."""
        self.kill(endings.kind_of_fault(error), f"{type(error).__name__}: {error}")

    def on_failure(self, error: BaseException) -> None:
        """See `Owner`: what has failed of it may concern the whole isolate."""
        try:
            self.kill("killed", f"piactors has failed on it: {error!r}")
            if self.generation.is_over and not self.is_told:
                self.end_untold(ExitReason(kind="killed", detail=f"piactors has failed on it: {error!r}"))
        finally:
            self.isolate.on_failure(error)

    def end_untold(self, reason: ExitReason) -> None:
        """It is gone, and the telling of that has failed: let nobody wait for it any more."""
        raise NotImplementedError

    def on_answer(self, frame: wire.Frame, again: bool) -> None:
        """See `Owner`: what is to take over, or has been, has nothing to answer; see each of the two."""
        self.on_frame(frame)

    def on_frame(self, frame: wire.Frame) -> None:
        """See `Owner`."""
        raise NotImplementedError

    def _on_any_frame(self, frame: wire.Frame) -> bool:
        """Handle what may come at any time; False where it was something else."""
        if frame.kind == wire.LOG:
            self.isolate.relay.record(self.generation.pid, bytes(frame.payload), self.isolate.decoder.error)
        elif frame.kind == wire.REQUEST and self.isolate.spec.takes_requests:
            self.isolate.requests.handle(self.generation, frame)
        elif frame.kind == wire.LOST:
            self.isolate.outbox.forget(frame.seq)
        else:
            return False
        return True

    def _publish(self, cls: type[events.Event], reason: ExitReason) -> None:
        isolate = self.isolate
        if events.bus.is_wanted(cls):
            place = {"name": isolate.spec.name, "pid": self.generation.pid, "generation": self.number}
            isolate.post(cls(**place, time=time.time(), reason=reason))  # type: ignore[arg-type,call-arg]


class Newcomer(_Companion):
    """A process that is started to take over; `on_ready` is called once, `on_gone` where it ends before that.

    Args:
        announced: whether subscribers of events hear of a start that fails.
    """

    def __init__(
        self, isolate: Isolate, number: int, on_ready: Callable[[], None], on_gone: Callable[[ExitReason], None],
        *, announced: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(isolate, Current(data=dict(isolate.data)), number)
        self.spec = isolate.spec
        self.description = b""
        self.wants_stop = False
        self.serve(on_ready, on_gone, announced=announced)
        self.generation = starting.new_generation(isolate, self, self.current, number)
        if not isolate.options.debug:
            late = partial(starting.end_late_start, isolate, self.generation, self.current)
            self.current.timers.append(isolate.loop.deadline(isolate.options.start_timeout, late))

    def serve(
        self, on_ready: Callable[[], None], on_gone: Callable[[ExitReason], None], *, announced: bool = True
    ) -> None:
        """Tell these from here on what becomes of it."""
        self._on_ready = on_ready
        self._on_gone = on_gone
        self._announced = announced
        self._times_told = 0

    @property
    def is_ready(self) -> bool:
        """Whether its `on_start` has returned."""
        return self.current.ready_at is not None

    def is_fit(self) -> bool:
        """Whether it lives, as far as is known, and nothing has been decided or said that will end it."""
        current = self.current
        doomed = current.intent is not None or current.start_failure is not None
        return not doomed and not pidfd.has_ended(self.generation.process_fd)

    def unknown_data(self) -> list[tuple[str, bytes]]:
        """Return what was set with `set_data` since it was started, and has to be told before it runs a call.

        Where somebody sets values without a pause, the last ones are told here, and not waited for.
        """
        known, values = self.current.data, list(self.isolate.data.items())
        unknown = [(key, value) for key, value in values if known.get(key) is not value]
        if unknown and self._times_told >= _MOST_TIMES_TOLD:
            self.tell_data(unknown, _nothing)
            return []
        return unknown

    def tell_data(self, values: list[tuple[str, bytes]], then: Callable[[], None]) -> None:
        """Give it such values, and call `then()` once it has them; end it where that takes over `start_timeout`."""
        isolate, left = self.isolate, len(values)
        self._times_told += 1

        def taken(frame: wire.Frame | None) -> None:
            nonlocal left
            left -= frame is not None  # None: it has ended
            if not left:
                self.cancel_timers()
                then()

        if not isolate.options.debug:
            late = partial(self.kill, "start_failed", "it does not take what was set with set_data")
            self.current.timers.append(isolate.loop.deadline(isolate.options.start_timeout, late))
        for key, value in values:
            self.current.data[key] = value
            self.generation.request("set_data", (key, value), taken)

    def install(self) -> None:
        """Be the isolate's process from here on, ready or not; under the isolate's lock."""
        isolate = self.isolate
        self.current.number_before = isolate.generation_number
        isolate.process, isolate.current = self.generation, self.current
        isolate.generation_number = self.number
        isolate.mailbox.next_generation()
        isolate.outbox.generation_ended()
        self.generation.hand_over(isolate)
        if self.wants_stop:
            self.current.stop_wanted = isolate.clock.runs = True
            isolate.mailbox.put_first(Message("stop", b"", own_wish=True))

    def begin_to_run(self) -> None:
        """Count as ready from now on, whatever it has waited for; under the isolate's lock."""
        self.isolate.raw_description = self.description
        self.current.ready_at = time.monotonic()

    def on_frame(self, frame: wire.Frame) -> None:
        """See `Owner`."""
        current = self.current
        if frame.kind == wire.HELLO and not current.greeted:
            arrivals.greeted(current, frame)
        elif frame.kind == wire.READY and current.intent == "start_failed":
            return  # too late
        elif frame.kind == wire.READY and current.ready_at is None and current.start_failure is None:
            self.description = arrivals.checked_size(frame)
            current.ready_at = time.monotonic()
            self.cancel_timers()
            self._on_ready()
        elif frame.kind == wire.START_FAILED and current.ready_at is None and current.start_failure is None:
            arrivals.note_failed_start(current, frame)
        elif not self._on_any_frame(frame):
            raise ProtocolError(f"a frame of kind {frame.kind} does not come from an isolate that has yet to run")

    def cancel_timers(self) -> None:
        """Let no timer of its start end it."""
        for timer in self.current.timers:
            timer.cancel()
        self.current.timers.clear()

    def on_refused(self, text: str, lack: bool) -> None:
        """See `Owner`."""
        self._gone(ExitReason(kind="start_failed", detail=text))

    def on_end(self, end: End) -> None:
        """See `Owner`."""
        self._gone(endings.reason_of(self.isolate, self.current, end, told_to_stop=True))

    def _gone(self, reason: ExitReason) -> None:
        try:
            self.cancel_timers()
            if self.current.confined is not None:
                self.current.confined.ended(None, None)
            if self._announced and reason.kind != "shutdown":
                self._publish(events.IsolateStartFailed, reason)
        finally:
            self.end_untold(reason)

    def end_untold(self, reason: ExitReason) -> None:
        """See `_Companion`."""
        self.is_told = True
        self._on_gone(reason)


def _nothing() -> None:
    """What follows nobody waits for."""


class Retiree(_Companion):
    """A process that another has taken over from: it may end in peace, within the shutdown time.

    Also one that was to take over and is not needed; its start was not `announced`, so its end is not either.
    """

    def __init__(
        self, isolate: Isolate, generation: Generation, current: Current, on_gone: Callable[[Retiree], None],
        *, announced: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(isolate, current, generation.number)
        self.generation = generation
        self._on_gone = on_gone
        self._announced = announced
        for timer in current.timers:
            timer.cancel()
        seconds = isolate.options.shutdown_timeout
        if seconds is not None:
            late = partial(self.kill, "killed", f"did not stop within shutdown_timeout, {seconds:g} s")
            current.timers[:] = [isolate.loop.deadline(seconds, late)]

    def retire(self) -> None:
        """Ask it to stop; it runs nothing any more."""
        self.generation.send(wire.STOP, wire.PICKLE, 0, b"")

    def on_frame(self, frame: wire.Frame) -> None:
        """See `Owner`."""
        if frame.kind == wire.STOPPING and self.current.report is None:
            self.current.report = arrivals.stop_report(frame)
            self.generation.send_control(wire.PROCEED, 0, b"")
        elif frame.kind != wire.SKIPPED and not self._on_any_frame(frame):
            raise ProtocolError(f"a frame of kind {frame.kind} does not come from an isolate that is to stop")

    def on_refused(self, text: str, lack: bool) -> None:
        """See `Owner`: it has long been started."""

    def on_end(self, end: End) -> None:
        """See `Owner`."""
        for timer in self.current.timers:
            timer.cancel()
        reason = endings.reason_of(self.isolate, self.current, end, told_to_stop=True)
        if self._announced:
            self._publish(events.IsolateExited, reason)
        if not reason.is_normal and self.isolate.options.shutdown_timeout != 0:
            place = (self.isolate.spec.name, self.generation.pid, self.number)
            what = "recycled" if self._announced else "not needed"
            self.isolate.log(
                logging.WARNING, "isolate %s (pid %s, generation %s), %s: %s", *place, what, reason.report()
            )
        self.end_untold(reason)

    def end_untold(self, reason: ExitReason) -> None:
        """See `_Companion`."""
        self.is_told = True
        self._on_gone(self)

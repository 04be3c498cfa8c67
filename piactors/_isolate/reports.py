"""What is reported of an isolate: events, lines of the log, and the errors of calls that its ends have cost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from piactors import events
from piactors._host import relay
from piactors._host.relay import Relay
from piactors._isolate import crash_errors
from piactors._isolate.reply_ports import fail_all
from piactors._rules.mailbox import Aftermath
from piactors._rules.message import Message
from piactors.exit_reason import ExitReason

if TYPE_CHECKING:
    from piactors._host.runtime import Runtime
    from piactors._isolate.spec import IsolateSpec


class Reports:
    """Reports on one isolate, after what it wrote and what was reported of it before."""

    def __init__(self, spec: IsolateSpec, runtime: Runtime, relay: Relay) -> None:
        self._spec = spec
        self._runtime = runtime
        self.relay = relay

    def continue_with(self, relay: Relay) -> None:
        """Report what there is after what an isolate of the same ref has reported."""
        self.relay = relay

    def publish(self, cls: type[events.Event], pid: int | None, generation: int, **fields: Any) -> None:
        """Have the subscribers of an event called, if there are any."""
        if events.bus.is_wanted(cls):
            self.post(cls(name=self._spec.name, pid=pid, generation=generation, time=time.time(), **fields))

    def post(self, event: events.Event) -> None:
        """Have the subscribers of an event called."""
        if events.bus.is_wanted(type(event)):
            self.relay.post(event)

    def tell_user(self, callback: Callable[[Any], object], event: events.Event) -> None:
        """Have a callback of the options called."""
        self._runtime.dispatcher.submit(relay.call_guarded, callback, event)

    def warn(self, text: str, *args: object) -> None:
        """Log something that somebody should look at."""
        self.relay.say(logging.WARNING, text, *args)

    def error(self, text: str, *args: object) -> None:
        """Log something that is not as it should be."""
        self.relay.say(logging.ERROR, text, *args)

    def defect(self, text: str, error: BaseException) -> None:
        """Log that piactors itself has failed on this isolate."""
        self.relay.say(logging.ERROR, text, self._spec.name, exc_info=error)

    def fell_back(self, text: str) -> None:
        """Its process is not forked from the launcher, for this reason."""
        self.warn("isolate %s starts in a fresh interpreter: %s", self._spec.name, text)

    def ended(self, pid: int | None, generation: int, reason: ExitReason, *, started: bool, wanted: bool) -> None:
        """A process that ran the calls, or was to, has ended."""
        cls = events.IsolateExited if started else events.IsolateStartFailed
        self.publish(cls, pid, generation, reason=reason)
        if not (reason.is_normal or wanted):
            place = f"isolate {self._spec.name} (pid {pid}, generation {generation})"
            self.warn("%s: %s", place, reason.report())


def settle_lost(
    aftermath: Aftermath,
    place: tuple[str, int | None, int],
    reason: ExitReason,
    timed_out: Message | None,
    stack: str,
    not_begun: Callable[[], BaseException],
) -> None:
    """Fail the calls that a process has taken with it.

    Args:
        place: name, pid and number of the process.
        timed_out: the call that it was ended for.
        not_begun: makes the error of what has not begun and is not wanted any more.
    """
    again = [*aftermath.retried, *aftermath.poisoned, *aftermath.dropped]
    if timed_out is not None and timed_out not in again:
        late = partial(crash_errors.timed_out, *place, reason, stack)
        fail_all([timed_out], partial(crash_errors.crashed, *place, reason) if timed_out.by_stop else late)
    crashed = [message for message in aftermath.crashed if message is not timed_out]
    fail_all(crashed, lambda: crash_errors.crashed(*place, reason))
    for message in aftermath.poisoned:
        fail_all([message], lambda message=message: crash_errors.poisoned(*place, reason, message.attempts))  # type: ignore[misc]
    fail_all(aftermath.dropped, not_begun)

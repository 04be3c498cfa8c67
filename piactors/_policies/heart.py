"""Whether an isolate that runs no call is alive: it must answer, and begin what it is sent.

While a call runs, `call_timeout` judges it, and nothing is asked here.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from piactors import events
from piactors._lifecycle.states import State

if TYPE_CHECKING:
    from piactors._host.generation import Generation
    from piactors.isolate import Isolate
    from piactors.limits import Heartbeat


_SLOWEST_TRANSFER = 20e6
"""Bytes of a message that an isolate has to take in a second."""


class Heart:
    """The heartbeat of one generation; all on the I/O thread."""

    def __init__(self, isolate: Isolate, generation: Generation, heartbeat: Heartbeat) -> None:
        self._isolate = isolate
        self._generation = generation
        self._heartbeat = heartbeat
        self._unanswered = False
        self._was_busy = True
        self._head = 0
        self._arrives_by = 0.0
        self._missed = False

    def begin(self) -> None:
        """Begin to listen."""
        self._generation.after(self._heartbeat.every, self._beat)

    def _beat(self) -> None:
        isolate, generation = self._isolate, self._generation
        if isolate.process is not generation or isolate.state is not State.RUNNING:
            return
        with isolate.lock:
            first = next(iter(isolate.mailbox.unanswered()), None)
        head, size = (0, 0) if first is None else (first.seq, len(first.payload))
        if head != self._head:
            self._arrives_by = time.monotonic() + size / _SLOWEST_TRANSFER
        busy = head > 0 and generation.has_begun(head)
        detail = None
        if not busy and not self._was_busy:
            detail = self._fault(head)
        if detail is None:
            self._missed = False
        elif not self._missed:
            self._missed = True
            self._miss(detail)
        self._head, self._was_busy = head, busy
        if not busy and not self._unanswered:
            self._unanswered = True
            generation.request("ping", (), self._answered)
        generation.after(self._heartbeat.every, self._beat)

    def _fault(self, head: int) -> str | None:
        """Return what is wrong, where nothing has run since the last beat."""
        if head and time.monotonic() < self._arrives_by:
            return None  # a large message takes a while, in which it may well be deaf
        if self._unanswered:
            return "its control thread does not answer"
        if head and head == self._head:
            return f"it does not begin message {head}, which it was sent"
        return None

    def _answered(self, _: object) -> None:
        self._unanswered = False

    def _miss(self, detail: str) -> None:
        isolate, generation, seconds = self._isolate, self._generation, self._heartbeat.every
        text = f"no sign of life for {seconds:g} s while no call ran: {detail}"
        isolate.log(logging.WARNING, "isolate %s (pid %s): %s", isolate.spec.name, isolate.pid, text)
        event = events.HeartbeatMissed(
            name=isolate.spec.name, pid=generation.pid, generation=generation.number, time=time.time(),
            seconds=seconds, detail=detail,
        )  # fmt: skip
        isolate.post(event)
        action = self._heartbeat.action
        if action == "kill":
            with isolate.lock:
                isolate.intend("killed", text)
            generation.kill()
        elif callable(action):
            isolate.tell_user(action, event)


def start(isolate: Isolate, generation: Generation | None) -> None:
    """Begin to listen to a generation, where the options ask for it."""
    heartbeat = isolate.options.heartbeat
    if heartbeat is not None and generation is not None:
        Heart(isolate, generation, heartbeat).begin()

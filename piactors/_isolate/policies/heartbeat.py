"""Whether an isolate that runs no call is alive: it must answer, and begin what it is sent.

While a call runs, `call_timeout` judges it, and nothing is asked here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from piactors import events

if TYPE_CHECKING:
    from piactors._isolate.home import Home
    from piactors._isolate.view import IncarnationView
    from piactors._process.placement import Process
    from piactors.limits import Heartbeat


_SLOWEST_TRANSFER = 20e6
"""Bytes of a message that an isolate has to take in a second."""


class HeartbeatWatch:
    """The heartbeat of one process; all on the I/O thread."""

    def __init__(self, body: IncarnationView, home: Home, process: Process, heartbeat: Heartbeat) -> None:
        self._body = body
        self._home = home
        self._process = process
        self._heartbeat = heartbeat
        self._unanswered = False
        self._was_busy = True
        self._head = 0
        self._arrives_by = 0.0
        self._missed = False

    def begin(self) -> None:
        """Begin to listen."""
        self._process.after(self._heartbeat.every, self._beat)

    def _beat(self) -> None:
        delivery, process = self._home.delivery, self._process
        if delivery.process is not process or self._body.facts.report is not None:
            return  # another one runs the calls, or it stops
        with delivery.lock:  # the first one may be completed while the dictionary is walked
            first = next(iter(delivery.mailbox.unanswered()), None)
        head, size = (0, 0) if first is None else (first.seq, len(first.payload))
        if head != self._head:
            self._arrives_by = time.monotonic() + size / _SLOWEST_TRANSFER
        busy = head > 0 and process.has_begun(head)
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
            process.request("ping", (), self._answered)
        process.after(self._heartbeat.every, self._beat)

    def _fault(self, head: int) -> str | None:
        """Return what is wrong, if nothing has run since the last beat."""
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
        body, reports, seconds = self._body, self._home.reports, self._heartbeat.every
        text = f"no sign of life for {seconds:g} s while no call ran: {detail}"
        reports.warn("isolate %s (pid %s): %s", body.spec.name, body.pid, text)
        event = events.HeartbeatMissed(
            name=body.spec.name, pid=body.pid, generation=body.number, time=time.time(), seconds=seconds, detail=detail
        )
        reports.post(event)
        action = self._heartbeat.action
        if action == "kill":
            body.kill("killed", text)
        elif callable(action):
            reports.tell_user(action, event)


def start(body: IncarnationView, home: Home) -> None:
    """Begin to listen to a process, if the options ask for it."""
    heartbeat = body.spec.options.heartbeat
    if heartbeat is not None and body.process is not None:
        HeartbeatWatch(body, home, body.process, heartbeat).begin()

"""The facts of one process of an isolate, and how each of them may change: whatever comes from it is input.

What must not come in some state raises `ProtocolError` there and changes nothing; the first reason to kill it stands.
"""

from __future__ import annotations

from typing import Any

import attrs

from piactors._rules.verdict import Findings
from piactors.errors import ProtocolError
from piactors.exit_reason import Breach, Kind, Rusage


class Unconfined(ProtocolError):
    """A process could not apply its limits to itself, and must not run anything."""


@attrs.define
class IncarnationFacts:
    """What is known of one process.

    Attributes:
        greeted: whether it speaks this host's protocol, and has taken its limits.
        ready_at: when its start was complete, in seconds on a monotonic clock.
        start_failure: the exception that it failed to start with, as it came.
        lacked: whether it says that this is for lack of something, and not by what its code did.
        report: what it said of its stop: ``error`` and ``code``.
        kill_kind, detail, breach, stack: why it is killed, once that is decided.
        by_loss: whether it has ended because of the loss of its launcher, and nothing else.
    """

    greeted: bool = False
    ready_at: float | None = None
    start_failure: bytes | None = None
    lacked: bool = False
    report: dict[str, Any] | None = None
    kill_kind: Kind | None = None
    detail: str | None = None
    breach: Breach | None = None
    stack: str = ""
    by_loss: bool = False

    # What it says

    def greet(self, greeting: dict[Any, Any], protocol: int) -> None:
        """It says which protocol it speaks, and whether its limits hold.

        Raises:
            ProtocolError: if that is another one than this host's, or said twice.
            Unconfined: if its limits do not hold.
        """
        if self.greeted:
            raise ProtocolError("it greeted twice")
        self.greeted = True
        theirs = greeting.get("protocol")
        if type(theirs) is not int or not 0 <= theirs < 1 << 32:
            raise ProtocolError("pihost does not say which protocol it speaks")
        if theirs != protocol:
            raise ProtocolError(
                f"pihost speaks protocol {theirs}, and this host speaks {protocol}: "
                "they are of different versions of piactors; restart the host"
            )
        if greeting.get("unconfined"):
            why = greeting["unconfined"]
            are_texts = type(why) is list and all(type(text) is str for text in why)
            raise Unconfined(f"its limits could not be applied: {why if are_texts else 'it does not say why'}")

    def become_ready(self, now: float) -> bool:
        """Its start is complete; False if that is too late, as it is being ended for exactly that.

        Raises:
            ProtocolError: if it was ready before, or had failed.
        """
        if self.ready_at is not None:
            raise ProtocolError("it became ready twice")
        if self.start_failure is not None:
            raise ProtocolError("it became ready after it had failed to start")
        if self.kill_kind == "start_failed":
            return False
        self.ready_at = now
        return True

    def fail_start(self, failure: bytes, *, lacked: bool) -> None:
        """It says why it does not become ready.

        Raises:
            ProtocolError: if it has said how its start went.
        """
        if self.start_failure is not None or self.ready_at is not None:
            raise ProtocolError("it says that its start has failed, after it has said how its start went")
        self.start_failure, self.lacked = failure, lacked

    def stop(self, report: dict[str, Any]) -> None:
        """It says that it stops, and why.

        Raises:
            ProtocolError: if it has said so before, or does not run yet.
        """
        if self.report is not None:
            raise ProtocolError("it reported twice that it stops")
        if self.ready_at is None:
            raise ProtocolError("it stops before it was ready")
        self.report = report

    # What is decided, and found

    def kill(self, kind: Kind, detail: str | None, breach: Breach | None = None) -> bool:
        """Record why it is about to be killed; False if there is a reason already, which stands."""
        if self.kill_kind is not None:
            return False
        self.kill_kind, self.detail, self.breach = kind, detail, breach
        return True

    def note_stack(self, stack: str) -> None:
        """Record where it was when that was decided."""
        self.stack = stack

    def found(self, *, breach: Breach | None, lost: bool, note: str) -> bool:
        """It has ended: take in what its end shows.  Returns whether a limit of the kernel has ended it."""
        by_kernel = self.kill_kind is None and breach is not None
        if by_kernel:
            self.kill("limit", str(breach), breach)
        if lost and self.kill("killed", "its launcher was lost"):
            self.by_loss = True
        if note:
            self.detail = "; ".join(filter(None, [self.detail, note]))
        return by_kernel

    @property
    def only_lacks(self) -> bool:
        """Whether it has ended for lack of something, before any code of users ran in it."""
        return self.lacked and self.kill_kind is None

    def findings(
        self,
        *,
        told_to_stop: bool,
        report: dict[str, Any] | None,
        status: int | None,
        usage: Rusage | None,
        stderr_tail: str,
        fault: str,
    ) -> Findings:
        """Return all that the verdict on its end depends on."""
        return Findings(
            kill_kind=self.kill_kind,
            detail=self.detail,
            breach=self.breach,
            told_to_stop=told_to_stop,
            report=report,
            status=status,
            started=self.ready_at is not None,
            stderr_tail=stderr_tail,
            fault=fault,
            usage=usage,
            stack=self.stack if self.kill_kind == "start_failed" else "",
        )

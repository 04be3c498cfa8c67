"""From what is known about a generation's end to the one `ExitReason`."""

from __future__ import annotations

import os
from typing import Any

import attrs

from piactors._text.record import ByAttributes
from piactors.exit_reason import Breach, ExitReason, Kind, Rusage


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Findings(ByAttributes):
    """What is known when a process has ended.

    Attributes:
        kill_kind: what the host had decided before it ended the process, or None if nothing was decided.
        detail: one line about that.
        breach: the limit that it broke, if that is why.
        told_to_stop: whether the host asked it to stop.
        report: what the isolate reported before it stopped, or None: ``error`` (text) and ``code``.
        status: the wait status, or None if nobody could tell.
        started: whether it had become ready.
        stderr_tail, fault, usage, stack: as in `ExitReason`.
    """

    kill_kind: Kind | None = None
    detail: str | None = None
    breach: Breach | None = None
    told_to_stop: bool = False
    report: dict[str, Any] | None = None
    status: int | None = None
    started: bool = True
    stderr_tail: str = ""
    fault: str = ""
    usage: Rusage | None = None
    stack: str = ""


def verdict(found: Findings) -> ExitReason:
    """Return the one reason.  What the host decided wins, then the isolate's own report, then the status."""
    exitcode, signal = _decoded(found.status)
    return ExitReason(
        kind=found.kill_kind or _kind(found, exitcode, signal),
        exitcode=exitcode,
        signal=signal,
        limit=None if found.breach is None else found.breach.limit,
        breach=found.breach,
        error=None if found.report is None else found.report.get("error"),
        detail=found.detail,
        stderr_tail=found.stderr_tail,
        fault=found.fault,
        usage=found.usage,
        stack=found.stack,
    )


def _decoded(status: int | None) -> tuple[int | None, int | None]:
    if status is None:
        return None, None
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    return os.waitstatus_to_exitcode(status), None


def _kind(found: Findings, exitcode: int | None, signal: int | None) -> Kind:
    if not found.started:
        return "start_failed"
    if found.report is None:
        return "exited" if exitcode is not None else "signaled"
    if found.report.get("code") is not None:
        return "exited"
    if found.report.get("error") is not None:
        return "error"
    if signal is not None:
        return "signaled"
    if exitcode:
        return "exited"
    return "shutdown" if found.told_to_stop else "normal"

"""Rules of `piactors._rules.verdict`: from what is known of an end to its one reason."""

from __future__ import annotations

import os
import signal
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piactors._rules.verdict import Findings, verdict
from piactors.exit_reason import KINDS, ExitReason, Kind, Rusage

NORMAL: dict[str, Any] = {"error": None, "code": None}
ERROR: dict[str, Any] = {"error": "Traceback ...\nValueError: 1", "code": None}
EXIT: dict[str, Any] = {"error": None, "code": 0}


def exited(code: int) -> int:
    return code << 8


TABLE: list[tuple[str, dict[str, Any], str]] = [
    ("a report without an error and exit 0", {"report": NORMAL, "status": exited(0)}, "normal"),
    ("the same after it was told to stop", {"report": NORMAL, "status": exited(0), "told_to_stop": True}, "shutdown"),
    ("a normal report, then a signal", {"report": NORMAL, "status": signal.SIGSEGV}, "signaled"),
    ("the same after it was told", {"report": NORMAL, "status": signal.SIGKILL, "told_to_stop": True}, "signaled"),
    ("a normal report, then another code", {"report": NORMAL, "status": exited(3)}, "exited"),
    ("the same after it was told", {"report": NORMAL, "status": exited(3), "told_to_stop": True}, "exited"),
    ("os._exit(0) without a report", {"status": exited(0)}, "exited"),
    ("os._exit(0) after it was told", {"status": exited(0), "told_to_stop": True}, "exited"),
    ("os._exit(7) without a report", {"status": exited(7)}, "exited"),
    ("a signal without a report", {"status": signal.SIGKILL}, "signaled"),
    ("a signal after it was told", {"status": signal.SIGTERM, "told_to_stop": True}, "signaled"),
    ("a report of an error", {"report": ERROR, "status": exited(1)}, "error"),
    ("a report of an error, exit 0", {"report": ERROR, "status": exited(0)}, "error"),
    ("a report of an error after it was told", {"report": ERROR, "status": exited(1), "told_to_stop": True}, "error"),
    ("a report of sys.exit(0)", {"report": EXIT, "status": exited(0)}, "exited"),
    ("a report of sys.exit(3)", {"report": {"error": None, "code": 3}, "status": exited(3)}, "exited"),
    ("a normal report and no status", {"report": NORMAL}, "normal"),
    ("not started, exit 1", {"started": False, "status": exited(1)}, "start_failed"),
    ("not started, exit 0", {"started": False, "status": exited(0)}, "start_failed"),
    ("not started, a signal", {"started": False, "status": signal.SIGSEGV}, "start_failed"),
    ("not started, a report", {"started": False, "report": ERROR, "status": exited(1)}, "start_failed"),
    ("not started, nothing known", {"started": False}, "start_failed"),
    ("not started, told to stop", {"started": False, "told_to_stop": True, "status": exited(0)}, "start_failed"),
]


@pytest.mark.parametrize(("fields", "kind"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_findings_lead_to_their_kind(fields: dict[str, Any], kind: str) -> None:
    """The isolate's own report before the status, and the status where it contradicts a normal report."""
    assert verdict(Findings(**fields)).kind == kind


@pytest.mark.parametrize("kill_kind", KINDS)
@pytest.mark.parametrize("fields", [row[1] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_the_host_had_decided_wins(kill_kind: Kind, fields: dict[str, Any]) -> None:
    """Whatever the process reported or died of meanwhile."""
    reason = verdict(Findings(kill_kind=kill_kind, detail="why", **fields))
    assert (reason.kind, reason.detail) == (kill_kind, "why")


@pytest.mark.parametrize("code", [0, 1, 7, 127, 255])
def test_the_exit_code_is_what_the_process_exited_with(code: int) -> None:
    """Also where the kind is another."""
    for fields in ({}, {"started": False}, {"kill_kind": "killed"}, {"report": ERROR}):
        reason = verdict(Findings(status=exited(code), **fields))
        assert (reason.exitcode, reason.signal) == (code, None)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL, signal.SIGSEGV, 40, 64])
@pytest.mark.parametrize("core", [0, 0x80])
def test_the_signal_is_the_one_that_ended_it_with_or_without_a_core(number: int, core: int) -> None:
    """The exit code is then none."""
    reason = verdict(Findings(status=int(number) | core))
    assert (reason.kind, reason.exitcode, reason.signal) == ("signaled", None, number)


def test_an_unknown_status_gives_neither_code_nor_signal() -> None:
    """Where nobody could tell."""
    reason = verdict(Findings())
    assert (reason.exitcode, reason.signal) == (None, None)
    assert not reason.is_normal


def test_all_else_goes_into_the_reason_as_it_was_found() -> None:
    """Texts and usage."""
    usage = Rusage(1.0, 2.0, 3)
    found = Findings(report=ERROR, status=exited(1), detail="d", stderr_tail="tail", fault="fault", usage=usage)
    assert verdict(found) == ExitReason(
        kind="error", exitcode=1, error=ERROR["error"], detail="d", stderr_tail="tail", fault="fault", usage=usage
    )


reports = st.none() | st.fixed_dictionaries({"error": st.none() | st.text(), "code": st.none() | st.integers(0, 255)})
statuses = st.none() | st.integers(0, 255).map(exited) | st.integers(1, 64)
findings = st.builds(
    Findings,
    kill_kind=st.none() | st.sampled_from(typing.get_args(Kind)),
    told_to_stop=st.booleans(),
    report=reports,
    status=statuses,
    started=st.booleans(),
)


@given(findings)
def test_every_finding_has_a_verdict(found: Findings) -> None:
    """There is always one, and it says something."""
    reason = verdict(found)
    assert reason.kind in KINDS
    assert reason.summary


@given(findings)
def test_only_an_orderly_end_is_normal(found: Findings) -> None:
    """Without the host's word: a process that started, reported no error and no exit, and exited with 0."""
    reason = verdict(found)
    if found.kill_kind is None and reason.is_normal:
        assert found.started
        assert found.report is not None
        assert (found.report["error"], found.report["code"]) == (None, None)
        assert found.status is None or os.waitstatus_to_exitcode(found.status) == 0
        assert reason.kind == ("shutdown" if found.told_to_stop else "normal")

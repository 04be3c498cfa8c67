"""Rules of `piactors.exit_reason`: one verdict, and how it reads."""

from __future__ import annotations

import pickle
import signal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piactors.exit_reason import KINDS, ExitReason, Rusage

FULL = ExitReason(
    kind="limit",
    exitcode=None,
    signal=9,
    limit="memory",
    error="Traceback:\n  x\nValueError: 1",
    detail="at once",
    stderr_tail="one\ntwo",
    fault="Fatal",
    usage=Rusage(1.5, 0.5, 1024),
)


@pytest.mark.parametrize("kind", KINDS)
def test_only_normal_and_shutdown_are_normal(kind: Any) -> None:
    """What ``transient`` lets be."""
    assert ExitReason(kind=kind).is_normal == (kind in ("normal", "shutdown"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_reads_as_its_own_line(kind: Any) -> None:
    """No two kinds read alike."""
    others = {ExitReason(kind=other).summary for other in KINDS if other != kind}  # type: ignore[arg-type]
    assert ExitReason(kind=kind).summary not in others


@pytest.mark.parametrize("kind", ["", "crashed", None, 3, ["normal"], "NORMAL"])
def test_another_kind_is_refused(kind: Any) -> None:
    """At construction."""
    with pytest.raises(ValueError):
        ExitReason(kind=kind)


def test_the_summary_names_limit_signal_error_and_detail() -> None:
    """In one line: of the error its last one."""
    assert FULL.summary == "ended for breaking a limit, limit memory, signal 9 (SIGKILL), ValueError: 1, at once"


def test_the_exit_code_is_named_where_it_says_something() -> None:
    """Not after an orderly end, and not beside a signal."""
    assert ExitReason(kind="exited", exitcode=0).summary == "exited, exit code 0"
    assert ExitReason(kind="normal", exitcode=0).summary == "stopped by itself"
    assert "exit code" not in ExitReason(kind="signaled", signal=15, exitcode=1).summary


@pytest.mark.parametrize("number", [1, 11, 40, 63, 64, 65, 1000])
def test_every_signal_has_a_name_or_is_unknown(number: int) -> None:
    """Real-time signals between the first and the last have none."""
    text = ExitReason(kind="signaled", signal=number).summary
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "unknown"
    assert text == f"ended by a signal, signal {number} ({name})"


@given(st.none() | st.text() | st.sampled_from(["", "\n", " \r\n\t", "a\nb\n\n", "\x85", "a\u2028", "x\x1c\x1d"]))
def test_the_summary_is_one_line_whatever_the_error(error: str | None) -> None:
    """It may be blank, or end in any kind of line break."""
    summary = ExitReason(kind="error", error=error, detail="d").summary
    assert len(summary.splitlines()) == 1
    assert summary.startswith("ended by an exception")
    assert summary.endswith("d")
    if error is None or not error.strip():
        assert summary == "ended by an exception, d"


def test_the_report_adds_what_the_process_left_behind() -> None:
    """Indented below the summary."""
    assert FULL.report() == (FULL.summary + "\nlast lines of stderr:\n  one\n  two" + "\nfault:\n  Fatal")
    assert ExitReason(kind="killed").report() == "killed by its host"


texts = st.text().filter(lambda text: not text or text.strip())


@given(texts, texts)
def test_the_report_is_the_summary_and_indented_lines(tail: str, fault: str) -> None:
    """Nothing that a process writes can look like a line of ours."""
    report = ExitReason(kind="exited", exitcode=1, stderr_tail=tail, fault=fault).report()
    first, *rest = report.split("\n")
    assert first == "exited, exit code 1"
    written = [line for line in rest if line]  # an empty line cannot look like anything
    assert all(line in ("last lines of stderr:", "fault:") or line.startswith("  ") for line in written)
    assert len([line for line in written if not line.startswith("  ")]) == bool(tail) + bool(fault)


@pytest.mark.parametrize("blank", ["\n", "  ", "\n\n \n"])
def test_the_report_has_no_heading_above_blank_text(blank: str) -> None:
    """Empty lines at the end of stderr say nothing."""
    assert ExitReason(kind="killed", stderr_tail=blank, fault=blank).report() == "killed by its host"


def test_reasons_are_values() -> None:
    """Frozen, hashable, compared by value, and they pickle with all their fields."""
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(FULL, protocol))
        assert copy == FULL
        assert hash(copy) == hash(FULL)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        FULL.kind = "normal"  # type: ignore[misc]


def test_fields_are_given_by_name() -> None:
    """There are too many to count."""
    with pytest.raises(TypeError):
        ExitReason("normal")  # type: ignore[misc]

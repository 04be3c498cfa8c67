"""A start that takes longer than `start_timeout` says where it was."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import piactors
from piactors import ChildSpec, ExitReason, IsolationOptions, StartError, Supervisor, events
from piactors._host import runtime
from tests.children.late import Waits


@pytest.fixture(autouse=True)
def warm() -> None:
    """Have the launcher there: its own start is not what is waited for."""
    with piactors.ProcessIsolator() as isolator:
        assert isolator.pid


def failed(start: Callable[[float], Any], said: str) -> StartError:
    """Return the error of a start that is late; on a loaded machine it may take longer to get where it hangs."""
    for seconds in (0.7, 4.0, 15.0):
        with pytest.raises(StartError) as caught:
            start(seconds)
        assert f"not ready within start_timeout, {seconds:g} s" in str(caught.value)
        if said in str(caught.value):
            break
    assert said in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("where", "said"),
    [("__init__", "in hangs_in_its_constructor"), ("on_start", "in hangs_in_on_start"), ("C", "in on_start")],
)
def test_a_start_that_hangs_says_where(where: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """In the error, in its reason, and in the log."""
    caplog.set_level(logging.WARNING)
    error = failed(lambda seconds: Waits.with_options(start_timeout=seconds).start(where), said)
    assert isinstance(error.reason, ExitReason)
    assert (error.reason.kind, said in error.reason.stack) == ("start_failed", True)
    assert runtime.current().dispatcher.drain(10)
    assert said in caplog.text


def test_a_fresh_interpreter_says_where_too(tmp_path: Path) -> None:
    """Also where it hangs in the import of what it is to host."""
    module = tmp_path / "hangs_at_import.py"
    module.write_text("import time\ndef waits(): time.sleep(600)\nwaits()\n")

    def start(seconds: float) -> Any:
        options = IsolationOptions(start_method="spawn", start_timeout=seconds)
        return piactors.spawn(f"{module}:waits", options=options)

    failed(start, "in waits")


def test_a_process_that_cannot_answer_says_so() -> None:
    """One that is stopped."""
    said = "The control thread did not answer"
    failed(lambda seconds: Waits.with_options(start_timeout=seconds).start("stopped"), said)


def test_supervisors_and_subscribers_hear_where() -> None:
    reasons: list[ExitReason] = []
    unsubscribe = events.subscribe(lambda event: reasons.append(event.reason), events.IsolateStartFailed)  # type: ignore[attr-defined]

    def start(seconds: float) -> Any:
        options = IsolationOptions(start_timeout=seconds)
        return Supervisor.start(children=[ChildSpec("a", Waits, args=("on_start",), options=options)])

    failed(start, "in hangs_in_on_start")
    assert runtime.current().dispatcher.drain(10)
    unsubscribe()
    assert "in hangs_in_on_start" in reasons[-1].stack

"""A start that takes longer than `start_timeout` says where it was."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import piactors
from piactors import ChildSpec, ExitReason, IsolationOptions, StartError, Supervisor, events
from piactors._host import runtime

SECONDS = 1.5


class Waits(piactors.ProcessActor):
    """Does not become ready."""

    def __init__(self, where: str) -> None:
        super().__init__()
        if where == "__init__":
            self.hangs_in_its_constructor()
        self.where = where

    def hangs_in_its_constructor(self) -> None:
        time.sleep(600)

    def on_start(self) -> None:
        if self.where == "on_start":
            self.hangs_in_on_start()
        sum(range(10**12))  # in C, where nobody else gets Python's lock

    def hangs_in_on_start(self) -> None:
        time.sleep(600)


@pytest.fixture(autouse=True)
def warm() -> None:
    """Have the launcher there: its own start is not what is waited for."""
    with piactors.ProcessIsolator() as isolator:
        assert isolator.pid


def failed(start: Callable[[], Any]) -> StartError:
    with pytest.raises(StartError) as caught:
        start()
    return caught.value


@pytest.mark.parametrize(
    ("where", "said"),
    [("__init__", "in hangs_in_its_constructor"), ("on_start", "in hangs_in_on_start"), ("C", "in on_start")],
)
def test_a_start_that_hangs_says_where(where: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """In the error, in its reason, and in the log."""
    caplog.set_level(logging.WARNING)
    error = failed(lambda: Waits.with_options(start_timeout=SECONDS).start(where))
    assert f"not ready within start_timeout, {SECONDS:g} s" in str(error)
    assert said in str(error)
    assert isinstance(error.reason, ExitReason)
    assert (error.reason.kind, said in error.reason.stack) == ("start_failed", True)
    assert runtime.current().dispatcher.drain(10)
    assert said in caplog.text


def test_a_fresh_interpreter_says_where_too(tmp_path: Path) -> None:
    """Also where it hangs in the import of what it is to host."""
    module = tmp_path / "hangs_at_import.py"
    module.write_text("import time\ndef waits(): time.sleep(600)\nwaits()\n")
    options = IsolationOptions(start_method="spawn", start_timeout=6 * SECONDS)
    error = failed(lambda: piactors.spawn(f"{module}:waits", options=options))
    assert "in waits" in str(error)


def test_a_process_that_cannot_answer_says_so() -> None:
    """One that is stopped."""

    class Stops(piactors.ProcessActor):
        def on_start(self) -> None:
            os.kill(os.getpid(), signal.SIGSTOP)

    error = failed(lambda: Stops.with_options(start_timeout=SECONDS).start())
    assert "The control thread did not answer" in str(error)


def test_supervisors_and_subscribers_hear_where() -> None:
    reasons: list[ExitReason] = []
    unsubscribe = events.subscribe(lambda event: reasons.append(event.reason), events.IsolateStartFailed)  # type: ignore[attr-defined]
    options = IsolationOptions(start_timeout=SECONDS)
    error = failed(lambda: Supervisor.start(children=[ChildSpec("a", Waits, args=("on_start",), options=options)]))
    assert "in hangs_in_on_start" in str(error)
    assert runtime.current().dispatcher.drain(10)
    unsubscribe()
    assert "in hangs_in_on_start" in reasons[0].stack

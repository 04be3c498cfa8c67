"""Isolated code sets up logging as in any program; its records reach the host all the same."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from piactors import ProcessActor
from tests.children.logging_setups import Logger
from tests.support import wait_until


def seen(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == name]


def test_basic_config_has_effect_and_records_reach_the_host(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log"
    ref = Logger.start()
    assert ref.proxy().basic(str(path)).get(timeout=30) == 1
    ref.stop(timeout=30)
    assert path.read_text().splitlines()[:2] == ["DEBUG|a detail", "WARNING|a warning"]
    wait_until(lambda: seen(caplog, "of.basic") == ["a warning"])


def test_no_setup_takes_the_records_away_from_the_host(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ref = Logger.start()
    proxy = ref.proxy()
    assert proxy.forced().get(timeout=30) == "forced\n"
    assert proxy.by_dict(str(tmp_path / "log")).get(timeout=30) == "by dictConfig\n"
    proxy.shut_down().get(timeout=30)
    proxy.warns().get(timeout=30)
    proxy.disabled().get(timeout=30)
    ref.stop(timeout=30)
    for name, text in {
        "of.force": "forced",
        "of.dict": "by dictConfig",
        "of.shutdown": "after a shutdown",
        "of.disable": "seen again",
    }.items():
        wait_until(lambda: seen(caplog, name) == [text])  # noqa: B023
    wait_until(lambda: any("a warning of Python" in text for text in seen(caplog, "py.warnings")))


def test_without_a_setup_nothing_is_written_to_stderr(caplog: pytest.LogCaptureFixture) -> None:
    lines: list[str] = []
    ref = Logger.with_options(output=lambda event: lines.append(event.line)).start()
    assert ref.proxy().without_setup().get(timeout=30) is False
    ref.stop(timeout=30)
    wait_until(lambda: seen(caplog, "of.none") == ["nothing is set up"])
    assert lines == []


def test_records_that_are_odd_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lines: list[str] = []
    ref = Logger.with_options(output=lambda event: lines.append(event.line)).start()
    pid = ref.proxy().pid().get(timeout=30)
    ref.proxy().odd().get(timeout=30)
    assert ref.proxy().pid().get(timeout=30) == pid
    ref.stop(timeout=30)
    wait_until(lambda: "the last one" in seen(caplog, "of.odd"))
    assert seen(caplog, "of.odd") == ["shown", "extra", "a level of an enum", "the last one"]
    extra, level = (record for record in caplog.records if record.getMessage() in ("extra", "a level of an enum"))
    assert extra.__dict__["bad"] == "<the repr of a BadText is not available>"
    assert (extra.__dict__["fine"], level.levelno) == (1, 35)
    wait_until(lambda: sum("--- Logging error ---" in line for line in lines) == 2)


class Raises(ProcessActor):
    """Raises in its calls, and may set up logging of its own."""

    def fail(self) -> None:
        raise LookupError("returned")

    def log_to(self, path: str) -> None:
        logging.basicConfig(filename=path, level=logging.INFO, force=True)


def test_an_exception_that_is_returned_is_logged_as_pykka_does(caplog: pytest.LogCaptureFixture) -> None:
    """By who gets it, and if anybody wants to know."""
    ref = Raises.start()
    for level, count in ((logging.WARNING, 0), (logging.INFO, 1)):
        with caplog.at_level(level), pytest.raises(LookupError):
            ref.proxy().fail().get(timeout=20)
        found = [record for record in caplog.records if "Exception returned" in record.getMessage()]
        assert [record.getMessage() for record in found] == [f"Exception returned from {ref} to caller:"] * count
        assert [(record.name, record.levelno) for record in found] == [("pykka", logging.INFO)] * count
        assert all(record.exc_info is not None and record.exc_info[0] is LookupError for record in found)
    ref.stop()


def test_code_that_logs_by_itself_sees_what_it_returns(tmp_path: Path) -> None:
    ref = Raises.start()
    ref.proxy().log_to(str(tmp_path / "log")).get(timeout=20)
    with pytest.raises(LookupError):
        ref.proxy().fail().get(timeout=20)
    ref.stop()
    text = (tmp_path / "log").read_text()
    assert text.count("Exception returned from Raises") == 1
    assert "LookupError: returned" in text

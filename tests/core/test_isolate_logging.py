"""Isolated code sets up logging as in any program; its records reach the host all the same."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

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

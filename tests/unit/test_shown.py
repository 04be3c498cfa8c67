"""Rules of the room `_text`: what isolated code says forges no line and commands no terminal."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

import pytest

from piactors._text import shown
from piactors._text.logs import logger, plain
from tests.hostile_text import EVIL, assert_harmless


@pytest.mark.parametrize("char", EVIL)
def test_each_harmful_character_is_escaped(char: str) -> None:
    """In lines and in blocks, alone and between others."""
    for text in (char, f"a{char}b"):
        assert_harmless(shown.line(text))
        assert_harmless(shown.words(text))
        assert_harmless(shown.block(text))
    assert "\n" not in shown.line(f"a{char}b")


@pytest.mark.parametrize("text", ["", "plain", "Grüße, 日本語", "a\u00a0b", "👩‍👩‍👧", "שלום", "\\n"])
def test_what_is_harmless_stays(text: str) -> None:
    assert shown.line(text) == shown.words(text) == shown.block(text) == text


def test_only_the_first_line_of_a_block_begins_at_the_margin() -> None:
    """So a line that isolated code has made up is never one of the log."""
    assert shown.block("a\nb\r\nc\rd") == "a\n  b\n  c\\rd"
    assert shown.below("a\n\tb\n") == "  a\n          b"


def test_tabs_of_output_become_blanks() -> None:
    assert shown.words("a\tb") == "a       b"


class Breaks(logging.Handler):
    """A handler that raises."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self.error("on purpose")


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_handler_that_raises_costs_its_record(error: type[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    """The thread that logs goes on, and stderr says why."""
    handler = Breaks(error)
    plain.addHandler(handler)
    try:
        logger.warning("told")
    finally:
        plain.removeHandler(handler)
    err = capsys.readouterr().err
    assert error.__name__ in err
    assert "a log handler has failed" in err


def test_arguments_and_tracebacks_of_our_log_are_escaped() -> None:
    """Of records that users' threads make as well."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    plain.addHandler(handler)
    try:
        for one in (logger, plain):
            try:
                raise ValueError("".join(EVIL) + "\nFORGED")
            except ValueError:
                one.error("isolate %s: %s", "a\nFORGED\x1b[2J", "".join(EVIL), exc_info=True)
    finally:
        plain.removeHandler(handler)
    text = stream.getvalue()
    assert_harmless(text)
    assert not any(line.startswith("FORGED") for line in text.splitlines())


def test_a_record_of_ours_names_the_place_that_logged(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("here")
    record: Any = caplog.records[-1]
    assert (record.funcName, record.filename) == (sys._getframe().f_code.co_name, "test_shown.py")

"""Runs tests of pykka or pluggy in a pytest of their own, and reads what came of each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import attrs

from .sdist import VARIABLE

EXCLUDED = ("test_threading_actor.py", "test_envelope.py", "test_messages.py")
"""Tests of what piactors does not replace: threads as actors, and pykka's own envelopes and messages."""

TEST_SECONDS = 10
SUITE_SECONDS = 120

_NOT_PASSED_ON = ("PYTEST_", "COV_CORE_", VARIABLE)


@attrs.frozen
class Outcome:
    """What came of one test."""

    test: str
    passed: bool
    text: str


@attrs.frozen
class Run:
    """What came of all tests."""

    outcomes: tuple[Outcome, ...]
    output: str

    @property
    def passed(self) -> set[str]:
        """The tests that passed."""
        return {outcome.test for outcome in self.outcomes if outcome.passed}

    @property
    def not_passed(self) -> dict[str, str]:
        """The tests that did not pass, and what they said."""
        return {outcome.test: outcome.text for outcome in self.outcomes if not outcome.passed}


PYKKA = (
    *("-p", "pykka_runner.plugin", "-p", "pytest_mock"),
    *(f"--ignore=tests/{name}" for name in EXCLUDED),
    "tests",
)


def run(root: Path, report: Path, arguments: Iterable[str] = PYKKA, **variables: str) -> Run:
    """Run the tests of an unpacked sdist; `report` is where the JUnit XML goes.

    Args:
        arguments: for pytest: which tests, and the plugin that has them run with piactors.
        variables: of the environment, besides.

    Raises:
        RuntimeError: where pytest has not come to an end, or left no report.
    """
    output = report.with_suffix(".txt")  # a file: a pipe would stay open in whatever the tests leave behind
    with output.open("wb") as stream:
        command = [sys.executable, "-m", "pytest", *_arguments(root, report), *arguments]
        environment = {**_environment(), **variables}
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        try:
            process.wait(SUITE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait()
    text = output.read_text(errors="replace")
    if not report.exists():
        raise RuntimeError(f"pytest ended with {process.returncode} and left no report:\n{text}")
    return Run(tuple(_outcomes(ElementTree.parse(report).iter("testcase"))), text)


def _arguments(root: Path, report: Path) -> list[str]:
    return [
        *("-p", "pytest_timeout", "-p", "no:cacheprovider"),
        f"--rootdir={root}",
        f"--junit-xml={report}",
        f"--timeout={TEST_SECONDS}",
        "--tb=short",
        "-v",
    ]


def _environment() -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    env["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    return env


def _outcomes(cases: Iterable[ElementTree.Element]) -> Iterable[Outcome]:
    """Read the cases; one whose teardown failed after it has passed is there twice, and has not passed."""
    found: dict[str, Outcome] = {}
    for case in cases:
        test = f"{case.get('classname')}::{case.get('name')}"
        bad = [element for element in case if element.tag in ("failure", "error", "skipped")]
        text = "\n".join(element.text or element.get("message") or "" for element in bad)
        if test not in found or bad:
            found[test] = Outcome(test, not bad, text)
    return found.values()

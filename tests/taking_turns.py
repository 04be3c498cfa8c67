"""Tests that have the machine to themselves, where several processes run tests: a lock between those processes.

A test marked `alone` waits until the others' tests have ended, and no other begins while it runs.  Two locks, so that
it is not passed by for ever: who is about to run a test goes through the gate, and one that waits for all holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Run one test in its turn."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    with contextlib.nullcontext() if run is None else turn(run, alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextlib.contextmanager
def turn(run: str, *, alone: bool) -> Iterator[None]:
    """Hold the locks of a run of several processes as a test has to."""
    how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    with path(run, "gate").open("w") as gate, path(run, "floor").open("w") as floor:
        fcntl.flock(gate, how)
        fcntl.flock(floor, how)
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield


def path(run: str, name: str) -> Path:
    """Return the file of a lock."""
    return Path(tempfile.gettempdir()) / f"tests-{run}-{name}.lock"


def pytest_configure(config: pytest.Config) -> None:
    """In the process that starts the others: give the run a name, to know which files were its own."""
    if not hasattr(config, "workerinput") and getattr(config.option, "testrunuid", "") is None:
        config.option.testrunuid = uuid.uuid4().hex


def pytest_unconfigure(config: pytest.Config) -> None:
    """In the process that started the others, when they have ended: remove the files."""
    run = getattr(config.option, "testrunuid", None)
    if run is not None and not hasattr(config, "workerinput"):
        for name in ("gate", "floor"):
            path(run, name).unlink(missing_ok=True)

"""Each test is of one tier, and one that is called pure starts nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import piactors
from tests.tiers import LONG, TESTS, TIER_OF_PATHS, TIERS, Guard, tier_of_path


def test_each_test_of_this_run_is_of_one_tier_or_a_long_run(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        marks = {mark.name for mark in item.iter_markers()} & {*TIERS, LONG}
        assert len(marks) == 1, (item.nodeid, marks)
        assert marks != {"pure"} or tier_of_path(item.path.relative_to(TESTS)) == "pure", item.nodeid


def test_the_table_names_what_is_there() -> None:
    for name, tier in TIER_OF_PATHS.items():
        assert tier in TIERS
        assert (TESTS / name).exists(), name


@pytest.mark.parametrize(
    ("path", "tier"),
    [
        ("unit/test_wire.py", "pure"),
        ("core/test_actor.py", "process"),
        ("test_interpreters.py", "process"),
        ("soak/test_ledger.py", "pure"),
        ("soak/test_chaos.py", "whole"),
    ],
)
def test_a_file_is_of_the_tier_of_the_longest_path_that_fits(path: str, tier: str) -> None:
    assert tier_of_path(Path(path)) == tier


@pytest.mark.parametrize(
    "start",
    [
        lambda: os.fork(),
        lambda: os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {}),
        lambda: os.system("true"),
        lambda: subprocess.run(["true"], check=True),
        lambda: piactors.spawn("time:sleep"),
    ],
    ids=["fork", "posix_spawn", "system", "subprocess", "isolate"],
)
def test_a_pure_test_cannot_start_a_process(start: Callable[[], object], guard: Guard) -> None:
    with pytest.raises((AssertionError, piactors.StartError), match="a pure test starts no process"):
        start()
    assert guard.tried
    guard.tried.clear()  # else this very test would fail

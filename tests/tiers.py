"""The three tiers of tests, by what they start: each test has exactly one of their marks, or is a long run.

A test's own mark decides, and then a fixture that starts a host; all others get what is said of their file, or of the
folder that they are in.  Pure tests are only in files that are said to be pure, and one that starts a process fails.
"""

from __future__ import annotations

import _posixsubprocess  # type: ignore[import-not-found]
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from piactors._host.runtime import Runtime

TESTS = Path(__file__).resolve().parent

TIERS = ("pure", "process", "whole")
LONG = "soak"

TIER_OF_PATHS = {
    "": "process",
    # rules, decoders, tables, and models of them
    "benchmarks/test_talking_peers.py": "pure",
    "fuzz": "pure",
    "rules": "pure",
    "plugins/test_hostile_things.py": "pure",
    "soak": "pure",
    "supervision/test_otp_rules_pure.py": "pure",
    "test_layers.py": "pure",
    "test_public_surface.py": "pure",
    "test_tiers.py": "pure",
    "unit": "pure",
    # programs of their own
    "applications": "whole",
    "benchmarks": "whole",
    "contract/test_docs.py": "whole",
    "environments/test_dying.py": "whole",
    "contract/test_examples.py": "whole",
    "contract/test_pluggy_suite.py": "whole",
    "contract/test_pykka_suite.py": "whole",
    "orphans": "whole",
    "soak/test_chaos.py": "whole",
    "test_cli.py": "whole",
    "test_cli_env.py": "whole",
    "test_cli_limits.py": "whole",
    "test_cli_plugins.py": "whole",
    "test_cli_stdin.py": "whole",
    "test_doctor.py": "whole",
    "typed": "whole",
}
"""By files and folders below `tests`; the longest that fits counts."""

WHOLE_BY_FIXTURE = frozenset({"host_script", "watch"})
"""Fixtures that start a program as a host of its own."""

STARTS = (
    (os, "fork"),
    (os, "forkpty"),
    (os, "posix_spawn"),
    (os, "posix_spawnp"),
    (os, "system"),
    (subprocess, "_fork_exec"),
    (_posixsubprocess, "fork_exec"),
    (Runtime, "backend"),
)
"""What a process is started with.  The last one is how isolates are had, also of a launcher that runs already."""


def sizes(name: str, *usual: int, soak: Sequence[int]) -> pytest.MarkDecorator:
    """Run a test once for each size, which it gets as `name`; for those of `soak` only in a long run."""
    long = [pytest.param(size, marks=pytest.mark.soak) for size in soak]
    return pytest.mark.parametrize(name, [*usual, *long])


def tier_of(item: pytest.Item) -> str:
    """Return the tier of a test."""
    own = [mark.name for mark in item.iter_markers() if mark.name in (*TIERS, LONG)]
    if own:
        return LONG if LONG in own else own[0]  # the closest comes first
    if WHOLE_BY_FIXTURE.intersection(getattr(item, "fixturenames", ())):
        return "whole"
    return tier_of_path(item.path.relative_to(TESTS))


def tier_of_path(path: Path) -> str:
    """Return what is said of a file below `tests`."""
    names = [path.as_posix(), *(folder.as_posix() for folder in path.parents[:-1]), ""]
    return next(TIER_OF_PATHS[name] for name in names if name in TIER_OF_PATHS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test, before pytest chooses those that `-m` asks for."""
    for item in items:
        tier = tier_of(item)
        if item.get_closest_marker(tier) is None:
            item.add_marker(tier)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files aside that have no pure tests where only those are asked for: to import all takes many seconds."""
    if config.option.markexpr != "pure" or collection_path.suffix != ".py" or TESTS not in collection_path.parents:
        return None
    return True if tier_of_path(collection_path.relative_to(TESTS)) != "pure" else None


class Guard:
    """Has what starts processes fail, and knows what has been tried."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.tried: list[str] = []
        for place, name in STARTS:
            patch.setattr(place, name, self._refusal(name), raising=False)

    def _refusal(self, name: str) -> Callable[..., NoReturn]:
        def refuse(*_: Any, **__: Any) -> NoReturn:
            self.tried.append(name)
            raise AssertionError(f"a pure test starts no process, and this is {name}()")

        return refuse


@pytest.fixture(autouse=True)
def guard(request: pytest.FixtureRequest) -> Iterator[Guard | None]:
    """Hold a test marked `pure` to it; also if the code that it tests handles the error."""
    if request.node.get_closest_marker("pure") is None:
        yield None
        return
    with pytest.MonkeyPatch.context() as patch:
        guard = Guard(patch)
        yield guard
    assert not guard.tried, f"a pure test starts no process, and this one tried {guard.tried}"

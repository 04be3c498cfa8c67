"""Stores of their own for each test, and distributions that are made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from piactors.environments import EnvironmentSpec, EnvironmentStore
from tests.environments.wheels import Index, serving, wheel

SECONDS = 50


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with versions of `blue`, and `green`, which needs it."""
    folder = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "1.1", "2.0"):
        wheel(folder, "blue", version)
    wheel(folder, "green", "0.5", requires=["blue<2"], entry_points="[colours]\ngreen = green:paint\n[odd]\nx = y\n")
    wheel(folder, "old", "3.0", requires_python="<3")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> EnvironmentStore:
    return EnvironmentStore(tmp_path / "store")


@pytest.fixture(params=["uv", "pip"])
def each_store(request: pytest.FixtureRequest, tmp_path: Path) -> EnvironmentStore:
    return EnvironmentStore(tmp_path / "store", builder=request.param)


@pytest.fixture
def spec(wheels: Path) -> Callable[..., EnvironmentSpec]:
    """Make specs that need nothing but those wheels."""

    def make(*requirements: str, **fields: Any) -> EnvironmentSpec:
        found = {"find_links": [str(wheels)], "offline": True, **fields}
        return EnvironmentSpec(requirements=requirements, **found)

    return make


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """An index of `red` in two versions."""
    folder = tmp_path / "files"
    for version in ("1.0", "2.0"):
        wheel(folder, "red", version)
    with serving(folder) as found:
        yield found

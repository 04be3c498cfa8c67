"""The matrix of what may be sent holds, in every cell, and the page shows it (`docs/values_matrix.md`)."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.test_interpreters import interpreter
from tests.values import matrix
from tests.values.kinds import PLACES, WORKS

OTHERS = ("3.12", "3.13", "3.11")
"""Other versions, the first that runs here and is not this one is used."""

pytestmark = pytest.mark.timeout(180)


def told(differences: list[str]) -> str:
    return "\n".join([f"{len(differences)} cells:", *differences])


def test_the_rows_are_many_and_do_not_disturb_each_other() -> None:
    assert len(matrix.KINDS) >= 60
    assert len({kind.name for kind in matrix.KINDS}) == len(matrix.KINDS)
    seen: set[str] = set()
    for kind in matrix.KINDS:
        assert not seen & kind.names(), kind.name
        seen |= kind.names()


@pytest.mark.parametrize("place", PLACES)
def test_the_programs_say_the_same_without_piactors(place: str, tmp_path: Path) -> None:
    """The oracle: all calls run in the one process of the program, so nothing is refused and all are seen."""
    expected = dict.fromkeys(matrix.expected(place), WORKS)
    differences = matrix.differences(matrix.outcomes(tmp_path, place, "direct"), expected)
    assert not differences, told(differences)


@pytest.mark.parametrize("place", PLACES)
def test_what_travels_and_what_is_refused(place: str, tmp_path: Path) -> None:
    differences = matrix.differences(matrix.outcomes(tmp_path, place, "isolated"), matrix.expected(place))
    assert not differences, told(differences)


def test_in_another_environment_of_the_same_version(environment: str, tmp_path: Path) -> None:
    assert not (found := elsewhere(environment, True, tmp_path)), told(found)


def test_in_another_version(tmp_path: Path) -> None:
    here = ".".join(map(str, sys.version_info[:2]))
    python = next(filter(None, (interpreter(version) for version in OTHERS if version != here)), None)
    if python is None:
        pytest.skip("no other version of Python on this machine")
    assert not (found := elsewhere(python, False, tmp_path)), told(found)


def elsewhere(python: str, same_version: bool, folder: Path) -> list[str]:
    expected = matrix.expected_elsewhere(same_version)
    rows = [int(cell.split()[0]) for cell in expected]
    return matrix.differences(matrix.outcomes(folder, "script", python, rows), expected)


@pytest.fixture
def environment(tmp_path: Path) -> str:
    """An environment of this very version, with nothing in it but numpy."""
    folder = tmp_path / "environment"
    run = functools.partial(subprocess.run, check=True, capture_output=True, text=True, timeout=50)
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    python = str(folder / "bin" / "python")
    where = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).stdout.strip())
    packages = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (packages / name).exists():
            (where / name).symlink_to(packages / name)
    return python


def test_the_page_says_what_the_matrix_says() -> None:
    page = (matrix.ROOT / "docs" / "values_matrix.md").read_text()
    assert page == matrix.page(), "write it anew: python -m tests.values.matrix --write docs/values_matrix.md"

"""The documentation says what is there: the tests it names exist, and its programs run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environments.wheels import serving, wheel

ROOT = Path(__file__).resolve().parent.parent.parent
NAMED = re.compile(r"`([\w/]+\.py)(?:::(test_\w+))?`")


@pytest.mark.parametrize(("page", "least"), [("semantics_tests.md", 300), ("limits.md", 30), ("where_it_runs.md", 5)])
def test_every_test_named_in_the_pages_exists(page: str, least: int) -> None:
    named = NAMED.findall((ROOT / "docs" / page).read_text())
    assert len(named) > least
    for file, test in ((file.removeprefix("tests/"), test) for file, test in named):
        folders = (ROOT / "tests", ROOT / "tests" / "limits", ROOT / "tests" / "policies")
        path = next((folder / file for folder in folders if (folder / file).is_file()), None)
        assert path is not None, file
        assert not test or f"def {test}(" in path.read_text(), f"{file}::{test}"


def test_every_rule_has_its_tests_in_the_index() -> None:
    """Rules are numbered without a gap, and each has one row there, below the same heading and in the same order."""
    rules = numbers_below_headings("semantics.md", r"(\d+)\. ")
    assert [number for _, number in rules] == list(range(1, len(rules) + 1))
    assert numbers_below_headings("semantics_tests.md", r"\| (\d+) \| .*`") == rules


def numbers_below_headings(page: str, pattern: str) -> list[tuple[str, int]]:
    found, heading = [], ""
    for line in (ROOT / "docs" / page).read_text().splitlines():
        if line.startswith("#"):
            heading = line
        elif number := re.match(pattern, line):
            found.append((heading, int(number[1])))
    return found


def programs(page: str = "README.md") -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


PAGES = {
    "README.md": 9,
    "docs/supervision.md": 3,
    "docs/limits.md": 4,
    "docs/values.md": 2,
    "docs/types.md": 3,
    "docs/coming_from.md": 4,
    "docs/index.md": 1,
    "docs/talking.md": 12,
    "docs/environments.md": 2,
    "docs/plugins.md": 4,
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an index on this machine that has `six`, which the programs have installed."""
    folder = tmp_path_factory.mktemp("files")
    for version in ("1.15.0", "1.16.0"):
        wheel(folder, "six", version, files={"six.py": f"__version__ = {version!r}\n"})
    with serving(folder) as found:
        yield found.url


@pytest.mark.parametrize(("page", "number"), [(page, number) for page in PAGES for number in range(PAGES[page])])
def test_the_programs_of_the_pages_run(page: str, number: int, tmp_path: Path, index: str) -> None:
    assert len(programs(page)) == PAGES[page]
    script = tmp_path / "program.py"
    script.write_text(programs(page)[number])
    environment = {
        **os.environ,
        "PIACTORS_ENVIRONMENTS": str(tmp_path / "environments"),
        **dict.fromkeys(("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), index),
    }
    done = subprocess.run(
        [sys.executable, script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_pages_link_to_what_exists() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "examples" / "README.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"

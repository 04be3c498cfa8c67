"""What type checkers say: mypy --strict and pyright find the planted mistakes, and nothing in right programs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import typing
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest

from piactors import IsolationOptions
from piactors.option_fields import OptionFields
from tests.contract.test_docs import PAGES, programs
from tests.support import HostScripts
from tests.typed import right

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240.0
"""For one run of a checker, with nothing in its cache, on a machine that is busy."""

Found: TypeAlias = dict[tuple[str, int], set[str]]
"""By file and line, the rules that were broken there."""

LOOSE = "# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, disable-error-code=var-annotated\n"
"""Heads the programs of the pages, which have no annotations, as a reader's first programs have none."""


# What is checked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with all programs, away from the project, as those of a user are who has piactors installed."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    shutil.copytree(ROOT / "tests" / "typed", tmp_path / "tests" / "typed", ignore=shutil.ignore_patterns("test_*"))
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("plugins", "__pycache__"))
    (tmp_path / "pages").mkdir()
    for page in PAGES:
        for number, program in enumerate(programs(page)):
            (tmp_path / "pages" / f"{Path(page).stem.lower()}_{number}.py").write_text(LOOSE + program)
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.py") if path.name != "__init__.py")


def planted(folder: Path, column: int) -> Found:
    """Return what must be found: by mypy in column 0, by pyright in column 1 of the comments."""
    lines = [
        (file, number, line.partition("# finds: ")[2])
        for file in files(folder)
        for number, line in enumerate((folder / file).read_text().splitlines(), 1)
    ]
    return {(file, line): set(rules.split(" | ")[column].split(", ")) for file, line, rules in lines if rules}


# Who checks


def mypy(folder: Path) -> Found:
    """Return what mypy finds under --strict, with no configuration but that."""
    done = run("mypy", "--strict", "--config-file=", "--no-error-summary", *files(folder), folder=folder)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: Found = defaultdict(set)
    for line in done.stdout.splitlines():
        matched = re.fullmatch(r"([^:]+):(\d+): error: .*?  \[([\w-]+)\]", line)
        assert matched or ": note: " in line, line
        if matched:
            found[matched[1], int(matched[2])].add(matched[3])
    return found


def pyright(folder: Path) -> Found:
    """Return what pyright finds as it is installed: errors and warnings."""
    done = run("pyright", "--outputjson", "--pythonpath", sys.executable, *files(folder), folder=folder)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: Found = defaultdict(set)
    for one in json.loads(done.stdout)["generalDiagnostics"]:
        line = one["range"]["start"]["line"] + 1
        found[os.path.relpath(one["file"], folder), line].add(one.get("rule", one["message"]))
    return found


def run(module: str, *args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    quiet = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", module, *args],
        cwd=folder,
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def why_not(module: str, folder: Path) -> str | None:
    """Return why a checker cannot be had here: pyright needs node, and fetches what it is made of at its first run."""
    if importlib.util.find_spec(module) is None:
        return f"{module} is not installed"
    done = run(module, "--version", folder=folder)
    return None if done.returncode == 0 else f"{module} does not run: {(done.stderr or done.stdout).strip()[-300:]}"


CHECKERS: Mapping[str, Callable[[Path], Found]] = {"mypy": mypy, "pyright": pyright}


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("name", CHECKERS)
def test_a_checker_finds_what_is_planted_and_nothing_else(name: str, folder: Path) -> None:
    reason = why_not(name, folder)
    if reason is not None and name != "mypy":
        pytest.skip(reason)
    assert reason is None
    wanted = planted(folder, list(CHECKERS).index(name))
    assert len(wanted) > 60
    found = CHECKERS[name](folder)
    assert list(said_otherwise(wanted, found)) == []


def said_otherwise(wanted: Found, found: Found) -> Iterator[str]:
    for file, line in sorted({*wanted, *found}):
        expected, got = wanted.get((file, line), set()), found.get((file, line), set())
        if expected != got:
            yield f"{file}:{line}: expected {sorted(expected) or 'nothing'}, got {sorted(got) or 'nothing'}"


def test_a_difference_is_told() -> None:
    wanted, found = {("a", 1): {"x"}, ("a", 2): {"x"}}, {("a", 1): {"x"}, ("b", 3): {"y"}}
    assert list(said_otherwise(wanted, found)) == [
        "a:2: expected ['x'], got nothing",
        "b:3: expected nothing, got ['y']",
    ]


@pytest.mark.parametrize("program", right.PROGRAMS, ids=lambda program: program.__name__)
def test_the_right_programs_run(program: Callable[[], object]) -> None:
    program()


# The options, once as a class and once as keyword arguments


def test_option_fields_are_what_the_constructor_of_options_takes() -> None:
    assert typing.get_type_hints(OptionFields) == {
        field.name: constructor_takes(field) for field in attrs.fields(IsolationOptions)
    }
    assert OptionFields.__required_keys__ == frozenset()


def constructor_takes(field: attrs.Attribute[Any]) -> Any:
    """Return the type of a parameter: that of the converter's argument, or that of the field."""
    if field.converter is None:
        return typing.get_type_hints(IsolationOptions)[field.name]
    return typing.get_type_hints(field.converter)["value"]


def test_what_is_for_checkers_alone_is_not_imported(host_script: HostScripts) -> None:
    host = host_script("""
        import sys
        import piactors
        [getattr(piactors, name) for name in piactors.__all__]
        unwanted = {"piactors._validation.type_variables", "piactors.option_fields", "typing_extensions"}
        print(unwanted & {*sys.modules})
    """)
    assert host.communicate(timeout=30) == ("set()\n", "")

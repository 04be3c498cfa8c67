"""``piactors env``: what is typed, what is printed, and with which code it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.environments.wheels import wheel


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with wheels of two versions of `blue`."""
    for version in ("1.0", "2.0"):
        wheel(tmp_path / "wheels", "blue", version)
    return tmp_path


def env(place: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    command = [sys.executable, "-m", "piactors", "env", "--store", str(place / "store"), *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert said.returncode == code, said.stderr
    return said.stdout, said.stderr


def built(place: Path, requirement: str, *options: str) -> str:
    said, _ = env(place, "build", requirement, "--find-links", str(place / "wheels"), "--offline", *options)
    return said.strip()


def test_from_building_to_removing(place: Path) -> None:
    python = built(place, "blue<2")
    said = subprocess.run(
        [python, "-c", "import blue; print(blue.VERSION)"], capture_output=True, text=True, check=True
    )
    assert said.stdout == "1.0\n"
    ((about,),) = [json.loads(env(place, "list", "--json")[0])]
    assert about["packages"] == {"blue": "1.0"}
    assert python.startswith(about["path"])
    key = about["key"]
    assert env(place, "list")[0].startswith(f"{key[:12]}  ")
    assert f"key: {key}" in env(place, "why", key[:6])[0]
    assert env(place, "verify")[0] == f"{key[:12]}  as it was made\n"
    next(Path(about["path"]).rglob("blue.py")).write_text("VERSION = 'evil'\n")
    assert "blue.py was changed" in env(place, "verify", key, code=1)[0]
    assert env(place, "remove", key[:8])[0] == f"{key[:12]}  removed\n"
    assert env(place, "list")[0] == ""


def test_progress_is_on_stderr_and_can_be_left_out(place: Path) -> None:
    _, told = env(place, "build", "blue", "--find-links", str(place / "wheels"), "--offline")
    assert [line for line in told.splitlines() if line.endswith(": blue")] == [
        "resolving: blue",
        "creating: blue",
        "installing: blue",
        "complete: blue",
    ]
    _, told = env(place, "build", "blue==1.0", "--find-links", str(place / "wheels"), "--offline", "-q")
    assert told == ""


def test_a_lock_is_a_source(place: Path) -> None:
    text, _ = env(place, "lock", "blue==1.0", "--find-links", str(place / "wheels"), "--offline")
    (place / "lock.txt").write_text(text)
    said, _ = env(place, "lock", "--lock", str(place / "lock.txt"), "--find-links", str(place / "wheels"), "--offline")
    assert said == text
    assert "blue==1.0 --hash=sha256:" in text


def test_collecting(place: Path) -> None:
    built(place, "blue==1.0")
    built(place, "blue==2.0")
    assert env(place, "collect")[0] == "0 removed\n"
    assert env(place, "collect", "--max-size", "1 KiB")[0] == "2 removed\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["build", "purple", "--offline", "-q"], "purple could not be resolved"),
        (["build", "blue", "--python", "3.99"], "there is no interpreter '3.99'"),
        (["build", "-q", "--", "-r x"], "requirements such as"),
        (["why", "abc"], "no environment with a key that begins with 'abc'"),
        (["lock", "--offline", "--upgrade", "red"], "red is not among the packages"),
    ],
)
def test_what_goes_wrong_is_said_in_words(place: Path, arguments: list[str], why: str) -> None:
    if "--upgrade" in arguments:
        env(place, "lock", "--offline")
    _, said = env(place, *arguments, code=1)
    assert said.startswith("Error: ")
    assert why in said
    assert "Traceback" not in said


def test_without_packaging_it_says_what_to_install(place: Path) -> None:
    code = """
        import importlib.util, sys
        usual = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == "packaging" else usual(name, *rest)
        from piactors.cli.main import main
        sys.argv = ["piactors", "env", "list"]
        main()
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=50
    )
    assert said.returncode == 1
    assert said.stderr == "Error: environments need the package packaging; pip install 'piactors[plugins]'\n"

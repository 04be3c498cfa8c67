"""``piactors plugins``: programs whose plugins run in isolates, and lists of plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = """
import importlib.metadata, os, sys
for point in importlib.metadata.entry_points(group="app.plugins"):
    print(point.name, point.load()() == os.getpid(), *sys.argv[1:])
sys.exit(3)
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a package that has two entry points, and a program that loads them."""
    (tmp_path / "cliplugs.py").write_text("import os\ndef where(): return os.getpid()\n")
    info = tmp_path / "cliplugs-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cliplugs\nVersion: 2.0\n")
    points = "[app.plugins]\none = cliplugs:where\ntwo = cliplugs:where\n[console_scripts]\ncliprogram = program:main\n"
    (info / "entry_points.txt").write_text(points)
    lines = textwrap.indent(PROGRAM.strip(), "    ")
    (tmp_path / "program.py").write_text(f"def main():\n{lines}\nif __name__ == '__main__':\n    main()\n")
    return tmp_path


def plugins(site: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    command = [sys.executable, "-m", "piactors", "plugins", *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.getcwd()])}
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env, cwd=os.getcwd())
    assert said.returncode == code, said.stderr
    return said.stdout, said.stderr


@pytest.mark.parametrize("how", ["command", "file", "module"])
def test_a_program_runs_with_its_plugins_in_isolates(site: Path, how: str) -> None:
    program = {"command": ["cliprogram"], "file": [str(site / "program.py")], "module": ["-m", "program"]}[how]
    said, _ = plugins(site, "run", "--isolate", "app.plugins", "--", *program, "a", "--b", code=3)
    assert said == "one False a --b\ntwo False a --b\n"


def test_one_of_them_is_chosen_by_its_name(site: Path) -> None:
    said, _ = plugins(site, "run", "--isolate", "app.plugins:two", "cliprogram", code=3)
    assert said == "one True\ntwo False\n"
    _, told = plugins(site, "run", "--isolate", "app.plugins:nope", "cliprogram", code=1)
    assert "there is no entry point 'nope' of 'app.plugins'; there are: one, two" in told
    assert "Traceback" not in told


def test_limits_are_those_of_piactors_run(site: Path) -> None:
    options = ["--max-memory", "300MB", "--nice", "5", "--hook-timeout", "3", "--concurrency", "2", "--trust", "code"]
    said, _ = plugins(site, "run", "--isolate", "app.plugins", *options, "cliprogram", code=3)
    assert said.startswith("one False")
    _, told = plugins(site, "run", "--isolate", "app.plugins", "--max-memory", "much", "cliprogram", code=2)
    assert "--max-memory" in told


def test_wrong_usage_says_what_is_right(site: Path) -> None:
    _, told = plugins(site, "run", "--isolate", "app.plugins", "nothing-like-this", code=2)
    assert "'nothing-like-this' is not a command of an installed package, nor a file, nor -m MODULE" in told
    _, told = plugins(site, "run", "--isolate", ":x", "cliprogram", code=2)
    assert "':x' is not of the form GROUP or GROUP:NAME" in told
    _, told = plugins(site, "run", "cliprogram", code=2)
    assert "--isolate" in told
    _, told = plugins(site, "run", "--isolate", "app.plugins", "-m", code=2)
    assert "-m needs the name of a module" in told


def test_plugins_are_listed_without_importing_them(site: Path) -> None:
    (site / "cliplugs.py").write_text("raise RuntimeError('imported')\n")
    said, _ = plugins(site, "list", "app.plugins")
    assert said == "app.plugins:one  2.0  cliplugs:where\napp.plugins:two  2.0  cliplugs:where\n"
    found = json.loads(plugins(site, "list", "app.plugins", "--json")[0])
    assert found[0] == {"group": "app.plugins", "name": "one", "version": "2.0", "target": "cliplugs:where"}
    assert plugins(site, "list", "nothing")[0] == ""


def test_what_is_in_quarantine_is_listed_and_released(site: Path) -> None:
    state = site / "state.json"
    kept = {"quarantine": {"blur": {"1.3": ["render", ""]}, "sharp": {"": []}}}
    state.write_text(json.dumps(kept))
    said, _ = plugins(site, "health", str(state))
    assert said == "blur  1.3  hook render: in quarantine\nblur  1.3  the whole plugin: in quarantine\n"
    said, _ = plugins(site, "health", str(state), "--release", "blur")
    assert said == ""
    assert json.loads(state.read_text())["quarantine"] == {"sharp": {"": []}}
    _, told = plugins(site, "health", str(state), "--release", "nope", code=1)
    assert "nothing is kept of plugin 'nope'; there are: sharp" in told
    assert "Traceback" not in told

"""pihost on every interpreter found: CPython 3.8 to 3.13 and PyPy, without anything installed there."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import piactors
from piactors import IsolateCrashed, IsolationOptions, ProcessIsolator, RemoteError, StartError

VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "pypy3")
PLUGIN = """
import sys, os, time
class Plugin:
    def __init__(self, scale):
        self.scale = scale
    def apply(self, values):
        return [value * self.scale for value in values]
    async def later(self, value):
        return value
    def version(self):
        return list(sys.version_info[:2])
    def implementation(self):
        return sys.implementation.name
    def modules(self):
        return sorted(sys.modules)
    def fail(self):
        raise ZeroDivisionError('by hand')
    def custom(self):
        class Custom(Exception): pass
        raise Custom('mine')
    def die(self):
        os._exit(4)
    def log(self):
        import logging; logging.getLogger('x').warning('from %s', 'inside')
def main(*args):
    return list(args)
"""


@functools.cache
def interpreter(version: str) -> str | None:
    """Return an interpreter of a version that runs here, or None."""
    candidates = [version, f"python{version}"]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False).stdout.strip()
        candidates += [str(path) for path in Path(root, "versions").glob(f"{version}.*/bin/python")]
    for candidate in candidates:
        found = shutil.which(candidate)
        if found and subprocess.run([found, "-c", "pass"], capture_output=True, check=False).returncode == 0:
            return found
    return None


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> str:
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"no interpreter {request.param} on this machine")
    return found


def test_a_plugin_runs_on_another_interpreter(python: str, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    options = IsolationOptions(python=python, restart="permanent", max_restarts=5)
    ref = piactors.spawn(f"{tmp_path}/plugin.py:Plugin", 3, options=options)
    plugin = ref.proxy()
    assert plugin.apply([1, 2, 3]).get(timeout=30) == [3, 6, 9]
    assert plugin.later("x").get(timeout=30) == "x"
    assert plugin.scale.get(timeout=30) == 3
    probe = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    expected = subprocess.run(probe, capture_output=True, text=True, check=True).stdout.split()
    assert plugin.version().get(timeout=30) == [int(number) for number in expected]
    with pytest.raises(ZeroDivisionError, match="by hand") as caught:
        plugin.fail().get(timeout=30)
    assert "in fail" in str(caught.value.__cause__)
    with pytest.raises(RemoteError, match="mine"):
        plugin.custom().get(timeout=30)
    crash = plugin.die()
    after = plugin.apply([5])
    assert isinstance(crash.exception(timeout=30), IsolateCrashed)
    assert after.get(timeout=30) == [15]
    assert not {"piactors", "pykka", "psutil", "attr"} & set(plugin.modules().get(timeout=30))
    assert ref.stop(timeout=30)
    reason = ref.wait_for_exit(timeout=1)
    assert reason is not None
    assert reason.kind == "shutdown"


def test_concurrency_and_data_work_there_too(python: str, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    with ProcessIsolator(IsolationOptions(python=python, concurrency=3)) as isolator:
        isolator.set_data("key", {"a": 1})
        futures = [isolator.invoke_method(f"{tmp_path}/plugin.py:main", number) for number in range(20)]
        assert [future.get(timeout=30) for future in futures] == [[number] for number in range(20)]
        assert isolator.get_data("key") == {"a": 1}


def test_a_bare_virtual_environment_runs_pihost(python: str, tmp_path: Path) -> None:
    made = subprocess.run(
        [python, "-m", "venv", "--without-pip", str(tmp_path / "env")], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"{python} cannot make a virtual environment: {made.stderr.decode()[-200:]}")
    (tmp_path / "plugin.py").write_text(PLUGIN)
    options = IsolationOptions(python=tmp_path / "env" / "bin" / "python")
    ref = piactors.spawn(f"{tmp_path}/plugin.py:Plugin", 2, options=options)
    assert ref.proxy().apply([21]).get(timeout=30) == [42]
    ref.stop()


def test_an_actor_needs_piactors_in_its_interpreter() -> None:
    found = interpreter("3.12")
    probe = [str(found), "-c", "import piactors"]
    if found is None or subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        pytest.skip("no interpreter 3.12 without piactors on this machine")
    from tests.children.actors import Worker

    with pytest.raises(StartError, match="piactors|tests|pykka|attr"):
        Worker.with_options(python=found, sys_path=[os.getcwd()]).start()


def test_a_warm_launcher_of_another_interpreter(python: str, tmp_path: Path) -> None:
    """Asked for by start_method, other interpreters are forked from a launcher of their own."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    options = IsolationOptions(python=python, start_method="launcher", preload=["json"])
    ref = piactors.spawn(f"{tmp_path}/plugin.py:Plugin", 3, options=options)
    assert ref.proxy().apply([1]).get(timeout=30) == [3]
    assert "json" in ref.proxy().modules().get(timeout=30)
    ref.stop()
    assert sys.executable

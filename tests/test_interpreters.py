"""pihost on every interpreter found: CPython 3.8 to 3.13 and PyPy, without anything installed there."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import piactors
from piactors import IsolateCrashed, IsolationOptions, ProcessIsolator, RemoteError, StartError

PIHOST = str(Path(piactors.__file__).parent / "pihost")
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
    def parent(self):
        return os.getppid()
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
            # Isolates write no bytecode, so each launcher would compile all of it, which takes a third of a second.
            subprocess.run([found, "-m", "compileall", "-qq", PIHOST], capture_output=True, check=False)
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


READER = """
async def numbers(count):
    for number in range(count):
        yield number


def doubled(items):
    for item in items:
        yield item * 2


async def total(items):
    found = 0
    async for item in items:
        found += item
    return found
"""


def test_streams_go_to_another_interpreter_and_come_from_it(python: str, tmp_path: Path) -> None:
    path = tmp_path / "reader.py"
    path.write_text(READER)
    with piactors.ProcessIsolator(IsolationOptions(python=python)) as isolator:
        invoke = isolator.invoke_method
        assert list(invoke(f"{path}:numbers", 100).get(timeout=20)) == list(range(100))
        assert list(invoke(f"{path}:doubled", piactors.stream(range(100))).get(timeout=20)) == list(range(0, 200, 2))
        assert invoke(f"{path}:total", piactors.stream(range(100))).get(timeout=20) == sum(range(100))


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


# Warm launchers of other interpreters


def spawned(folder: Path, **fields: Any) -> piactors.IsolateRef:
    """Start the plugin from a warm launcher."""
    (folder / "plugin.py").write_text(PLUGIN)
    return piactors.spawn(f"{folder}/plugin.py:Plugin", 2, options=IsolationOptions(start_method="launcher", **fields))


def parent(ref: piactors.IsolateRef) -> int:
    found: int = ref.proxy().parent().get(timeout=30)
    return found


def test_isolates_of_one_interpreter_and_preload_share_a_launcher(python: str, tmp_path: Path) -> None:
    first, second = (spawned(tmp_path, python=python, preload=["json"]) for _ in range(2))
    other = spawned(tmp_path, python=python, preload=["json", "decimal"])
    plain = spawned(tmp_path, python=python)
    assert parent(first) == parent(second)
    assert len({parent(first), parent(other), parent(plain), os.getpid()}) == 4
    assert "decimal" in other.proxy().modules().get(timeout=30)
    assert not {"piactors", "pykka", "attr", "dill"} & set(first.proxy().modules().get(timeout=30))
    for ref in (first, second, other, plain):
        ref.stop()


def test_its_crash_is_followed_by_another_from_the_same_launcher(python: str, tmp_path: Path) -> None:
    ref = spawned(tmp_path, python=python, restart="permanent", max_restarts=5)
    launcher = parent(ref)
    for generation in (2, 3):
        crash = ref.proxy().die()
        assert parent(ref) == launcher
        assert isinstance(crash.exception(timeout=30), IsolateCrashed)
        assert ref.generation == generation
    ref.stop()


def test_a_preload_that_cannot_be_imported_there_is_a_start_error(python: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="'no_such_module_there' of preload cannot be imported"):
        spawned(tmp_path, python=python, preload=["no_such_module_there"])


@pytest.mark.parametrize("start_method", ["launcher", "spawn", None])
def test_an_interpreter_that_does_not_exist_is_a_start_error(tmp_path: Path, start_method: Any) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    options = IsolationOptions(python=tmp_path / "none", start_method=start_method, restart="permanent")
    began = time.monotonic()
    with pytest.raises(StartError, match="No such file") as caught:
        piactors.spawn(f"{tmp_path}/plugin.py:Plugin", 2, options=options)
    assert "lost" not in str(caught.value)
    assert time.monotonic() - began < 5


def test_what_is_no_interpreter_is_a_start_error(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    with pytest.raises(StartError, match="cannot run a launcher: it ended with exit code 3"):
        spawned(tmp_path, python=fake)


def test_a_heavy_module_of_preload_costs_each_isolate_nothing(tmp_path: Path) -> None:
    """It is there from the start: the isolate does not import it, it finds it."""
    imports = tmp_path / "imports"
    code = f"import os; made_by = os.getpid(); print(made_by, file=open({str(imports)!r}, 'a'))"
    (tmp_path / "heavy.py").write_text(code)
    (tmp_path / "user.py").write_text("def who():\n import heavy, os\n return heavy.made_by == os.getppid()")
    options = IsolationOptions(preload=["heavy"], sys_path=[str(tmp_path)])
    sys.path.insert(0, str(tmp_path))
    try:
        piactors.spawn(f"{tmp_path}/user.py:who", options=options).stop()
        ref = piactors.spawn(f"{tmp_path}/user.py:who", options=options)
        assert ref.proxy().call().get(timeout=30)
        ref.stop()
        assert len(imports.read_text().splitlines()) == 1
    finally:
        sys.path.remove(str(tmp_path))

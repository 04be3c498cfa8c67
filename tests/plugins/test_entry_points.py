"""Applications that find their plugins by entry points, unmodified: those load into isolates."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.resources
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from piactors.environments import EnvironmentSpec, EnvironmentStore, NoInterpreter
from piactors.plugins import PluginPolicy, isolated_entry_points
from piactors.plugins.application import entry_points
from piactors.plugins.locating import located
from tests.environments.wheels import wheel
from tests.plugins.conftest import QUICK
from tests.support import wait_until

POLICY = PluginPolicy(backoff=QUICK, quarantine=None, concurrency=4)
CODE = """
    import os
    IN = os.getpid()
    NAME = "module"
    def where(): return os.getpid()
    class Base: pass
    class Tool(Base):
        "A tool."
        kind = "tool"
        def __init__(self, name): self.name = name
        def run(self, text): return f"{self.name}: {text}"
        @classmethod
        def make(cls): return cls("made")
        @staticmethod
        def fixed(): return 4
    tool = Tool("instance")
"""


Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package of one module with entry points, and return the name of the module."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    modules: list[str] = []

    def make(points: str, code: str = CODE, group: str = "app.plugins") -> str:
        module = f"points_{os.getpid()}_{len(modules)}_{tmp_path.name}"
        package = site / module
        (package / "static").mkdir(parents=True)
        (package / "__init__.py").write_text(textwrap.dedent(code))
        (package / "static" / "a.txt").write_text("a file")
        info = site / f"{module}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.5\n")
        lines = textwrap.dedent(points).format(module=module)
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        importlib.invalidate_caches()
        modules.append(module)
        return module

    yield make
    assert not [one for one in modules if one in sys.modules], "a plugin was imported in the host"


def load(name: str, group: str = "app.plugins") -> Any:
    (point,) = importlib.metadata.entry_points(group=group, name=name)
    return point.load()


def test_each_kind_of_thing_is_loaded(install: Install) -> None:
    module = install("whole = {module}\nfunction = {module}:where\ncls = {module}:Tool\nmade = {module}:tool [extra]")
    with isolated_entry_points("app.plugins", policy=POLICY) as host:
        whole, function, cls, made = map(load, ("whole", "function", "cls", "made"))
        pids = [host.tree.child(name).pid for name in ("whole", "function", "cls", "made")]
        assert len({*pids, os.getpid()}) == 5
        assert whole.where() == pids[0]
        assert whole.NAME == "module"
        assert pids[0] == whole.IN
        assert function() == pids[1]
        assert cls("a").run("text") == "a: text"
        assert (cls.__name__, cls.__doc__, cls.kind, cls.fixed()) == ("Tool", "A tool.", "tool", 4)
        assert cls.make().name == "made"
        assert isinstance(cls.make(), cls)
        assert made.run(text="x") == "instance: x"
        assert whole.Tool("b").run("y") == "b: y"
        assert load("whole") is whole
        assert module not in whole.__name__.split(".")
    assert {one.version for one in host.plugins()} == {"1.5"}


def test_only_those_that_are_named(install: Install) -> None:
    install("one = {module}:where\n")
    install("other = json:dumps\n")
    with isolated_entry_points("app.plugins", ["one"], policy=POLICY) as host:
        assert load("one")() == host.tree.child("one").pid
        assert load("other") is importlib.import_module("json").dumps
        with pytest.raises(ValueError, match="there is no entry point 'nope' of 'app.plugins'; there are: one, other"):
            isolated_entry_points("app.plugins", ["nope"])
    with pytest.raises(TypeError, match="use a list of names"):
        isolated_entry_points("app.plugins", "one")


def test_by_the_name_of_the_module(install: Install) -> None:
    module = install("one = {module}:where\n")
    with isolated_entry_points("app.plugins", [module], policy=POLICY) as host:
        assert load("one")() == host.tree.child("one").pid


def test_what_is_installed_later_is_loaded_too(install: Install) -> None:
    with isolated_entry_points("app.plugins", policy=POLICY) as host:
        install("late = {module}:where\n")
        assert load("late")() == host.tree.child("late").pid


def test_the_files_of_a_package_are_found_by_its_stand_in(install: Install) -> None:
    module = install("one = {module}\n")
    with isolated_entry_points("app.plugins", policy=POLICY):
        found = load("one")
        files = importlib.resources.files(found.__name__)
        assert (files / "static" / "a.txt").read_text() == "a file"
        assert Path(found.__file__).parent.name == module
        with pytest.raises(ImportError):
            importlib.import_module(f"{found.__name__}.static")
        with pytest.raises(ImportError, match="runs in an isolate"):
            found.__spec__.loader.exec_module(found)
    assert found.__name__ not in sys.modules


def test_a_module_is_located_without_importing_its_package(install: Install) -> None:
    module = install("one = {module}\n", code="raise RuntimeError('imported')\n")
    assert located(f"{module}.nothing") is None
    spec = located(module)
    assert spec is not None
    assert Path(str(spec.origin)).parent.name == module


def test_one_that_does_not_start_is_an_empty_module(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install("bad = {module}\n", code="raise RuntimeError('no')\n")
    with isolated_entry_points("app.plugins", policy=POLICY) as host:
        found = load("bad")
        assert [name for name in vars(found) if not name.startswith("_")] == []
        assert host.health()["bad"].state == "failed"
    assert "entry point bad of app.plugins is left out" in caplog.text
    raising = PluginPolicy(on_error="raise", backoff=QUICK)
    with isolated_entry_points("app.plugins", policy=raising), pytest.raises(ImportError, match="bad does not run"):
        load("bad")


def test_a_function_that_cannot_be_loaded_is_an_import_error(install: Install) -> None:
    install("bad = {module}:where\n", code="raise RuntimeError('no')\n")
    with isolated_entry_points("app.plugins", policy=POLICY), pytest.raises(ImportError, match="no"):
        load("bad")


def test_names_that_no_plugin_has_and_spaces(install: Install) -> None:
    module = install("a b/c = {module} : where\n")
    with isolated_entry_points("app.plugins", policy=POLICY) as host:
        assert load("a b/c")() != os.getpid()
        assert [one.name for one in host.plugins()] == ["a_b_c"]
        point = importlib.metadata.EntryPoint("a b/c", "os", "app.plugins")
        assert point.load() is not None
        assert module not in sys.modules


def test_those_that_were_never_loaded_are_told(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install("one = {module}:where\nother = {module}:where\n")
    with isolated_entry_points("app.plugins", policy=POLICY):
        load("one")
    assert "app.plugins that the application has not loaded by load(): other" in caplog.text


def test_somebody_else_takes_the_place_meanwhile(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("one = json:dumps\n")

    def load_otherwise(point: object) -> str:
        return "otherwise"

    with isolated_entry_points("app.plugins", policy=POLICY):
        monkeypatch.setattr(importlib.metadata.EntryPoint, "load", load_otherwise)
    assert load("one") == "otherwise"


def test_a_base_class_that_is_imported_later(install: Install) -> None:
    code = "from tests.plugins.later_bases import Base\nclass Own(Base):\n    def work(self): return 1\n"
    install("own = {module}:Own\n", code=code)
    with isolated_entry_points("app.plugins", policy=POLICY):
        from tests.plugins import later_bases

        assert issubclass(load("own"), later_bases.Base)
        assert later_bases.made == [], "nothing of the base class ran for the stand-in"
        assert load("own")().work() == 1


def test_everything_is_as_before_when_it_has_ended(install: Install) -> None:
    install("one = json:dumps\n")
    before = importlib.metadata.EntryPoint.load
    finders = list(sys.meta_path)
    first = isolated_entry_points("app.plugins", policy=POLICY)
    with isolated_entry_points("app.plugins", policy=POLICY, name="others"):
        assert importlib.metadata.EntryPoint.load is not before
        first.stop()
        assert load("one")([1]) == "[1]"
    assert importlib.metadata.EntryPoint.load is before
    assert sys.meta_path == finders
    first.stop()


@pytest.mark.parametrize("name", ["importlib_metadata", "pkg_resources"])
def test_the_backport_and_its_forerunner(install: Install, tmp_path: Path, name: str) -> None:
    """Also if they are imported only when isolated entry points are there already."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    install("one = {module}:where\n")
    if name == "pkg_resources":
        look = "[point] = pkg_resources.iter_entry_points('app.plugins', 'one')"
    else:
        look = "[point] = importlib_metadata.entry_points(group='app.plugins', name='one')"
    script = f"""
        import os, sys
        sys.path.insert(0, {str(tmp_path / "site")!r})
        from piactors.plugins import isolated_entry_points
        with isolated_entry_points("app.plugins") as host:
            import {name}
            {look}
            assert point.load()() == host.tree.child("one").pid != os.getpid()
        print("done")
    """
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    assert said.stdout == "done\n", said.stderr


def test_an_application_base_class_is_one_of_the_stand_in_as_well(install: Install) -> None:
    import tests.plugins.bases as bases

    code = """
        from tests.plugins.bases import Base
        class Own(Base):
            def work(self, value): return value + self.step()
            def step(self): return 10
    """
    install("own = {module}:Own\n", code=code)
    with isolated_entry_points("app.plugins", policy=POLICY) as host:
        cls = load("own")
        assert issubclass(cls, bases.Base)
        made = cls()
        assert isinstance(made, bases.Base)
        assert made.work(1) == 11
        assert made.where() == host.tree.child("own").pid, "what it has inherited runs there, too"


def test_nothing_is_left_of_the_interception_after_a_failure(install: Install) -> None:
    before = importlib.metadata.EntryPoint.load
    with pytest.raises(ValueError, match="use the name of a group"):
        isolated_entry_points("")
    assert importlib.metadata.EntryPoint.load is before
    assert entry_points._active == []


def test_in_an_environment_of_its_own_with_another_interpreter(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the oldest Python that isolates may have, with nothing of piactors there."""
    monkeypatch.setenv("PIACTORS_ENVIRONMENTS", str(tmp_path / "store"))
    module = install("one = {module}\n", code="raise RuntimeError('this one is the host's')\n")
    code = """
        import sys
        def about(value, *, default=object()):
            return list(sys.version_info[:2]), "piactors" in sys.modules, lambda: value
        async def later(app): return await app.twice(4)
    """
    wheel(tmp_path / "wheels", module, "1.5", files={f"{module}.py": textwrap.dedent(code)})
    spec = EnvironmentSpec(requirements=[module], find_links=[tmp_path / "wheels"], offline=True, python="3.8")
    try:
        EnvironmentStore().prepare(spec).get(timeout=60)
    except NoInterpreter as error:
        pytest.skip(str(error))

    class App:
        async def twice(self, number: int) -> int:
            return number * 2

    with isolated_entry_points("app.plugins", policy=POLICY, environments={"one": spec}) as host:
        found = load("one")
        version, has_piactors, local = found.about("x")
        assert (version, has_piactors, local()) == ([3, 8], False, "x")
        assert asyncio.run(found.later(App())) == 8
        pid = host.tree.child("one").pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: host.tree.child("one").pid not in (pid, None))
        assert local() == "x"

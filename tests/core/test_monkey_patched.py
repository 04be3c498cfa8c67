"""gevent and eventlet put functions of their own in place of the standard library's: refused at the first start."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import piactors
from piactors import ProcessActor, StartError, Supervisor
from piactors._host import runtime
from piactors.pihost.fork import patched
from tests.support import HostScripts

REPO = Path(__file__).resolve().parents[2]


class Plain(ProcessActor):
    def give(self) -> int:
        return 1


def pretend(monkeypatch: pytest.MonkeyPatch, library: str, *names: str) -> None:
    """Have a library be there that has patched some modules."""
    place, question = {
        "gevent": ("gevent.monkey", "is_module_patched"),
        "eventlet": ("eventlet.patcher", "is_monkey_patched"),
    }[library]
    module: Any = types.ModuleType(place)
    setattr(module, question, lambda name: name in names)
    monkeypatch.setitem(sys.modules, place, module)


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
@pytest.mark.parametrize("name", ["threading", "select", "socket", "os", "subprocess", "signal", "queue"])
def test_a_start_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, library: str, name: str) -> None:
    pretend(monkeypatch, library, name)
    for start in (
        Plain.start,
        lambda: piactors.spawn("math:floor"),
        lambda: piactors.ProcessIsolator().start(),
    ):
        with pytest.raises(StartError, match=rf"{library} has patched {name} in this program.*gthread.*patch_all\("):
            start()


def test_a_tree_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.end_current()
    pretend(monkeypatch, "gevent", "threading")
    with pytest.raises(StartError, match="gevent has patched threading"):
        Supervisor.start(children=[piactors.ChildSpec("plain", Plain)])


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_what_piactors_does_not_use_may_be_patched(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    pretend(monkeypatch, library, "time", "ssl", "dns", "contextvars", "builtins")
    assert patched.patched_by() is None
    ref = Plain.start()
    assert ref.proxy().give().get(timeout=20) == 1


def test_a_preload_that_patches_is_a_start_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = "import sys, types\nmonkey = sys.modules['gevent.monkey'] = types.ModuleType('gevent.monkey')\n"
    (tmp_path / "patches_all.py").write_text(code + "monkey.is_module_patched = lambda name: name == 'socket'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(StartError, match="'patches_all' cannot be in preload: gevent has patched socket"):
        Plain.with_options(preload=["patches_all"]).start()


REAL = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
    "partly": "from gevent import monkey; monkey.patch_all(thread=False, select=False, socket=False, os=False, "
    "subprocess=False, signal=False, queue=False)",
}


@pytest.mark.parametrize("how", REAL)
def test_the_real_libraries(how: str, host_script: HostScripts) -> None:
    library = "gevent" if how == "partly" else how
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    code = f"""{REAL[how]}
import piactors
from piactors import IsolationOptions

class Plain(piactors.ProcessActor):
    def give(self):
        return 1

try:
    print(Plain.start().proxy().give().get(timeout=20))
except piactors.StartError as error:
    print(error)
"""
    out, err = host_script(code, env={**os.environ, "PYTHONPATH": str(REPO)}).communicate(timeout=50)
    assert out.startswith("1\n" if how == "partly" else f"{library} has patched "), err

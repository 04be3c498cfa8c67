"""Isolates that are started too late, or too early: while the program ends, or while an isolate imports."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from piactors import IsolationOptions, ProcessIsolator, StartError, spawn
from tests.support import HostScripts

# After the end of the main thread

AFTER = """
import atexit, sys, threading
import piactors
from piactors import ProcessActor, StartError, Supervisor, ChildSpec, ProcessIsolator

class Worker(ProcessActor):
    def say(self, x):
        return x
    def on_stop(self):
        with open(sys.argv[2], "a") as file:
            file.write("stopped\\n")

# The class travels by value, and an isolate has other arguments.
PATH = sys.argv[2]
def on_stop(self):
    with open(PATH, "a") as file:
        file.write("stopped\\n")
Worker.on_stop = on_stop
options = dict(start_method=sys.argv[1] or None)

def late(where):
    for make in (
        lambda: Worker.with_options(**options).start(),
        lambda: ProcessIsolator(piactors.IsolationOptions(**options)).start(),
        lambda: Supervisor.start(children=[ChildSpec("a", Worker)]),
    ):
        try:
            make()
            print(where, "started")
        except StartError as error:
            print(where, "main thread" in str(error), flush=True)

if BEFORE:
    first = Worker.with_options(**options).start()
    print(first.proxy().say("hello").get(timeout=20))
atexit.register(late, "atexit")

def serve():
    threading.main_thread().join()
    late("thread")

threading.Thread(target=serve).start()
"""


@pytest.mark.parametrize("before", [True, False])
def test_after_the_main_thread_nothing_starts_and_what_ran_was_stopped(
    host_script: HostScripts, way: IsolationOptions, tmp_path: Path, before: bool
) -> None:
    stops = tmp_path / "stops"
    host = host_script(AFTER.replace("BEFORE", str(before)), args=[way.start_method or "", str(stops)])
    out, err = host.communicate(timeout=50)
    assert host.returncode == 0, err
    assert out.splitlines() == ["hello"] * before + ["thread True"] * 3 + ["atexit True"] * 3
    assert not before or stops.read_text() == "stopped\n"


# While an isolate imports

UNGUARDED = """
import piactors
from piactors import ChildSpec, IsolationOptions, ProcessActor, ProcessIsolator, Supervisor, spawn

class Worker(ProcessActor):
    def f(self):
        return 1

def function():
    return 2

WHAT
"""
STARTS = {
    "actor": "worker = Worker.with_options(start_timeout=20).start()",
    "spawn": "worker = spawn(function)",
    "isolator": "worker = ProcessIsolator().start()",
    "supervisor": "worker = Supervisor.start(children=[ChildSpec('w', Worker)])",
    "in a function": "def begin():\n    return Worker.start()\nworker = begin()",
    "in a class body": "class Holder:\n    worker = Worker.start()",
    "in a thread": (
        "import threading\nfailed = []\ndef begin():\n    try: Worker.start()\n    except Exception as error:"
        " failed.append(error)\nthread = threading.Thread(target=begin)\nthread.start()\nthread.join()\n"
        "if failed: raise failed[0]"
    ),
}


@pytest.fixture
def unguarded(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The name of a module that starts an isolate as soon as it is imported."""
    name = f"unguarded_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(UNGUARDED.replace("WHAT", STARTS[request.param]), encoding="utf-8")
    return name


@pytest.mark.parametrize("unguarded", list(STARTS), indirect=True)
def test_a_module_that_starts_an_isolate_when_imported_is_refused_in_isolates(
    way: IsolationOptions, unguarded: str, tmp_path: Path
) -> None:
    with pytest.raises(StartError, match="while an isolate imports") as caught:
        spawn(f"{unguarded}:function", options=IsolationOptions(start_method=way.start_method, sys_path=[tmp_path]))
    assert '`if __name__ == "__main__":`' in str(caught.value)


def test_a_program_that_imports_such_a_module_is_told(
    host_script: HostScripts, way: IsolationOptions, tmp_path: Path
) -> None:
    start = STARTS["actor"].replace("start_timeout=20", f"start_timeout=20, start_method={way.start_method!r}")
    (tmp_path / "unguarded.py").write_text(UNGUARDED.replace("WHAT", start), encoding="utf-8")
    _, err = host_script("import unguarded").communicate(timeout=50)
    assert "while an isolate imports" in err


@pytest.mark.parametrize("unguarded", ["actor", "supervisor", "isolator"], indirect=True)
def test_so_it_is_where_a_call_has_it_imported(way: IsolationOptions, unguarded: str, tmp_path: Path) -> None:
    options = IsolationOptions(start_method=way.start_method, sys_path=[tmp_path])
    with ProcessIsolator(options) as isolator, pytest.raises(Exception, match="while an isolate imports"):
        isolator.invoke_method(f"{unguarded}:function").get(timeout=30)


@pytest.mark.parametrize("unguarded", ["actor"], indirect=True)
def test_so_it_is_in_a_preload(unguarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(StartError, match="while an isolate imports"):
        spawn("math:floor", options=IsolationOptions(preload=[unguarded]))


def test_isolates_within_isolates_start_at_any_other_time(way: IsolationOptions, tmp_path: Path) -> None:
    """In a constructor, in a method, and where a method imports a module that starts some."""
    (tmp_path / "has_one.py").write_text("from piactors import spawn\nfloor = spawn('math:floor')\n", encoding="utf-8")
    (tmp_path / "nesting.py").write_text(
        "from piactors import spawn\n"
        "class Nest:\n"
        "    def __init__(self):\n"
        "        self.inner = spawn('math:floor')\n"
        "    def constructed(self):\n"
        "        return self.inner.proxy().call(1.5).get(timeout=20)\n"
        "    def called(self):\n"
        "        return spawn('math:floor').proxy().call(2.5).get(timeout=20)\n"
        "    def imported(self):\n"
        "        import has_one\n"
        "        return has_one.floor.proxy().call(3.5).get(timeout=20)\n",
        encoding="utf-8",
    )
    nest = spawn("nesting:Nest", options=IsolationOptions(start_method=way.start_method, sys_path=[tmp_path])).proxy()
    found = [nest.constructed(), nest.called(), nest.imported()]
    assert [future.get(timeout=50) for future in found] == [1, 2, 3]


# No thread starts any more: CPython 3.12.0 and 3.12.1 are so of themselves

NO_THREADS = """
import os, threading, time
import piactors, pykka
from piactors import ChildSpec, ProcessActor, Supervisor
from piactors._host import runtime

class Tells(ProcessActor):
    def on_stop(self):
        print("stopped", flush=True)
    def echo(self, x):
        return x

class Crashes(Tells):
    def on_stop(self):
        os._exit(7)

class Threaded(pykka.ThreadingActor):
    def on_receive(self, message):
        raise ValueError("on purpose")

class Below(Supervisor):
    max_restarts = None
    def children(self):
        return [ChildSpec("thread", Threaded)]

def wait_until(what):
    while not what():
        time.sleep(0.01)

def none_starts(*args, **kwargs):
    raise RuntimeError("can't create new thread at interpreter shutdown")

def none_from_now_on():
    for name in ("_start_new_thread", "_start_joinable_thread"):
        if hasattr(threading, name):
            setattr(threading, name, none_starts)
    LAST

options = {"output": "inherit"}
refs = [
    Tells.with_options(**options).start(),
    Crashes.with_options(die_on_crash=True, **options).start(),
    Tells.with_options(restart="transient", **options).start(),
]
tree = Supervisor.start(name="top", max_restarts=None, children=[ChildSpec("thread", Threaded), ChildSpec("b", Below)])
assert [ref.proxy().echo(1).get(timeout=20) for ref in refs] == [1] * 3
threading._register_atexit(none_from_now_on)
"""

LAST = {
    "failures": (
        """
    os.kill(refs[0].pid, 9)
    tree.child("thread").tell(1)
    tree.child("b").child("thread").tell(1)
    refs[0].ask("x", block=False).map(str).add_done_callback(print)
""",
        0,
    ),
    "a crash to die of": ("os.kill(refs[1].pid, 9); wait_until(lambda: runtime._last_thread is not None)", 137),
    # An isolate dies with it that has `die_on_crash`: that is seen before the end, or it is not.
    "a launcher that is lost": ("[os.kill(pid, 9) for pid in runtime.current().launcher_pids()]", None),
}


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("portable", ["", "launcher"])
def test_a_program_ends_although_no_thread_can_be_started(host_script: HostScripts, last: str, portable: str) -> None:
    line, code = LAST[last]
    host = host_script(NO_THREADS.replace("LAST", line), env={**os.environ, "PIACTORS_PORTABLE": portable})
    out, err = host.communicate(timeout=50)
    assert host.returncode == code or (code is None and host.returncode in (0, 1)), err
    assert not any(text in err for text in ("I/O thread", "AssertionError", "RecursionError")), err
    assert err.count("as die_on_crash says") == (host.returncode != 0), err
    if last == "failures":
        assert out.count("stopped") == 1, err

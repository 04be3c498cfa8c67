"""What an isolate inherits is what its host has at that start, whenever the launcher and its spare were made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

import piactors
from piactors import IsolationOptions, ProcessActor, ProcessIsolator
from piactors.pihost.process import inherit
from tests.support import HostScripts

REPO = Path(__file__).resolve().parents[2]
PLAIN = "tests.children.plain"
pytestmark = pytest.mark.timeout(120)
WAYS = ("launcher", "spawn", "portable")

HOST = """
import json, os, resource, sys, time
import piactors
from piactors import IsolationOptions, IsolationLimits

WAY = sys.argv[1]
OPTIONS = IsolationOptions(start_method=None if WAY == "portable" else WAY)

def mask():
    mask = os.umask(0)
    os.umask(mask)
    return mask

def seen(threads=(str(os.getpid()),)):
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    stats = [open(f"/proc/self/task/{thread}/stat").read().rpartition(")")[2].split() for thread in threads]
    return {
        "cwd": os.getcwd(), "mask": mask(), "nice": sorted({int(stat[16]) for stat in stats}),
        "cpus": sorted(os.sched_getaffinity(0)),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in limits},
    }

class Probe(piactors.ProcessActor):
    def look(self):
        return seen(os.listdir("/proc/self/task"))
    def open_files(self):
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    def die(self):
        os._exit(1)

def spare_is_there():
    from piactors._host import runtime
    import psutil
    children = [child for pid in runtime.current().launcher_pids() for child in psutil.Process(pid).children()]
    return len(children) > 1
"""


def environment(way: str) -> dict[str, str]:
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    return {**env, "PIACTORS_PORTABLE": "launcher,pidfd,memfd"} if way == "portable" else env


def finished(program: subprocess.Popen[str]) -> Any:
    """Return what a program printed as JSON."""
    out, err = program.communicate(timeout=100)
    assert program.returncode == 0, err
    return json.loads(out)


@pytest.mark.parametrize("way", WAYS)
def test_each_generation_has_what_the_host_has_at_its_start(way: str, host_script: HostScripts, tmp_path: Path) -> None:
    code = (
        HOST
        + """
from tests.support import wait_until
early = Probe.with_options(OPTIONS, restart="permanent").start()
if WAY == "launcher":
    wait_until(spare_is_there)
os.chdir("sub")
os.umask(0o037)
os.nice(3)
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
MIB = 1 << 20
for name, soft, hard in (("NOFILE", 200, 300), ("CORE", 0, 0), ("STACK", 4 * MIB, 64 * MIB), ("FSIZE", MIB, 2 * MIB)):
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (soft, hard))
found = [Probe.with_options(OPTIONS).start().proxy().look().get(timeout=50)]
early.proxy().die()
found.append(early.proxy().look().get(timeout=50))
wanted = seen()
print(json.dumps([wanted, *found]))
"""
    )
    (tmp_path / "sub").mkdir()
    wanted, late, restarted = finished(host_script(code, args=[way], env=environment(way)))
    assert wanted["cwd"] == str(tmp_path / "sub")
    assert (wanted["mask"], wanted["limits"]["RLIMIT_NOFILE"]) == (0o037, [200, 300])
    assert late == wanted
    assert restarted == wanted


@pytest.mark.parametrize("way", WAYS)
def test_options_win_over_what_is_inherited(way: str, host_script: HostScripts, tmp_path: Path) -> None:
    code = (
        HOST
        + """
os.mkdir("sub"), os.mkdir("sub/below")
os.chdir("sub")
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
limits = IsolationLimits(max_open_files=100, nice=5)
probe = Probe.with_options(OPTIONS, cwd="below", limits=limits).start().proxy()
found = probe.look().get(timeout=50)
print(json.dumps([found["cwd"], found["nice"], probe.open_files().get(timeout=50)]))
"""
    )
    found = finished(host_script(code, args=[way], env=environment(way)))
    assert found == [str(tmp_path / "sub" / "below"), [5], 100]


@pytest.mark.parametrize("way", WAYS)
def test_a_directory_that_was_removed_is_inherited_as_it_is(way: str, host_script: HostScripts, tmp_path: Path) -> None:
    code = (
        HOST
        + """
os.mkdir("gone"), os.chdir("gone"), os.rmdir("../gone")
class Where(piactors.ProcessActor):
    def is_gone(self):
        return os.stat(".").st_nlink == 0
print(json.dumps(Where.with_options(OPTIONS).start().proxy().is_gone().get(timeout=50)))
"""
    )
    assert finished(host_script(code, args=[way], env=environment(way))) is True


def zone() -> str:
    return time.strftime("%Z", time.localtime(0))


class Clock(ProcessActor):
    def zone(self) -> str:
        return zone()


def test_a_time_zone_has_effect(way: IsolationOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    def actors(**options: Any) -> str:
        ref = Clock.with_options(attrs.evolve(way, **options)).start()
        found: str = ref.proxy().zone().get(timeout=50)
        ref.stop()
        return found

    def named(**options: Any) -> Any:
        with ProcessIsolator(attrs.evolve(way, **options)) as isolator:
            return isolator.invoke_method("time:strftime", "%Z", (1970, 1, 1, 0, 0, 0, 3, 1, 0)).get(timeout=50)

    for zone_of in (actors, named):
        assert zone_of(env={"TZ": "Asia/Tokyo"}) == "JST"
        monkeypatch.setenv("TZ", "America/New_York")
        assert zone_of() == "EST"
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        assert zone_of() == "JST"


def test_a_temporary_folder_has_effect_although_one_has_been_looked_up(tmp_path: Path) -> None:
    options = IsolationOptions(preload=["tests.children.looks_up"], env={"TMPDIR": str(tmp_path)})
    with ProcessIsolator(options) as isolator:
        assert isolator.invoke_method("tempfile:gettempdir").get(timeout=50) == str(tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_relative_entries_of_the_path_lead_where_they_led_in_the_host(
    way: str, host_script: HostScripts, tmp_path: Path
) -> None:
    (tmp_path / "here" / "lib").mkdir(parents=True)
    for file, name, n in (("here/of_here.py", "A", 1), ("here/lib/of_lib.py", "B", 2)):
        (tmp_path / file).write_text(f"import piactors\nclass {name}(piactors.ProcessActor):\n    n = {n}\n")
    code = (
        HOST
        + """
os.chdir("here")
sys.path[:0] = ["", "lib", "__editable__.finder.__path_hook__"]
import of_here, of_lib
class Path(piactors.ProcessActor):
    def entries(self):
        return sys.path[:3]
options = piactors.IsolationOptions(start_method=OPTIONS.start_method, cwd="/", restart="permanent")
refs = [cls.with_options(options).start() for cls in (of_here.A, of_lib.B, Path)]
print(json.dumps([refs[0].proxy().n.get(timeout=50), refs[1].proxy().n.get(timeout=50),
                  refs[2].proxy().entries().get(timeout=50)]))
"""
    )
    here = tmp_path / "here"
    entries = [str(here), str(here / "lib"), "__editable__.finder.__path_hook__"]
    assert finished(host_script(code, args=[way], env=environment(way))) == [1, 2, entries]


FLAGS = """
import json, sys
import piactors
from piactors import IsolationOptions

class Flags(piactors.ProcessActor):
    def seen(self):
        return [list(sys.flags), sys.warnoptions, sys._xoptions, __debug__, sys.argv]

if __name__ == "__main__":
    options = IsolationOptions(start_method=None if sys.argv[1] == "portable" else sys.argv[1])
    mine = [list(sys.flags), sys.warnoptions, sys._xoptions, __debug__, sys.argv]
    theirs = Flags.with_options(options).start().proxy().seen().get(timeout=50)
    with piactors.ProcessIsolator(piactors.IsolationOptions(name="by-name")) as isolator:
        argv = isolator.invoke_method("builtins:eval", "__import__('sys').argv").get(timeout=50)
    print(json.dumps([mine, theirs, argv]))
"""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("flags", [["-O", "-W", "error::UserWarning", "-X", "dev", "-s", "-B"], ["-OO", "-E"]])
def test_options_of_the_interpreter_and_arguments_are_the_hosts(way: str, flags: list[str], tmp_path: Path) -> None:
    script = tmp_path / "flags.py"
    script.write_text(FLAGS)
    command = [sys.executable, *flags, str(script), way, "--an", "argument"]
    done = subprocess.run(command, env=environment(way), capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    mine, theirs, by_name = json.loads(done.stdout)
    assert theirs == mine
    assert mine[-1][1:] == [way, "--an", "argument"]
    assert by_name == ["by-name"]


def test_another_interpreter_gets_the_options_that_any_python_knows() -> None:
    code = "from piactors._process.flags import interpreter_flags as f; print(*f(False)); print(*f(True))"
    command = [sys.executable, "-OO", "-B", "-I", "-X", "dev", "-W", "error", "-c", code]
    other, own = subprocess.run(command, check=True, capture_output=True, text=True, timeout=50).stdout.splitlines()
    assert other.split() == ["-O", "-O", "-B", "-I", "-E", "-s"]
    assert {"-OO", "-B", "-I", "dev"} <= {*own.split()}


def environ(name: str) -> str | None:
    return os.environ.get(name)


class Environ(ProcessActor):
    def get(self, name: str) -> str | None:
        return environ(name)


def test_code_that_is_handed_over_gets_the_whole_environment(
    way: IsolationOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "db")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    actor = Environ.with_options(way).start()
    assert actor.proxy().get("DATABASE_URL").get(timeout=50) == "db"
    function = piactors.spawn(environ, options=way)
    assert function.proxy().call("DATABASE_URL").get(timeout=50) == "db"
    named = piactors.spawn(f"{__name__}:environ", options=way)
    assert named.proxy().call("DATABASE_URL").get(timeout=50) is None
    less = Environ.with_options(way, inherit_env=["PATH"]).start()
    assert less.proxy().get("DATABASE_URL").get(timeout=50) is None


def test_inherited_variables_that_work_before_a_start_only_do_not_make_it_a_spawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    assert not Environ.start()._isolate.spec.order.fresh


def test_the_umask_is_read_without_being_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o027)
    try:
        if Path("/proc/self/status").exists():
            with monkeypatch.context() as patch:
                patch.setattr(os, "umask", lambda mask: pytest.fail("for a moment it is another one"))
                assert inherit.umask() == 0o027
        monkeypatch.setattr(inherit, "_MASK_FIELD", b"a kernel that does not tell")
        assert inherit.umask() == 0o027
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)

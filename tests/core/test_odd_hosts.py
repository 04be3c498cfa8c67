"""Hosts that are not a script of an interpreter with everything around it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import piactors
from piactors import IsolationOptions
from tests.support import HostScripts

PACKAGE = Path(piactors.__file__).parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def run(host_script: HostScripts, way: IsolationOptions, code: str, **options: object) -> list[str]:
    """Run a host program whose argument is the start method; return its lines.  It has to end by itself."""
    host = host_script(code, args=[way.start_method or ""], **options)
    out, err = host.communicate(timeout=50)
    assert host.returncode == 0, err
    return out.splitlines()


# Descriptors 0, 1 and 2

CLOSED = """
import logging, os, sys
out = os.fdopen(os.dup(1), "w")
os.set_inheritable(out.fileno(), False)
for fd in CLOSED:
    os.close(fd)
import piactors
from piactors import ProcessActor

class Speaker(ProcessActor):
    def say(self, text):
        print(text, flush=True)
        os.write(2, b"and more\\n")
        return text
    def echo(self, x):
        return x
    def files(self):
        return [os.readlink(f"/proc/self/fd/{fd}").partition(":")[0] for fd in (0, 1, 2)]
    def end(self):
        os._exit(3)

records = []
class Kept(logging.Handler):
    def emit(self, record):
        records.append(record)
logging.getLogger("piactors").addHandler(Kept())
logging.getLogger("piactors").propagate = False
for output in ("log", "inherit", "discard"):
    ref = Speaker.with_options(output=output, start_method=sys.argv[1] or None, restart="permanent").start()
    proxy = ref.proxy()
    print("@", output, proxy.say("hello").get(timeout=20), len(proxy.echo("x" * 500_000).get(timeout=20)), file=out)
    try:
        proxy.end().get(timeout=20)
    except piactors.IsolateCrashed:
        print("@", output, proxy.say("again").get(timeout=20), *proxy.files().get(timeout=20), file=out)
    ref.stop()
print("@", *{os.readlink(f"/proc/self/fd/{fd}") for fd in CLOSED}, file=out)
text = " ".join(r.getMessage() for r in records)
out.flush()
print("@", "told" if "this program has no std" in text else "not told", file=out)
out.flush()
"""


@linux
@pytest.mark.parametrize("closed", [(0, 1, 2), None], ids=["all", "one"])
def test_no_descriptor_of_ours_stands_for_a_stream(
    host_script: HostScripts, way: IsolationOptions, request: pytest.FixtureRequest, closed: tuple[int, ...] | None
) -> None:
    """All three of them, or one: another one for each way, for the same code of the host looks after them."""
    if closed is None:
        closed = {"launcher": (0,), "spawn": (1,), "portable": (2,)}[request.node.callspec.params["way"]]
    lines = run(host_script, way, CLOSED.replace("CLOSED", str(closed)))
    inherited = " ".join("/dev/null" if fd in closed or fd == 0 else "pipe" for fd in (0, 1, 2))
    assert [line for line in lines if line.startswith("@")] == [
        "@ log hello 500000",
        "@ log again /dev/null pipe pipe",
        "@ inherit hello 500000",
        f"@ inherit again {inherited}",
        "@ discard hello 500000",
        "@ discard again /dev/null /dev/null /dev/null",
        "@ /dev/null",
        "@ told" if closed != (0,) else "@ not told",
    ]


# Few descriptors

FEW = """
import resource, sys
import piactors
from piactors import ProcessActor, PiactorsError

class Echo(ProcessActor):
    def say(self, x):
        return x

def start():
    return Echo.with_options(start_method=sys.argv[1] or None, start_timeout=20).start()

first = start()
print("first", first.proxy().say(1).get(timeout=20))
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for most in (64, *range(36, 8, -1)):
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    refs = []
    try:
        for _ in range(60 if most == 64 else 2):
            refs.append(start())
    except (PiactorsError, OSError) as error:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        assert "Too many open files" in str(error) or "descriptors" in str(error), error
        print(most, "refused")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert [ref.proxy().say(2).get(timeout=20) for ref in (first, *refs)] == [2] * (len(refs) + 1)
    for ref in refs:
        ref.stop(timeout=20)
print("last", start().proxy().say(3).get(timeout=20))
"""


@linux
@pytest.mark.parametrize("way", ["launcher", "spawn"], indirect=True)
def test_without_descriptors_a_start_fails_and_the_others_live(host_script: HostScripts, way: IsolationOptions) -> None:
    lines = run(host_script, way, FEW)
    assert (lines[0], lines[1], lines[-1]) == ("first 1", "64 refused", "last 3")


# No /proc, no folder for temporary files

PLAIN = """
import os, sys
import piactors
from piactors import ProcessActor

class Echo(ProcessActor):
    def say(self, x):
        return x
    def end(self):
        os._exit(3)

ref = Echo.with_options(start_method=sys.argv[1] or None, restart="permanent").start()
proxy = ref.proxy()
print(proxy.say("hello").get(timeout=20), len(proxy.say(b"x" * 1_000_000).get(timeout=20)))
try:
    proxy.end().get(timeout=20)
except piactors.IsolateCrashed as error:
    print(error.reason.exitcode, proxy.say("again").get(timeout=20))
ref.resource_usage()
print(ref.stop(timeout=20))
"""


def _in_namespace(preparations: str) -> list[str]:
    command = ["unshare", "-m", "sh", "-c", preparations]
    if shutil.which("unshare") is None or subprocess.run([*command], capture_output=True).returncode:
        pytest.skip("needs mount namespaces")
    return ["unshare", "-m", "sh", "-c", preparations + ' && exec "$@"', "sh"]


@linux
@pytest.mark.parametrize("missing", ["proc", "tmp"])
def test_it_works_without(missing: str, host_script: HostScripts, way: IsolationOptions, tmp_path: Path) -> None:
    """Without what the docs name as missing, as far as they promise."""
    if missing == "tmp" and way.start_method is None:
        pytest.skip("without memfd, as here, a temporary file is what there is")
    path = tmp_path / "program.py"
    path.write_text(PLAIN, encoding="utf-8")
    shadow = {"proc": ["/proc"], "tmp": ["/tmp", "/var/tmp", "/dev/shm"]}[missing]
    hide = " && ".join(f"mount -t tmpfs -o {'ro' if missing == 'tmp' else 'rw'} none {folder}" for folder in shadow)
    keep = f"mkdir -p /mnt && mount -t tmpfs none /mnt && cp {path} /mnt/program.py"
    if any(str(Path(place).resolve()).startswith("/tmp/") for place in (sys.prefix, PACKAGE)) and missing == "tmp":
        hide = "mount --bind /tmp /tmp && mount -o remount,ro,bind /tmp && " + hide.partition(" && ")[2]
    command = [*_in_namespace(f"{keep} && {hide}"), sys.executable, "-B", "/mnt/program.py", way.start_method or ""]
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd="/", env=env)
    assert done.stdout.splitlines() == ["hello 1000000", "3 again", "True"], done.stderr


# No interpreter of its own

FROZEN = """
import sys
real, app = sys.executable, sys.argv[2]
if FROZEN:
    sys.frozen = True
sys.executable = EXECUTABLE
import piactors
from piactors import ChildSpec, IsolationLimits, IsolationOptions, ProcessIsolator, StartError, Supervisor, spawn

method = sys.argv[1] or None
for make in (
    lambda: spawn("math:floor", options=IsolationOptions(start_method=method)),
    lambda: spawn("math:floor", options=IsolationOptions(start_method=method, preload=["math"])),
    lambda: ProcessIsolator(IsolationOptions(start_method=method)).start(),
    lambda: Supervisor.start(children=[ChildSpec("a", "math:floor", options=IsolationOptions(start_method=method))]),
):
    try:
        make()
        print("started")
    except StartError as error:
        print("IsolationOptions(python=...)" in str(error), WORD in str(error))
for limits in (None, IsolationLimits(max_memory="1 GiB", max_processes=50)):
    options = IsolationOptions(start_method=method, python=real, limits=limits)
    print(spawn("math:floor", options=options).proxy().call(4.5).get(timeout=20))
    with ProcessIsolator(options) as isolator:
        print(isolator.invoke_method("math:floor", 7.5).get(timeout=20))
"""


@pytest.mark.parametrize(
    ("frozen", "executable", "word"),
    [(True, "app", "frozen"), (False, "None", "embeds"), (False, "''", "embeds")],
    ids=["frozen", "None", "empty"],
)
def test_a_program_without_an_interpreter_never_runs_itself(
    host_script: HostScripts, way: IsolationOptions, tmp_path: Path, frozen: bool, executable: str, word: str
) -> None:
    app, ran = tmp_path / "app", tmp_path / "ran"
    app.write_text(f"#!/bin/sh\necho run >> {ran}\nexit 0\n")
    app.chmod(0o755)
    code = FROZEN.replace("FROZEN", str(frozen)).replace("EXECUTABLE", executable).replace("WORD", repr(word))
    host = host_script(code, args=[way.start_method or "", str(app)])
    out, err = host.communicate(timeout=50)
    assert host.returncode == 0, err
    assert out.splitlines() == ["True True"] * 4 + ["4", "7"] * 2
    assert not ran.exists()


# Out of an archive

ARCHIVED = """
import os, sys
import piactors
from piactors import IsolationOptions, ProcessActor, spawn

assert ".pyz" in piactors.__file__, piactors.__file__

class Echo(ProcessActor):
    def say(self, x):
        return x

for method in ("launcher", "spawn"):
    options = IsolationOptions(start_method=method)
    print(Echo.with_options(options).start().proxy().say(method).get(timeout=20))
    print(spawn("math:floor", options=options).proxy().call(4.5).get(timeout=20))
    if len(sys.argv) > 1:
        other = IsolationOptions(start_method=method, python=sys.argv[1])
        print(spawn("math:floor", options=other).proxy().call(5.5).get(timeout=20))
"""


@pytest.mark.parametrize("portable", ["", "launcher"])
def test_it_works_out_of_an_archive(tmp_path: Path, portable: str) -> None:
    app = tmp_path / "app.pyz"
    with zipfile.ZipFile(app, "w") as archive:
        for file in PACKAGE.rglob("*.py"):
            archive.write(file, file.relative_to(PACKAGE.parent))
        archive.writestr("__main__.py", ARCHIVED)
    env = {**os.environ, "PIACTORS_PORTABLE": portable}
    command = [sys.executable, str(app), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=tmp_path, env=env)
    assert done.stdout.split() == ["launcher", "4", "5", "spawn", "4", "5"], done.stderr


# A host that waits for any child

WAITING = """
import os, sys, threading, time
import piactors
from piactors import ProcessActor

class Echo(ProcessActor):
    def say(self, x):
        return x
    def end(self):
        os._exit(3)

def reap():
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(0.001)

threading.Thread(target=reap, daemon=True).start()
from piactors._host import runtime
for _ in range(2):
    ref = Echo.with_options(start_method=sys.argv[1] or None, restart="permanent").start()
    proxy = ref.proxy()
    print(proxy.say("hello").get(timeout=20))
    try:
        proxy.end().get(timeout=20)
    except piactors.IsolateCrashed:
        print(proxy.say("again").get(timeout=20))
    pids = runtime.current().launcher_pids()
    for pid in pids:
        os.kill(pid, 9)
    while pids and set(pids) & set(runtime.current().launcher_pids()):
        time.sleep(0.01)  # until the loss has been noticed; it costs no more than ever
    print(proxy.say("on").get(timeout=20), ref.stop(timeout=20))
"""


def test_a_host_that_waits_for_any_child_disturbs_nothing(host_script: HostScripts, way: IsolationOptions) -> None:
    assert run(host_script, way, WAITING) == ["hello", "again", "on True"] * 2

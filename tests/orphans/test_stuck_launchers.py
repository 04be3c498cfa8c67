"""Launchers that are stopped, traced, frozen or hang, and processes that do not end: every wait for them is bounded."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from piactors._platform.limits import cgroups
from tests.orphans.support import CHILDREN, Watch, state_of, time_limit, wait_until, watch

__all__ = ["watch"]
pytestmark = time_limit

HOST = """
import logging
logging.basicConfig(format="%(levelname)s %(message)s")
fields = {"restart": "permanent", "call_timeout": GIVEN.get("limit")}
one, two = (spawn("tracer:die", name=name, **fields) for name in ("one", "two"))
say(launchers=launchers(), one=one.pid, two=two.pid)
wait_for_go()
def timed(call):
    start = time.monotonic()
    return [*outcome(call), time.monotonic() - start]
def die():
    try:
        one.proxy().call(3).get(timeout=25)
    except piactors.IsolateCrashed as error:
        return error.reason.kind, error.reason.exitcode
say(died=timed(die))
say(next=timed(lambda: one.invoke("os:getpid", (), {}).get(timeout=25)))
say(sibling=timed(lambda: two.invoke("os:getpid", (), {}).get(timeout=25)))
say(start=timed(lambda: spawn("tracer:die").pid))
say(stop=timed(lambda: two.stop(timeout=25)))
"""


@contextlib.contextmanager
def tracing(watch: Watch, pid: int, how: str) -> Iterator[None]:
    """Have somebody who belongs to nobody here trace a process."""
    command = [sys.executable, str(CHILDREN / "tracer.py"), str(pid), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tracer:
        watch.add(tracer.pid)
        assert tracer.stdout is not None
        try:
            if tracer.stdout.readline().strip() != "0":
                pytest.skip("nobody may trace here")
            yield
        finally:
            tracer.kill()


@contextlib.contextmanager
def freezing(pid: int, kind: str) -> Iterator[None]:
    """Freeze a process by a control group of its own."""
    mounts = (m for m in cgroups.mounts() if m.kind == kind and (kind == "cgroup2" or "freezer" in m.options))
    mount = next(mounts, None)
    path = cgroups.own_paths().get("" if kind == "cgroup2" else "freezer")
    own = None if mount is None or path is None else cgroups.own_folder(mount, path)
    folder = Path(str(own)) / f"frozen-{os.getpid()}"
    file, on, off = ("cgroup.freeze", "1", "0") if kind == "cgroup2" else ("freezer.state", "FROZEN", "THAWED")
    try:
        folder.mkdir()
        (folder / "cgroup.procs").write_text(str(pid))
    except OSError:
        pytest.skip("no group can be made")
    try:
        (folder / file).write_text(on)
        yield
    finally:
        (folder / file).write_text(off)
        wait_until(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


@contextlib.contextmanager
def stopping(pid: int, again: bool) -> Iterator[None]:
    """Stop a process; `again`, whenever somebody lets it go on."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state_of(pid) == "T")
    stopper = f"import os, time\nwhile True:\n    os.kill({pid}, 19)\n    time.sleep(0.001)"
    with (
        subprocess.Popen([sys.executable, "-c", stopper], stderr=subprocess.DEVNULL)
        if again
        else (contextlib.nullcontext()) as process
    ):
        yield
        if process is not None:
            process.kill()


WAYS = ("stopped", "stopped again", "traced", "cgroup", "cgroup2")


@pytest.mark.parametrize("how", WAYS)
def test_a_launcher_that_does_not_answer_is_woken_or_replaced(watch: Watch, how: str) -> None:
    """An isolate dies meanwhile, others are asked, started and stopped: each has its outcome, and the program ends."""
    host = watch.host(HOST)
    line = host.hear_line("launchers")
    (launcher,) = line["launchers"]
    watch.add_tree(host.pid)
    ways = {
        "stopped": lambda: stopping(launcher, again=False),
        "stopped again": lambda: stopping(launcher, again=True),
        "traced": lambda: tracing(watch, launcher, "stop"),
        "cgroup": lambda: freezing(launcher, "cgroup"),
        "cgroup2": lambda: freezing(launcher, "cgroup2"),
    }
    with ways[how]():
        host.go_on()
        kind, value, took = host.hear("died", 40)
        assert (kind, value) == ("value", ["exited", 3]), host.log()  # it had died before its launcher was ended
        assert took < (5 if how in ("stopped", "stopped again", "traced") else 20)
        for key in ("next", "start", "stop"):
            assert host.hear(key)[0] == "value", (key, host.log())
        assert host.hear("sibling")[0] in ("value", "IsolateCrashed")
        assert host.exit_code() == 0
    watch.assert_all_gone()


@pytest.mark.parametrize("how", ["stopped", "traced"])
def test_a_program_ends_although_its_launcher_does_not_answer(watch: Watch, how: str) -> None:
    """Nothing has told before that it does not."""
    host = watch.host("spawn('tracer:die').stop()\nsay(launchers=launchers())\nwait_for_go()")
    (launcher,) = host.hear("launchers")
    watch.add_tree(host.pid)
    with stopping(launcher, again=False) if how == "stopped" else tracing(watch, launcher, "stop"):
        host.go_on()
        assert host.exit_code() == 0
    watch.assert_all_gone()


@pytest.mark.parametrize("how", ["", "exit"])
@pytest.mark.parametrize("who", ["child", "stranger"])
def test_an_isolate_that_is_traced_when_it_dies_has_ended(watch: Watch, who: str, how: str) -> None:
    """Its launcher cannot wait for it, or it does not even end: it counts as ended all the same."""
    traced = "say(child=one.invoke('tracer:be_traced', (GIVEN['how'],), {}).get(timeout=20))"
    script = HOST.replace("wait_for_go()", f"wait_for_go()\n{traced if who == 'child' else ''}")
    host = watch.host(script, how=how, limit=1.0 if how else None)
    line = host.hear_line("launchers")
    watch.add_tree(host.pid)
    with contextlib.nullcontext() if who == "child" else tracing(watch, line["one"], how):
        host.go_on()
        if who == "child" and host.hear("child")[1]:
            pytest.skip("nobody may trace here")
        kind, value, took = host.hear("died", 40)
        assert kind == "value"
        assert value[0] == "call_timeout" if how else value == ["exited", 3]
        assert took < 8
        sibling = host.hear("sibling")
        assert sibling[:2] == ["value", line["two"]]
        for key in ("next", "start", "stop"):
            assert host.hear(key)[0] == "value", (key, host.log())
        assert host.exit_code() == 0
    watch.assert_all_gone()


def test_a_launcher_that_is_stopped_before_it_hands_a_spare_its_orders_is_woken(watch: Watch, tmp_path: Path) -> None:
    """The host knows of the process by then, and the process waits for its launcher."""
    lines = ["import os, signal", "from _pihost.fork import prefork", "given = prefork.hand_over"]
    lines += ["def hand_over(*args):", "    os.kill(os.getpid(), signal.SIGSTOP)", "    given(*args)"]
    (tmp_path / "stops.py").write_text("\n".join([*lines, "prefork.hand_over = hand_over", ""]))
    script = """
sys.path.insert(0, GIVEN["folder"])
one = spawn("tracer:die", preload=["stops"])
while len(family := psutil.Process(one.pid).parent().children()) < 2:
    time.sleep(0.01)
since = time.monotonic()
two = spawn("tracer:die", preload=["stops"])
say(is_spare=two.pid in {child.pid for child in family}, took=time.monotonic() - since)
"""
    host = watch.host("import psutil\n" + script, folder=str(tmp_path))
    line = host.hear_line("took")
    assert line["is_spare"]
    assert line["took"] < 5
    assert host.exit_code() == 0
    watch.assert_all_gone()


def test_a_preload_that_hangs_holds_nobody(watch: Watch, tmp_path: Path) -> None:
    """The start is late after its time, and the program ends at once."""
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(50)\n")
    script = """
sys.path.insert(0, GIVEN["folder"])
start = time.monotonic()
said = outcome(lambda: spawn("tracer:die", preload=["hangs"], start_timeout=1.0))
say(said=said, took=time.monotonic() - start, launchers=launchers())
"""
    host = watch.host(script, folder=str(tmp_path))
    line = host.hear_line("said")
    since = time.monotonic()
    watch.add(*line["launchers"])
    assert line["said"][0] == "StartError"
    assert "start_timeout" in line["said"][1]
    assert "preload" in line["said"][1]
    assert line["took"] < 5
    assert host.exit_code() == 0
    watch.assert_all_gone()
    assert time.monotonic() - since < 5

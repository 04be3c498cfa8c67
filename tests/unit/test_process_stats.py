"""Reading what the kernel says of processes: the parsers, and processes that are gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from piactors._platform import process_stats

AFTER_NAME = (
    " S 25359 25359 23861 0 -1 4194304 99 0 0 0 150 50 30 20 20 0 7 0 2340384 3133440 359 18446744073709551615 "
    "94911469211648 94911469231529 140736326340352 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n"
)
NAMES = ["cat", "a b", ") R 1", "((", "))", ") S 1 2 3 (", "", "\udcff\n", "tab\tnewline\n"]
GONE = 2**22 + 1
"""No pid: more than Linux ever gives away."""


@pytest.fixture(params=["", "procfs"])
def portable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PIACTORS_PORTABLE", request.param)
    return str(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_may_be_anything(name: str) -> None:
    found = process_stats.parse_stat(os.fsencode(f"4711 ({name}){AFTER_NAME}"))
    assert found is not None
    ticks = os.sysconf("SC_CLK_TCK")
    assert (found.pid, found.ppid, found.state, found.threads) == (4711, 25359, "S", 7)
    assert (found.user, found.system, found.child_user, found.child_system) == (
        150 / ticks,
        50 / ticks,
        30 / ticks,
        20 / ticks,
    )
    assert (found.start_ticks, found.vms, found.rss) == (2340384, 3133440, 359 * os.sysconf("SC_PAGE_SIZE"))
    assert not found.has_ended


@pytest.mark.parametrize(
    "raw", [b"", b"()", b"1 (a)", b"x (a) S 1", b"1 (a) S 1 2 3", b"1 a S 1 2 3", b"1 (a" + AFTER_NAME.encode()]
)
def test_what_is_no_stat_is_none(raw: bytes) -> None:
    assert process_stats.parse_stat(raw) is None


def test_a_rollup_of_a_new_and_an_old_kernel() -> None:
    new = (
        b"55ea123d8000-7ffc502b8000 ---p 00000000 00:00 0                          [rollup]\n"
        b"Rss: 1000 kB\nPss: 600 kB\nPss_Dirty: 1 kB\nPss_Anon: 100 kB\nPss_File: 400 kB\nPss_Shmem: 30 kB\n"
        b"Private_Clean: 10 kB\nPrivate_Dirty: 20 kB\nPrivate_Hugetlb: 5 kB\nSwap: 9 kB\nSwapPss: 4 kB\n"
    )
    assert process_stats.parse_rollup(new) == (1000 << 10, 600 << 10, 35 << 10, 134 << 10)
    old = b"Rss: 1000 kB\nPss: 600 kB\nPrivate_Clean: 10 kB\nPrivate_Dirty: 20 kB\n"
    assert process_stats.parse_rollup(old) == (1000 << 10, 600 << 10, 30 << 10, 600 << 10)
    assert process_stats.parse_rollup(b"") == (0, None, None, None)


@pytest.mark.parametrize("pid", [GONE, -1, 2**70])
def test_a_process_that_is_gone_is_no_error(pid: int, portable: str) -> None:
    assert process_stats.stat(pid) is None
    assert process_stats.memory(pid) is None
    assert process_stats.resident(pid) == 0
    assert process_stats.cpu_clock(pid) is None
    assert process_stats.descriptors(pid) is None
    assert process_stats.transferred(pid) is None
    assert process_stats.children(pid) == []
    assert process_stats.tree(pid) == [pid]
    assert process_stats.command(pid) == ""


@pytest.mark.process
def test_one_that_has_ended_and_was_not_waited_for(portable: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        found = process_stats.stat(child.pid)
        assert found is None or found.has_ended
        memory = process_stats.memory(child.pid)
        assert memory is None or memory.rss == 0
        assert process_stats.resident(child.pid) == 0
        assert child.pid in process_stats.children(os.getpid())
        assert process_stats.tree(child.pid) == [child.pid]
        process_stats.descriptors(child.pid)
        process_stats.transferred(child.pid)
        assert len(process_stats.command(child.pid)) <= 200
    finally:
        child.communicate()


def test_this_process(portable: str) -> None:
    pid = os.getpid()
    found, memory = process_stats.stat(pid), process_stats.memory(pid)
    assert found is not None
    assert memory is not None
    assert (found.pid, found.ppid) == (pid, os.getppid())
    assert found.user + found.system == pytest.approx(time.process_time(), abs=0.2)
    assert time.time() - process_stats.started(found) < 24 * 3600
    assert process_stats.resident(pid) == pytest.approx(memory.rss, rel=0.2)
    if not portable and sys.platform == "linux":
        assert process_stats.cpu_clock(pid) == pytest.approx(time.process_time(), abs=0.2)


@pytest.mark.process
def test_a_command_line_is_short_and_on_one_line(portable: str) -> None:
    command = [sys.executable, "-c", "print(flush=True), input()", "one\ntwo\x1b[31m", "x" * 500]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        text = process_stats.command(child.pid)
        assert text.startswith(f"{sys.executable} -c print(flush=True), input() one?two?[31m xxx")
        assert len(text) == 200
    finally:
        child.communicate(b"\n")


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_kernel_agrees_about_an_odd_name(portable: str) -> None:
    code = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b') R 1 (x', 0, 0, 0); print('named', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"named\n"
        assert b"() R 1 (x)" in Path(f"/proc/{child.pid}/stat").read_bytes()
        found = process_stats.stat(child.pid)
        assert found is not None
        assert (found.pid, found.ppid) == (child.pid, os.getpid())
        assert found.rss > 1 << 20
    finally:
        child.communicate(b"\n")


def _chain(length: int) -> subprocess.Popen[bytes]:
    """Start a process that has a child that has a child, and so on."""
    code = (
        "import os, sys, time\n"
        f"for _ in range({length - 1}):\n"
        "    if os.fork():\n        break\n"
        "else:\n    print('ready', flush=True)\n"
        "try:\n    os.read(0, 1)\nexcept OSError:\n    pass\n"
        "try:\n    os.wait()\nexcept OSError:\n    pass\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


@pytest.mark.process
def test_a_tree_is_breadth_first_and_can_be_cut(portable: str) -> None:
    child = _chain(4)
    try:
        found = process_stats.tree(child.pid)
        assert len(found) == 4
        assert found[0] == child.pid
        assert found[1:2] == process_stats.children(child.pid)
        stats: list[Any] = [process_stats.stat(pid) for pid in found]
        assert [stat.ppid for stat in stats[1:]] == found[:-1]
        if not portable:
            assert process_stats.trees([child.pid], 2) == {child.pid: found[:3]}
    finally:
        child.communicate()


@pytest.mark.process
def test_readings_of_processes_that_end_meanwhile(portable: str) -> None:
    """A crowd that comes and goes: whatever is met of it, nothing raises, and what is told of it makes sense."""
    code = (
        "import os, time\n"
        "end = time.monotonic() + 1\n"
        "while time.monotonic() < end:\n"
        "    for _ in range(4):\n        os.fork() or os._exit(0)\n"
        "    for _ in range(4):\n        os.wait()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        while child.poll() is None:
            for pid in process_stats.tree(child.pid):
                assert _read(pid) in (None, pid)
    finally:
        child.wait()


def test_processes_of_others(portable: str) -> None:
    """Whatever may be read of the first process, and of a kernel thread if there are any, nothing raises."""
    assert _read(1) == 1
    assert _read(2) == (2 if psutil.pid_exists(2) else None)


def _read(pid: int) -> int | None:
    """Read all that there is to be read of a process, and return its pid as its state tells it."""
    found = process_stats.stat(pid)
    process_stats.memory(pid)
    process_stats.resident(pid)
    process_stats.descriptors(pid)
    process_stats.transferred(pid)
    process_stats.cpu_clock(pid)
    process_stats.command(pid)
    return None if found is None else found.pid

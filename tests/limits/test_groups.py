"""Control groups come and go with their processes: none is left, however an isolate, its host or launcher ends."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest

from piactors import IsolateRef, events
from tests.children.actors import Fragile
from tests.limits.mechanisms import (
    CGROUPS,
    PATIENCE,
    Record,
    exceeded,
    forced,
    group_folders,
    limited,
    pid_of,
    record,
)
from tests.orphans.support import CHILDREN, Host, Watch, end_by_pidfd, groups_can_be_made, watch
from tests.support import wait_until

__all__ = ["record", "watch"]

LIMITS: dict[str, Any] = {"max_memory": "256 MiB", "max_cpu": 1.5, "max_processes": 50}
WAYS = [("launcher", ""), ("spawn", ""), (None, "launcher")]
"""Start methods, and what is taken away."""
WITHIN = 2.0

memory_group = forced("max_memory", *CGROUPS)
ways = pytest.mark.parametrize(("start_method", "portable"), WAYS)


def own_groups(pid: int) -> set[Path]:
    """Return the folders of groups that were made for a process alone, not those of its launcher or host."""
    return {
        folder
        for folder in group_folders(pid).values()
        if "piactors-" in str(folder) and "launcher-" not in folder.name
    }


def host_folders(pid: int) -> list[str]:
    """Return all folders of groups of a host, wherever they are mounted."""
    name = re.compile(rf"piactors-\d+-{pid}-\d+")
    found = (os.path.join(at, one) for at, below, _ in os.walk("/sys/fs/cgroup") for one in below if name.match(one))
    return list(found)


def assert_gone(folders: Iterable[Path], within: float = WITHIN) -> None:
    wait_until(lambda: not [one for one in folders if one.exists()], within)


# One isolate


@pytest.mark.parametrize("start_method", ["launcher", "spawn"])
@pytest.mark.parametrize("way", ["stop", "terminate", "kill", "breach", "with children"])
def test_the_group_goes_with_the_isolate(memory_group: str, way: str, start_method: str) -> None:
    ref = limited(memory_group, options={"start_method": start_method}, **LIMITS)
    folders = own_groups(pid_of(ref))
    assert folders
    assert all(folder.exists() for folder in folders)
    if way == "with children":
        ref.proxy().fork_bomb(5).get(timeout=PATIENCE)
        ref.proxy().take_in_grandchild(1, 100.0, True).get(timeout=PATIENCE)
    end(ref, way)
    assert_gone(folders)


def end(ref: IsolateRef, way: str) -> None:
    if way in ("stop", "with children"):
        ref.stop(timeout=PATIENCE)
    elif way == "terminate":
        ref.terminate()
    elif way == "kill":
        os.kill(pid_of(ref), signal.SIGKILL)
        ref.wait_for_exit(PATIENCE)
    else:
        exceeded(ref.proxy().take("bytearray", 800))
        ref.wait_for_exit(PATIENCE)


def test_each_generation_has_a_group_of_its_own(memory_group: str, record: Record) -> None:
    ref = limited(memory_group, options={"restart": "permanent"}, **LIMITS)
    first = own_groups(pid_of(ref))
    os.kill(pid_of(ref), signal.SIGKILL)
    record.wait(events.IsolateStarted, ref, 2)
    second = own_groups(ref.proxy().pid().get(timeout=PATIENCE))
    assert second
    assert not first & second
    assert_gone(first)
    ref.stop()
    assert_gone(second)


def test_descendants_are_in_the_group(memory_group: str) -> None:
    ref = limited(memory_group, **LIMITS)
    pid = pid_of(ref)
    pids = [
        ref.proxy().sleeping_child().get(timeout=PATIENCE),
        ref.proxy().take_in_grandchild(1, 100.0, True).get(timeout=PATIENCE),
    ]
    assert [own_groups(one) for one in pids] == [own_groups(pid)] * 2
    ref.stop()


def test_many_isolates_come_and_go(memory_group: str) -> None:
    refs = [limited(memory_group, **LIMITS) for _ in range(8)]
    groups = [own_groups(pid_of(ref)) for ref in refs]
    assert len(set.union(*groups)) == sum(map(len, groups))
    for ref in refs:
        ref.terminate()
    assert_gone(set.union(*groups))


# The host


SCRIPT = f"""
from piactors import IsolationLimits
limits = IsolationLimits(**GIVEN["limits"], mechanisms=GIVEN["mechanism"], strict=True)
ref = spawn("{CHILDREN}/hogs.py:Hog", limits=limits)
child = ref.proxy().sleeping_child().get(timeout=20)
say(pid=ref.pid, child=child, launchers=launchers())
wait_for_go()
if GIVEN.get("stop"):
    ref.stop()
"""


def host_with_groups(
    watch: Watch, mechanism: str, start_method: str | None, portable: str, **given: Any
) -> tuple[Host, dict[str, Any]]:
    """Start a host with an isolate in groups, and check that these are there."""
    host = watch.host(
        SCRIPT,
        start_method=start_method,
        mechanism=mechanism,
        limits=LIMITS,
        env={"PIACTORS_PORTABLE": portable},
        **given,
    )
    line = host.hear_line("pid")
    watch.add_tree(host.pid)
    watch.add(line["pid"], line["child"], *line["launchers"])
    assert own_groups(line["pid"]) == own_groups(line["child"]) != set()
    assert host_folders(host.pid)
    assert bool(line["launchers"]) == (not portable)
    return host, line


@ways
@pytest.mark.parametrize("stop", [False, True], ids=["at the host's exit", "by stop"])
def test_none_is_left_when_the_host_exits(
    watch: Watch, memory_group: str, start_method: str | None, portable: str, stop: bool
) -> None:
    host, _ = host_with_groups(watch, memory_group, start_method, portable, stop=stop)
    host.go_on()
    assert host.exit_code() == 0
    assert host_folders(host.pid) == []


@pytest.mark.parametrize(
    ("start_method", "number"),
    [("launcher", signal.SIGKILL), ("spawn", signal.SIGKILL), ("launcher", signal.SIGTERM)],
)
def test_the_launcher_removes_them_after_the_host_died(
    watch: Watch, memory_group: str, start_method: str, number: int
) -> None:
    host, _ = host_with_groups(watch, memory_group, start_method, "")
    since = host.signal(number)
    watch.assert_all_gone(since=since)
    wait_until(lambda: not host_folders(host.pid), WITHIN)


@pytest.mark.alone  # any host that comes meanwhile would be the next one
@ways
def test_the_next_host_removes_what_nobody_could(
    watch: Watch, memory_group: str, start_method: str | None, portable: str
) -> None:
    """Host and launcher are killed together; the groups stay until another host comes, which also ends who is in them.

    Without a launcher, a child of the isolate outlives both.
    """
    host, line = host_with_groups(watch, memory_group, start_method, portable)
    for pid in [line["pid"], *line["launchers"]] if line["launchers"] else []:
        end_by_pidfd(pid, signal.SIGSTOP)  # else the launcher might clean up between the two, or the isolate wake it
    host.signal(signal.SIGKILL)
    for pid in line["launchers"]:
        end_by_pidfd(pid, signal.SIGKILL)
    host.exit_code()
    assert not watch.await_end([line["pid"], *line["launchers"]], PATIENCE)
    assert host_folders(host.pid)
    following, _ = host_with_groups(watch, memory_group, start_method, portable)
    wait_until(lambda: not host_folders(host.pid), WITHIN)
    assert not watch.await_end([line["child"]], WITHIN)
    assert host_folders(following.pid)
    following.go_on()
    assert following.exit_code() == 0
    assert host_folders(following.pid) == []


def test_a_living_host_keeps_its_groups(watch: Watch, memory_group: str) -> None:
    """Another host takes away what is left of dead ones alone."""
    first, line = host_with_groups(watch, memory_group, "launcher", "")
    groups = own_groups(line["pid"])
    second, _ = host_with_groups(watch, memory_group, "launcher", "", stop=True)
    second.go_on()
    assert second.exit_code() == 0
    assert all(folder.exists() for folder in groups)
    assert own_groups(line["pid"]) == groups
    first.go_on()
    assert first.exit_code() == 0
    assert host_folders(first.pid) == host_folders(second.pid) == []


def test_a_lost_launcher_leaves_no_groups(watch: Watch, memory_group: str) -> None:
    """The host cleans up after its launcher, and goes on with another one."""
    host, line = host_with_groups(watch, memory_group, "launcher", "")
    groups = own_groups(line["pid"])
    end_by_pidfd(line["launchers"][0], signal.SIGKILL)
    watch.await_end([line["pid"], line["child"]], PATIENCE)
    wait_until(lambda: not [one for one in groups if one.exists()], 10)
    host.go_on()
    assert host.exit_code() == 0
    assert host_folders(host.pid) == []


@pytest.mark.skipif(not groups_can_be_made(), reason="no control group can be made here")
def test_nothing_is_left_by_a_host_that_is_killed_after_its_launcher(watch: Watch) -> None:
    """It had no other launcher since, which would have cleaned up, and no other host comes for a while."""
    host = watch.host("""
ref = spawn("tracer:die")
say(launchers=launchers())
ref.wait_for_exit(20)
say(over=1)
sleep_for_ever()
""")
    (launcher,) = host.hear("launchers")
    end_by_pidfd(launcher, signal.SIGKILL)
    host.hear("over")
    host.signal(signal.SIGKILL)
    watch.assert_all_gone()
    assert host_folders(host.pid) == []


@pytest.mark.skipif(not groups_can_be_made(), reason="no control group can be made here")
def test_what_a_lost_launcher_had_for_itself_goes_at_once() -> None:
    """Not only with its host: one that loses launchers again and again would collect groups."""
    ref = Fragile.with_options(restart="permanent", max_restarts=None).start()
    launcher = psutil.Process(ref.pid).ppid()
    pens = {folder for folder in group_folders(launcher).values() if folder.name.startswith("launcher-")}
    assert pens
    os.kill(launcher, signal.SIGKILL)
    wait_until(lambda: ref.generation == 2 and ref.state == "running", PATIENCE)
    assert_gone(pens, PATIENCE)
    ref.stop()

"""Odd cases: isolates that are hosts themselves, controllers of both versions, ends in the middle of an end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pykka
import pytest

import piactors
from piactors import IsolationLimits, IsolationOptions, ProcessActor
from piactors._host.confiner import Confiner
from piactors._platform import process_stats
from piactors._platform.limits import cgroups
from piactors._platform.limits.cgroup_v2 import _is_delegated
from tests.limits.mechanisms import CGROUPS, PATIENCE, forced
from tests.support import wait_until

pytestmark = pytest.mark.timeout(60, method="signal")
memory_group = forced("max_memory", *CGROUPS)
by_any = forced("max_memory", *CGROUPS, "monitor")


class Nested(ProcessActor):
    """An isolate that is a host itself."""

    def start_another(self) -> list[str]:
        """Start an isolate with limits in this one; return the folders of its host's groups."""
        limits = IsolationLimits(max_memory="100 MiB", max_processes=50)
        self.inner = piactors.spawn("builtins:print", options=IsolationOptions(limits=limits))
        return [folder for folder in cgroups.possible_bases() if os.path.isdir(folder)]


class Greedy(ProcessActor):
    """Takes memory without end before it is ready."""

    def on_start(self) -> None:
        """Take too much."""
        taken = []
        while True:
            taken.append(b"x" * (1 << 20))


class Leaving(ProcessActor):
    """Stops itself, and does something forbidden in its last hook."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def leave(self) -> None:
        """Stop this actor."""
        self.stop()

    def on_stop(self) -> None:
        """Take too much, or die."""
        taken = []
        while self.how == "take":
            taken.append(b"x" * (1 << 20))
        os.kill(os.getpid(), signal.SIGKILL)


def test_groups_in_the_group_of_an_isolate_go_with_it(memory_group: str) -> None:
    limits = IsolationLimits(max_memory="300 MiB", max_processes=100, mechanisms=memory_group)
    ref = Nested.with_options(limits=limits).start()
    inner = ref.proxy().start_another().get(timeout=PATIENCE)
    assert inner
    ref.terminate()
    wait_until(lambda: not any(map(os.path.isdir, inner)))


@pytest.mark.parametrize("how", ["take", "die"])
def test_what_breaks_a_limit_in_its_last_hook_stays_down(by_any: str, how: str) -> None:
    """Its ref has been let go of by then: a next generation could not be reached by anybody."""
    limits = IsolationLimits(max_memory="100 MiB", mechanisms=by_any)
    ref = Leaving.with_options(limits=limits, restart="transient").start(how)
    ref.proxy().leave().get(timeout=PATIENCE)
    reason = ref.wait_for_exit(PATIENCE)
    assert reason is not None
    assert reason.kind == ("limit" if how == "take" else "signaled")
    assert (ref.state, ref.pid, ref.generation) == ("stopped", None, 1)
    assert ref not in pykka.ActorRegistry.get_all()


def test_a_host_within_a_group_of_another_host_makes_none_beside_it(tmp_path: Path) -> None:
    """There its isolates would not count for the isolate that has started them."""
    assert _is_delegated(str(tmp_path)) == (os.geteuid() != 0 or not os.path.exists("/run/systemd/system"))
    base = tmp_path / "piactors-4026531836-123-456"
    base.mkdir()
    assert not _is_delegated(str(base))


def test_a_host_that_cannot_be_looked_at_is_not_taken_for_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no descriptor left to read with must not end what another host runs."""
    base = tmp_path / cgroups.base_name()
    (base / "leaf").mkdir(parents=True)
    monkeypatch.setattr(process_stats, "stat", lambda pid: None)
    cgroups.remove_stale(str(tmp_path))
    assert base.is_dir()


STRANGER = """
import subprocess
from piactors import IsolationLimits, ProcessActor

class Burner(ProcessActor):
    def start_stranger(self):
        return subprocess.Popen(["sleep", "3"], user=65534, group=65534, extra_groups=[]).pid
    def burn(self, seconds):
        import time
        end = time.monotonic() + seconds
        while time.monotonic() < end: pass
        return "burnt"

sibling = Burner.start()
ref = Burner.with_options(limits=IsolationLimits(max_cpu=0.3, mechanisms="monitor")).start()
ref.proxy().start_stranger().get(timeout=20)
print(ref.proxy().burn(0.5).get(timeout=20))
print(ref.terminate(10).kind, sibling.proxy().burn(0).get(timeout=20))
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, and setpriv")
def test_a_descendant_of_another_user_harms_nobody(tmp_path: Path) -> None:
    """It may neither be stopped nor killed, by a host without that right; all else goes on."""
    script = tmp_path / "host.py"
    script.write_text(STRANGER)
    command = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill", sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.stdout.splitlines() == ["burnt", "killed burnt"], done.stderr


class FakeMaker:
    """Holds one limit, in a group that is a plain folder."""

    def __init__(self, name: str, limit: str, folder: Path) -> None:
        self.name, self.scopes, self._limit, self._folder = name, {limit: "tree"}, limit, folder
        self.refuses = False

    def why_not(self, limit: str, limits: IsolationLimits) -> str | None:
        return None if limit == self._limit else "another one does"

    def orders(self, limits: IsolationLimits, mine: Collection[str]) -> dict[str, Any]:
        return {}

    def make(self, label: str, limits: IsolationLimits, mine: Collection[str]) -> Any:
        if self.refuses:
            raise OSError("no room")
        self._folder.mkdir()
        return FakeGroup(str(self._folder))


class FakeGroup:
    def __init__(self, folder: str) -> None:
        self.folders = (folder,)

    def remove(self) -> bool:
        return cgroups.remove(self.folders)


def test_controllers_of_both_versions_are_joined(tmp_path: Path) -> None:
    """A process joins the groups of both, and both are removed; where one cannot be made, none is left."""
    second = FakeMaker("cgroup v1", "max_processes", tmp_path / "one")
    confiner = Confiner()
    confiner._makers = (FakeMaker("cgroup v2", "max_memory", tmp_path / "two"), second)  # type: ignore[assignment]
    confiner._mechanisms.update({maker.name: maker for maker in confiner._makers})
    plan = confiner.plan(IsolationLimits(max_memory="1 GiB", max_processes=50))
    assert {name: found.mechanism for name, found in plan.enforcement.items()} == {
        "max_memory": "cgroup v2",
        "max_processes": "cgroup v1",
    }
    made = confiner.confine(plan, "x")
    assert made.orders["join"] == [str(tmp_path / "two"), str(tmp_path / "one")]
    assert made.group is not None
    assert made.group.remove()
    second.refuses = True
    with pytest.raises(OSError, match="no room"):
        confiner.confine(plan, "x")
    assert list(tmp_path.iterdir()) == []


def test_a_limit_that_is_broken_in_the_start_says_so(by_any: str) -> None:
    limits = IsolationLimits(max_memory="100 MiB", mechanisms=by_any)
    with pytest.raises(piactors.StartError, match="max_memory") as caught:
        Greedy.with_options(limits=limits).start()
    assert caught.value.reason is not None
    assert caught.value.reason.kind == "limit"

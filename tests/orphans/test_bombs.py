"""What forks for ever ends as everything else does: at a kill, a time-out, and the death of its host."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orphans.support import PATIENCE, WITHIN, Watch, groups_can_be_made, time_limit, wait_until, watch

__all__ = ["watch"]
pytestmark = time_limit

KINDS = ("deaf", "daemons", "bare", "runner")
SLOTS = 8
"""As in `children/py`."""

MANY = 5
"""Processes from which on a bomb burns."""

BURN = """
from piactors import IsolationLimits
from piactors._host import runtime
def burn(kind, **fields):
    ref = spawn("bombs:burn", restart="temporary", **fields)
    return ref, ref.proxy().call(kind, GIVEN["files"][kind])
"""


class Fuse:
    """The file of one bomb."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"x" * SLOTS)

    def burning(self) -> int:
        """Return how many processes of the bomb live, but for the first one."""
        with self.path.open("r+b") as file:
            return sum(not _is_free(file.fileno(), place) for place in range(SLOTS))

    def await_burning(self, count: int) -> None:
        """Wait until it burns."""
        deadline = time.monotonic() + PATIENCE
        while self.burning() < count:
            assert time.monotonic() < deadline, (self.path.name, self.burning())
            time.sleep(0.01)


def _is_free(fd: int, place: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except OSError:
        return False
    fcntl.lockf(fd, fcntl.LOCK_UN, 1, place)
    return True


@pytest.fixture
def fuses(tmp_path: Path) -> Iterator[dict[str, Fuse]]:
    """A file for each kind; whatever becomes of the test, nothing burns after it."""
    files = {kind: Fuse(tmp_path / kind) for kind in KINDS}
    try:
        yield files
    finally:
        for fuse in files.values():
            with contextlib.suppress(OSError):
                os.truncate(fuse.path, 0)
        wait_until(lambda: not any(fuse.burning() for fuse in files.values()))


def assert_out(fuses: dict[str, Fuse], since: float, within: float = WITHIN) -> None:
    """Fail if anything burns `within` seconds after `since`."""
    while (left := {kind: fuse.burning() for kind, fuse in fuses.items() if fuse.burning()}) and (
        time.monotonic() < since + within
    ):
        time.sleep(0.002)
    assert not left


MEANS = {
    "groups": {},
    "looking": {"PIACTORS_PORTABLE": "pen,cgroup-v1,cgroup-v2"},
}


@pytest.mark.parametrize(
    ("end", "means"),
    [("host", "groups"), ("host", "looking"), ("terminate", "groups"), ("terminate", "looking"), ("timeout", "groups")],
)
def test_a_bomb_of_each_kind_ends(watch: Watch, fuses: dict[str, Fuse], end: str, means: str) -> None:
    """All burn at once; a kill, a time-out or the host's death ends them, and calls have their outcomes."""
    script = f"""{BURN}
limits = IsolationLimits(max_processes=20) if GIVEN["limited"] else None
timeout = 4.0 if GIVEN["end"] == "timeout" else None
burning = [burn(kind, limits=limits, call_timeout=timeout) for kind in GIVEN["files"]]
say(ready=1)
wait_for_go()
if GIVEN["end"] == "terminate":
    for ref, _ in burning:
        ref._isolate.terminate()
if GIVEN["end"] != "host":
    say(outcomes=[outcome(lambda: call.get(timeout=20))[0] for _, call in burning], ended=time.monotonic())
    say(kinds=[ref.wait_for_exit(20).kind for ref, _ in burning])
sleep_for_ever()
"""
    files = {kind: str(fuse.path) for kind, fuse in fuses.items()}
    host = watch.host(script, env=MEANS[means], files=files, end=end, limited=means == "groups")
    host.hear("ready")
    for kind, fuse in fuses.items():
        fuse.await_burning(1 if kind == "runner" else MANY)
    watch.add_tree(host.pid)
    if end == "host":
        since = host.signal(signal.SIGKILL)
        assert_out(fuses, since)
        watch.assert_all_gone()
        return
    host.go_on()
    line = host.hear_line("outcomes")
    assert set(line["outcomes"]) == {"IsolateCrashed" if end == "terminate" else "CallTimeout"}
    host.hear("kinds")
    assert_out(fuses, time.monotonic(), 0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_ends_with_its_launcher(watch: Watch, fuses: dict[str, Fuse], kind: str) -> None:
    """The host finds and ends it, if the launcher is killed alone."""
    if kind == "bare" and not groups_can_be_made():
        pytest.skip("no control group can be made here, and it has no mark")
    script = f"""{BURN}
ref, call = burn(GIVEN["kind"])
say(launchers=launchers())
say(outcome=outcome(lambda: call.get(timeout=20))[0])
sleep_for_ever()
"""
    env = {"PIACTORS_PORTABLE": ""} if kind == "bare" else {"PIACTORS_PORTABLE": "pen"}
    host = watch.host(script, env=env, files={kind: str(fuses[kind].path)}, kind=kind)
    (launcher,) = host.hear("launchers")
    fuses[kind].await_burning(1 if kind == "runner" else MANY)
    os.kill(launcher, signal.SIGKILL)
    assert host.hear("outcome") == "IsolateCrashed"
    assert_out(fuses, time.monotonic(), 0.2)


def test_without_a_launcher_a_bomb_ends_too(watch: Watch, fuses: dict[str, Fuse]) -> None:
    """Held by nothing but the monitor, which ends it, as a child of the host."""
    script = f"""{BURN}
limits = IsolationLimits(max_processes=12, mechanisms="monitor")
ref, call = burn("deaf", limits=limits)
say(outcome=outcome(lambda: call.get(timeout=20))[0], kind=ref.wait_for_exit(20).kind)
sleep_for_ever()
"""
    env = {"PIACTORS_PORTABLE": "launcher,pidfd,pen,cgroup-v1,cgroup-v2"}
    host = watch.host(script, env=env, files={"deaf": str(fuses["deaf"].path)})
    line = host.hear_line("outcome")
    assert line == {"outcome": "LimitExceeded", "kind": "limit"}
    assert_out(fuses, time.monotonic(), 0.2)

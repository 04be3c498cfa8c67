"""A control group around a launcher and all that it ever starts.

Nothing is limited by it.  It is there for the day on which a launcher is killed alone: what its
isolates have started, daemons with an environment of their own among it, is then found here and
killed.  Where no group can be made, the mark in the environment has to do (see `markers`).
"""

from __future__ import annotations

import os
import time

from piactors._platform import pidfd, taken_away
from piactors._platform.identity import Identity
from piactors._platform.limits import cgroups

_HIERARCHIES = ("freezer", "pids", "systemd", "memory", "cpu")
_ROUND = 0.01


def make() -> str | None:
    """Return the folder of a new group beneath the host's own one, or None where none can be made."""
    if taken_away("pen"):
        return None
    paths = cgroups.own_paths()
    for mount in sorted(cgroups.mounts(), key=_rank):
        path = paths.get("" if mount.kind == "cgroup2" else _controller(mount))
        own = None if path is None else cgroups.own_folder(mount, path)
        if own is None or _rank(mount) > len(_HIERARCHIES):
            continue
        try:
            folder = os.path.join(cgroups.make_base(own), cgroups.leaf_name("launcher"))
            os.mkdir(folder)
            return folder
        except OSError:
            continue
    return None


def _rank(mount: cgroups.Mount) -> int:
    if mount.kind == "cgroup2":
        return 0
    ranks = [rank for rank, name in enumerate(_HIERARCHIES, 1) if {name, f"name={name}"} & mount.options]
    return min(ranks, default=len(_HIERARCHIES) + 1)


def _controller(mount: cgroups.Mount) -> str:
    return next(
        (name for known in _HIERARCHIES for name in (known, f"name={known}") if name in mount.options), "(none)"
    )


def kill_all(folders: list[str], seconds: float) -> list[int]:
    """Kill whatever is in these groups until nothing is, for at most `seconds`; return the pids of what is left."""
    deadline = time.monotonic() + seconds
    while True:
        left = [pid for folder in folders for pid in _kill(folder)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(_ROUND)  # the kernel says nothing when a group runs empty


def _kill(folder: str) -> list[int]:
    """Kill the processes of one group once; return those that were there."""
    found = cgroups.members(folder)
    try:
        if found:
            cgroups.write(folder, "cgroup.kill", 1)  # all at once, and what they are just forking with them
            return found
    except OSError:
        pass
    for pid in found:
        _kill_member(pid, folder)
    return found


def _kill_member(pid: int, folder: str) -> None:
    process = pidfd.open_pid(pid)
    identity = Identity.of(pid) if process < 0 else None
    try:
        if pid not in cgroups.members(folder):
            return  # it has ended, and the number may be somebody else's by now
        if process >= 0:
            pidfd.kill(process)
        elif identity is not None:
            identity.kill()
    finally:
        if process >= 0:
            os.close(process)

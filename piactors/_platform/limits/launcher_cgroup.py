"""A control group around a launcher and all that it ever starts.

Nothing is limited by it.  It is there for the case that a launcher alone is killed: what its
isolates have started, daemons with an environment of their own among it, is then found here and
killed.  If no group can be made, the mark in the environment has to suffice (see `markers`).
"""

from __future__ import annotations

import os

from piactors._platform import taken_away
from piactors._platform.limits import cgroups

_HIERARCHIES = ("freezer", "pids", "systemd", "memory", "cpu")


def make() -> str | None:
    """Return the folder of a new group beneath the host's own one, or None if none can be made."""
    if taken_away("pen"):
        return None
    for base in cgroups.possible_bases():  # of hosts that used another hierarchy as well
        cgroups.remove_stale(os.path.dirname(base))
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

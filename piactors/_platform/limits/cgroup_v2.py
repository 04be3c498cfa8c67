"""Control groups, version 2: one folder per isolate, in a subtree that may be divided further.

A group that has processes of its own cannot hand controllers down, unless it is the root.  So the
groups are made beneath the host's own group only if that is possible, and otherwise beside it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from typing import Any

from piactors._platform import taken_away
from piactors._platform.limits import cgroups
from piactors.limits import IsolationLimits, Scope
from piactors.pihost.process import confine

_CONTROLLERS = {"max_memory": "memory", "max_cpu": "cpu", "max_processes": "pids"}
_FILES = {"memory": "memory.max", "cpu": "cpu.max", "pids": "pids.max"}
_PERIOD = 100_000
"""Microseconds of the periods in which a share of the processors is counted."""


class GroupV2:
    """A control group of version 2: one folder."""

    def __init__(self, folder: str) -> None:
        self.folders = (folder,)
        self._folder = folder

    def memory_charged(self) -> int | None:
        """Bytes charged to it, cached files included; None if it does not count memory."""
        return cgroups.number(self._folder, "memory.current")

    def memory_used(self) -> int | None:
        """Bytes in use that the kernel cannot simply drop; None if it does not count memory."""
        charged = self.memory_charged()
        if charged is None:
            return None
        stat = cgroups.fields(self._folder, "memory.stat")
        return max(0, charged - stat.get("active_file", 0) - stat.get("inactive_file", 0))

    def memory_peak(self) -> int | None:
        """The most bytes that were charged to it at once."""
        return cgroups.number(self._folder, "memory.peak")

    def cpu_seconds(self) -> float | None:
        """CPU time of all its processes, those that have ended included; None if it does not count that."""
        found = cgroups.fields(self._folder, "cpu.stat").get("usage_usec")
        return None if found is None else found / 1e6

    def memory_kills(self) -> int:
        """How many of its processes the kernel has killed for memory."""
        return cgroups.fields(self._folder, "memory.events").get("oom_kill", 0)

    def refused_tasks(self) -> int:
        """How often a process or thread was refused."""
        return cgroups.fields(self._folder, "pids.events").get("max", 0)

    def members(self) -> list[int]:
        """The pids of its processes."""
        return cgroups.members(self._folder)

    def let_run(self) -> None:
        """No longer hold it to its share of the processors."""
        with contextlib.suppress(OSError):
            cgroups.write(self._folder, "cpu.max", "max")

    def remove(self) -> bool:
        """Let go of it; False if processes are left in it."""
        return cgroups.remove(self.folders)


class CgroupV2:
    """Makes groups of version 2, below the one that the host is in."""

    name = "cgroup v2"
    scopes: Mapping[str, Scope] = dict.fromkeys(_CONTROLLERS, "tree")

    def __init__(self) -> None:
        self._base: str | None = None
        self._missing: dict[str, str] | None = None

    @property
    def bases(self) -> Collection[str]:
        """The folders in which it makes groups, as far as it has looked for them."""
        return [] if self._base is None else [self._base]

    def why_not(self, rule: str, wanted: IsolationLimits) -> str | None:
        """Return why this version of cgroups has not the controller of a limit here, or None."""
        if self._missing is None:
            self._missing = self._probe()
        return self._missing.get(_CONTROLLERS[rule])

    def orders(self, wanted: IsolationLimits, rules: Collection[str]) -> dict[str, Any]:
        """Nothing: the confiner has the process join the folders of its group."""
        return {}

    def make(self, label: str, limits: IsolationLimits, mine: Collection[str]) -> GroupV2:
        """Make a group with these limits."""
        assert self._base is not None
        folder = os.path.join(self._base, cgroups.leaf_name(label))
        os.mkdir(folder)
        try:
            self._limit(folder, limits, mine)
        except OSError:
            cgroups.remove([folder])
            raise
        return GroupV2(folder)

    @staticmethod
    def _limit(folder: str, limits: IsolationLimits, mine: Collection[str]) -> None:
        if "max_memory" in mine:
            cgroups.write(folder, "memory.max", limits.max_memory)
            for name, value in (("memory.swap.max", 0), ("memory.oom.group", 1)):
                with contextlib.suppress(OSError):  # kernels without swap, and old ones
                    cgroups.write(folder, name, value)
        if "max_cpu" in mine:
            assert limits.max_cpu is not None
            cgroups.write(folder, "cpu.max", f"{cgroups.quota(limits.max_cpu, _PERIOD)} {_PERIOD}")
        if "max_processes" in mine:
            cgroups.write(folder, "pids.max", cgroups.most_tasks(limits.max_processes))

    def close(self) -> None:
        """Remove what was made, as far as it is empty."""
        confine.remove_groups([*self.bases])
        self._base = self._missing = None

    # Probing

    def _probe(self) -> dict[str, str]:
        """Find a place for groups; return which controllers are missing there, and why."""
        if taken_away("cgroup-v2"):
            return dict.fromkeys(_FILES, "taken away by PIACTORS_PORTABLE")
        mount = next((mount for mount in cgroups.mounts() if mount.kind == "cgroup2"), None)
        path = cgroups.own_paths().get("")
        if mount is None or path is None:
            return dict.fromkeys(_FILES, "not mounted")
        own = cgroups.own_folder(mount, path)
        if own is None:
            return dict.fromkeys(_FILES, f"the host's own group {path} lies outside {mount.folder}")
        places = [own, *([os.path.dirname(own)] if own != mount.folder else [])]
        missing = dict.fromkeys(_FILES, "")
        for place in places:
            missing = self._try(place, own)
            if len(missing) < len(_FILES):
                return missing
        return missing

    def _try(self, place: str, own: str) -> dict[str, str]:
        if place != own and not _is_delegated(place):
            return dict.fromkeys(_FILES, f"the host's group {own} has processes, and its parent is not delegated")
        absent = {
            name: f"{place} does not have the controller {name}"
            for name in set(_FILES) - set(cgroups.read(place, "cgroup.controllers").split())
        }
        if len(absent) == len(_FILES):
            return absent
        base = None
        try:
            _enable(place, set(_FILES) - set(absent))
            base = cgroups.make_base(place)
            _enable(base, set(_FILES) - set(absent))
            leaf = os.path.join(base, cgroups.leaf_name("trial"))
            os.mkdir(leaf)
            cgroups.try_joining([leaf])
        except OSError as error:
            confine.remove_groups([base] if base is not None else [])
            return dict.fromkeys(_FILES, f"no groups can be made in {place}: {error}")
        absent.update(
            {
                name: f"{place} does not hand down the controller {name}"
                for name, file in _FILES.items()
                if name not in absent and not os.path.exists(os.path.join(leaf, file))
            }
        )
        cgroups.remove([leaf])
        self._base = base
        return absent


def _enable(folder: str, controllers: set[str]) -> None:
    """Hand controllers down to the groups in a folder, as far as they are not."""
    for controller in controllers - set(cgroups.read(folder, "cgroup.subtree_control").split()):
        cgroups.write(folder, "cgroup.subtree_control", f"+{controller}")


def _is_delegated(folder: str) -> bool:
    """Whether the administrator has left a group to us: by its owner, by its mark, or as the root of all."""
    if cgroups.is_inside_base(folder) or not os.access(folder, os.W_OK):
        return False  # beside an isolate that is itself a host, its own isolates would escape its limits
    for mark in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError, AttributeError):
            return os.getxattr(folder, mark) == b"1"
    return os.geteuid() != 0 or not os.path.exists("/run/systemd/system")

"""Control groups, version 1: a hierarchy per controller, and a group of the isolate in each that it needs."""

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
_FILES = {"memory": "memory.limit_in_bytes", "cpu": "cpu.cfs_quota_us", "pids": "pids.max"}
_ACCOUNTING = "cpuacct"
_PERIOD = 100_000


class GroupV1:
    """A control group of version 1: a folder per controller, some of which may be the same."""

    def __init__(self, folders: dict[str, str]) -> None:
        self.folders = tuple(dict.fromkeys(folders.values()))
        self._folders = folders

    def memory_charged(self) -> int | None:
        """Bytes charged to it, cached files included; None if it does not count memory."""
        return self._number("memory", "memory.usage_in_bytes")

    def memory_used(self) -> int | None:
        """Bytes in use that the kernel cannot simply drop; None if it does not count memory."""
        charged = self.memory_charged()
        if charged is None:
            return None
        stat = cgroups.fields(self._folders["memory"], "memory.stat")
        return max(0, charged - stat.get("total_active_file", 0) - stat.get("total_inactive_file", 0))

    def memory_peak(self) -> int | None:
        """The most bytes that were charged to it at once."""
        return self._number("memory", "memory.max_usage_in_bytes")

    def cpu_seconds(self) -> float | None:
        """CPU time of all its processes, those that have ended included; None if it does not count that."""
        found = self._number(_ACCOUNTING, "cpuacct.usage")
        return None if found is None else found / 1e9

    def memory_kills(self) -> int:
        """How many of its processes the kernel has killed for memory."""
        folder = self._folders.get("memory")
        return 0 if folder is None else cgroups.fields(folder, "memory.oom_control").get("oom_kill", 0)

    def refused_tasks(self) -> int:
        """How often a process or thread was refused."""
        folder = self._folders.get("pids")
        return 0 if folder is None else cgroups.fields(folder, "pids.events").get("max", 0)

    def members(self) -> list[int]:
        """The pids of its processes."""
        return sorted({pid for folder in self.folders for pid in cgroups.members(folder)})

    def let_run(self) -> None:
        """No longer hold it to its share of the processors."""
        with contextlib.suppress(OSError, KeyError):
            cgroups.write(self._folders["cpu"], "cpu.cfs_quota_us", -1)

    def remove(self) -> bool:
        """Let go of it; False if processes are left in it."""
        return cgroups.remove(self.folders)

    def _number(self, controller: str, name: str) -> int | None:
        folder = self._folders.get(controller)
        return None if folder is None else cgroups.number(folder, name)


class CgroupV1:
    """Makes groups of version 1, below those that the host is in."""

    name = "cgroup v1"
    scopes: Mapping[str, Scope] = dict.fromkeys(_CONTROLLERS, "tree")

    def __init__(self) -> None:
        self._bases: dict[str, str] = {}
        self._missing: dict[str, str | None] = {}

    @property
    def bases(self) -> Collection[str]:
        """The folders in which it makes groups, as far as it has looked for them."""
        return set(self._bases.values())

    def why_not(self, rule: str, wanted: IsolationLimits) -> str | None:
        """Return why this version of cgroups has not the controller of a limit here, or None."""
        return self._why_no(_CONTROLLERS[rule])

    def _why_no(self, controller: str) -> str | None:
        if controller not in self._missing:
            self._missing[controller] = self._probe(controller)
        return self._missing[controller]

    def orders(self, wanted: IsolationLimits, rules: Collection[str]) -> dict[str, Any]:
        """Nothing: the confiner has the process join the folders of its group."""
        return {}

    def make(self, label: str, limits: IsolationLimits, mine: Collection[str]) -> GroupV1:
        """Make a group with these limits."""
        wanted = [_CONTROLLERS[limit] for limit in mine]
        if self._why_no(_ACCOUNTING) is None:
            wanted.append(_ACCOUNTING)
        name = cgroups.leaf_name(label)
        folders = {controller: os.path.join(self._bases[controller], name) for controller in wanted}
        try:
            for folder in dict.fromkeys(folders.values()):
                os.mkdir(folder)
            self._limit(folders, limits)
        except OSError:
            cgroups.remove(list(folders.values()))
            raise
        return GroupV1(folders)

    @staticmethod
    def _limit(folders: dict[str, str], limits: IsolationLimits) -> None:
        if "memory" in folders:
            cgroups.write(folders["memory"], "memory.limit_in_bytes", limits.max_memory)
            with contextlib.suppress(OSError):  # kernels that do not count swap
                cgroups.write(folders["memory"], "memory.memsw.limit_in_bytes", limits.max_memory)
        if "cpu" in folders:
            assert limits.max_cpu is not None
            cgroups.write(folders["cpu"], "cpu.cfs_period_us", _PERIOD)
            cgroups.write(folders["cpu"], "cpu.cfs_quota_us", cgroups.quota(limits.max_cpu, _PERIOD))
        if "pids" in folders:
            cgroups.write(folders["pids"], "pids.max", cgroups.most_tasks(limits.max_processes))

    def close(self) -> None:
        """Remove what was made, as far as it is empty."""
        confine.remove_groups([*self.bases])
        self._bases, self._missing = {}, {}

    def _probe(self, controller: str) -> str | None:
        if taken_away("cgroup-v1"):
            return "taken away by PIACTORS_PORTABLE"
        mount = next((m for m in cgroups.mounts() if m.kind == "cgroup" and controller in m.options), None)
        path = cgroups.own_paths().get(controller)
        if mount is None or path is None:
            return f"the controller {controller} is not mounted"
        own = cgroups.own_folder(mount, path)
        if own is None:
            return f"the host's own group {path} lies outside {mount.folder}"
        base = None
        try:
            base = cgroups.make_base(own)
            leaf = os.path.join(base, cgroups.leaf_name("trial"))
            os.mkdir(leaf)
            if controller in _FILES and not os.path.exists(os.path.join(leaf, _FILES[controller])):
                raise OSError(f"groups there have no {_FILES[controller]}")
            try:
                cgroups.try_joining([leaf])
            finally:
                cgroups.remove([leaf])
        except OSError as error:
            if base is not None and base not in self._bases.values():
                confine.remove_groups([base])
            return f"no groups can be made in {own}: {error}"
        self._bases[controller] = base
        return None

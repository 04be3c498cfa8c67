"""From limits to what enforces them: probing, choosing, and a group for each process that needs one."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

import attrs

from piactors._platform.confinement import Mechanism, choose
from piactors._platform.limits import cgroups, launcher_cgroup
from piactors._platform.limits.cgroup_v1 import CgroupV1
from piactors._platform.limits.cgroup_v2 import CgroupV2
from piactors._platform.limits.groups import Group, GroupMaker
from piactors._platform.limits.joined import JoinedGroups
from piactors._platform.limits.monitored import Monitored
from piactors._platform.limits.preferences import PREFERENCES
from piactors._platform.limits.rlimits import Rlimits
from piactors._platform.limits.scheduler import Scheduler
from piactors._text.record import ByAttributes
from piactors.limits import Enforcement, IsolationLimits
from piactors.pihost.process import confine


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Plan(ByAttributes):
    """What enforces the limits of an isolate, the same for all its generations."""

    limits: IsolationLimits
    enforcement: dict[str, Enforcement]

    @property
    def refusal(self) -> str | None:
        """Why an isolate with these limits must not start, or None if it may."""
        if not self.limits.strict or not self.missing:
            return None
        return "strict=True, and " + "; ".join(map(str, self.missing))

    @property
    def missing(self) -> list[Enforcement]:
        """The limits that nothing enforces."""
        return [found for found in self.enforcement.values() if found.mechanism is None]

    def by(self, mechanism: str) -> list[str]:
        """Return the limits that a mechanism enforces."""
        return [limit for limit, found in self.enforcement.items() if found.mechanism == mechanism]


@attrs.frozen(eq=False, repr=False)
class Confinement(ByAttributes):
    """What one process is confined by.

    Attributes:
        orders: what it does to itself before it runs anything else (see `piactors.pihost.process.confine`).
        group: its control group, or None.
    """

    orders: dict[str, Any] = attrs.field(factory=dict)
    group: Group | None = None


class Confiner:
    """Knows what works on this machine, and holds the groups of this host.  Its methods work from any thread."""

    def __init__(self) -> None:
        self._makers: tuple[GroupMaker, ...] = (CgroupV2(), CgroupV1())
        mechanisms: list[Mechanism[IsolationLimits]] = [*self._makers, Monitored(), Rlimits(), Scheduler()]
        self._mechanisms = {mechanism.name: mechanism for mechanism in mechanisms}
        self._launcher_cgroups: set[str] = set()
        self._bases: set[str] = set()
        self._lock = threading.Lock()  # mechanisms keep what they have found out, and isolates start on any thread

    def plan(self, limits: IsolationLimits) -> Plan:
        """Find out what can enforce these limits here."""
        with self._lock:
            return Plan(limits=limits, enforcement=choose(limits, self._mechanisms, PREFERENCES))

    def confine(self, plan: Plan, label: str) -> Confinement:
        """Make what one process needs.

        Raises:
            OSError: if a group cannot be made.
        """
        orders: dict[str, Any] = {}
        group = self._make_group(plan, label)
        if group is not None:
            orders["join"] = list(group.folders)
        for name, mechanism in self._mechanisms.items():
            orders.update(mechanism.orders(plan.limits, plan.by(name)))
        return Confinement(orders, group)

    def _make_group(self, plan: Plan, label: str) -> Group | None:
        groups: list[Group] = []
        with self._lock:
            try:
                for maker in self._makers:
                    if mine := plan.by(maker.name):
                        groups.append(maker.make(label, plan.limits, mine))
            except OSError:
                for group in groups:
                    group.remove()
                raise
        return JoinedGroups(groups) if len(groups) > 1 else groups[0] if groups else None

    def launcher_cgroup(self) -> str | None:
        """Return a new group for a launcher, or None if none can be made."""
        with self._lock:
            folder = launcher_cgroup.make()
            if folder is not None:
                self._launcher_cgroups.add(folder)
                self._bases.add(os.path.dirname(folder))
        return folder

    def remove_launcher_cgroup(self, folder: str) -> None:
        """Remove the group of a launcher that is gone; what is still in it is left for `close`.

        The folder around it goes too, if nothing is in it: nobody else would remove it if the host was killed before
        it has another launcher.
        """
        base = os.path.dirname(folder)
        with self._lock:
            if cgroups.remove([folder]):
                self._launcher_cgroups.discard(folder)
            if not any(base in maker.bases for maker in self._makers):
                with contextlib.suppress(OSError):
                    os.rmdir(base)
                    self._bases.discard(base)

    def close(self) -> None:
        """Remove all groups, which are empty by now."""
        with self._lock:
            cgroups.remove(list(self._launcher_cgroups))
            for maker in self._makers:
                maker.close()
            confine.remove_groups(list(self._bases))
            self._launcher_cgroups.clear()

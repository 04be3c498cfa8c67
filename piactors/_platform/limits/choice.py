"""Which mechanism enforces which limit: the best that works here, of those that are allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from piactors._platform.limits.mechanism import Mechanism
from piactors.limits import Enforcement, IsolationLimits

PREFERENCES: dict[str, tuple[str, ...]] = {
    "max_memory": ("cgroup v2", "cgroup v1", "monitor", "rlimit"),
    "soft_memory": ("monitor",),
    "max_cpu": ("cgroup v2", "cgroup v1", "monitor"),
    "affinity": ("scheduler",),
    "max_cpu_time": ("monitor", "rlimit"),
    "max_processes": ("cgroup v2", "cgroup v1", "monitor"),
    "max_open_files": ("rlimit",),
    "max_file_size": ("rlimit",),
    "nice": ("scheduler",),
    "io_class": ("scheduler",),
}
"""The mechanisms that know each limit, the best one first: what counts the whole tree, and what the kernel does."""


def choose(limits: IsolationLimits, mechanisms: Mapping[str, Mechanism]) -> dict[str, Enforcement]:
    """Return what enforces each limit that is wanted."""
    return {limit: _choose_one(limit, limits, mechanisms, _allowed(limit, limits)) for limit in limits.wanted}


def _allowed(limit: str, limits: IsolationLimits) -> Sequence[str]:
    return [name for name in PREFERENCES[limit] if limits.mechanisms is None or name in limits.mechanisms]


def _choose_one(
    limit: str, limits: IsolationLimits, mechanisms: Mapping[str, Mechanism], names: Sequence[str]
) -> Enforcement:
    reasons: list[str] = []
    for name in names:
        why_not = mechanisms[name].why_not(limit, limits)
        if why_not is None:
            scope = mechanisms[name].scopes[limit]
            return Enforcement(limit=limit, mechanism=name, scope=scope, why="; ".join(reasons))
        reasons.append(f"{name}: {why_not}")
    if not names:
        reasons.append(f"only {', '.join(PREFERENCES[limit])} can, and mechanisms does not allow that")
    return Enforcement(limit=limit, mechanism=None, scope=None, why="; ".join(reasons))

"""Limits of single processes (setrlimit): the kernel refuses what goes beyond, and the process lives on.

Descendants inherit them, and each of them counts alone.  RLIMIT_NPROC is not used: it counts all
processes of a user, and not those of root.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from piactors._platform import taken_away
from piactors.limits import IsolationLimits, Scope

_CPU_GRACE = 1
"""Seconds from SIGXCPU, which a program may handle, to SIGKILL."""
_MOST = 2**62
_MOST_SECONDS = 10**9
"""The kernel counts nanoseconds in 64 bits."""
_RESOURCES = {
    "max_memory": "RLIMIT_DATA",
    "max_cpu_time": "RLIMIT_CPU",
    "max_open_files": "RLIMIT_NOFILE",
    "max_file_size": "RLIMIT_FSIZE",
}


class Rlimits:
    """The mechanism of limits that the kernel holds each process to."""

    name = "rlimit"
    scopes: Mapping[str, Scope] = dict.fromkeys(_RESOURCES, "process")

    def why_not(self, rule: str, wanted: IsolationLimits) -> str | None:
        """A process can always lower its own limits, if the system has them."""
        if taken_away("rlimit"):
            return "taken away by PIACTORS_PORTABLE"
        try:
            import resource
        except ImportError:
            return "this system has no setrlimit"
        if not hasattr(resource, _RESOURCES[rule]):
            return f"this system has no {_RESOURCES[rule]}"
        return None

    def orders(self, wanted: IsolationLimits, rules: Collection[str]) -> dict[str, Any]:
        """Return the limits as (name in `resource`, soft, hard)."""
        found = []
        for rule in rules:
            value = min(math.ceil(getattr(wanted, rule)), _MOST_SECONDS if rule == "max_cpu_time" else _MOST)
            found.append((_RESOURCES[rule], value, value + _CPU_GRACE if rule == "max_cpu_time" else value))
        return {"rlimits": found} if found else {}

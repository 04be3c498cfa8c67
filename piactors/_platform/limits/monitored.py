"""What the host's monitor enforces by looking: memory, CPU rate, CPU time and tasks of the whole tree."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection, Mapping
from typing import Any

from piactors._platform import process_stats, taken_away
from piactors.limits import IsolationLimits, Scope


class Monitored:
    """The mechanism that measures all processes of an isolate now and then."""

    name = "monitor"
    scopes: Mapping[str, Scope] = dict.fromkeys(
        ("max_memory", "soft_memory", "max_cpu", "max_cpu_time", "max_processes"), "tree"
    )

    def why_not(self, rule: str, wanted: IsolationLimits) -> str | None:
        """Return why the host cannot measure, or cannot halt, processes here."""
        if taken_away("monitor"):
            return "taken away by PIACTORS_PORTABLE"
        if process_stats.stat(os.getpid()) is None:
            return "what processes use cannot be read here"
        if rule == "max_cpu" and (sys.platform == "win32" or not hasattr(signal, "SIGSTOP")):
            return "this system cannot stop a process and let it continue"
        return None

    def orders(self, wanted: IsolationLimits, rules: Collection[str]) -> dict[str, Any]:
        """Nothing: the isolate need not do anything."""
        return {}

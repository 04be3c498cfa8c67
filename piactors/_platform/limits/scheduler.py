"""Affinity, niceness and I/O class: set before the isolate's first thread starts, inherited by all it starts.

Each is tried on a thread of the host that ends at once: to Linux these are properties of threads.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

from piactors._platform import taken_away
from piactors.limits import IsolationLimits, Scope
from piactors.pihost.process import confine

IO_CLASSES = {"realtime": 1, "best-effort": 2, "idle": 3}


class Scheduler:
    """The mechanism of what the scheduler knows of a process."""

    name = "scheduler"
    scopes: Mapping[str, Scope] = {"affinity": "process", "nice": "process", "io_class": "process"}

    def why_not(self, rule: str, wanted: IsolationLimits) -> str | None:
        """Return why the kernel would refuse it: tried on a thread that ends at once."""
        if taken_away("scheduler"):
            return "taken away by PIACTORS_PORTABLE"
        if not sys.platform.startswith("linux"):
            return "known for Linux only"
        error = _tried(lambda: _TRIALS[rule](wanted))
        return None if error is None else f"the kernel refuses it: {error}"

    def orders(self, wanted: IsolationLimits, rules: Collection[str]) -> dict[str, Any]:
        """Return the priorities and processors that the process takes."""
        values: dict[str, Any] = {
            "affinity": list(wanted.affinity or ()),
            "nice": wanted.nice,
            "io_class": IO_CLASSES.get(wanted.io_class or "best-effort"),
        }
        return {rule: values[rule] for rule in rules}


def _try_affinity(limits: IsolationLimits) -> None:
    os.sched_setaffinity(0, limits.affinity or ())
    refused = set(limits.affinity or ()) - os.sched_getaffinity(0)
    if refused:
        raise OSError(f"no access to cpu{', cpu'.join(map(str, sorted(refused)))} here")


def _try_nice(limits: IsolationLimits) -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), limits.nice or 0)


def _try_io_class(limits: IsolationLimits) -> None:
    confine.set_io_class(IO_CLASSES[limits.io_class or "best-effort"])


_TRIALS: dict[str, Callable[[IsolationLimits], None]] = {
    "affinity": _try_affinity,
    "nice": _try_nice,
    "io_class": _try_io_class,
}


def _tried(trial: Callable[[], None]) -> OSError | None:
    errors: list[OSError] = []

    def run() -> None:
        try:
            trial()
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="piactors-trial", daemon=True)
    thread.start()
    thread.join()
    return errors[0] if errors else None

"""Finding out what this machine can do, by trying it; it belongs to ``piactors doctor``.

What is tried ends with the runtime of this process (`runtime.end_current`), groups and processes included.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, get_args

import attrs
import psutil

from piactors import IsolationOptions, ProcessIsolator, StartError
from piactors._host import runtime
from piactors._host.confiner import Confiner
from piactors._platform import memory_file, pidfd, process_stats, taken_away
from piactors._platform.limits import cgroups
from piactors._platform.limits.preferences import PREFERENCES
from piactors.cli.facts import Cgroups, Kernel, LimitFact, Machine, Trial
from piactors.limits import LIMITS, IsolationLimits, machine_cpus
from piactors.options import StartMethod
from piactors.pihost.process import linux

TRIAL_SECONDS = 15.0
_STOP_SECONDS = 1.0
_INTERESTING = ("memory", "cpu", "cpuacct", "pids")
_ENOUGH: Mapping[str, Any] = {
    "max_memory": 1 << 30,
    "soft_memory": 1 << 30,
    "max_cpu": 1.0,
    "max_cpu_time": 60.0,
    "max_processes": 64,
    "max_open_files": 256,
    "max_file_size": 1 << 30,
    "nice": 19,
    "io_class": "idle",
}
"""A value for each limit that needs no privilege."""
_PRIORITIES: Mapping[str, Mapping[str, Any]] = {
    "nice -20": {"nice": -20},
    "io_class realtime": {"io_class": "realtime"},
}
_CONTAINERS = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}


def limits() -> dict[str, LimitFact]:
    """Find out what can enforce each limit."""
    confiner = runtime.current().confiner
    return {limit: _limit(confiner, limit) for limit in LIMITS}


def _limit(confiner: Confiner, limit: str) -> LimitFact:
    values: dict[str, Any] = {limit: tuple(_usable_cpus()) if limit == "affinity" else _ENOUGH[limit]}
    chosen = confiner.plan(IsolationLimits(**values)).enforcement[limit]
    by = {name: _why_not(confiner, values, name) for name in PREFERENCES[limit]}
    return LimitFact(limit=limit, mechanism=chosen.mechanism, scope=chosen.scope, by=by)


def _why_not(confiner: Confiner, values: Mapping[str, Any], mechanism: str) -> str | None:
    """Return why one mechanism cannot enforce a limit, or None if it can."""
    (found,) = confiner.plan(IsolationLimits(**values, mechanisms=mechanism)).enforcement.values()
    return found.why.removeprefix(f"{mechanism}: ") if found.mechanism is None else None


def priorities() -> dict[str, str | None]:
    """Find out which priorities above the usual ones are available."""
    confiner = runtime.current().confiner
    return {name: _why_not(confiner, values, "scheduler") for name, values in _PRIORITIES.items()}


# Starting


def start_methods() -> dict[str, Trial]:
    """Start an isolate by each method."""
    return {
        method: tried(IsolationOptions(start_method=method), _see_how(method))[0] for method in get_args(StartMethod)
    }


def tried(options: IsolationOptions, use: Callable[[ProcessIsolator], Any]) -> tuple[Trial, Any]:
    """Start an isolate and use it; return the result, and what `use` returned, or None."""
    began, result = time.monotonic(), None
    patient = attrs.evolve(options, start_timeout=TRIAL_SECONDS, shutdown_timeout=_STOP_SECONDS)
    try:
        with ProcessIsolator(patient) as isolator:
            result = use(isolator)
            took = time.monotonic() - began
    except Exception as error:
        return Trial(works=False, seconds=round(time.monotonic() - began, 3), why_not=_in_one_line(error)), result
    return Trial(works=True, seconds=round(took, 3)), result


def _in_one_line(error: Exception) -> str:
    reason = error.reason if isinstance(error, StartError) else None
    if reason is not None:
        return ", ".join([reason.summary, *reason.stderr_tail.strip().splitlines()[-1:]])
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _see_how(method: str) -> Callable[[ProcessIsolator], None]:
    def look(isolator: ProcessIsolator) -> None:
        pid = isolator.invoke_method("os:getpid").get(timeout=TRIAL_SECONDS)
        forked = "launcher" in psutil.Process(pid).cmdline()  # a fork has the command line of what it was forked from
        if method == "launcher" and not forked:
            raise RuntimeError("isolates do start, but as fresh interpreters instead of as forks")

    return look


# The machine


def machine() -> Machine:
    """Look at where this runs."""
    name = f"{platform.python_implementation()} {platform.python_version()}"
    parts = os.environ.get("PIACTORS_PORTABLE", "").split(",")
    return Machine(
        system=platform.system(),
        kernel=platform.release(),
        python=name,
        root=os.geteuid() == 0,
        cpus=len(machine_cpus()),
        usable_cpus=len(_usable_cpus()),
        container=_container(),
        systemd=os.path.isdir("/run/systemd/system"),
        taken_away=tuple(part for part in parts if part),
    )


def _usable_cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else sorted(machine_cpus())


def _container() -> str | None:
    found = next((kind for path, kind in _CONTAINERS.items() if os.path.exists(path)), None)
    with contextlib.suppress(OSError), open("/proc/1/environ", "rb") as file:
        for entry in file.read().split(b"\0"):
            if entry.startswith(b"container="):
                found = found or os.fsdecode(entry.partition(b"=")[2])
    return found or ("kubernetes" if "KUBERNETES_SERVICE_HOST" in os.environ else None)


def kernel() -> dict[str, Kernel]:
    """Look at what the kernel offers of what piactors would use."""
    pid = os.getpid()
    return {
        "pidfd": Kernel(works=_has_pidfd(), detail="processes are waited for and killed without mixing them up"),
        "subreaper": Kernel(works=_has_subreaper(), detail="daemons of an isolate are found by who adopted them"),
        "memfd": Kernel(works=_has_memfd(), detail="the sequence page is a file in memory that cannot be cut short"),
        "process CPU clock": Kernel(
            works=process_stats.cpu_clock(pid) is not None, detail="the monitor sees at once what stands still"
        ),
        "children file": Kernel(
            works=process_stats.reads_procfs() and os.path.exists("/proc/thread-self/children"),
            detail="trees are walked by /proc/PID/task/TID/children",
        ),
        "smaps_rollup": Kernel(
            works=process_stats.reads_procfs() and os.path.exists("/proc/self/smaps_rollup"),
            detail="memory that processes share counts once",
        ),
    }


def _has_pidfd() -> bool:
    found = pidfd.open_pid(os.getpid())
    if found >= 0:
        os.close(found)
    return found >= 0


def _has_subreaper() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    child = os.fork()  # what adopts is a process for good, so a fork tries, not this process
    if child == 0:
        os._exit(0 if linux.become_subreaper() else 1)
    return os.waitpid(child, 0)[1] == 0


def _has_memfd() -> bool:
    try:
        for fd in memory_file.create(4096):
            os.close(fd)
    except OSError:
        return False
    return hasattr(os, "memfd_create") and not taken_away("memfd")


def mounted_cgroups() -> tuple[Cgroups, ...]:
    """Look at the hierarchies of control groups."""
    paths = cgroups.own_paths()
    found = []
    for mount in cgroups.mounts():
        version = 2 if mount.kind == "cgroup2" else 1
        has = [name for name in _INTERESTING if name in mount.options]
        path = paths.get("") if version == 2 else next((paths[name] for name in has if name in paths), None)
        own = None if path is None else cgroups.own_folder(mount, path)
        if version == 2 and own is not None:
            with contextlib.suppress(OSError):
                has = [name for name in _INTERESTING if name in cgroups.read(own, "cgroup.controllers").split()]
        if has or version == 2:
            found.append(
                Cgroups(
                    version=version,
                    controllers=tuple(has),
                    folder=mount.folder,
                    own=own,
                    writable=own is not None and os.access(own, os.W_OK),
                )
            )
    return tuple(found)

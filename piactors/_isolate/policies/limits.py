"""One process of an isolate and its limits: its group, what watches it, and what a breach leads to.

The kernel or the monitor finds a breach; here it becomes the reason of the generation's end, recorded
before the kill, or an action of the user.
"""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from piactors import events
from piactors._host.confiner import Confinement
from piactors._host.throttle import Throttle
from piactors._host.usage_watch import Bounds, UsageWatch
from piactors._platform.limits import cgroups
from piactors.exit_reason import Breach, Rusage

if TYPE_CHECKING:
    from piactors._isolate.home import Home
    from piactors._isolate.view import IncarnationView
    from piactors._process.placement import Process

_GROUP_ROUNDS = 100
_GROUP_ROUND = 0.02
_REFUSAL_SECONDS = 1.0
"""At most one event in this time for tasks that the kernel refuses."""


class LimitGuard:
    """The limits of one process; see the module's text."""

    def __init__(self, body: IncarnationView, home: Home, confinement: Confinement) -> None:
        self._body = body
        self._home = home
        self._options = body.spec.options
        self._group = confinement.group
        self._watch: UsageWatch | None = None
        self._throttle: Throttle | None = None
        self._refusal_told = 0.0
        self._over = False

    def launched(self, process: Process) -> None:
        """The process exists: begin to watch it, if that is needed."""
        pid, monitor, plan = process.pid, self._home.runtime.monitor, self._body.plan
        bounds = self._bounds()
        if pid is None:
            return
        if bounds is not None:
            self._watch = UsageWatch(pid, self._body.spec.name, bounds, self._group, self)
            monitor.add(self._watch)
        limits = self._options.limits
        if plan is not None and limits is not None and limits.max_cpu and "max_cpu" in plan.by("monitor"):
            self._throttle = Throttle(pid, limits.max_cpu)
            monitor.add(self._throttle)

    def _bounds(self) -> Bounds | None:
        """Return what to watch, or None if nothing is."""
        recycle = self._options.recycle
        recycle_memory = None if recycle is None else recycle.above_memory
        plan = self._body.plan
        if plan is None:
            return None if recycle_memory is None else Bounds(recycle_memory=recycle_memory)
        held = frozenset({*plan.by("cgroup v2"), *plan.by("cgroup v1")}) & {"max_memory", "max_processes"}
        watched = held | set(plan.by("monitor")) - {"max_cpu"}
        if not watched and recycle_memory is None:
            return None
        values: dict[str, Any] = {name: getattr(plan.limits, name) for name in watched}
        return Bounds(
            memory=values.get("max_memory"),
            soft_memory=values.get("soft_memory"),
            recycle_memory=recycle_memory,
            cpu_time=values.get("max_cpu_time"),
            tasks=values.get("max_processes"),
            held=held,
        )

    def let_run(self) -> None:
        """No longer hold the tree to its share: it is about to be ended, and has to say where it was."""
        throttle, self._throttle = self._throttle, None
        if throttle is not None:
            self._home.runtime.monitor.remove(throttle)
        if self._group is not None:
            self._group.let_run()

    def ended(self, status: int | None, usage: Rusage | None) -> Breach | None:
        """The process and all that it left are gone: stop watching; return the limit that ended it, if one did."""
        if self._over:
            return None
        self._over = True
        for watch in (self._watch, self._throttle):
            if watch is not None:
                self._home.runtime.monitor.remove(watch)
        breach = None
        if self._watch is not None:
            self._watch.tell_refusals()
            breach = self._watch.kernel_kill()
        breach = breach or self._cpu_limit_hit(status, usage)
        self._watch = self._throttle = None
        self._remove_group(_GROUP_ROUNDS)
        return breach

    def _cpu_limit_hit(self, status: int | None, usage: Rusage | None) -> Breach | None:
        """Return the breach if the kernel's limit of CPU time has ended the process."""
        plan = self._body.plan
        if plan is None or "max_cpu_time" not in plan.by("rlimit") or status is None or usage is None:
            return None
        allowed, used = plan.limits.max_cpu_time or 0.0, usage.user + usage.system
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        by_limit = number == signal.SIGXCPU or (number == signal.SIGKILL and used >= allowed)
        if number == signal.SIGXCPU:
            used = max(used, allowed)  # the kernel goes by its ticks there, and reports exact times
        if not by_limit:
            return None
        return Breach(
            limit="max_cpu_time",
            allowed=allowed,
            observed=used,
            culprit_pid=self._body.pid or 0,
            culprit=f"isolate {self._body.spec.name}",
            time=time.time(),
        )

    def _remove_group(self, rounds: int) -> None:
        """Remove the group; whatever escaped the launcher, and is still in it, is killed."""
        group = self._group
        if group is None or group.remove():
            return
        cgroups.kill_all(list(group.folders), 0)
        if rounds:
            self._home.loop.call_later(_GROUP_ROUND, partial(self._remove_group, rounds - 1))
        else:
            self._home.reports.error("processes %s stay in %s", group.members(), group.folders)

    # What the monitor reports, on its thread

    def broken(self, breach: Breach) -> None:
        """A hard limit is broken: the process is to be ended."""
        if self._body.doom("limit", str(breach), breach):  # otherwise it is being ended already, and that is reported
            self.publish(breach, hard=True)
            self._body.kill("limit", str(breach))

    def soft_broken(self, breach: Breach) -> None:
        """The soft limit is broken, now and not at the last look."""
        limits, reports = self._options.limits, self._home.reports
        assert limits is not None
        reports.warn("isolate %s: %s", self._body.spec.name, breach)
        if limits.on_soft_memory == "kill":
            self.broken(breach)
            return
        event = self.publish(breach, hard=False)
        if limits.on_soft_memory == "recycle":
            self._home.request_replacement(self._body.number, "soft_memory")
        elif callable(limits.on_soft_memory):
            reports.tell_user(limits.on_soft_memory, event)

    def worth_recycling(self, used: int) -> None:
        """There is more memory in use than a generation should have."""
        self._home.request_replacement(self._body.number, "above_memory")

    def refused(self, breach: Breach) -> None:
        """The kernel has refused a process or thread."""
        now = time.monotonic()
        if now - self._refusal_told >= _REFUSAL_SECONDS:
            self._refusal_told = now
            self.publish(breach, hard=False)

    def publish(self, breach: Breach, *, hard: bool) -> events.LimitBreached:
        """Tell the subscribers of a breach."""
        body, fields = self._body, attrs.asdict(breach, filter=attrs.filters.exclude("time"))
        event = events.LimitBreached(
            name=body.spec.name, pid=body.pid, generation=body.number, time=breach.time, hard=hard, **fields
        )
        self._home.reports.post(event)
        return event

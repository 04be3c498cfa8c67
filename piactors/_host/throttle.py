"""A share of the processors, held by stopping a tree of processes and letting it continue.

Used if no control group can do it.  The tree has an account: it is credited with its share of each
second and charged with the CPU time that it uses.  When the account is empty, all is stopped until
there is credit again; the credit is capped, so a share cannot be saved up.
"""

from __future__ import annotations

import contextlib
import os
import signal

import attrs

from piactors._platform import pidfd, process_stats
from piactors._platform.identity import Identity

_CAP_SECONDS = 0.1
"""How many seconds of its share a tree may have saved up."""
_IDLE_SECONDS = 0.15
_LONGEST_RUN = 0.05
_LEAST_SECONDS = 0.005
_CPUS = os.cpu_count() or 1


@attrs.define
class _Member:
    """One process of the tree: how to signal it, and what has been charged for it."""

    identity: Identity
    process_fd: int
    clock: float = 0.0
    waited: float = 0.0
    stopped: bool = False

    def send(self, number: signal.Signals) -> None:
        # What `sudo` has started, or a host that has given up rights had, is out of reach, and runs on.
        with contextlib.suppress(PermissionError):
            if self.process_fd >= 0:
                pidfd.send(self.process_fd, number)
            else:
                self.identity.send(number)

    def close(self) -> None:
        if self.process_fd >= 0:
            os.close(self.process_fd)


class Throttle:
    """A watch that holds a process to `rate` processors by halting it in turns: 0.5 is half of one."""

    def __init__(self, pid: int, rate: float) -> None:
        self._pid = pid
        self._clock_of = process_stats.clock_source()
        self._rate = rate
        self._cap = rate * _CAP_SECONDS
        self._credit = self._cap
        self._members: dict[int, _Member] = {}
        self._looked_at: float | None = None
        self._stopped = False

    def look(self, now: float) -> float | None:
        """Look once; return the seconds until the next look, or None for no more looks."""
        if self._looked_at is not None and not self._stopped and self._is_idle():
            self._credit = min(self._cap, self._credit + self._rate * (now - self._looked_at))
            self._looked_at = now
            return _IDLE_SECONDS
        if not self._update_members():
            self.end()
            return None
        used = self._charge()
        if self._looked_at is not None:
            self._credit = min(self._cap, self._credit + self._rate * (now - self._looked_at)) - used
        self._looked_at = now
        return self._act()

    def end(self) -> None:
        """Let the tree continue if it is stopped, and let go of it."""
        self._let_continue()
        self.abandon()

    def abandon(self) -> None:
        """In a forked copy of the host: close descriptors, and nothing more."""
        members, self._members = self._members, {}
        for member in members.values():
            member.close()

    def _act(self) -> float:
        if self._stopped:
            if self._credit >= self._cap / 2:
                self._let_continue()
        elif self._credit <= 0:
            self._stop()
        if self._stopped:
            return max(_LEAST_SECONDS, (self._cap - self._credit) / self._rate)
        fastest = max(_CPUS - self._rate, 0.1)
        return max(_LEAST_SECONDS, min(_LONGEST_RUN, self._credit / fastest))

    def _is_idle(self) -> bool:
        return all(self._clock_of(pid) == member.clock for pid, member in self._members.items())

    # Members

    def _update_members(self) -> bool:
        """Find out which processes belong to the tree now; False if its root is gone."""
        pids = process_stats.trees([self._pid])[self._pid]
        for pid in pids:
            if pid not in self._members:
                self._adopt(pid)
        return self._pid in self._members

    def _adopt(self, pid: int) -> None:
        """Add one more process.  It is opened first and looked at then: its number may have passed on meanwhile."""
        process_fd, identity, stat = pidfd.open_pid(pid), Identity.of(pid), process_stats.stat(pid)
        if identity is not None and stat is not None and (pid == self._pid or stat.ppid in self._members):
            self._members[pid] = _Member(identity, process_fd)
        elif process_fd >= 0:
            os.close(process_fd)

    def _charge(self) -> float:
        """Return the CPU seconds that the tree has used since the last look.

        A child that has ended is counted by its parent, once that has waited for it: what was charged
        for the child before is taken off again.
        """
        used = waited = vanished = 0.0
        for pid, member in list(self._members.items()):
            stat = process_stats.stat(pid)
            if stat is None or stat.has_ended:
                vanished += member.clock
                self._members.pop(pid).close()
                continue
            clock = self._clock_of(pid)
            clock = stat.user + stat.system if clock is None else clock
            ended = stat.child_user + stat.child_system
            used += max(0.0, clock - member.clock)
            waited += max(0.0, ended - member.waited)
            member.clock, member.waited = clock, ended
        return used + max(0.0, waited - vanished)

    # Stopping

    def _stop(self) -> None:
        """Stop the root first: what it has started cannot grow in number then, except by what others start."""
        self._stopped = True
        before = -1
        while len(self._members) != before:
            before = len(self._members)
            for pid, member in list(self._members.items()):
                stat = process_stats.stat(pid)
                if not member.stopped and stat is not None and stat.state not in "TtZX":
                    member.send(signal.SIGSTOP)
                    member.stopped = True
            self._update_members()

    def _let_continue(self) -> None:
        self._stopped = False
        for member in self._members.values():
            if member.stopped:
                member.stopped = False
                member.send(signal.SIGCONT)

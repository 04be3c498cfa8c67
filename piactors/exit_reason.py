"""Why a generation of an isolate ended: one verdict, in one place."""

from __future__ import annotations

import signal as signals
from typing import Literal, get_args

import attrs

from piactors._text import shown
from piactors._text.record import ByAttributes

Kind = Literal[
    "normal",
    "shutdown",
    "exited",
    "signaled",
    "error",
    "limit",
    "call_timeout",
    "start_failed",
    "killed",
    "host_stopped",
]
KINDS: tuple[str, ...] = get_args(Kind)
NORMAL_KINDS = frozenset({"normal", "shutdown"})


@attrs.frozen(eq=False, repr=False)
class Rusage(ByAttributes):
    """What a generation used, as the kernel counted it: CPU times in seconds, memory in bytes."""

    user: float
    system: float
    max_rss: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Breach(ByAttributes):
    """A limit that was broken.

    Attributes:
        limit: its name, as in `IsolationLimits`.
        allowed: what it allows, in the limit's unit: bytes, seconds, cores or tasks.
        observed: what was measured.
        culprit_pid, culprit: the pid and command line of the process of the tree that used most, as last sampled.
        time: seconds since the epoch.
    """

    limit: str
    allowed: float
    observed: float
    culprit_pid: int
    culprit: str
    time: float

    def __str__(self) -> str:
        tasks = self.limit == "max_processes"
        used = f"{self._amount(self.observed)} {'were there, most of them' if tasks else 'was used, most of it'}"
        who = f"pid {self.culprit_pid} ({shown.line(self.culprit)})"  # a process names itself as it likes
        return f"{self.limit} is {self._amount(self.allowed)}, and {used} by {who}"

    def _amount(self, value: float) -> str:
        if self.limit.endswith("memory"):
            return f"{value / (1 << 20):,.1f} MiB"
        if self.limit == "max_processes":
            return f"{value:,g} tasks"
        return f"{value:,.2f} s" if value < 1e9 else f"{value:g} s"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExitReason(ByAttributes):
    """The one verdict on why a generation ended.

    Attributes:
        kind: ``normal`` (the actor stopped itself), ``shutdown`` (it was told to stop), ``exited``
            (the process called exit), ``signaled``, ``error`` (an exception that nobody waited
            for), ``limit``, ``call_timeout``, ``start_failed``, ``killed`` (by its host, on purpose)
            or ``host_stopped``.
        exitcode: what the process exited with, or None if a signal ended it or nobody knows.
        signal: the number of the signal that ended it, or None.
        limit: the name of the limit that it broke, or None.
        breach: how it broke that limit, or None.
        error: the exception behind it as text, with its traceback, or None.
        detail: one line about the circumstances, or None.
        stderr_tail: the last lines that it wrote to stderr.
        fault: what faulthandler wrote at a fatal error, or an empty text.
        stack: where a start was that took longer than `start_timeout`: the Python stacks of all threads, as far as
            available; or an empty text.
        usage: CPU times and peak memory of the process, or None if the kernel did not tell.
    """

    kind: Kind = attrs.field(validator=attrs.validators.in_(KINDS))
    exitcode: int | None = None
    signal: int | None = None
    limit: str | None = None
    breach: Breach | None = None
    error: str | None = None
    detail: str | None = None
    stderr_tail: str = ""
    fault: str = ""
    usage: Rusage | None = None
    stack: str = ""

    @property
    def is_normal(self) -> bool:
        """Whether the restart type ``transient`` lets this exit be."""
        return self.kind in NORMAL_KINDS

    @property
    def summary(self) -> str:
        """What happened, in one line that can be shown anywhere: what isolated code has said in it is escaped."""
        parts = [_PHRASES[self.kind]]
        if self.limit is not None:
            parts.append(f"limit {self.limit}")
        if self.signal is not None:
            parts.append(f"signal {self.signal} ({_signal_name(self.signal)})")
        elif self.exitcode is not None and self.kind not in NORMAL_KINDS:
            parts.append(f"exit code {self.exitcode}")
        if self.error is not None and self.error.strip():
            parts.append(self.error.strip().split("\n")[-1])
        if self.detail is not None:
            parts.append(self.detail.split("\n")[0])
        return shown.line(", ".join(parts))

    def report(self) -> str:
        """Return the summary and, below it, what the process left behind: stderr and fault text."""
        text = self.summary
        if self.stderr_tail.strip():
            text += f"\nlast lines of stderr:\n{shown.below(self.stderr_tail)}"
        if self.fault.strip():
            text += f"\nfault:\n{shown.below(_shown_fault(self.fault))}"
        if self.stack.strip():
            text += f"\nwhere it was:\n{shown.below(self.stack)}"
        return text


_PHRASES: dict[str, str] = {
    "normal": "stopped by itself",
    "shutdown": "stopped as told",
    "exited": "exited",
    "signaled": "ended by a signal",
    "error": "ended by an exception",
    "limit": "ended for breaking a limit",
    "call_timeout": "ended for a call that ran too long",
    "start_failed": "did not start",
    "killed": "killed by its host",
    "host_stopped": "ended with its host",
}


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return "unknown"


def _shown_fault(text: str) -> str:
    """Leave out what no reader looks for: the frames below the isolate's own code, and threads that did nothing."""
    blocks = [block for block in text.strip().split("\n\n") if "thread" not in block or "Current thread" in block]
    lines = [line for line in "\n\n".join(blocks).splitlines() if "/pihost/" not in line]
    return "\n".join(lines) or text

"""The interface of the mechanisms that enforce limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from piactors.limits import IsolationLimits, Scope


class Group(Protocol):
    """A control group around one process and all that it starts."""

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of its hierarchies; a process is in the group once it has joined all of them."""

    def memory_charged(self) -> int | None:
        """Bytes charged to it, cached files included; None if it does not count memory."""

    def memory_used(self) -> int | None:
        """Bytes in use that the kernel cannot simply drop; None if it does not count memory."""

    def memory_peak(self) -> int | None:
        """The most bytes that were charged to it at once."""

    def cpu_seconds(self) -> float | None:
        """CPU time of all its processes, those that have ended included; None if it does not count that."""

    def memory_kills(self) -> int:
        """How many of its processes the kernel has killed for memory."""

    def refused_tasks(self) -> int:
        """How often a process or thread was refused."""

    def members(self) -> list[int]:
        """The pids of its processes."""

    def let_run(self) -> None:
        """No longer hold it to its share of the processors."""

    def remove(self) -> bool:
        """Let go of it; False if processes are left in it."""


class Mechanism(Protocol):
    """One way to enforce limits."""

    name: str
    scopes: Mapping[str, Scope]
    """The limits that it knows, and whether it holds them for the whole tree or for each process of it."""

    def why_not(self, limit: str, limits: IsolationLimits) -> str | None:
        """Return why it cannot enforce a limit here, or None if it can: found by trying."""

    def orders(self, limits: IsolationLimits, mine: Collection[str]) -> dict[str, Any]:
        """Return what the process has to do to itself, for `piactors.pihost.process.confine`."""


class GroupMaker(Mechanism, Protocol):
    """A mechanism with control groups."""

    @property
    def bases(self) -> Collection[str]:
        """The folders in which it makes groups, as far as it has looked for them."""

    def make(self, label: str, limits: IsolationLimits, mine: Collection[str]) -> Group:
        """Make a group with these limits.

        Raises:
            OSError: if the kernel refuses.
        """

    def close(self) -> None:
        """Remove what was made, as far as it is empty."""

"""The interface of control groups, and of the mechanisms that make them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from piactors._platform.confinement import Mechanism
from piactors.limits import IsolationLimits


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


class GroupMaker(Mechanism[IsolationLimits], Protocol):
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

"""Groups of both versions as one: on machines whose controllers are divided between them."""

from __future__ import annotations

from collections.abc import Sequence

from piactors._platform.limits.groups import Group


class JoinedGroups:
    """Several groups as one: a process is in all of them."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = tuple(groups)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of its hierarchies; a process is in the group once it has joined all of them."""
        return tuple(folder for group in self._groups for folder in group.folders)

    def memory_charged(self) -> int | None:
        """Bytes charged to it, cached files included; None if it does not count memory."""
        return next((found for group in self._groups if (found := group.memory_charged()) is not None), None)

    def memory_used(self) -> int | None:
        """Bytes in use that the kernel cannot simply drop; None if it does not count memory."""
        return next((found for group in self._groups if (found := group.memory_used()) is not None), None)

    def memory_peak(self) -> int | None:
        """The most bytes that were charged to it at once."""
        return next((found for group in self._groups if (found := group.memory_peak()) is not None), None)

    def cpu_seconds(self) -> float | None:
        """CPU time of all its processes, those that have ended included; None if it does not count that."""
        return next((found for group in self._groups if (found := group.cpu_seconds()) is not None), None)

    def memory_kills(self) -> int:
        """How many of its processes the kernel has killed for memory."""
        return sum(group.memory_kills() for group in self._groups)

    def refused_tasks(self) -> int:
        """How often a process or thread was refused."""
        return sum(group.refused_tasks() for group in self._groups)

    def members(self) -> list[int]:
        """The pids of its processes."""
        return sorted({pid for group in self._groups for pid in group.members()})

    def let_run(self) -> None:
        """No longer hold it to its share of the processors."""
        for group in self._groups:
            group.let_run()

    def remove(self) -> bool:
        """Let go of it; False if processes are left in it."""
        gone = [group.remove() for group in self._groups]
        return all(gone)

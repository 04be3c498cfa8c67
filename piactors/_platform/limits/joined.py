"""Groups of both versions as one: on machines whose controllers are divided between them."""

from __future__ import annotations

from collections.abc import Sequence

from piactors._platform.limits.mechanism import Group


class JoinedGroups:
    """See `Group`."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = tuple(groups)

    @property
    def folders(self) -> tuple[str, ...]:
        """See `Group`."""
        return tuple(folder for group in self._groups for folder in group.folders)

    def memory_charged(self) -> int | None:
        """See `Group`."""
        return next((found for group in self._groups if (found := group.memory_charged()) is not None), None)

    def memory_used(self) -> int | None:
        """See `Group`."""
        return next((found for group in self._groups if (found := group.memory_used()) is not None), None)

    def memory_peak(self) -> int | None:
        """See `Group`."""
        return next((found for group in self._groups if (found := group.memory_peak()) is not None), None)

    def cpu_seconds(self) -> float | None:
        """See `Group`."""
        return next((found for group in self._groups if (found := group.cpu_seconds()) is not None), None)

    def memory_kills(self) -> int:
        """See `Group`."""
        return sum(group.memory_kills() for group in self._groups)

    def refused_tasks(self) -> int:
        """See `Group`."""
        return sum(group.refused_tasks() for group in self._groups)

    def members(self) -> list[int]:
        """See `Group`."""
        return sorted({pid for group in self._groups for pid in group.members()})

    def let_run(self) -> None:
        """See `Group`."""
        for group in self._groups:
            group.let_run()

    def remove(self) -> bool:
        """See `Group`."""
        gone = [group.remove() for group in self._groups]
        return all(gone)

"""Which isolates share a launcher once launchers are lost in a row: the suspects are divided until one is alone.

All isolates begin in lane 0, and each lane has a launcher of its own.  One that was there at two losses within a minute
is a suspect; suspects of one lane are divided among two new ones at each further loss.  So one that ends launchers is
alone after a few losses, and only then do the losses count against it, as its own exits would.
"""

from __future__ import annotations

from collections.abc import Collection

WINDOW = 60.0
"""Seconds after which a loss is forgotten."""
_SHARED = 2
"""Losses after which isolates no longer share a launcher with all others."""
FREE = 3
"""Losses in a row that count against no isolate."""


class Lanes:
    """The lanes of one host's isolates, which are named by their urns; `now` is in seconds."""

    def __init__(self) -> None:
        self._lanes: dict[str, int] = {}
        self._losses: dict[str, list[float]] = {}
        self._alone: set[str] = set()
        self._next = 1

    def lane_of(self, member: str, now: float) -> int:
        """Return the lane that a process of this isolate is to be started in."""
        if member in self._lanes and now - self._losses[member][-1] > WINDOW:
            self.forget(member)
        return self._lanes.get(member, 0)

    def lost(self, members: Collection[str], now: float) -> None:
        """A launcher was lost, and processes of these isolates with it."""
        everybody = sorted(set(members))
        for member in everybody:
            recent = [moment for moment in self._losses.get(member, []) if now - moment <= WINDOW]
            self._losses[member] = [*recent, now]
            (self._alone.add if len(everybody) == 1 else self._alone.discard)(member)
        suspects = [member for member in everybody if len(self._losses[member]) >= _SHARED]
        if len(suspects) == 1 and self._lanes.get(suspects[0]) and len(everybody) == 1:
            return  # it has a launcher of its own
        middle = (len(suspects) + 1) // 2
        for half in (suspects[:middle], suspects[middle:]):
            if half:
                self._lanes.update(dict.fromkeys(half, self._next))
                self._next += 1

    def counts(self, member: str, within: float, now: float) -> bool:
        """Whether the last loss counts against this isolate, whose budget is for that many seconds."""
        recent = [moment for moment in self._losses.get(member, []) if now - moment <= within]
        return member in self._alone and len(recent) > FREE

    def forget(self, member: str) -> None:
        """This isolate has ended for good, or has done nothing wrong for a long time."""
        self._lanes.pop(member, None)
        self._losses.pop(member, None)
        self._alone.discard(member)

    def in_use(self) -> set[int]:
        """Return the lanes that have isolates."""
        return {0, *self._lanes.values()}

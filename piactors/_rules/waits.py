"""Who waits for whom among calls, and which of them can never go on: what makes a `DeadlockError`.

A call runs in a slot of its actor.  It may wait for an ask.  An ask is a call that runs, or it waits in the mailbox of
an actor, until any slot of that is free.  A call can go on if it waits for nothing, or if what it waits for can be
answered; so those that cannot are what is left when all that can are taken away.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from piactors._text.record import ByAttributes


class Goal(NamedTuple):
    """Where an ask is: a call that runs (`call`), or in the mailbox of `actor`."""

    actor: Hashable
    call: Hashable | None


class Waits(ByAttributes):
    """Who waits for whom at one moment.

    Attributes:
        slots: of each actor, the call that each of its slots runs, or None.
        asks: of each call that waits, the ask that it waits for; any other one goes on by itself.
        goals: of each ask, where it is; any other one is answered by somebody else.
    """

    def __init__(
        self,
        slots: Mapping[Hashable, Sequence[Hashable | None]],
        asks: Mapping[Hashable, Hashable],
        goals: Mapping[Hashable, Goal],
    ) -> None:
        self.slots, self.asks, self.goals = slots, asks, goals

    def stuck(self) -> frozenset[Hashable]:
        """Return the calls that can never go on."""
        left = {call for calls in self.slots.values() for call in calls if call is not None}
        while True:
            free = {call for call in left if self._goes_on(call, left)}
            if not free:
                return frozenset(left)
            left -= free

    def _goes_on(self, call: Hashable, left: set[Hashable]) -> bool:
        ask = self.asks.get(call)
        goal = None if ask is None else self.goals.get(ask)
        return goal is None or self._is_answered(goal, left)

    def _is_answered(self, goal: Goal, left: set[Hashable]) -> bool:
        if goal.call is not None:
            return goal.call not in left
        slots = self.slots.get(goal.actor, ())
        return not slots or any(call not in left for call in slots)

    def circle(self, actor: Hashable) -> list[tuple[Hashable, Hashable]]:
        """Return a circle of calls that wait for each other, from what keeps an actor busy: each call, and its ask.

        The last ask is one that the first call keeps from being answered.  It is empty if there is none.
        """
        stuck = self.stuck()
        slots = self.slots.get(actor, ())
        if not slots or any(call not in stuck for call in slots):
            return []
        path: list[tuple[Hashable, Hashable]] = []
        call = slots[0]
        while call not in (seen := [before for before, _ in path]):
            ask = self.asks[call]
            path.append((call, ask))
            goal = self.goals[ask]
            call = goal.call if goal.call is not None else self.slots[goal.actor][0]
        return path[seen.index(call) :]

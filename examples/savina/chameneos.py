"""Chameneos: creatures meet in pairs at a place, and each takes on the colour that neither of the two had.

python examples/savina/chameneos.py [--actors threads] [--size N]
"""

from __future__ import annotations

from typing import Any

import stage
from stage import Actor

COLOURS = ("blue", "red", "yellow")
CREATURES = 6


def complement(one: str, other: str) -> str:
    """Return the colour that two creatures have after they have met."""
    return one if one == other else next(colour for colour in COLOURS if colour not in (one, other))


class Place(Actor):
    """Where they meet, two at a time."""

    def __init__(self, meetings: int, creatures: int, done: Any) -> None:
        super().__init__()
        self.left, self.creatures, self.done = meetings, creatures, done
        self.waiting: Any = None
        self.proxies: dict[int, Any] = {}
        self.met = 0

    def enter(self, number: int, creature: Any) -> None:
        """Know a creature."""
        self.proxies[number] = creature.proxy()

    def come(self, number: int, colour: str) -> None:
        """Let one meet the one that waits, or wait."""
        if not self.left:
            self.proxies[number].leave.defer()
        elif self.waiting is None:
            self.waiting = number, colour
        else:
            (other, its), self.waiting = self.waiting, None
            self.left -= 1
            self.proxies[number].meet.defer(its)
            self.proxies[other].meet.defer(colour)

    def left_with(self, met: int) -> None:
        """One has gone, after it had met others so often."""
        self.met += met
        self.creatures -= 1
        if not self.creatures:
            self.done.set(self.met)


class Creature(Actor):
    """Comes, meets, and comes again."""

    def __init__(self, number: int, colour: str) -> None:
        super().__init__()
        self.number, self.colour, self.met = number, colour, 0

    def go(self, place: Any) -> None:
        """Go to the place for the first time."""
        self._place = place.proxy()
        self._place.enter.defer(self.number, self.actor_ref)
        self._place.come.defer(self.number, self.colour)

    def meet(self, colour: str) -> None:
        """Change colour, and come again."""
        self.colour = complement(self.colour, colour)
        self.met += 1
        self._place.come.defer(self.number, self.colour)

    def leave(self) -> None:
        """Go home."""
        self._place.left_with.defer(self.met)


def run(size: int) -> int:
    """Have `size` meetings."""
    done = stage.future()
    place = Place.start(size, CREATURES, done)
    for number in range(CREATURES):
        Creature.start(number, COLOURS[number % 3]).proxy().go(place).get()
    stage.check(done.get(timeout=stage.SECONDS), 2 * size)
    return 4 * size + 4 * CREATURES


if __name__ == "__main__":
    stage.main(__doc__, run, 1000)

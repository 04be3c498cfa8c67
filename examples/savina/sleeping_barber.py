"""Sleeping barber: customers wait in a room of few chairs, and come again if they find none.

python examples/savina/sleeping_barber.py [--actors threads] [--size N]
"""

from __future__ import annotations

from collections import deque
from typing import Any

import stage
from stage import Actor

CHAIRS = 3
CUSTOMERS = 5


class Room(Actor):
    """The waiting room."""

    def __init__(self, chairs: int) -> None:
        super().__init__()
        self.chairs, self.is_asleep = chairs, True
        self.waiting: deque[int] = deque()
        self.customers: dict[int, Any] = {}

    def know(self, number: int, customer: Any) -> None:
        """Know a customer."""
        self.customers[number] = customer.proxy()

    def employ(self, barber: Any) -> None:
        """This is the barber."""
        self._barber = barber.proxy()

    def enter(self, number: int) -> None:
        """Let one wait, if there is a chair; wake the barber, if he sleeps."""
        if len(self.waiting) >= self.chairs:
            self.customers[number].full.defer()
            return
        self.waiting.append(number)
        if self.is_asleep:
            self.is_asleep = False
            self._barber.cut.defer(self.waiting.popleft())

    def next(self, served: int) -> None:
        """The barber has served one: send him the next one, or let him sleep."""
        self.customers[served].done.defer()
        if self.waiting:
            self._barber.cut.defer(self.waiting.popleft())
        else:
            self.is_asleep = True


class Barber(Actor):
    """Cuts hair."""

    def __init__(self, room: Any) -> None:
        super().__init__()
        self._room, self.cuts = room.proxy(), 0

    def cut(self, number: int) -> None:
        """Serve a customer."""
        self.cuts += 1
        self._room.next.defer(number)

    def count(self) -> int:
        """Return how many were served."""
        return self.cuts


class Customer(Actor):
    """Comes again and again."""

    def begin(self, number: int, times: int, room: Any, gone: Any) -> None:
        """Come for the first time."""
        self.number, self.times, self._room, self.gone, self.turned_away = number, times, room.proxy(), gone, 0
        self._room.know.defer(number, self.actor_ref)
        self._room.enter.defer(number)

    def full(self) -> None:
        """Come again."""
        self.turned_away += 1
        self._room.enter.defer(self.number)

    def done(self) -> None:
        """Come for the next time, or no more."""
        self.times -= 1
        if self.times:
            self._room.enter.defer(self.number)
        else:
            self.gone.set(self.number)


def run(size: int) -> int:
    """Serve each customer `size` times."""
    room = Room.start(CHAIRS)
    barber = Barber.start(room)
    room.proxy().employ(barber).get()
    gone = [stage.future() for _ in range(CUSTOMERS)]
    for number, each in enumerate(gone):
        Customer.start().proxy().begin(number, size, room, each).get()
    stage.check([each.get(timeout=stage.SECONDS) for each in gone], list(range(CUSTOMERS)))
    stage.check(barber.proxy().count().get(), CUSTOMERS * size)
    return 4 * CUSTOMERS * size


if __name__ == "__main__":
    stage.main(__doc__, run, 200)

"""What may be forgotten of what was lent to a plugin: a model of its processes, at random."""

from __future__ import annotations

import random

import attrs
import pytest

from piactors.plugins.application.epochs import Epochs


@attrs.define
class Running:
    """A call that is under way."""

    epoch: int
    lent: list[int]


class World:
    """Processes of one plugin, one after the other, as the host hears of them, and as they are."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.epochs = Epochs()
        self.next, self.token = 1, 1
        self.lent: set[int] = set()
        self.held: set[int] = set()
        self.calls: list[Running] = []

    def lend(self) -> list[int]:
        new = [self.next + number for number in range(self.random.randrange(3))]
        self.next += len(new)
        again = self.random.sample(sorted(self.lent), min(len(self.lent), self.random.randrange(2)))
        self.lent |= set(new)
        return [*new, *again]

    def begin(self) -> None:
        call = Running(self.epochs.begin(), self.lend())
        self.epochs.lent(call.lent)
        self.calls.append(call)

    def asked(self) -> None:
        """The process that runs a call asks for something, and is lent something."""
        if self.calls:
            call = self.random.choice(self.calls)
            self.epochs.heard(str(self.token))
            lent = self.lend()
            self.epochs.lent(lent)
            call.lent += lent
            self.held |= set(lent) | set(call.lent)

    def answered(self) -> None:
        """The process of now answers a call, and keeps some of what it was lent."""
        if self.calls:
            call = self.calls.pop(self.random.randrange(len(self.calls)))
            self.epochs.heard(str(self.token))
            self.epochs.end(call.epoch, call.lent, lost=False)
            self.held |= {number for number in call.lent if self.random.random() < 0.5}

    def crashed(self) -> None:
        """A call was lost with its process."""
        if self.calls:
            self.died()
            call = self.calls.pop(self.random.randrange(len(self.calls)))
            self.epochs.end(call.epoch, call.lent, lost=True)

    def given_up(self) -> None:
        """Nobody waits for a call any more; its process may still run it, and keep what it was lent.

        What a process that nothing was heard of does for nobody may find what it was lent gone.
        """
        if self.calls and not self.epochs.heard(str(self.token)):
            call = self.calls.pop(self.random.randrange(len(self.calls)))
            self.epochs.end(call.epoch, call.lent, lost=False)
            self.held |= set(call.lent) & self.lent

    def died(self) -> None:
        self.token += 1
        self.held = set()

    def forget(self) -> None:
        unused = self.epochs.unused()
        wanted = self.held | {number for call in self.calls for number in call.lent}
        assert not unused & wanted, "what somebody may use is forgotten"
        self.lent -= unused
        self.epochs.given_back(unused)


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_what_may_be_used_is_kept_and_the_rest_is_not(first: int) -> None:
    for seed in range(first, first + 100):
        world = World(seed)
        steps = [world.begin, world.begin, world.asked, world.answered, world.crashed, world.given_up, world.died]
        for _ in range(200):
            world.random.choice(steps)()
            world.forget()
        while world.calls:
            world.answered()
        world.died()
        world.begin()
        world.answered()
        world.forget()
        before = set(world.lent)
        world.died()
        world.begin()
        used = set(world.calls[0].lent)
        world.answered()
        world.forget()
        assert world.lent & before <= used, "what the last process had, and the next one was not lent, is forgotten"


def test_a_first_process_is_no_change() -> None:
    epochs = Epochs()
    assert not epochs.heard("a")
    assert not epochs.heard("a")
    assert epochs.heard("b")

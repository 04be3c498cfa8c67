"""Bank transaction: a teller moves money between accounts, each of which is an actor, and none of it is lost.

python examples/savina/bank_transaction.py [--actors threads] [--size N]
"""

from __future__ import annotations

import random
from typing import Any

import stage
from stage import Actor

ACCOUNTS = 6
BALANCE = 10_000


class Account(Actor):
    """Has money."""

    def __init__(self, number: int, balance: int) -> None:
        super().__init__()
        self.number, self.balance = number, balance

    def meet(self, others: list[Any], teller: Any) -> None:
        """Know all accounts, and who asks."""
        self.others = {place: other.proxy() for place, other in enumerate(others) if place != self.number}
        self._teller = teller.proxy()

    def debit(self, amount: int, to: int) -> None:
        """Give money to another account, if there is enough."""
        if amount > self.balance:
            self._teller.over.defer(moved=0)
            return
        self.balance -= amount
        self.others[to].credit.defer(amount)

    def credit(self, amount: int) -> None:
        """Take it, and tell."""
        self.balance += amount
        self._teller.over.defer(moved=amount)

    def tell(self) -> int:
        """Return what there is."""
        return self.balance


class Teller(Actor):
    """Has so many transactions made, a few at a time."""

    def begin(self, accounts: list[Any], number: int, at_once: int, done: Any) -> None:
        """Begin."""
        self.accounts, self.done = [account.proxy() for account in accounts], done
        self.random = random.Random(1)
        self.to_begin, self.to_end, self.moved = number, number, 0
        for _ in range(min(at_once, number)):
            self.next()

    def next(self) -> None:
        """Begin the next one."""
        self.to_begin -= 1
        giver, taker = self.random.sample(range(len(self.accounts)), 2)
        self.accounts[giver].debit.defer(self.random.randrange(1, 3000), taker)

    def over(self, moved: int) -> None:
        """One is over."""
        self.moved += moved
        self.to_end -= 1
        if self.to_begin:
            self.next()
        elif not self.to_end:
            self.done.set(self.moved)


def run(size: int) -> int:
    """Make `size` transactions."""
    done = stage.future()
    teller = Teller.start()
    accounts = [Account.start(number, BALANCE) for number in range(ACCOUNTS)]
    for account in accounts:
        account.proxy().meet(accounts, teller).get()
    teller.proxy().begin.defer(accounts, size, 8, done)
    if not done.get(timeout=stage.SECONDS):
        raise AssertionError("nothing was moved")
    balances = [account.proxy().tell().get() for account in accounts]
    stage.check(sum(balances), ACCOUNTS * BALANCE)
    stage.check(min(balances) >= 0, True)
    return 3 * size


if __name__ == "__main__":
    stage.main(__doc__, run, 1500)

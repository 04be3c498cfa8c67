"""Which of what was lent to a plugin its processes may still use, as they end and others begin: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class Epochs:
    """One epoch for each process of a plugin that has been heard of.

    What was lent in an earlier one is not held by anybody, once no call of that time runs any more: a call may be
    answered by a later process than the one that it was sent to.
    """

    def __init__(self) -> None:
        self._epoch = 0
        self._token = ""
        self._lent: dict[int, int] = {}
        self._running: Counter[int] = Counter()

    def begin(self) -> int:
        """A call begins; return its epoch."""
        self._running[self._epoch] += 1
        return self._epoch

    def lent(self, numbers: Iterable[int]) -> None:
        """These numbers are sent."""
        for number in numbers:
            self._lent[number] = self._epoch

    def heard(self, token: str) -> bool:
        """A process has said something; return whether it is one that nothing was heard of before."""
        if token == self._token:
            return False
        self._token = token
        self._epoch += 1
        return self._epoch > 1

    def end(self, epoch: int, numbers: Iterable[int], *, lost: bool) -> None:
        """A call ends, in which these numbers were sent.

        Args:
            lost: whether its process has ended in it; otherwise the one that was heard of last may hold them.
        """
        self._running[epoch] -= 1
        if self._running[epoch] <= 0:
            del self._running[epoch]
        if not lost:
            self.lent(number for number in numbers if number in self._lent)

    def given_back(self, numbers: Iterable[int]) -> None:
        """These numbers are lent no longer."""
        for number in numbers:
            self._lent.pop(number, None)

    @property
    def are_earlier_over(self) -> bool:
        """Whether no call of an earlier epoch runs."""
        return not self._running or min(self._running) >= self._epoch

    def unused(self) -> set[int]:
        """Return the numbers that nobody can hold any more."""
        if not self.are_earlier_over:
            return set()
        return {number for number, epoch in self._lent.items() if epoch < self._epoch}

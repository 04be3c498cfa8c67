"""What this program lends to isolates, and which of that each of their processes holds.

A thing that is lent has a number in the whole program, and a process may use only the numbers in its own ledger:
those that it was sent.  What a process lends itself has a number too, with that of the process in its upper half, so
that a message which names it means the same wherever it goes.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

from piactors.errors import ProtocolError
from piactors.pihost.pickles.lending import Entry

MOST_HELD = 1024
"""Things that one process may hold at once, as far as it has asked for them, and things that it may lend."""
_BEYOND = 1 << 64
_numbers = itertools.count(1)
_owners = itertools.count(1)
_known: weakref.WeakValueDictionary[int, Loan] = weakref.WeakValueDictionary()


def next_owner() -> int:
    """Return a number for a process that may lend things."""
    return next(_owners)


def is_number(found: object) -> bool:
    """Whether this may be the number of something, or how often it is held, as an isolate says it.

    A longer int has no place: Python does not even show it in the text of an error.
    """
    return type(found) is int and 0 <= found < _BEYOND


def owner_of(number: int) -> int:
    """Return who lends the thing with a number: 0 for this program, else a process of it."""
    return number >> 32


class Loan:
    """A thing that is lent.  It lives as long as somebody holds it: a process, a message, or the code that lends it.

    Attributes:
        kind: what it is for who borrows it: ``object``, ``function``, ``future``, ``ref``.
        number: its number in the whole program.
        holding: the ledgers that it stands in.
    """

    kind: ClassVar[str] = ""

    def __init__(self, number: int = 0) -> None:
        self.number = number or next(_numbers)
        self.holding: weakref.WeakSet[Ledger] = weakref.WeakSet()
        _known[self.number] = self

    def facts(self) -> tuple[Any, ...]:
        """Return what its borrower is to know of it: plain data."""
        return ()

    def home(self) -> Any:
        """Return what this program's own code gets in its place."""
        raise NotImplementedError

    def perform(self, request: Any) -> None:
        """Do what a borrower asks for (see `piactors._isolate.asked.Asked`); on the I/O thread, so at once or later."""
        raise NotImplementedError

    def entry(self) -> Entry:
        """Return what is told of it beside a message that names it."""
        return self.number, self.kind, self.facts()


ways: dict[type, Callable[[Any], Loan] | None] = {}
"""By type: how its instances are lent; None if they are not, though those of a class above are."""


def way_of(kind: type) -> Callable[[Any], Loan] | None:
    """Return how instances of a type are lent; None if they are not."""
    for cls in kind.__mro__:
        if cls in ways:
            return ways[cls]
    return None


def known(number: int) -> Loan | None:
    """Return the loan with a number, if it lives."""
    return _known.get(number)


def key_of(loan: Loan) -> str:
    """Return the key of a loan among those of definitions."""
    return f"={loan.number}"


def by_key(key: str) -> Loan | None:
    """Return the loan of such a key; None if it is another key, or the loan is gone."""
    return _known.get(int(key[1:])) if key.startswith("=") else None


class Carrying(NamedTuple):
    """The payload of an answer, and the loans that it names."""

    payload: Any
    loans: dict[int, Loan]


def parts_of(payload: Any) -> tuple[Any, dict[int, Loan]]:
    """Return a payload, and the loans that it names."""
    return payload if type(payload) is Carrying else (payload, {})


def opened(payload: Any) -> tuple[Any, dict[int, Any]]:
    """Return a payload, and what the numbers in it stand for in this program."""
    if type(payload) is Carrying:
        return payload.payload, {number: loan.home() for number, loan in payload.loans.items()}
    return payload, {}


class Ledger:
    """What one process holds of what was lent to it, each thing as often as it was sent; from any thread.

    Args:
        tell: tells the process whether an actor takes messages, by the number that it holds its ref by.
    """

    def __init__(
        self,
        name: str = "",
        owner: int = 0,
        loans: Iterable[Loan] = (),
        tell: Callable[[int, bool], object] | None = None,
    ) -> None:
        self.name, self.owner = name, owner
        # Senders add, the I/O thread takes away.
        self._lock = threading.Lock()
        self._held: dict[int, tuple[Loan, int]] = {}
        self._waiting: list[tuple[int, list[int]]] = []
        self._uses = 0
        self._tell = tell
        self.grant(loans)

    def tell(self, number: int, alive: bool) -> None:
        """Tell the process whether an actor takes messages."""
        tell = self._tell
        if tell is not None:
            tell(number, alive)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Loan]:
        with self._lock:
            return iter([loan for loan, _ in self._held.values()])

    def has_room(self, loans: Iterable[Loan]) -> bool:
        """Whether the process may be sent these in an answer: otherwise it could ask for more and more."""
        if len(self._held) < MOST_HELD:
            return True
        return all(loan.number in self._held or owner_of(loan.number) == self.owner for loan in loans)

    def grant(self, loans: Iterable[Loan]) -> None:
        """These are being sent to the process, once more each."""
        with self._lock:
            for loan in loans:
                if owner_of(loan.number) == self.owner:
                    continue  # it goes home
                _, count = self._held.get(loan.number, (loan, 0))
                self._held[loan.number] = loan, count + 1
                loan.holding.add(self)

    def revoke(self, loans: Iterable[Loan]) -> None:
        """These were not sent after all."""
        self._take(n for loan in loans if owner_of(loan.number) != self.owner for n in (loan.number, 1))

    def find(self, number: int) -> Loan | None:
        """Return what a number stands for that the process names; None if it holds no such thing (any more)."""
        found = self._held.get(number)
        return None if found is None else found[0]

    def used(self) -> None:
        """A frame has come on the data channel that used what is held."""
        with self._lock:
            self._uses += 1
            due = [counts for uses, counts in self._waiting if uses <= self._uses]
            self._waiting = [(uses, counts) for uses, counts in self._waiting if uses > self._uses]
        for counts in due:
            self._take(counts)

    def drop(self, uses: int, counts: list[int]) -> None:
        """The process holds these no longer, once it has been heard on the data channel so many times.

        Raises:
            ProtocolError: if that cannot be.
        """
        if len(counts) % 2 or not all(map(is_number, counts)):
            raise ProtocolError("it drops what is malformed")
        with self._lock:
            early = uses > self._uses
            if early:
                self._waiting.append((uses, counts))
        if not early:
            self._take(counts)
        elif len(self._waiting) > MOST_HELD:
            raise ProtocolError("it drops things that it has yet to use")

    def _take(self, counts: Iterable[int]) -> None:
        gone = []
        numbers = iter(counts)
        with self._lock:
            for number, count in zip(numbers, numbers, strict=True):
                loan, held = self._held.get(number, (None, 0))
                if loan is None or not 0 < count <= held:
                    raise ProtocolError(f"it drops {count} times what it holds {held} times")
                if held > count:
                    self._held[number] = loan, held - count
                else:
                    gone.append(self._held.pop(number))
                    loan.holding.discard(self)
        del gone  # without the lock: it may be the last that held a thing of the user's

    def close(self) -> None:
        """The process is gone: it holds nothing any more."""
        with self._lock:
            gone, self._held, self._waiting, self._tell = self._held, {}, [], None
            for loan, _ in gone.values():
                loan.holding.discard(self)
        del gone

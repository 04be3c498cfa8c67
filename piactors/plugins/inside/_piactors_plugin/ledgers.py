"""What one side of a border has lent, and what it holds of the other: numbers, each with how often it was sent."""

from __future__ import annotations

import threading
import types
import weakref
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Sequence, Set, Tuple

OF_A_PROCESS = 24
"""Bits of a number that count what one process lends; above them is what that process is told by."""
MOST_THINGS = 65_536
"""That one side may have lent at once."""


class Gone(LookupError):
    """What is asked for is not there any more: the process that had lent it has ended, or it was given back.

    Attributes:
        number: its number; 0 if it is not known.
    """

    def __init__(self, text: str, number: int = 0) -> None:
        super().__init__(text)
        self.number = number


class NotLent(ValueError):
    """A value can be neither copied nor lent."""


class LentThings:
    """What one side has lent: numbers, and how often each was sent.

    Args:
        base: its numbers are larger: each process of a plugin has others.
    """

    def __init__(self, base: int) -> None:
        self._lock = threading.Lock()  # an object that two threads lend at once has one number
        self._things: Dict[int, List[Any]] = {}
        self._numbers: Dict[int, int] = {}
        self._next = base

    def __len__(self) -> int:
        return len(self._things)

    def lend(self, thing: Any) -> int:
        """Return the number of a thing that is sent once more.

        Raises:
            NotLent: if too many are lent.
        """
        with self._lock:
            number = self._numbers.get(id(thing), 0)
            if not number:
                if len(self._things) >= MOST_THINGS:
                    raise NotLent("{:,} things are lent already".format(MOST_THINGS))
                self._next += 1
                number = self._numbers[id(thing)] = self._next
                self._things[number] = [thing, 0]
            self._things[number][1] += 1
            return number

    def find(self, number: int) -> Any:
        """Return what has a number.

        Raises:
            Gone: if it is not lent any more.
        """
        found = self._things.get(number)
        if found is None:
            raise Gone("what has number {} is not lent any more".format(number), number)
        return found[0]

    def has(self, number: int) -> bool:
        """Whether a number is lent."""
        return number in self._things

    def drop(self, numbers: Sequence[int]) -> List[int]:
        """These numbers, each followed by how often it had come by then, are not held any more; return what goes."""
        if not numbers:
            return []
        gone, went = [], []
        with self._lock:
            for number, count in zip(numbers[::2], numbers[1::2]):
                entry = self._things.get(number)
                if entry is not None:
                    entry[1] -= count
                    if entry[1] <= 0:
                        gone.append(self._take(number))
                        went.append(number)
        _let_go(gone)
        return went

    def keep_only(self, numbers: Set[int]) -> None:
        """Whoever held the others has ended."""
        with self._lock:
            gone = [self._take(number) for number in list(self._things) if number not in numbers]
        _let_go(gone)

    def _take(self, number: int) -> Any:
        thing = self._things.pop(number)[0]
        self._numbers.pop(id(thing), None)
        return thing

    def all_numbers(self) -> Set[int]:
        """Return the numbers of all that is lent."""
        with self._lock:
            return set(self._things)


def _let_go(gone: List[Any]) -> None:
    """Let go of things, without the lock: that may run code of theirs."""
    for thing in gone:
        if isinstance(thing, types.CoroutineType):
            thing.close()  # it was never awaited, and nobody is to be warned of that
    gone.clear()


class StandIns:
    """The stand-ins of one side, by number: one each, for as long as somebody uses it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # threads that get the same number at once get the same stand-in
        self._held: Dict[int, Tuple[Any, List[int]]] = {}
        self._gone: Deque[Tuple[int, List[int]]] = deque()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, number: int, make: Callable[[], Tuple[Any, Any]]) -> Any:
        """Return the stand-in of a number that has come once more.

        Args:
            make: makes one, and its anchor.
        """
        with self._lock:
            found = self._held.get(number)
            stand_in = None if found is None else found[0]()
            if stand_in is None:
                stand_in, anchor = make()
                anchor.stands_in(_weak(stand_in))
                self._note(number, anchor)
            self._held[number][1][0] += 1
            return stand_in

    def moved(self, number: int, anchor: Any, count: int) -> None:
        """What an anchor stands for has this number from now on, and has come so often."""
        with self._lock:
            self._note(number, anchor)
            self._held[number][1][0] += count

    def _note(self, number: int, anchor: Any) -> None:
        count = [0]
        self._held[number] = (anchor.stand_in, count)
        weakref.finalize(anchor, _Noting(self._gone, number, count)).atexit = False

    def find(self, number: int) -> Any:
        """Return the stand-in of a number, if somebody uses it."""
        found = self._held.get(number)
        return None if found is None else found[0]()

    def unused(self, number: int, count: int) -> None:
        """A number has come so often which nothing stands for: it is given back."""
        self._gone.append((number, [count]))

    def dropped(self) -> List[int]:
        """Return the numbers that are not used any more, each followed by how often it had come."""
        found: List[int] = []
        if not self._gone:
            return found
        while self._gone:
            number, count = self._gone.popleft()
            with self._lock:
                entry = self._held.get(number)
                if entry is not None and entry[1] is count:
                    del self._held[number]
            found += (number, count[0])
        return found

    @property
    def are_many_gone(self) -> bool:
        """Whether it is time to tell the other side of those that are not used any more."""
        return len(self._gone) > 100


class _Noting:
    """Notes that a stand-in is gone; called by the garbage collector, anywhere."""

    __slots__ = ("_count", "_gone", "_number")

    def __init__(self, gone: Any, number: int, count: List[int]) -> None:
        self._gone, self._number, self._count = gone, number, count

    def __call__(self) -> None:
        self._gone.append((self._number, self._count))


def _weak(stand_in: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(stand_in)
    except TypeError:  # a coroutine: it is used once
        return lambda: None

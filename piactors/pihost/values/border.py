"""An isolate's end of its border with the host: what it has borrowed, and what it has lent.

Things that are borrowed have stand-ins.  When the last use of one is gone, the host is told: by the control thread,
later, and with how often the thing had been lent by then, so that one which is lent again meanwhile stays.  A finaliser
only notes: it sends nothing and takes no lock.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, List, Set, Tuple

from ..pickles import lending
from ..pickles.lending import HOME, Entry
from ..plain import encode as plain_encode
from . import errors

MOST_LENT = 1024
"""Things of this process that it may have lent at once; the host keeps its own count."""

_HANDLES = ("object", "function", "writer", "stream")
Maker = Callable[[Any, int, Tuple[Any, ...]], Any]


class _StandIn:
    """One stand-in, and how often its thing has been lent to this process while it lives."""

    __slots__ = ("number", "reference", "seen")

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = 0
        self.reference: Any = None


class _OwnThing:
    """One thing of this process that is lent, and how often the host has been sent it."""

    __slots__ = ("count", "entry", "thing")

    def __init__(self, thing: Any, entry: Entry) -> None:
        self.thing, self.entry, self.count = thing, entry, 0


class Border:
    """The tables of one isolate; from any thread.

    Args:
        owner: the number of this process among all that lend.
        wake: has the control thread call `drops` soon; a finaliser calls it.
    """

    def __init__(self, owner: int, wake: Callable[[], None]) -> None:
        self.owner = owner
        self._wake = wake
        self.link: Any = None
        """What requests and answers go through."""
        self.own_ref: Any = None
        """The ref of the actor that is this isolate, if it is one."""
        # Messages bring things on the threads of calls, answers do on the control thread.
        self._lock = threading.Lock()
        self._records: Dict[int, _StandIn] = {}
        self._gone: Deque[_StandIn] = deque()
        self._lent: Dict[int, _OwnThing] = {}
        self._numbers: Dict[int, int] = {}
        """By identity of what is lent."""
        self._released: Dict[int, int] = {}
        """What is lent no longer, and how often the host has been sent it: that counts until it is given back there."""
        self._next = owner << 32
        self.dead: Set[int] = set()
        """Numbers of actors that take no messages, as far as the host tells of that."""
        self.makers: Dict[str, Maker] = {}
        """By kind: what makes a stand-in."""
        lending.resolve, lending.on_called_off = self.thing, self.not_sent

    # What this process has borrowed

    def take(self, entries: Iterable[Entry]) -> Dict[int, Any]:
        """The host lends these once more, or gives them back; return what stands for them here, by number.

        That has to be held until what came with it has been read.
        """
        return {entry[0]: self._taken(*entry) for entry in entries}

    def _taken(self, number: int, kind: str, facts: Tuple[Any, ...]) -> Any:
        if number >> 32 == self.owner:
            return self._home(number)
        with self._lock:
            record = self._records.get(number)
            found = None if record is None else record.reference()
            if record is None or found is None:
                record = _StandIn(number)
                found = self.makers[kind](self, number, facts)
                record.reference = weakref.ref(found, functools.partial(self._note, record))
                self._records[number] = record
            record.seen += 1
        return found

    def thing(self, number: int) -> Any:
        """Return what a number stands for here.

        Raises:
            LookupError: if it was not lent to this process.
        """
        if number >> 32 == self.owner:
            return self._home(number)
        record = self._records.get(number)
        found = None if record is None else record.reference()
        if found is None:
            raise LookupError("a thing of another process that was not lent to this one")
        return found

    def holds(self, number: int) -> bool:
        """Whether something of this process holds a thing that it was lent."""
        record = self._records.get(number)
        return record is not None and record.reference() is not None

    def borrowed(self) -> List[Any]:
        """Return all stand-ins that live."""
        with self._lock:
            found = [record.reference() for record in self._records.values()]
        return [stand_in for stand_in in found if stand_in is not None]

    def _note(self, record: _StandIn, _: Any) -> None:
        """A stand-in is gone; called by the garbage collector, anywhere."""
        self._gone.append(record)
        self._wake()

    def drops(self) -> List[int]:
        """Return the numbers of stand-ins that are gone, each followed by how often it had been lent by then."""
        counts: List[int] = []
        while self._gone:
            record = self._gone.popleft()
            counts += (record.number, record.seen)
            with self._lock:
                if self._records.get(record.number) is record:
                    del self._records[record.number]
                    self.dead.discard(record.number)
        return counts

    def note_alive(self, number: int, alive: bool) -> None:
        """An actor takes messages, or does not."""
        if alive:
            self.dead.discard(number)
        else:
            self.dead.add(number)

    # What this process lends

    def lend(self, thing: Any, kind: str, facts: Tuple[Any, ...]) -> Entry:
        """Return the entry of a thing of this process; whoever sends it says so with `sent`, or `not_sent`.

        Raises:
            TooManyLoans: if this process has lent too many things.
        """
        with self._lock:
            number = self._numbers.get(id(thing), 0)
            if not number:
                if len(self._lent) + len(self._released) >= MOST_LENT:
                    text = "this process has lent {:,} things already: release some of them".format(MOST_LENT)
                    raise errors.make("TooManyLoans", text)
                self._next += 1
                number = self._numbers[id(thing)] = self._next
                self._lent[number] = _OwnThing(thing, (number, kind, facts))
            return self._lent[number].entry

    def sent(self, entries: Iterable[Entry]) -> bytes:
        """Return the entries as they travel: they are being sent, and what is lent stays until the host drops it."""
        with self._lock:
            for number, _, _ in entries:
                lent = self._lent.get(number)
                if lent is not None:
                    lent.count += 1
        return plain_encode.encode([entry if entry[0] >> 32 == self.owner else (entry[0], *HOME) for entry in entries])

    def not_sent(self, entries: Iterable[Entry]) -> None:
        """The message that was to lend these is not sent."""
        self._drop([number for entry in entries for number in (entry[0], 0)])

    def dropped(self, counts: List[int]) -> None:
        """The host holds these no longer: numbers, each followed by how often it had been lent to it."""
        self._drop(counts)

    def release(self, thing: Any, still_counts: bool = False) -> None:
        """Lend a thing no longer, whoever holds it.

        Args:
            still_counts: whether the host says when it holds it no longer, and until then has to count it.
        """
        with self._lock:
            number = self._numbers.get(id(thing), 0)
            count = self._lent[number].count if number else 0
            if count > 0 and still_counts:
                self._released[number] = count
        self._drop([number, count])

    def _drop(self, counts: List[int]) -> None:
        gone = []
        with self._lock:
            for number, count in zip(counts[::2], counts[1::2]):
                lent = self._lent.get(number)
                if lent is None:
                    self._given_back(number, count)
                    continue
                lent.count -= count
                if lent.count <= 0:
                    gone.append(self._lent.pop(number))
                    self._numbers.pop(id(lent.thing), None)
        gone.clear()  # without the lock: what is let go of may run code of its own

    def _given_back(self, number: int, count: int) -> None:
        """The host holds something no longer that was released here before; under the lock."""
        left = self._released.pop(number, 0) - count
        if left > 0:
            self._released[number] = left

    def _home(self, number: int) -> Any:
        """Return what a thing of this process is for its own code."""
        if number == self.owner << 32 and self.own_ref is not None:
            return self.own_ref
        found = self.own(number)
        return found.home() if self._lent[number].entry[1] in _HANDLES else found

    def lent(self, number: int) -> Any:
        """Return a thing that this process has lent, as it was lent; None if it is lent no longer."""
        lent = self._lent.get(number)
        return None if lent is None else lent.thing

    def all_lent(self, kind: type) -> List[Any]:
        """Return the things of a kind that this process has lent."""
        with self._lock:
            return [lent.thing for lent in self._lent.values() if isinstance(lent.thing, kind)]

    def own(self, number: int) -> Any:
        """Return a thing that this process has lent, as it was lent: of an object, what stands behind its handle.

        Raises:
            Released: if it is lent no longer.
        """
        lent = self._lent.get(number)
        if lent is None:
            raise errors.make("Released", "what this process had lent has been released")
        return lent.thing

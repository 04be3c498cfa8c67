"""Things that a process of an isolate has lent to this program, or by way of it to other isolates."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from piactors._codec import lending
from piactors._codec.decode import Decoder
from piactors._codec.lending import Loan
from piactors._process.placement import Process
from piactors._values.remote_loans import OPERATIONS, RemoteLoan
from piactors._values.remote_streams import RemoteStream
from piactors.errors import IsolateCrashed, LimitExceeded, ProtocolError, Released
from piactors.pihost.plain import decode as plain_decode
from piactors.pihost.wire.yielded import MOST_BYTES, MOST_ITEMS

_SMALL = 65536
_OF_AN_END = (Released, IsolateCrashed, LimitExceeded)
_MOST_TEXT = 1000
_MOST_METHODS, _MOST_METHODS_TEXT = 1000, 65_536
"""Of one object: how many methods, and how many characters their names have in all."""


class Lender:
    """One process of an isolate, as one that lends things to this program.

    Args:
        name: the isolate's.
        decoder: makes values of what it answers.
        own_ref: returns the ref of the isolate.
        soon: has a job run on the I/O thread; takes no lock.
    """

    def __init__(
        self,
        name: str,
        process: Process,
        decoder: Decoder,
        own_ref: Callable[[], Any],
        soon: Callable[[Callable[[], object]], object],
        *,
        foreign: bool,
    ) -> None:
        self.name, self.process, self.decoder, self.foreign = name, process, decoder, foreign
        self.soon = soon
        # Answers that lend things are read by any thread.
        self._lock = threading.Lock()
        self._loans: dict[int, weakref.ref[RemoteLoan]] = {}
        self.own_ref = own_ref
        self._own: Alias | None = None
        self._end_error: Callable[[], BaseException] | None = None
        self._watches: dict[str, Callable[[], object]] = {}
        """What ends the watches of its functions, by their keys."""

    def take(self, payload: bytes) -> dict[int, Loan]:
        """Return what the process lends once more, or gives back.

        Raises:
            ProtocolError: if it names what it does not hold, or what it says is malformed.
        """
        try:
            entries = plain_decode.decode(payload, budget=len(payload) * 8 + _SMALL, max_depth=4)
        except plain_decode.BadPlain as error:
            raise ProtocolError(f"what it lends cannot be read: {error}") from None
        if type(entries) is not list or len(entries) > lending.MOST_HELD:
            raise ProtocolError("what it lends is malformed")
        return dict(map(self._taken, entries))

    def _taken(self, entry: Any) -> tuple[int, Loan]:
        if type(entry) is not tuple or len(entry) != 3 or not lending.is_number(entry[0]):
            raise ProtocolError("what it lends is malformed")
        number, kind, facts = entry
        if number == self.process.owner << 32:
            return number, self._of_itself()
        if lending.owner_of(number) != self.process.owner:
            found = self.process.ledger.find(number)
            if found is None:
                raise ProtocolError(f"it gives back {number}, which it does not hold")
            return number, found
        with self._lock:
            reference = self._loans.get(number)
            loan = None if reference is None else reference()
            if loan is None:
                if len(self._loans) >= lending.MOST_HELD:
                    raise ProtocolError(f"it lends more than {lending.MOST_HELD:,} things")
                make = RemoteStream if kind == "stream" else RemoteLoan
                loan = make(self, number, kind, _checked(kind, facts))
                self._loans[number] = weakref.ref(loan)
            loan.lent_again()
        return number, loan

    def _of_itself(self) -> Loan:
        """Return what stands for the isolate's own ref, by the number that this process of it has."""
        with self._lock:
            if self._own is None:
                self._own = Alias(self.process.owner << 32, self.own_ref()._lend())
            return self._own

    def ended(self, error: Callable[[], BaseException]) -> None:
        """The process has ended, and this makes the error of what it had to do."""
        with self._lock:  # a watch that begins now has to end at once
            self._end_error = error
            watches, self._watches = self._watches, {}
        for end in watches.values():
            end()

    def watches(self, key: str, end: Callable[[], object]) -> None:
        """A function of the process is to be told of the end of an actor, until `end` is called."""
        with self._lock:  # as in `ended`
            has_ended = self._end_error is not None
            if not has_ended:
                self._watches[key] = end
        if has_ended:
            end()

    def watches_no_longer(self, key: str) -> None:
        """It is not to be told any more."""
        with self._lock:  # as in `ended`
            end = self._watches.pop(key, None)
        if end is not None:
            end()

    def explained(self, error: BaseException) -> BaseException:
        """Return the error of a stream whose items could not be had: what ended the process, if it is gone."""
        return self._end_error() if self._end_error is not None and type(error) in _OF_AN_END else error

    def forget(self, number: int, loan: RemoteLoan | None = None) -> None:
        """A loan is gone, or about to be: this one."""
        reference = self._loans.get(number)
        if reference is not None and reference() in (None, loan):  # it may have been lent anew meanwhile
            self._loans.pop(number, None)

    def dropped(self, number: int, seen: int, loan: RemoteLoan | None = None) -> None:
        """Nothing holds a loan of it here any more; called by the garbage collector, anywhere."""
        self.forget(number, loan)
        self.process.give_back(number, seen)

    def ask(
        self, operation: str, loan: RemoteLoan, name: str, flags: int, payload: bytes, loans: Any, answer: Any
    ) -> None:
        """Have the process do something to what it has lent."""
        self.process.ask_of_lent((loan.number, operation, name, flags, payload), list(loans), answer)


def _checked(kind: object, facts: object) -> tuple[Any, ...]:
    """Return what a process says of a thing, as it is told whoever borrows it."""
    if type(kind) is not str or kind not in OPERATIONS or type(facts) is not tuple:
        raise ProtocolError("what it lends is of no kind that there is")
    if facts and (type(facts[0]) is not str or len(facts[0]) > _MOST_TEXT):
        raise ProtocolError("what it lends has a name that is not one")
    if [type(fact) for fact in facts] not in _FACTS[kind]:
        raise ProtocolError("what it lends is told of in a way that there is not")
    if kind == "object" and facts[1] is not None:
        _check_methods(facts[1])
    if kind == "stream" and not (0 < facts[1] <= MOST_ITEMS and 0 < facts[2] <= MOST_BYTES and facts[3] in (1, 2)):
        raise ProtocolError("it lends a stream with a window that is not one")
    return facts


def _check_methods(methods: tuple[Any, ...]) -> None:
    if len(methods) > _MOST_METHODS or not all(type(text) is str for text in methods):
        raise ProtocolError("what it lends has methods that are not names")
    if sum(map(len, methods)) > _MOST_METHODS_TEXT:  # it is kept for as long as the loan lives
        raise ProtocolError("what it lends has methods with names that are too long")


_FACTS: dict[str, list[list[type]]] = {
    "object": [[str, type(None)], [str, tuple]],
    "function": [[str]],
    "future": [[]],
    "writer": [[]],
    "stream": [[str, int, int, int, bool, bool]],
}
"""By kind: of what types the facts of a thing are."""


class Alias(Loan):
    """The same thing by another number: that which one process of an isolate uses for the isolate itself."""

    def __init__(self, number: int, loan: Loan) -> None:
        super().__init__(number)
        self.kind = loan.kind  # type: ignore[misc]
        self._loan = loan
        self.facts, self.home, self.perform = loan.facts, loan.home, loan.perform  # type: ignore[method-assign]

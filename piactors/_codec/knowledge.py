"""What each process of an isolate has of the definitions of this program."""

from __future__ import annotations

import pickle
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from piactors._codec import keys

if TYPE_CHECKING:
    from piactors._codec.definitions import Needs
    from piactors._codec.lending import Loan


class Missing(NamedTuple):
    """What a process has to be sent ahead of a message: as it travels (nothing if it has it all), and what that is."""

    payload: bytes
    gone: list[str]
    versions: dict[str, int]
    loans: list[Loan]


_everybody: dict[int, weakref.ref[Knowledge]] = {}


class Knowledge:
    """What one process of an isolate has of this process's definitions; used under its isolate's lock."""

    def __init__(self, needs: Needs | None) -> None:
        self.forgotten: deque[str] = deque()
        """Keys that it is still to be told to let go of."""
        self._versions: dict[str, int] = {}
        if needs is not None:
            self._versions = {made.record.key: made.record.version for made in needs.made if not made.absent}
        number = id(self)
        _everybody[number] = weakref.ref(self, lambda _: _everybody.pop(number, None))

    def forget(self, key: str) -> None:
        """This process has let go of something; called in any thread, at any moment."""
        if key in self._versions:
            self.forgotten.append(key)

    def missing(self, needs: Needs | None) -> Missing:
        """Return what the process has to be sent before a message with these needs; once it is, `note` is to follow."""
        gone = [key for key in dict.fromkeys(tuple(self.forgotten)) if key in self._versions]
        records, versions = [], {}
        loans = [] if needs is None else [*needs.loans]
        for made in () if needs is None else needs.made:
            record = made.record
            has = None if record.key in gone else self._versions.get(record.key)
            if has != record.version and not (has is None and made.absent):
                records.append(tuple(record))
                versions[record.key] = record.version
                loans += made.loans()
        lent = [] if needs is None else [lent.number for lent in needs.lent]
        entries = [loan.entry() for loan in loans]
        news = pickle.dumps((gone, records, lent, entries), 4) if gone or records or lent or entries else b""
        return Missing(news, gone, versions, loans)

    def note(self, sent: Missing) -> None:
        """The process has been sent what `missing` said; calling it again does no harm."""
        gone, versions = sent.gone, sent.versions
        while self.forgotten and (self.forgotten[0] in gone or self.forgotten[0] not in self._versions):
            self.forgotten.popleft()
        for key in gone:
            if key not in versions:
                self._versions.pop(key, None)
        self._versions.update(versions)


def _forget(key: str) -> None:
    for reference in _retried(lambda: list(_everybody.values())):
        knowledge = reference()
        if knowledge is not None:
            knowledge.forget(key)


def _retried(snapshot: Callable[[], list[weakref.ref[Knowledge]]]) -> list[weakref.ref[Knowledge]]:
    """Return the items of a dictionary that the garbage collector may change while they are listed."""
    while True:
        try:
            return snapshot()
        except RuntimeError:
            continue


keys.on_forgotten.append(_forget)

"""Calls of what another call will return, which wait here until it has: if it returns something that is lent.

One that comes when that can no longer be told, or for something else, is answered with nothing: the host makes it then.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from ..pickles import lending
from ..pickles.lending import Entry
from ..wire import wire

Key = Tuple[bool, int]
"""The number of what returns something, and whether the host has asked for it on the control channel."""

_KEPT = 4096
"""Results that are kept in mind; of older ones the host knows."""
_KINDS = ("object", "function")


class CallAhead(NamedTuple):
    """One call that waits for what it is to be made on."""

    seq: int
    name: str
    flags: int
    payload: bytes
    entries: Any


class Pipeline:
    """The calls that wait, and what the last calls have returned.

    Args:
        border: has what is lent, and begins calls of that.
        answer: answers a request with nothing.
    """

    def __init__(self, border: Any, answer: Callable[[int], None]) -> None:
        self._border = border
        self._answer = answer
        # Threads of calls tell of results, the control thread of what is to be done with them, in this order for each.
        self._lock = threading.RLock()
        self._found: OrderedDict[Key, int] = OrderedDict()
        self._waiting: Dict[Key, List[CallAhead]] = {}
        self._forgotten = {False: 0, True: 0}

    def result_sent(self, key: Key, value: Any, entries: List[Entry]) -> None:
        """An answer that lends these was sent, so that the host has it even if this process ends now."""
        if len(entries) != 1 or entries[0][1] not in _KINDS or lending.way_of(type(value)) is None:
            return
        number = entries[0][0]
        with self._lock:
            self._found[key] = number
            if len(self._found) > _KEPT:
                (is_asked, oldest), _ = self._found.popitem(last=False)
                self._forgotten[is_asked] = max(oldest, self._forgotten[is_asked])
            for waiting in self._waiting.pop(key, ()):
                self._begin(number, waiting)

    def then(self, seq: int, is_asked: bool, of: int, *call: Any) -> None:
        """Call what a call returns, now or later; on the control thread."""
        key, waiting = (is_asked, of), CallAhead(seq, *call)
        with self._lock:
            number = self._found.get(key)
            if number is not None:
                self._begin(number, waiting)
            elif of > self._forgotten[is_asked]:
                self._waiting.setdefault(key, []).append(waiting)
            else:
                self._let_go(waiting)

    def forget(self, is_asked: bool, of: int, seq: int) -> None:
        """What a call returns is not to be called, in one request or (0) in any."""
        key = (is_asked, of)
        with self._lock:
            found = self._waiting.pop(key, [])
            rest = [waiting for waiting in found if seq not in (0, waiting.seq)]
            if rest:
                self._waiting[key] = rest
            for waiting in found:
                if waiting not in rest:
                    self._let_go(waiting)

    def _begin(self, number: int, waiting: CallAhead) -> None:
        try:
            self._border.perform(waiting.seq, number, "call", *waiting[1:])
        except Exception as error:  # it is lent no longer
            self._border.link.respond_with_error(waiting.seq, error)

    def _let_go(self, waiting: CallAhead) -> None:
        self._border.take(waiting.entries)  # and gives that back
        self._answer(waiting.seq)


def nothing(link: Any, seq: int) -> None:
    """Answer a request with nothing, which no result is."""
    link.respond(seq, wire.PLAIN, b"")

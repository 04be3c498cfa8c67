"""What goes out by reference, and how that stands in a pickle: the number of the thing, and no more.

A thing that is lent has one number for the whole program, wherever a pickle that names it goes: the one who owns it in
the upper half, 0 for the host, and its own number there.  What it is, and who may use it, is told beside the pickle
(`Entry`), so that a process can use no thing that it was not lent, whatever number it names.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..plain import handles
from . import refusals

Entry = Tuple[int, str, Tuple[Any, ...]]
"""The number of a thing, its kind, and what is to be known of it; for one that goes home, the kind is empty."""

HOME: Tuple[str, Tuple[Any, ...]] = ("", ())

ways: Dict[type, Optional[Callable[[Any], Entry]]] = {}
"""By type: how its instances are lent, or given back."""

_noted: Dict[int, List[Entry]] = {}
"""By thread that makes a message: what that has lent so far."""


def way_of(kind: type) -> Optional[Callable[[Any], Entry]]:
    """Return how instances of a type are lent; None if they are not."""
    for cls in kind.__mro__:
        if cls in ways:
            return ways[cls]
    return None


def begin() -> None:
    """What this thread pickles from now on may lend things, until `end`."""
    if ways:
        _noted[threading.get_ident()] = []


def end() -> List[Entry]:
    """Return what was lent, each thing once; nothing more is lent."""
    if not _noted:
        return []
    found = _noted.pop(threading.get_ident(), [])
    return found if len(found) < 2 else list({entry[0]: entry for entry in found}.values())


def call_off() -> None:
    """Nothing is sent of what was lent since `begin`."""
    entries = end()
    if entries:
        on_called_off(entries)


def note(obj: Any) -> int:
    """Note that a thing is lent by the message that this thread makes, and return its number.

    Raises:
        Refused: if it makes none that may lend anything.
    """
    noted = _noted.get(threading.get_ident())
    if noted is None:
        text = "{!r} cannot be sent here: what is lent goes in the arguments of a call, in its result or its exception"
        raise refusals.Refused(text.format(obj), obj)
    way = way_of(type(obj))
    assert way is not None
    entry = way(obj)
    noted.append(entry)
    return entry[0]


def reduced(obj: Any) -> Tuple[Any, ...]:
    """Note that a thing is lent, and return how a pickle names it."""
    return thing, (note(obj),)


def _nowhere(_: int) -> Any:
    raise LookupError("nothing was lent to this process")


resolve: Callable[[int], Any] = _nowhere
"""Finds what a number stands for here; set by what keeps the table of that (`values.border`)."""


def thing(number: int) -> Any:
    """Return what a number stands for here; a pickle calls it by this name."""
    return resolve(number)


def _nothing(_: List[Entry]) -> None:
    """Nothing is kept for what is lent."""


on_called_off: Callable[[List[Entry]], None] = _nothing
"""Is told what is not lent after all; set like `resolve`."""


def _is_lent(kind: type) -> bool:
    return bool(ways) and way_of(kind) is not None


handles.note, handles.is_lent = note, _is_lent

"""Results that yield items, and what requests for such items are answered with; loaded by every isolate."""

from __future__ import annotations

import types
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

Item = Tuple[int, bytes, int]
"""How an item is encoded, its bytes, and how many items it is as a list; 0: it is one, by itself."""

WINDOW, WINDOW_BYTES = 16, 4 << 20
"""How far the code behind a stream may be ahead, in items and bytes, unless its author says something else."""
MOST_ITEMS, MOST_BYTES = 1 << 20, 1 << 34
"""What a window may be at most."""
ANSWERED = object()
"""In place of a result: the call was answered before."""


class ItemNotPlain(Exception):
    """An item of a stream is not plain data, which its isolate alone may send; `why` is the error that says so."""

    def __init__(self, why: Any) -> None:
        super().__init__(str(why))
        self.why = why


class Batch(NamedTuple):
    """What one request for items of a stream is answered with.

    Attributes:
        items: each as it is encoded.
        is_last: whether the stream ends after them.
        lends: what they lend.
        large: an item that goes by itself, as it is, in a tuple; nothing otherwise.
    """

    items: List[Item]
    is_last: bool = False
    lends: Sequence[Any] = ()
    large: Tuple[Any, ...] = ()


class Arrived:
    """Items that have come, and what decodes one."""

    are_items = True
    """A mark, since an actor's isolate may hold two copies of this class."""

    def __init__(self, items: List[Item], is_last: bool, decode: Callable[[Item], Any]) -> None:
        self.items, self.is_last, self.decode = items, is_last, decode
        self.count = sum([item[2] or 1 for item in items])
        self.size = sum([len(item[1]) for item in items])


class Options(NamedTuple):
    """What its author has said of a stream (see `piactors.stream_options`).

    Attributes:
        window: how many items its code may be ahead.
        size: how many bytes these may have.
        batch: how many items travel together; 0: those that are there.
        exclusive: whether its actor runs nothing else until it ends.
    """

    window: int = WINDOW
    size: int = WINDOW_BYTES
    batch: int = 0
    exclusive: bool = False


class Yields(NamedTuple):
    """A generator that a call has returned, and what its author has said of it."""

    iterator: Any
    options: Optional[Options]


GENERATORS = frozenset((types.GeneratorType, types.AsyncGeneratorType, Yields))
UNSETTLED = GENERATORS | {types.CoroutineType}
"""Types of what a call returns that is not yet its result."""


def options_of(found: Any) -> Optional[Options]:
    """Return what the author of a function has said of its streams; None if that is nothing of the kind."""
    if type(found) is not tuple or [type(part) for part in found] != [int, int, int, bool]:
        return None
    window, size, batch, exclusive = found
    if window < 1 or size < 1 or batch < 0:
        return None
    return Options(min(window, MOST_ITEMS), min(size, MOST_BYTES), batch, exclusive)


def noted(function_of: Callable[[], Any], value: Any) -> Any:
    """Return a generator that a function has returned, with what the author of that has said of it."""
    if type(value) is Yields:
        return value
    try:
        options = options_of(getattr(function_of(), "_piactors_stream", None))
    except Exception:  # a callable may make up its attributes
        options = None
    return Yields(value, options)

"""Where the items of a stream come from: an iterator, and what it has yielded that was not sent yet.

Items are snapshots: what its code does to them after it has yielded them changes nothing.  A request for items is
answered when there are as many as were asked for, or when some have been there for a moment.  If the iterator keeps
them waiting, another thread answers in its place (`flush`), and the iterator goes on for the next request.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, List, NamedTuple, Optional, Tuple

from ..wire.yielded import Batch, Item
from . import errors

SOON = 0.0002
"""Seconds after which what is there is sent: others wait for their turn, and somebody waits for the items."""
STALLED = 0.001
"""Seconds for which an iterator lets items wait before another thread sends them."""
MOST_BYTES = 1 << 18
"""Bytes of items that travel together at most."""
_MOST_TEXT = 1 << 12
_FIXED = frozenset((int, float, bool, type(None)))
_TEXTS = frozenset((str, bytes))
_UNENDED: Any = object()


class Encoded(NamedTuple):
    """An item that had to be encoded when it was yielded, and what it lends."""

    item: Item
    lends: Any


class Want(NamedTuple):
    """One request for items.

    Attributes:
        items: how many at most.
        size: how many bytes they may have, the last one not counted.
        encode: encodes an item, or a list of items that cannot change; None: it is large, and goes by itself.
        early: sends a batch at once, in place of the answer.
    """

    items: int
    size: int
    encode: Callable[[Any], Optional[Encoded]]
    early: Callable[[Batch], None]


class ItemSource:
    """An iterator whose items are asked for from elsewhere.

    Args:
        iterator: it; if it has a `close`, that is called when no more items are wanted.
        name: for texts.
        batch: how many items are to travel together; 0: those that are there in time.
    """

    def __init__(self, iterator: Any, name: str, batch: int = 0) -> None:
        self.iterator = iterator
        self.name = name
        self.batch = batch
        self._soon = math.inf if batch else SOON
        self.facts: Tuple[Any, ...] = ()
        """What its borrower is told of it."""
        self._border: Any = None
        self._turn = threading.Lock()
        """Held by the request that runs the iterator."""
        self._lock = threading.Lock()  # what is there is taken by the request, or by whoever flushes
        self._flushing = threading.Lock()
        """Held while somebody else answers in place of the request."""
        self._want: Optional[Want] = None
        """The request that was not answered yet."""
        self._there: Deque[Any] = deque()
        """What was yielded: `Encoded`, or itself if it cannot change."""
        self._large: Tuple[Any, ...] = ()
        self._since = 0.0
        self._end: Any = _UNENDED
        self._is_closed = False
        self._halts = False
        """Whether the iterator is not to run on for now."""

    def lent_by(self, border: Any, facts: Tuple[Any, ...]) -> None:
        """An isolate with this border lends it, and this is what its borrower is told."""
        self._border, self.facts = border, facts

    def entry(self) -> Any:
        """Lend it once more, and return its entry."""
        return self._border.lend(self, "stream", self.facts)

    @property
    def runs(self) -> bool:
        """Whether it is asked for items that were not sent yet."""
        return self._want is not None

    @property
    def has_begun(self) -> bool:
        """Whether it was asked for items, ever."""
        return self._since > 0

    @property
    def is_closed(self) -> bool:
        """Whether nobody wants more items."""
        return self._is_closed

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return (self._is_closed or self._end is None) and not (self._there or self._large)

    def home(self) -> Any:
        """Return what it is for the code of its own process."""
        return self.iterator

    # Asked for items

    def take(self, want: Want) -> Optional[Batch]:
        """Run the iterator, and return what it has yielded; None if that was answered already.

        Raises:
            Exception: what the iterator has raised, once all before it has been asked for.
        """
        with self._turn:
            if self._begin(want):
                self._run(want)
            if self._is_closed or self._has_failed():
                self._close()
        return self._taken(want)

    def _begin(self, want: Want) -> bool:
        """Note what is asked for; whether the iterator has to run."""
        with self._lock:
            self._want = want
            self._halts = self._is_closed or bool(self._large) or self._end is not _UNENDED
        self._since = time.monotonic()
        return not self._halts and len(self._there) < want.items

    def _run(self, want: Want) -> None:
        clock, add, began = time.monotonic, self._there.append, self._since
        count, size, most = len(self._there), 0, min(want.size, MOST_BYTES)
        try:
            for item in self.iterator:  # in as few steps for each as there can be
                kind = type(item)
                if kind in _FIXED:
                    size += 8
                    add(item)
                elif kind in _TEXTS and len(item) < _MOST_TEXT:
                    size += len(item)
                    add(item)
                else:
                    size += self._add(item, want)
                count += 1
                now = self._since = clock()
                if self._halts or count >= want.items or size >= most or now - began >= self._soon:
                    return
            self._end = None
        except Exception as error:
            self._end = error

    def _add(self, item: Any, want: Want) -> int:
        """Encode an item at once, as it may change; return its size."""
        encoded = want.encode(item)
        if encoded is None:
            self._large, self._halts = (item,), True
            return 0
        self._there.append(encoded)
        return len(encoded.item[1])

    def _has_failed(self) -> bool:
        return isinstance(self._end, Exception)

    def _taken(self, want: Want) -> Optional[Batch]:
        with self._lock:
            if self._want is want:
                self._want = None
                if self._there or not self._has_failed():
                    return self._drained(want)
                error, self._end = self._end, None
            else:
                error = None
        if error is None:
            with self._flushing:  # what was flushed has been sent when this returns
                return None
        try:
            raise error
        finally:
            del error  # it holds this frame

    def _drained(self, want: Want) -> Batch:
        """Return what is there, under the lock."""
        there, items, lends, alike = self._there, [], [], []  # type: Deque[Any], List[Item], List[Any], List[Any]
        for _ in range(min(len(there), want.items)):
            found = there.popleft()
            if type(found) is not Encoded:
                alike.append(found)
                continue
            if alike:
                items.append(_together(alike, want))
                alike = []
            items.append(found.item)
            lends += found.lends
        if alike:
            items.append(_together(alike, want))
        if items or there:
            return Batch(items, self._end is None and not (there or self._large), lends)
        large, self._large = self._large, ()
        return Batch([], not large and self._end is None, lends, large)

    def flush(self) -> None:
        """Answer with what is there if the iterator keeps that waiting; on another thread."""
        if self.batch:
            return  # the others that travel with them are to come
        with self._flushing:
            with self._lock:
                want = self._want
                if want is None or not self._there or time.monotonic() - self._since < STALLED:
                    return
                self._want, self._halts = None, True
                batch = self._drained(want)
            want.early(batch)

    # Wanted no longer

    def stop(self) -> None:
        """Have the iterator run no further than to the next item."""
        self._is_closed = self._halts = True

    def close(self) -> Any:
        """Close the iterator: at once, or when it has yielded if it runs."""
        self.stop()
        if self._turn.acquire(False):
            try:
                self._close()
            finally:
                self._turn.release()

    def _close(self) -> None:
        close = getattr(self.iterator, "close", None)
        self._note_close()
        if close is not None:
            close()

    def _note_close(self) -> None:
        if self._end is _UNENDED:  # whoever reads on all the same is told
            text = "the stream of {} was closed where its items are made".format(self.name)
            self._end = errors.make("Released", text)


def _together(values: List[Any], want: Want) -> Item:
    """Encode items that cannot change, in one piece."""
    encoded = want.encode(values if len(values) > 1 else values[0])
    assert encoded is not None
    flags, data, _ = encoded.item
    return flags, data, len(values) if len(values) > 1 else 0


class AsyncItemSource(ItemSource):
    """An asynchronous iterator; what takes from it, and closes it, are coroutines."""

    def __init__(self, iterator: Any, name: str, batch: int = 0) -> None:
        super().__init__(iterator, name, batch)
        self._order: Any = None

    async def take(self, want: Want) -> Optional[Batch]:  # type: ignore[override]
        """Run the iterator as `ItemSource.take` does."""
        async with self._one_at_a_time():
            try:
                if self._begin(want):
                    await self._arun(want)
                if self._is_closed or self._has_failed():
                    await self._aclose()
            except BaseException:
                self._call_off(want)
                raise
        return self._taken(want)

    def _call_off(self, want: Want) -> None:
        """The request ends in another way: nobody is to answer in its place after that."""
        with self._lock:
            if self._want is want:
                self._want = None
        with self._flushing:  # what was flushed has been sent when this returns
            pass

    async def _arun(self, want: Want) -> None:
        began, count, size, most = self._since, len(self._there), 0, min(want.size, MOST_BYTES)
        try:
            while not (self._halts or count >= want.items or size >= most):
                if count and self._since - began >= self._soon:
                    return
                item = await self.iterator.__anext__()
                size += self._add(item, want)
                count += 1
                self._since = time.monotonic()
        except StopAsyncIteration:
            self._end = None
        except Exception as error:
            self._end = error
        except BaseException:  # it is cancelled, and will yield no more
            self._end = None
            raise

    def _one_at_a_time(self) -> Any:
        import asyncio

        if self._order is None:  # all that takes from it runs on one event loop
            self._order = asyncio.Lock()
        return self._order

    async def close(self) -> None:
        """Close the iterator, once it has yielded if it runs."""
        self.stop()
        async with self._one_at_a_time():
            await self._aclose()

    async def _aclose(self) -> None:
        close = getattr(self.iterator, "aclose", None)
        self._note_close()
        if close is not None:
            await close()


def make(iterator: Any, name: str, batch: int = 0) -> ItemSource:
    """Return the source of an iterator, asynchronous or not."""
    return (ItemSource if hasattr(iterator, "__next__") else AsyncItemSource)(iterator, name, batch)

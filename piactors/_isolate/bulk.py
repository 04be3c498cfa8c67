"""Many calls of one method, an item each: a window of ordinary calls, whose outcomes are iterated over.

Nothing of the accounting is special: each item is a call with a number of its own, which begins and is answered by
itself.  What is special is how they leave: items of plain kinds that cannot change share a pickle, and one frame.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
import queue
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from piactors._isolate.call import Call, Line

_CHUNK = 64
"""Items that leave together at most."""
_FIXED = frozenset({int, float, bool, type(None), str, bytes})
"""Kinds of items that cannot change, and in which nothing can be found that can."""
_MOST_LENGTH = 512
"""Of a text, in an item that shares a pickle with others."""


class ItemCall(Call):
    """The call for one item that has left with others; it has a payload of its own once it waits to be sent again."""

    _item: Any = None

    def __init__(self, delivery: Line, path: tuple[str, ...], item: Any) -> None:
        self._delivery = delivery
        self.path = path
        self._item = item

    def wait_again(self) -> None:
        """It is to be sent by itself."""
        self.payload = pickle.dumps((self.path, (self._item,)), 5)


ItemCall.prepare("_item")


def is_fixed(item: Any) -> bool:
    """Whether an item may share a pickle with others: it cannot change, and nobody can tell that it is shared."""
    kind = type(item)
    if kind is tuple:
        return len(item) <= _CHUNK and all(type(part) in _FIXED and _is_short(part) for part in item)
    return kind in _FIXED and _is_short(item)


def _is_short(part: Any) -> bool:
    return type(part) not in (str, bytes) or len(part) <= _MOST_LENGTH


CallMany = Callable[[list[Any]], Iterable[Call]]
"""Makes a call for each item, if possible all at once."""


class Outcomes:
    """The calls under way, oldest first, and how more are made; what `map` and `amap` share.

    Args:
        window: how many calls may be under way.
    """

    def __init__(self, call_many: CallMany, items: Iterable[Any], window: int) -> None:
        self._call_many = call_many
        self._items: Iterator[Any] | None = iter(items)
        self._window = window
        self._chunk = max(1, min(_CHUNK, window // 4))
        self._error: BaseException | None = None
        self.calls: deque[Call] = deque()

    def fill(self) -> None:
        """Make calls until the window is full; what the iterable raises is kept until the calls have been told of."""
        while self._items is not None and len(self.calls) <= self._window - self._chunk:
            batch: list[Any] = []
            try:
                for item in self._items:
                    batch.append(item)
                    if len(batch) == self._chunk:
                        break
                else:
                    self._items = None
            except Exception as error:
                self._items, self._error = None, error
            if batch:
                self.calls.extend(self._call_many(batch))

    def is_low(self) -> bool:
        """Whether it is time to make more calls."""
        return self._items is not None and len(self.calls) <= self._window - self._chunk

    def end(self) -> None:
        """All has been told of.

        Raises:
            Exception: what the iterable has raised.
        """
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Make no more calls, and give up on those that have not begun."""
        self._items = self._error = None
        while self.calls:
            self.calls.pop().cancel()  # the last one first: else one that follows could begin meanwhile


class Mapped(Iterator[Any]):
    """The outcomes of a method's calls for many items; what `CallProxy.map` returns.

    `next` returns the next result, or raises the next exception, whereupon the iteration may go on with the item after
    it.  To let go of it, or `close`, cancels what has not begun.
    """

    def __init__(self, call_many: CallMany, items: Iterable[Any], window: int, *, return_exceptions: bool) -> None:
        self._outcomes = Outcomes(call_many, items, window)
        self._return_exceptions = return_exceptions
        self._outcomes.fill()

    def __iter__(self) -> Mapped:
        return self

    def __next__(self) -> Any:
        outcomes = self._outcomes
        if outcomes.is_low():
            outcomes.fill()
        if not outcomes.calls:
            outcomes.end()
            raise StopIteration
        call = self._first(outcomes.calls)
        try:
            return call.get()
        except Exception as error:
            if self._return_exceptions:
                return error
            raise
        finally:
            if call.is_settled():
                self._drop(call)
            del self, outcomes, call  # the traceback of an error holds this frame, and the call the error

    def _first(self, calls: deque[Call]) -> Call:
        """Return the call whose outcome is the next one."""
        return calls[0]

    def _drop(self, call: Call) -> None:
        """It has been told of."""
        if self._outcomes.calls and self._outcomes.calls[0] is call:
            self._outcomes.calls.popleft()

    def close(self) -> None:
        """Make no more calls, and cancel those that have not begun."""
        self._outcomes.close()

    def __enter__(self) -> Mapped:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the program ends
            self.close()


class MappedAsDone(Mapped):
    """The same, in the order in which the calls are done."""

    def __init__(self, call_many: CallMany, items: Iterable[Any], window: int, *, return_exceptions: bool) -> None:
        self._done: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._watched = 0
        super().__init__(call_many, items, window, return_exceptions=return_exceptions)

    def _first(self, calls: deque[Call]) -> Call:
        for call in list(calls)[self._watched :]:
            call._when_done(functools.partial(self._done.put, call))
        self._watched = len(calls)
        return self._done.get()

    def _drop(self, call: Call) -> None:
        self._outcomes.calls.remove(call)
        self._watched -= 1


class AsyncMapped(AsyncIterator[Any]):
    """The outcomes as `Mapped` gives them, for ``async for``; what `CallProxy.amap` returns."""

    def __init__(self, call_many: CallMany, items: Iterable[Any], window: int, *, return_exceptions: bool) -> None:
        self._outcomes = Outcomes(call_many, items, window)
        self._return_exceptions = return_exceptions

    def __aiter__(self) -> AsyncMapped:
        return self

    async def __anext__(self) -> Any:
        outcomes = self._outcomes
        outcomes.fill()
        if not outcomes.calls:
            outcomes.end()
            raise StopAsyncIteration
        call = outcomes.calls[0]
        try:
            return await call
        except Exception as error:
            if self._return_exceptions and call.is_settled():
                return error
            raise
        finally:
            if call.is_settled() and outcomes.calls and outcomes.calls[0] is call:
                outcomes.calls.popleft()

    async def aclose(self) -> None:
        """Make no more calls, and cancel those that have not begun."""
        self._outcomes.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the program ends
            self._outcomes.close()

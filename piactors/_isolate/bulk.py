"""Many calls of one method, an item each: a window of ordinary calls, whose outcomes are iterated over.

Nothing of the accounting is special: each item is a call with a number of its own, which begins and is answered by
itself.  What is special is how they leave: items of plain kinds that cannot change share a pickle, and one frame.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import pickle
import queue
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from piactors._isolate.call import Call
from piactors._isolate.line import Line

_CHUNK = 64
"""Items that leave together at most."""
_FIXED = frozenset({int, float, bool, type(None), str, bytes})
"""Kinds of items that cannot change, and in which nothing can be found that can."""


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


def all_fixed(items: list[Any]) -> bool:
    """Whether items may share a pickle: none of them can change, so nobody can tell that they are shared."""
    kinds = set(map(type, items))
    if tuple not in kinds:
        return kinds <= _FIXED
    tuples = [item for item in items if type(item) is tuple] if len(kinds) > 1 else items
    if max(map(len, tuples)) > _CHUNK or not set(map(type, itertools.chain.from_iterable(tuples))) <= _FIXED:
        return False
    return len(kinds) == 1 or kinds - {tuple} <= _FIXED


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
        self._chunk = max(1, min(_CHUNK, window // 4))
        self.low = window - self._chunk
        """With so many calls left, more are to be made."""
        self._error: BaseException | None = None
        self.calls: deque[Call] = deque()

    def fill(self) -> None:
        """Make calls until the window is full; what the iterable raises is kept until the calls have been told of."""
        while self._items is not None and len(self.calls) <= self.low:
            batch: list[Any] = []
            try:
                batch.extend(itertools.islice(self._items, self._chunk))  # what fails leaves there what came before
            except Exception as error:
                self._error = error
            if len(batch) < self._chunk:
                self._items, self.low = None, 0
            if batch:
                self.calls.extend(self._call_many(batch))

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
        self._items, self.low, self._error = None, 0, None
        while self.calls:
            self.calls.pop().cancel()  # the last one first: else one that follows could begin meanwhile


class Mapped(Iterator[Any]):
    """The outcomes of a method's calls for many items; what `CallProxy.map` returns.

    `next` returns the next result, or raises the next exception, whereupon the iteration may go on with the item after
    it.  To let go of it, or `close`, cancels what has not begun.
    """

    def __init__(self, call_many: CallMany, items: Iterable[Any], window: int, *, return_exceptions: bool) -> None:
        self._outcomes = Outcomes(call_many, items, window)
        self._calls = self._outcomes.calls
        self._return_exceptions = return_exceptions
        self._outcomes.fill()

    def __iter__(self) -> Mapped:
        return self

    def __next__(self) -> Any:
        calls = self._calls
        if len(calls) <= self._outcomes.low:
            self._refill()
        try:
            value = calls[0].get()
        except Exception as error:
            if not calls[0].is_settled():
                raise  # it was interrupted, and can be asked once more
            calls.popleft()
            if self._return_exceptions:
                return error
            raise
        calls.popleft()
        return value

    def _refill(self) -> None:
        self._outcomes.fill()
        if not self._calls:
            self._outcomes.end()
            raise StopIteration

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

    def __next__(self) -> Any:
        calls = self._calls
        if len(calls) <= self._outcomes.low:
            self._refill()
        for call in itertools.islice(calls, self._watched, None):
            call._when_done(functools.partial(self._done.put, call))
        self._watched = len(calls)
        calls.remove(call := self._done.get())
        calls.appendleft(call)  # the next one
        self._watched -= 1
        return super().__next__()


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
        except BaseException:
            if _is_cancelled():
                outcomes.close()  # as an asynchronous generator ends then; else it would be up to the collector
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


def _is_cancelled() -> bool:
    """Whether the task that runs here is being cancelled, and not only a call that it awaits."""
    asyncio = sys.modules.get("asyncio")
    task = None if asyncio is None else asyncio.current_task()
    return task is not None and task.cancelling() > 0

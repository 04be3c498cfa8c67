"""How a stream is read: what has come, what was asked for, and how it ends.  The host reads streams by this, too.

At most `window` items, and `window_bytes` bytes, are asked for beyond what was consumed; half of that at a time, so
that items are made while others are used.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Deque, Iterator, NamedTuple, Optional, Tuple

from ..wire import batches
from . import errors


class StreamFacts(NamedTuple):
    """What is told of a stream with it.

    Attributes:
        name: what makes its items, for texts.
        window: how many items may be made beyond what was consumed.
        window_bytes: how many bytes these may have.
        ahead: how many requests for items may be under way.
        in_calls: whether its items are made by calls of an actor, among its others.
        exclusive: whether that runs nothing else from the first of these calls on.
    """

    name: str
    window: int
    window_bytes: int
    ahead: int
    in_calls: bool
    exclusive: bool = False


class StreamReach:
    """What a stream is read through: it asks for items, and says when no more are wanted."""

    facts: StreamFacts

    def new_pull(self) -> Any:
        """Return a future of `Arrived`, or of one large item itself: the answer to `send`."""
        raise NotImplementedError

    def send(self, pull: Any, items: int, size: int, seconds: Optional[float]) -> None:
        """Ask for so many items, or bytes, at most, which are not wanted any more after so many seconds."""
        raise NotImplementedError

    def close(self) -> None:
        """No more items are wanted."""
        raise NotImplementedError

    def ended(self) -> None:
        """The last item has come."""

    def explained(self, error: BaseException) -> BaseException:
        """Return the error that tells what has become of the stream, given that of a request."""
        return error


class _Pull(NamedTuple):
    """One request for items that was not answered yet."""

    future: Any
    items: int
    size: int


class Reading:
    """One stream as it is read."""

    def __init__(self, reach: StreamReach) -> None:
        facts = reach.facts
        self._until: Optional[float] = None
        self.reach = reach
        self.values: Deque[Any] = deque()
        """Items that are there, decoded: whoever reads takes them from the left."""
        self._ahead = facts.ahead
        self._part, self._part_bytes = -(-facts.window // facts.ahead), -(-facts.window_bytes // facts.ahead)
        """What is asked for at once."""
        self._free, self._free_bytes = facts.window, facts.window_bytes
        self._taken, self._taken_bytes = 0, 0
        """Of what is there: what is free again once all of it was consumed."""
        self._encoded: Deque[Tuple[Any, Any]] = deque()
        """Items that are there, each with what decodes it."""
        self._pulls: Deque[_Pull] = deque()
        self._is_over = self._was_asked = False
        self._held: Any = None
        self._busy = threading.Lock()  # code of two threads cannot read one stream at once

    def limit(self, until: Optional[float]) -> None:
        """Want nothing any more after this moment, on the monotonic clock."""
        self._until = until

    def hold(self, thing: Any) -> None:
        """Keep a thing for as long as this is read."""
        self._held = thing

    @property
    def is_unread(self) -> bool:
        """Whether nothing of it was asked for so far, so that somebody else may read it."""
        return not (self._was_asked or self._is_over)

    def enter(self) -> None:
        """Begin to look for an item.

        Raises:
            ValueError: if another thread, or another task, does.
        """
        if not self._busy.acquire(False):
            raise ValueError("the stream of {} is read by another thread or task already".format(self.reach.facts.name))

    def leave(self) -> None:
        """That has an end."""
        self._busy.release()

    def next_pull(self) -> Any:
        """Return the future that has to be waited for; None if an item is there, or the stream has ended.

        Raises:
            Exception: if an item cannot be decoded here; the next one may be.
        """
        while self._encoded and not self.values:
            item, decode = self._encoded.popleft()
            self.values.extend(batches.values(item, decode(item)))
        if self.values or self._is_over:
            return None
        self._free += self._taken
        self._free_bytes += self._taken_bytes
        self._taken = self._taken_bytes = 0
        self._ask()
        return self._pulls[0].future

    def _ask(self) -> None:
        """Ask for as much as there is room for, a part of the window at a time."""
        pulls = self._pulls
        self._was_asked = True
        while len(pulls) < self._ahead:
            items, size = min(self._free, self._part), min(self._free_bytes, self._part_bytes)
            if (items < self._part or size <= 0) and pulls:
                return
            pull = _Pull(self.reach.new_pull(), items, size)
            pulls.append(pull)
            self._free -= items
            self._free_bytes -= size
            try:
                left = None if self._until is None else max(0.0, self._until - time.monotonic())
                self.reach.send(pull.future, items, size, left)
            except BaseException:  # it may have been sent, or not: what it brings is not to be missed in silence
                self.close()
                raise

    def answered(self, error: Optional[BaseException], value: Any) -> None:
        """The first request was answered, with an error or a value.

        Raises:
            BaseException: what the stream ends with, if that is an error.
        """
        if error is not None:
            self._end()
            self.reach.close()
            try:
                raise self.reach.explained(error)
            finally:
                del error  # its traceback holds this frame
        pull, size, count = self._pulls[0], 0, 1
        if getattr(type(value), "are_items", False) is True:
            count = value.count
            size = value.size
            self._encoded.extend((item, value.decode) for item in value.items)
            self._is_over = self._is_over or value.is_last
        else:
            size = pull.size
            self.values.append(value)
        self._pulls.popleft()
        self._taken += count
        self._taken_bytes += size
        self._free += pull.items - count
        self._free_bytes += pull.size - size
        if self._is_over:
            self._pulls.clear()
            self.reach.ended()

    def _end(self) -> None:
        """Nothing more comes, and nothing is there."""
        self._is_over = True
        self._pulls.clear()
        self._encoded.clear()
        self.values.clear()

    def close(self) -> None:
        """No more items are wanted; those that are there are let go of."""
        pulls, is_over = list(self._pulls), self._is_over
        self._end()
        for pull in pulls:
            pull.future.give_up()
        if not is_over:
            self.reach.close()


class BaseStream:
    """A stream of another process, which can be iterated over once, by ``for`` or ``async for``.

    Args:
        reach: what it is read through; None if that is still to come.
        origin: a future of a stream, in place of that.
        timeout: after how many seconds from now nothing more of it is wanted; None: never.
    """

    def __init__(
        self, reach: Optional[StreamReach] = None, origin: Any = None, timeout: Optional[float] = None
    ) -> None:
        self._reading = None if reach is None else Reading(reach)
        self._origin = origin
        self._until = None if timeout is None else time.monotonic() + timeout
        self._is_moved = False

    def __repr__(self) -> str:
        name = "" if self._reading is None else " of {}".format(self._reading.reach.facts.name)
        return "<{}{}>".format(type(self).__name__, name)

    def __iter__(self) -> Iterator[Any]:
        if self._reading is None and not self._is_gone():
            self._found(self._origin.get())
        reading = self._reading
        if reading is None:
            return
        values, take = reading.values, reading.values.popleft
        while True:
            while values:
                yield take()
            if not self._look(reading, None):
                return

    def __next__(self) -> Any:
        return self.get_next()

    def get_next(self, timeout: Optional[float] = None) -> Any:
        """Return the next item, waiting for it for at most `timeout` seconds; None: no limit.

        Raises:
            StopIteration: if there are no more.
            Timeout: if the time runs out first; nothing is lost, and it may be asked for again.
            Exception: what its code has raised, after all items before that.
        """
        reading = self._reading
        if reading is None:
            if self._is_gone():
                raise StopIteration
            reading = self._found(self._origin.get(timeout=timeout))
        if not reading.values and not self._look(reading, timeout):
            raise StopIteration
        return reading.values.popleft()

    @staticmethod
    def _look(reading: Reading, timeout: Optional[float]) -> bool:
        """Wait until an item is there; False if no more come."""
        reading.enter()
        try:
            while True:
                pull = reading.next_pull()
                if pull is None:
                    return bool(reading.values)
                error = _outcome(pull, timeout)
                reading.answered(error, None if error is not None else pull.get())
        finally:
            reading.leave()
            pull = error = None  # the traceback of an error holds this frame

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        reading = self._reading
        if reading is None:
            if self._is_gone():
                raise StopAsyncIteration
            reading = self._found(await self._origin)
        if not reading.values and not await self._alook(reading):
            raise StopAsyncIteration
        return reading.values.popleft()

    @staticmethod
    async def _alook(reading: Reading) -> bool:
        """Do as `_look` does."""
        reading.enter()
        try:
            while True:
                pull = reading.next_pull()
                if pull is None:
                    return bool(reading.values)
                try:
                    await pull
                except BaseException as error:
                    if not pull.done():
                        raise  # whoever waits does so no longer; the items are for whoever asks next
                    reading.answered(error, None)
                else:
                    reading.answered(None, pull.get())
        finally:
            reading.leave()
            pull = None  # as in `_look`

    def close(self) -> None:
        """Read no more: what makes the items ends at its ``yield``, and its ``finally`` runs."""
        origin, self._origin = self._origin, None
        if self._reading is not None:
            self._reading.close()
        elif origin is not None:
            origin._drop()  # a call that has begun makes a stream that nobody holds, and so is closed

    async def aclose(self) -> None:
        """Do as `close` does, which waits for nothing."""
        self.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _found(self, stream: Any) -> Reading:
        """Read what the call has returned from here on."""
        if self._reading is None:
            if not isinstance(stream, BaseStream):
                text = "the call has returned something that is not a stream, of type {}"
                raise TypeError(text.format(type(stream).__name__))
            self._reading = stream._handed_over()
            self._reading.limit(self._until)
            self._origin = None
        return self._reading

    def _is_gone(self) -> bool:
        """Whether it was closed before it was known what it is read through.

        Raises:
            Moved: if it was passed on.
        """
        if self._is_moved:
            raise errors.make("Moved", "this stream was passed on, so it cannot be read here any more")
        return self._origin is None

    def _handed_over(self) -> Reading:
        """Have somebody else read it: return what it is read by."""
        reading, _ = moved(self)
        assert reading is not None
        reading.hold(self)  # the isolate would let go of what it stands for otherwise
        return reading


def moved(stream: BaseStream) -> Tuple[Optional[Reading], Any]:
    """Read a stream here no longer; return what it is read by, or a future of the stream if that is not known yet.

    Raises:
        Moved: if it was passed on before.
        ValueError: if it was read from: what was asked for is on its way here.
    """
    reading, origin = stream._reading, stream._origin
    if reading is None and stream._is_gone():
        raise ValueError("this stream was closed, so it cannot be passed on")
    if reading is not None and not reading.is_unread:
        raise ValueError("this stream was read from, so it cannot be passed on: pass it on before, or what it yields")
    stream._is_moved, stream._reading, stream._origin = True, None, None
    return reading, origin


def _outcome(pull: Any, timeout: Optional[float]) -> Optional[BaseException]:
    """Wait for a request, and return what it failed with; None if it did not.

    Raises:
        Timeout: if the time runs out first.
    """
    try:
        found: Optional[BaseException] = pull.exception(timeout)
    except Exception as error:
        if type(error).__name__ != "CancelledError":
            raise
        found = error
    return found

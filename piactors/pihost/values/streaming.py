"""The streams that an isolate gives out: results that are generators, and what it lends as a stream itself."""

from __future__ import annotations

import logging
import time
from typing import Any, Callable, Dict, Optional, Tuple

from ..memory.chunks import LEAST
from ..pickles import lending, refusals
from ..plain import encode as plain_encode
from ..wire import batches, wire
from ..wire.yielded import ANSWERED, Batch, ItemNotPlain, Options, Yields
from . import errors, sources
from .performing import Worker
from .sources import AsyncItemSource, Encoded, ItemSource, Want

TICK = 0.002
"""Seconds between two looks whether an iterator lets items wait."""
_IDLE = 0.05
"""Seconds for which looks go on after the last request: the next one wakes nobody then."""
_LARGE = (bytes, bytearray, str)
_MOST_NAME = 200
_log = logging.getLogger("piactors")


def of_result(link: Any, value: Any, threads: int) -> ItemSource:
    """Return what stands for a generator that a call has returned."""
    options = None
    if type(value) is Yields:
        value, options = value
    window, size, batch, exclusive = options or Options()
    if exclusive:
        link.threads.runs_alone()
    source = sources.make(value, value.__qualname__[:_MOST_NAME], batch)
    source.lent_by(link.border, (source.name, window, size, 1 if threads > 1 else 2, True, exclusive))
    return source


def _is_large(item: Any) -> bool:
    """Whether an item is bytes, a text or an array that goes through shared memory, if anything does."""
    if type(item) in _LARGE:
        return len(item) >= LEAST
    try:
        size = item.nbytes
    except Exception:  # it has none, or makes its attributes up
        return False
    return type(size) is int and size >= LEAST


def encoder(replies: Any) -> Callable[[Any], Optional[Encoded]]:
    """Return what encodes items as results are (see `Want`)."""

    def encode(item: Any) -> Optional[Encoded]:
        if _is_large(item):
            return None
        try:
            flags, data, lends = replies.value_lending(item)
        except plain_encode.NotPlain as error:
            raise ItemNotPlain(error) from None
        except refusals.Refused as error:
            raise _of_item(error) from None
        replies.check_size(len(data))
        return Encoded((flags, data, 0), lends)

    return encode


def _of_item(error: refusals.Refused) -> refusals.Refused:
    """Return the same refusal, of an item, as results are encoded by what knows of no items."""
    return refusals.Refused(str(error).replace("the result", "an item of the stream", 1))


def perform(link: Any, replies: Any, number: int, operation: str, args: Tuple[Any, ...]) -> Any:
    """Do what is asked of a stream that calls of this isolate yield, within such a call.

    Raises:
        Released: if it is a stream of another process.
    """
    border = link.border
    source = border.lent(number)
    if operation == "close":
        if source is None:  # it has ended, by itself or with its process
            return None
        border.release(source)
        return closed(source)
    if number >> 32 != border.owner:
        raise errors.make("Released", "the process that made this stream has ended")
    if source is None:
        return Batch([], True)
    call = link.call_here()

    def early(batch: Batch) -> None:
        link.threads.answer_early(call, batch)

    link.flusher.watch(source)
    _, window, window_bytes, ahead, *_ = source.facts
    items, size = _checked(args)
    most, most_bytes = min(items, -(-window // ahead), source.batch or items), min(size, -(-window_bytes // ahead))
    want = Want(most, most_bytes, encoder(replies), early)
    return taken(border, source, want)


def _checked(args: Tuple[Any, ...]) -> Tuple[int, int]:
    if len(args) != 2 or type(args[0]) is not int or type(args[1]) is not int or args[0] < 1:
        raise TypeError("a stream is asked for a number of items, at least 1, and of bytes")
    return args[0], args[1]


def taken(border: Any, source: ItemSource, want: Want) -> Any:
    """Return the batch that was asked for, `ANSWERED`, or a coroutine that returns one of these."""
    if isinstance(source, AsyncItemSource):
        return _awaited(border, source, want)
    found = source.take(want)
    if source.is_over:
        border.release(source)
    return ANSWERED if found is None else found


async def _awaited(border: Any, source: AsyncItemSource, want: Want) -> Any:
    found = await source.take(want)
    if source.is_over:
        border.release(source)
    return ANSWERED if found is None else found


def closed(source: ItemSource) -> Any:
    """Close a source, or return a coroutine that does; what its code raises is logged: nobody is there to be told."""
    if isinstance(source, AsyncItemSource):
        return _aclosed(source)
    try:
        source.close()
    except Exception:
        _log.exception("the end of the stream of %s has failed", source.name)
    return None


async def _aclosed(source: AsyncItemSource) -> None:
    try:
        await source.close()
    except Exception:
        _log.exception("the end of the stream of %s has failed", source.name)


def close_all(link: Any) -> None:
    """Close the streams that calls of this isolate yield: it ends."""
    for source in link.border.all_lent(ItemSource):
        link.threads.settle(closed(source))


class LentStream:
    """What code of this isolate lends as a stream: it is run on a thread of its own while somebody reads it.

    Args:
        link: what the answers go through.
    """

    def __init__(self, link: Any, source: ItemSource) -> None:
        self.source = source
        self._worker = Worker("pihost-stream")
        self._link = link

    def __del__(self) -> None:
        _end(self._link, self._worker, self.source)

    def entry(self) -> lending.Entry:
        """Lend it, and return its entry.

        Raises:
            Moved: if somebody reads it already.
        """
        if self.source.has_begun:
            raise errors.make("Moved", "this stream was passed on, and is read elsewhere")
        entry: lending.Entry = self._link.border.lend(self, "stream", self.source.facts)
        return entry

    def home(self) -> Any:
        """Return what it is for the code of its own process."""
        return self.source.iterator

    def serve(self, link: Any, seq: int, operation: str, args: Any) -> None:
        """Do what the host asks for, and answer; on the control thread, which waits for nothing."""
        if operation == "close":
            link.border.release(self)
            _end(link, self._worker, self.source)
            link.respond(seq, wire.PLAIN, _NOTHING)
            return
        if self.source.is_closed:
            text = "the stream of {} was closed where its items are made".format(self.source.name)
            link.respond_with_error(seq, errors.make("Released", text))
            return
        source = self.source  # what runs does not hold this, whose end has to stop an iterator that waits
        self._worker.later(lambda: _pull(link, source, seq, args))


def _pull(link: Any, source: ItemSource, seq: int, args: Any) -> None:
    def answer(batch: Batch) -> None:
        link.respond(seq, wire.BATCH, batches.packed(batch.items, batch.is_last), batch.lends)

    link.flusher.watch(source)
    try:
        items, size = _checked(tuple(args))
        want = Want(items, size, _small(link.replies), answer)
        found = link.threads.settle(source.take(want))
    except BaseException as error:
        link.respond_with_error(seq, error)
    else:
        if found is not None:
            answer(found)


def _small(replies: Any) -> Callable[[Any], Optional[Encoded]]:
    """Return what encodes items that go on the control channel, where none goes by itself."""

    def encode(item: Any) -> Encoded:
        try:
            flags, data, lends = replies.value_lending(item)
        except refusals.Refused as error:
            raise _of_item(error) from None
        replies.check_size(len(data))
        return Encoded((flags, data, 0), lends)

    return encode


def _end(link: Any, worker: Worker, source: ItemSource) -> None:
    """Close what is read no longer, where it runs; called by the garbage collector, too."""
    if not source.is_closed:
        source.stop()
        worker.later(lambda: link.threads.settle(closed(source)))
        worker.end()


def lent(link: Any, iterator: Any, name: str, window: int, window_bytes: int) -> LentStream:
    """Return what lends an iterator of this isolate's code as a stream."""
    source = sources.make(iterator, name)
    source.lent_by(link.border, (name, window, window_bytes, 2, False, False))
    return LentStream(link, source)


_NOTHING = plain_encode.encode(None)


class Flusher:
    """Sends what iterators let wait; its looks are made by the control thread.

    Args:
        wake: has that ask for `patience` again.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._watched: Dict[ItemSource, float] = {}
        """Until when each is looked at."""
        self._looks = False

    def watch(self, source: ItemSource) -> None:
        """It is asked for items, and may let some wait."""
        self._watched[source] = time.monotonic() + _IDLE
        if not self._looks:
            self._wake()

    def patience(self) -> Optional[float]:
        """Return how many seconds the control thread may wait before it should `look`; None: until it is woken."""
        self._looks = False  # before the look: whoever watches from here on wakes
        if not self._watched:
            return None
        self._looks = True
        return TICK

    def look(self) -> None:
        """Send what waits; on the control thread."""
        now = time.monotonic()
        for source, until in list(self._watched.items()):
            source.flush()
            if until < now and not source.runs and self._watched.get(source) == until:
                self._watched.pop(source, None)


lending.ways[ItemSource], lending.ways[LentStream] = ItemSource.entry, LentStream.entry

"""Streams that code lends itself: `stream`, and where the items of a program's own are made."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from collections.abc import AsyncIterable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from piactors._codec import items as codec
from piactors._codec import lending
from piactors._codec.lending import Loan
from piactors._io.loop import LoopTimer
from piactors._values.lent import in_isolate
from piactors._values.streams import checked_window
from piactors.errors import Moved, ProtocolError, Released
from piactors.pihost.values import sources
from piactors.pihost.values.performing import Worker
from piactors.pihost.values.sources import AsyncItemSource, Encoded, ItemSource, Want
from piactors.pihost.values.streaming import TICK, closed

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from piactors.pihost.wire.yielded import Batch


_MOST_NAME = 200


class LentItems:
    """Items that are lent as a stream; see `stream`.

    It goes in the arguments of a call, or in a result, to one isolate, where it arrives as a `Stream`.
    """

    def __init__(self, loan: Any) -> None:
        self._loan = loan

    def __repr__(self) -> str:
        return f"<stream of {self._loan.source.name}>"

    def close(self) -> None:
        """Lend them no longer: who reads them gets `Released`, and a generator ends at its ``yield``."""
        self._loan.close()


def stream(
    items: Iterable[Any] | AsyncIterable[Any],
    *,
    window: int = 16,
    window_bytes: int | str = "4 MiB",
    run: Literal["caller"] | Executor | None = None,
) -> LentItems:
    """Lend items as a stream, instead of sending a list of them: they are made as they are read.

    What it returns goes in the arguments of one call, and arrives as a `Stream`; to send it again raises `Moved`.  The
    iterator is at most a window ahead of what was consumed there.  It is closed when it is read no longer: at the end,
    when its reader closes it, lets go of it, or ends.

    Args:
        items: what is iterated over, once.
        window: how many items may have been made beyond those that were consumed.
        window_bytes: how many bytes these may have, the last one not counted; or a text such as ``"64 KiB"``.
        run: where the iterator runs: default None, on a thread of its own while somebody reads, or on the event loop
            that runs here now if it is asynchronous; an `Executor`; ``caller``, in the thread that waits for the call,
            which does not close it.

    Raises:
        TypeError: if `items` cannot be iterated over, or the window is not made of numbers.
        ValueError: if the window or `run` is not allowed, or asynchronous items find no event loop.

    Example:
        ::

            with open("big.csv") as file:
                print(ref.proxy().count(piactors.stream(file)).get(timeout=60))
    """
    size = checked_window("stream", window, window_bytes)
    is_async = hasattr(items, "__aiter__") and not hasattr(items, "__iter__")
    iterator: Any = items.__aiter__() if is_async else iter(items)  # type: ignore[union-attr, arg-type]
    name = str(getattr(items, "__qualname__", None) or f"a {type(items).__qualname__}")[:_MOST_NAME]
    if in_isolate():
        if run is not None:
            raise ValueError(f"stream: run={run!r} is not allowed in an isolate, where it runs on a thread of its own")
        return LentItems(_lent_by_isolate(iterator, name, *size))
    return LentItems(ItemsLoan(sources.make(iterator, name), size, _place_of(run, is_async)))


def _lent_by_isolate(iterator: Any, name: str, window: int, window_bytes: int) -> Any:
    link = sys.modules["_pihost.serve.control"].current
    ways = sys.modules["_pihost.pickles.lending"].ways
    if LentItems not in ways:
        ways[LentItems] = lambda lent: lent._loan.entry()
    return importlib.import_module("_pihost.values.streaming").lent(link, iterator, name, window, window_bytes)


class _Place(Protocol):
    """Where an iterator runs."""

    ahead: int
    """How many requests may be under way, so that they are still served in order."""

    def run(self, job: Callable[[], object], request: Any) -> None:
        """Have a job run there that serves a request."""

    def close(self, source: ItemSource) -> None:
        """Close the iterator there; nothing more will run."""


class _OwnThread:
    ahead = 2

    def __init__(self) -> None:
        self._worker = Worker("piactors-stream")

    def run(self, job: Callable[[], object], request: Any) -> None:
        self._worker.later(job)  # type: ignore[arg-type]

    def close(self, source: ItemSource) -> None:
        self._worker.later(lambda: closed(source))
        self._worker.end()


class _OnLoop:
    ahead = 2

    def __init__(self) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            text = "stream: asynchronous items need a running event loop, and none runs in this thread"
            raise ValueError(text) from None
        self._tasks: set[asyncio.Future[Any]] = set()

    def run(self, job: Callable[[], object], request: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(job)
        except RuntimeError as error:  # it is closed
            request.fail(error)

    def close(self, source: ItemSource) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._close, source)

    def _close(self, source: ItemSource) -> None:
        task = asyncio.ensure_future(closed(source))
        self._tasks.add(task)  # which an event loop does not keep
        task.add_done_callback(self._tasks.discard)


class _InExecutor:
    ahead = 1

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def run(self, job: Callable[[], object], request: Any) -> None:
        self._executor.submit(job)

    def close(self, source: ItemSource) -> None:
        with contextlib.suppress(RuntimeError):  # it takes nothing more: the iterator ends with this program
            self._executor.submit(closed, source)


class _InCaller:
    ahead = 1

    def run(self, job: Callable[[], object], request: Any) -> None:
        request.in_caller(job)

    def close(self, source: ItemSource) -> None:
        """Nobody waits there who could close it: whoever has made the iterator does."""


def _place_of(run: Any, is_async: bool) -> _Place:
    if is_async and run is None:
        return _OnLoop()
    if is_async:
        raise ValueError(f"stream: run={run!r} is not allowed for asynchronous items, which run on the event loop")
    if run is None:
        return _OwnThread()
    if run == "caller":
        return _InCaller()
    if not callable(getattr(run, "submit", None)):
        raise ValueError(f"stream: run={run!r} is not allowed; use None, 'caller' or an Executor")
    return _InExecutor(run)


class ItemsLoan(Loan):
    """What stands behind items that this program lends.

    Args:
        source: what they come from.
        size: the window, and the bytes in it.
        place: where that runs.
    """

    kind = "stream"

    def __init__(self, source: ItemSource, size: tuple[int, int], place: _Place) -> None:
        super().__init__()
        self.source = source
        self._place = place
        self._facts = (source.name, *size, place.ahead, False, False)
        self._soon: Callable[[Callable[[], object]], object] | None = None

    def __del__(self) -> None:
        if self._soon is not None:  # else it has not begun, and ends with its iterator
            self._soon(partial(_end, self._place, self.source))

    def facts(self) -> tuple[Any, ...]:
        """Return what its borrower is to know."""
        return self._facts

    def home(self) -> Any:
        """Return the iterator itself."""
        return self.source.iterator

    def close(self) -> None:
        """Lend them no longer."""
        _end(self._place, self.source)

    def perform(self, request: Any) -> None:
        """Make items, or close the iterator, where it runs; on the I/O thread."""
        if request.operation not in ("pull", "close"):
            raise ProtocolError(f"a stream has no operation {request.operation[:40]!r}")
        self._soon = request.asker.delivery.loop.call_soon
        if request.operation == "close":
            _end(self._place, self.source)
            return
        if self.source.is_closed:
            request.fail(Released(f"the stream of {self.source.name} was closed where its items are made"))
            return
        try:
            self._place.run(partial(_answer, self.source, request), request)
        except Exception as error:  # of the executor that it is to run in
            request.fail(error)


def _answer(source: ItemSource, request: Any) -> None:
    """Make items; what runs this does not hold the loan, whose end has to stop an iterator that waits."""
    if not request.begin():
        return
    ticker = _Ticker(request, source)
    try:
        with request:
            (items, size), _ = request.arguments()
            found: Any = source.take(Want(max(1, items), size, _encoder(request), request.reply_batch))
    except BaseException as error:
        ticker.stop()
        request.fail(error)
        if not isinstance(error, Exception):
            raise
        return
    if isinstance(source, AsyncItemSource):
        task = asyncio.ensure_future(found)
        ticker.keep(task)
        task.add_done_callback(partial(_answered, request, ticker))
        return
    ticker.stop()
    if found is not None:
        request.reply_batch(found)


def _answered(request: Any, ticker: _Ticker, task: asyncio.Future[Batch | None]) -> None:
    ticker.stop()
    try:
        found = task.result()
    except BaseException as error:
        request.fail(error)
    else:
        if found is not None:
            request.reply_batch(found)


def _encoder(request: Any) -> Callable[[Any], Encoded]:
    foreign = request.asker.foreign
    return lambda item: Encoded(*codec.encoded(item, foreign=foreign))


class _Ticker:
    """Has items sent that an iterator lets wait, for as long as one request lasts."""

    def __init__(self, request: Any, source: ItemSource) -> None:
        self._loop, self._source = request.asker.delivery.loop, source
        self._task: Any = None
        self._is_over = False
        self._timer: LoopTimer | None = None
        self._tick()

    def keep(self, task: Any) -> None:
        """Keep what runs on an event loop, which does not keep it itself."""
        self._task = task

    def _tick(self) -> None:
        self._source.flush()
        if not self._is_over:
            self._timer = self._loop.call_later(TICK, self._tick)

    def stop(self) -> None:
        """The request was answered."""
        self._is_over, self._task = True, None
        if self._timer is not None:
            self._timer.cancel()


def _end(place: _Place, source: ItemSource) -> None:
    """Close an iterator where it runs; from any thread."""
    if not source.is_closed:
        source.stop()
        if getattr(source.iterator, "closes_anywhere", False):
            source.iterator.close()  # it may be waiting for its next item, for ever
        place.close(source)


def _lend(lent: LentItems) -> Loan:
    loan: ItemsLoan = lent._loan
    if loan.holding or loan.source.has_begun:
        raise Moved("this stream was passed on, and is read elsewhere: lend another one")
    return loan


lending.ways[LentItems] = _lend

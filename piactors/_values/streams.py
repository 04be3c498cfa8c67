"""Streams, as whoever reads them sees them: of generators that actors yield, and of what is lent by `stream`.

Isolates load this, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, Generic, Self, TypeVar

from piactors._codec import lending
from piactors._codec.lending import Loan
from piactors._future import waiting
from piactors._validation.fields import parse_size
from piactors.future import Future
from piactors.pihost.pickles import refusals
from piactors.pihost.values.reading import BaseStream, StreamReach, moved
from piactors.pihost.wire.yielded import MOST_BYTES, MOST_ITEMS, WINDOW, WINDOW_BYTES

T = TypeVar("T")


def checked_window(where: str, window: object, window_bytes: object) -> tuple[int, int]:
    """Return a window in items and bytes.

    Raises:
        TypeError: if one of them is not a number, or the bytes not a text that stands for one.
        ValueError: if it is too small or too large.
    """
    size = parse_size(window_bytes) if isinstance(window_bytes, str) else window_bytes
    for name, value, most in (("window", window, MOST_ITEMS), ("window_bytes", size, MOST_BYTES)):
        if type(value) is not int:
            raise TypeError(f"{where}: {name}={value!r} is not a whole number")
        if not 1 <= value <= most:
            raise ValueError(f"{where}: {name}={value!r} is not allowed; use 1 to {most:,}")
    return window, size  # type: ignore[return-value]


def checked_options(
    where: str, window: object, window_bytes: object, exclusive: object, batch: object
) -> tuple[int, int, int, bool]:
    """Return the options of a stream, as `pihost` knows them.

    Raises:
        TypeError, ValueError: as `checked_window`, and for the others.
    """
    items, size = checked_window(where, window, window_bytes)
    if type(exclusive) is not bool:
        raise TypeError(f"{where}: exclusive={exclusive!r} is not True or False")
    if batch != "auto" and type(batch) is not int:
        raise TypeError(f"{where}: batch={batch!r} is not allowed; use 'auto' or a whole number")
    if type(batch) is int and not 1 <= batch <= items:
        raise ValueError(f"{where}: batch={batch!r} is not allowed; use 'auto', or 1 to the window, {items:,}")
    return items, size, batch if type(batch) is int else 0, exclusive


class Stream(BaseStream, Generic[T]):
    """Items that code in another process yields, one after the other, each once.

    The call of a method that is a generator, asynchronous or not, returns one at once.  The method's code begins when
    the first item is asked for, and is at most `window` items ahead of what was consumed (see `stream_options`).
    ``for`` and ``async for`` read it; so does `get_next`, with a time limit.  All items that were yielded come before
    the exception of the code; all that were sent, before `IsolateCrashed`, if the process of the code has ended.

    To `close` it, to leave its ``with`` block, or to let go of it ends the code at its ``yield``.  It may be sent to
    another isolate before it was read from; then that reads it, and reading it here raises `Moved`.

    Example:
        ::

            for line in reader.proxy().lines("README.md"):
                print(line)
    """

    def __init__(
        self,
        reach: StreamReach | None = None,
        origin: Any = None,
        timeout: float | None = None,
        window: tuple[int, int] = (WINDOW, WINDOW_BYTES),
    ) -> None:
        super().__init__(reach, origin, timeout)
        self._window = window

    def __iter__(self) -> Iterator[T]:
        return super().__iter__()

    def __next__(self) -> T:
        return super().__next__()  # type: ignore[no-any-return]

    def get_next(self, timeout: float | None = None) -> T:
        """Return the next item, waiting for it for at most `timeout` seconds; None: for as long as it takes.

        Raises:
            StopIteration: if there are no more.
            Timeout: if the time runs out first; nothing is lost, and it may be asked for again.
            Moved: if the stream was passed on.
            IsolateCrashed: if the process of the code that yields the items has ended.
            Exception: what the code has raised, after all items before that.
        """
        return super().get_next(timeout)  # type: ignore[no-any-return]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._reading is None and isinstance(self._origin, Future):
            await _FirstCall(self._origin)
        return await super().__anext__()  # type: ignore[no-any-return]

    def close(self) -> None:
        """Read no more: the code ends at its ``yield``, where its ``finally`` runs; this does not wait for that."""
        super().close()

    async def aclose(self) -> None:
        """Do as `close` does."""
        super().close()

    def __enter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    def _lend(self) -> Loan:
        """Have whoever this is sent to read it."""
        try:
            reading, origin = moved(self)
        except ValueError as error:
            raise refusals.Refused(str(error), self) from None
        if reading is None:
            return PendingStream(origin, self._window)
        return reading.reach.loan  # type: ignore[attr-defined, no-any-return]

    def _resolved(self) -> Loan:
        """Return the loan of what the call has returned, which was answered."""
        return self._found(self._origin.get()).reach.loan  # type: ignore[attr-defined, no-any-return]


class _FirstCall:
    """Waits for the call that a stream comes from, which goes on if this is cancelled: the stream may be read again."""

    def __init__(self, origin: Future[Any]) -> None:
        self._origin = origin

    def __await__(self) -> Generator[Any, None, None]:
        import asyncio  # isolates load this module, and mostly do without it

        if not self._origin.done():
            yield from waiting.wait_on(asyncio.get_running_loop(), self._origin._when_done, _go_on)


def _go_on() -> None:
    """Nobody waits any more."""


class PendingStream(Loan):
    """A stream that was passed on before the call has been answered that it comes from."""

    kind = "stream"

    def __init__(self, origin: Any, window: tuple[int, int]) -> None:
        super().__init__()
        self._origin, self._window = origin, window
        self._loan: Loan | None = None
        self._error: BaseException | None = None
        self._requests: deque[Any] = deque()
        """What was asked of it before it was known what it is."""

    def facts(self) -> tuple[Any, ...]:
        """Return what is known of it from the call that it comes from."""
        ahead = 1 if self._origin._delivery.concurrency > 1 else 2
        return ".".join(self._origin.path), *self._window, ahead, True, False

    def home(self) -> Any:
        """Return it to this program."""
        return Stream(origin=self._origin, window=self._window)

    def perform(self, request: Any) -> None:
        """Do what is asked, once it is known of what; on the I/O thread."""
        if self._loan is not None:
            self._loan.perform(request)
        elif self._error is not None:
            request.fail(self._error)
        else:
            self._requests.append(request)
            if len(self._requests) == 1:
                self._origin.add_done_callback(self._resolve)

    def _resolve(self, origin: Any) -> None:
        """It is known now; on the thread for callbacks."""
        loan, error = None, None
        try:
            loan = Stream(origin=origin)._resolved()
        except Exception as raised:
            error = raised
        self._requests[0].asker.delivery.loop.call_soon(lambda: self._go_on(loan, error))

    def _go_on(self, loan: Loan | None, error: BaseException | None) -> None:
        self._loan, self._error = loan, error
        while self._requests:
            self.perform(self._requests.popleft())


lending.ways[Stream] = Stream._lend

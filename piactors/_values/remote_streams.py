"""Streams that isolates have given out: what this program reads them through, and how other isolates do."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from piactors._values.remote_loans import OPERATIONS, LenderPort, RemoteLoan
from piactors._values.streams import Stream
from piactors.errors import ActorDeadError, MailboxFull, ProtocolError
from piactors.future import Future
from piactors.pihost.values.reading import StreamFacts, StreamReach


class RemoteStream(RemoteLoan):
    """A stream of an isolate.  It is closed when it is held no longer, unless the isolate's process has ended."""

    def __init__(self, lender: LenderPort, number: int, kind: str, facts: tuple[Any, ...]) -> None:
        super().__init__(lender, number, kind, facts)
        self.told = StreamFacts(*facts)
        self._is_ended = False
        self._under_way: deque[Callable[[], object]] = deque(maxlen=self.told.ahead + 1)
        """What cancels the requests that may be under way."""

    def __del__(self) -> None:
        if self.told.in_calls and not self._is_ended:
            self.lender.forget(self.number, self)  # here: for another thread it may not be gone yet
            under_way = list(self._under_way)
            self.lender.soon(
                partial(_end, self.lender, self.number, self.seen, under_way, exclusive=self.told.exclusive)
            )
        else:
            super().__del__()

    def note(self, cancel: Callable[[], object]) -> None:
        """A request is under way, and this cancels it."""
        self._under_way.append(cancel)

    def cancel(self) -> None:
        """Cancel what is under way."""
        for cancel in list(self._under_way):
            cancel()

    def has_ended(self) -> bool:
        """Note that it needs no close any more; whether it needed none before."""
        ended, self._is_ended = self._is_ended, True
        return ended

    def _new_stand_in(self) -> Any:
        return Stream(RemoteReach(self))

    def perform(self, request: Any) -> None:
        """Have an isolate read it."""
        if not self.told.in_calls:
            super().perform(request)
            return
        if request.operation not in OPERATIONS[self.kind]:
            raise ProtocolError(f"a stream has no operation {request.operation[:40]!r}")
        loan = self.lender.own_ref()._lend()
        cancel = loan.route_to_stream(request, self.number, self.told, self.lender.explained)
        if request.operation == "pull":
            self.note(cancel)
        else:
            self.cancel()


def _end(lender: LenderPort, number: int, seen: int, under_way: list[Callable[[], object]], *, exclusive: bool) -> None:
    """Close a stream of an isolate: by a message, as its code is to run among its calls; on the I/O thread."""
    for cancel in under_way:
        cancel()
    with contextlib.suppress(ActorDeadError, MailboxFull):
        lender.own_ref()._calls.close_stream(number, exclusive=exclusive)
        return
    lender.dropped(number, seen)  # then the isolate lets go of it, and its code ends where that happens


class RemoteReach(StreamReach):
    """A stream of an isolate, as this program reads it."""

    def __init__(self, loan: RemoteStream) -> None:
        self.loan = loan
        self.facts = loan.told
        self._calls = loan.lender.own_ref()._calls if loan.told.in_calls else None

    def new_pull(self) -> Any:
        """Return a future of the answer to `send`."""
        return Items() if self._calls is None else self._calls.new_pull(self.loan.name)

    def send(self, pull: Any, items: int, size: int, seconds: float | None) -> None:
        """Ask for items; see `StreamReach`."""
        self.loan.note(pull.give_up)
        if self._calls is None:
            self.loan.begin_for(pull, "pull", "", (items, size), {})
        else:
            self._calls.pull(pull, self.loan.number, items, size, seconds, exclusive=self.facts.exclusive)

    def close(self) -> None:
        """No more items are wanted."""
        if self.loan.has_ended():
            return
        self.loan.cancel()
        if self._calls is None:
            self.loan.begin("close", "", (), {})
            return
        with contextlib.suppress(ActorDeadError, MailboxFull):
            self._calls.close_stream(self.loan.number, exclusive=self.facts.exclusive)

    def ended(self) -> None:
        """The last item has come."""
        self.loan.has_ended()

    def explained(self, error: BaseException) -> BaseException:
        """Return the error that tells what has become of the stream, given that of a request."""
        return self.loan.lender.explained(error)


class Items(Future[Any]):
    """Items that were asked for.  Who awaits them may stop that: they come for whoever asks next."""

    def cancel(self, kill_after: float | None = None) -> bool:
        """Go on."""
        return False

    def give_up(self) -> None:
        """Nobody wants them any more."""

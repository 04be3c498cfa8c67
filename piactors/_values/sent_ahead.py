"""Calls of what a call will return that leave at once, for the process which the first one is with, and wait there.

If the first one ends in some other way, or returns what is elsewhere, they are made here, as `pipelined` does.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NoReturn

from piactors._codec import encode, items
from piactors._codec.decode import Decoder
from piactors._future import results
from piactors._future.outcome import run_callback
from piactors._future.results import Result
from piactors._values.pipelined import Pipelined, checked_name
from piactors.future import Future
from piactors.pihost.wire import wire


class SentAhead(Pipelined):
    """The outcome of a call that may wait in a process for what it is made on."""

    def __init__(self, first: Future[Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(first, name, args, kwargs)
        self._there: Result | None = None
        """Where the result comes from that it waits for there, as long as it does."""
        self._number = 0
        """What it was asked with there."""
        self._decoder: Decoder | None = None
        self._is_unwanted = self._is_from_there = False

    def begin(self) -> None:
        """Send it if the first call is with a process, and see to the rest once there is an outcome.

        Raises:
            NotSendable: if an argument cannot be sent.
        """
        whole = encode.dumps_answer((self._args, self._kwargs), foreign=False)
        there = None if self._first is None else self._first._result_at()
        if there is not None:
            self._there, self._decoder = there, there.decoder
            payload = whole.data if self._args or self._kwargs else b""
            asked = (there.is_asked, there.number, self._name, wire.PICKLE, payload)
            self._number = there.process.ask_of_result(asked, whole.loans, self._answered)
        super().begin()

    def _result_at(self) -> Result | None:
        there = self._there
        return None if there is None or not self._number else there._replace(is_asked=True, number=self._number)

    def _came_from(self, there: Result) -> bool:
        return there.is_asked and self._is_from_there and self._number == there.number

    def _answered(self, frame: wire.Frame | None) -> None:
        """The process answers, on the I/O thread: with an outcome, or with nothing."""
        if frame is None or (frame.kind == wire.RESPONSE and not _body(frame.payload)):
            self._is_not_made_there()
        elif self._decoder is not None:
            self._first, self._is_from_there = None, True
            if frame.kind == wire.RESPONSE:
                self.settle_with(partial(items.arrived, self._decoder, frame.flags, frame.payload))
            else:
                self.settle_with(partial(_raise, self._decoder, frame.payload))

    def _is_not_made_there(self) -> None:
        first, self._there = self._first, None
        if self._is_unwanted and self._takes_turn():
            self._is_cancelled()
        elif first is not None and first._is_done():
            run_callback(self._go_on)

    def _go_on(self) -> None:
        first, there = self._first, self._there
        if there is not None and first is not None:
            if _is_of(first, there):
                return  # the call goes on there
            self._there = None
            there.process.forget_result(there.is_asked, there.number)
        super()._go_on()

    def cancel(self, kill_after: float | None = None) -> bool:
        """Give up on the call: True if it will never begin; see `Future.cancel`.

        Of one that waits in a process, that is not known at once: it is settled as cancelled once it is.
        """
        there = self._there
        if self._settled or there is None:
            return super().cancel(kill_after)
        self._is_unwanted = True
        there.process.forget_result(there.is_asked, there.number, self._number)
        return False


def _is_of(first: Future[Any], there: Result) -> bool:
    """Whether the result of a call has come from there, and is something that the process has lent."""
    try:
        lender = getattr(getattr(first.get(), "_loan", None), "lender", None)
    except BaseException:  # it has failed
        return False
    return first._came_from(there) and getattr(lender, "process", None) is there.process


def _body(payload: Any) -> Any:
    return getattr(payload, "payload", payload)


def _raise(decoder: Decoder, payload: Any) -> NoReturn:
    raise decoder.error(payload)


def call_result(first: Future[Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
    """Call a method of what a future gets, and send that ahead; see `Future.call`."""
    future = SentAhead(first, checked_name(name), args, kwargs)
    future.begin()
    return future


results.call_with(call_result)

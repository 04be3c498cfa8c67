"""Calls that somebody watches (see `events.Instrument`): their reply port tells before it passes the outcome on."""

from __future__ import annotations

import time

from piactors import events
from piactors._codec.decode import Decoder
from piactors._isolate.call import Call
from piactors._isolate.delivery import Delivery
from piactors._isolate.reply_ports import Trust
from piactors._isolate.trusting import HandedOver
from piactors._text.logs import logger
from piactors.pihost.wire import wire


def put_watched(delivery: Delivery, call: Call, until: float | None) -> None:
    """Send a call, and have it watched; what keeps it from being sent is its outcome (see `Delivery.put`)."""
    port = WatchedReply(call, delivery.name, call.what)
    call.answer_to(port)
    try:
        delivery.put(call, until=until)
    except Exception as error:
        port.fail(error)


class WatchedReply:
    """The reply port of a call that instruments watch: the call's future, and those that watch it."""

    __slots__ = ("_call", "_future", "_is_told", "_sent", "_watching")

    def __init__(self, future: Call, isolate: str, call: str) -> None:
        self._future = future
        self._watching = list(events.instruments)  # of these, each hears of the beginning and of the end
        self._call = events.CallInfo(isolate, call)
        self._is_told = False
        self._sent = time.monotonic()
        for one in self._watching:
            try:
                one.call_sent(self._call)
            except Exception:
                logger.exception("an instrument has failed: %r", one)

    def flags(self, trust: Trust) -> int:
        """Return how the answer is to be sent; under the isolate's lock, in the order in which messages leave."""
        return self._future.flags(trust)

    def reply(self, decoder: Decoder, flags: int, payload: wire.Payload) -> None:
        """The message was handled and has a result."""
        self._tell("returned")
        self._future.reply(decoder, flags, payload)

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """Its handler raised."""
        self._tell("raised")
        self._future.error(decoder, payload)

    def fail(self, error: BaseException) -> object:
        """There is no answer, and this is why."""
        self._tell("failed")
        return self._future.fail(error)

    def take_back_trust(self) -> None:
        """Pass on to the call's future that code of the isolate may not be trusted any more."""
        if isinstance(self._future, HandedOver):
            self._future.take_back_trust()

    def cancelled(self) -> None:
        """Its caller has given it up."""
        self._tell("cancelled")

    def _tell(self, outcome: events.CallOutcome) -> None:
        if self._is_told:  # an answer may be handled again, if that was interrupted
            return
        self._is_told = True
        seconds = time.monotonic() - self._sent
        for one in self._watching:
            try:
                one.call_settled(self._call, outcome, seconds)
            except Exception:
                logger.exception("an instrument has failed: %r", one)

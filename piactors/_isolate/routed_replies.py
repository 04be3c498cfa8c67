"""Where the outcomes of messages of other isolates go: back to these, as they came."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from piactors._codec import items
from piactors._codec.lending import parts_of
from piactors._codec.passing import names_by_key
from piactors._isolate.asked import Asked, Kept
from piactors.errors import Released
from piactors.pihost.wire import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from piactors._codec.decode import Decoder
    from piactors._isolate.delivery import Delivery
    from piactors._isolate.reply_ports import Trust

ROUTED = wire.PICKLE | wire.INLINE | wire.LENDS
"""How such messages are sent: with a head, and with an answer that is not in shared memory."""


def expect_more(delivery: Delivery) -> None:
    """An isolate is about to say something: the loop, if this is its thread, stays awake for that."""
    if delivery.spin.allowed and delivery.loop.is_current():
        delivery.loop.stay_awake()


class RoutedTell:
    """The port of a message of another isolate that wants no answer.

    Args:
        kept: counts it as kept for that one.
    """

    __slots__ = ("_kept",)

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def flags(self, trust: Trust) -> int:
        """Return how it is to be sent; there is no answer."""
        return ROUTED

    def fail(self, error: BaseException) -> None:
        """It was not run; nobody is told."""


class RoutedReply:
    """Passes the outcome of a message on to the isolate that has sent it, as it came."""

    __slots__ = ("_is_done", "request")

    def __init__(self, request: Asked) -> None:
        self.request = request
        self._is_done = False

    def flags(self, trust: Trust) -> int:
        """Return how it is to be sent: with a head, and with an answer that is not in shared memory."""
        return ROUTED

    def reply(self, decoder: Decoder, flags: int, payload: Any) -> None:
        """The message was handled and has a result."""
        self._pass_on(decoder, wire.RESPONSE, flags, payload)

    def error(self, decoder: Decoder, payload: Any) -> None:
        """Its handler raised."""
        self._pass_on(decoder, wire.FAILURE, wire.PLAIN, payload)

    def _pass_on(self, decoder: Decoder, kind: int, flags: int, payload: Any) -> None:
        if self._is_done:  # the handling of this answer was interrupted, and is done once more
            return
        expect_more(self.request.asker.delivery)
        if names_by_key(parts_of(payload)[0]):
            self.request.asker.strand.put(partial(self._decode, decoder, kind, flags, payload))
        else:
            self.request.pass_on(kind, flags, payload)
        self._is_done = True

    def _decode(self, decoder: Decoder, kind: int, flags: int, payload: Any) -> None:
        """Answer with what this program has made of an answer."""
        try:
            value: Any = items.arrived(decoder, flags, payload) if kind == wire.RESPONSE else decoder.error(payload)
            batch = items.once_more(value, foreign=self.request.asker.foreign) if flags & wire.BATCH else None
        except Exception as error:
            self.request.fail(error)
            return
        if batch is not None:
            self.request.reply_batch(batch)
        elif kind == wire.RESPONSE:
            self.request.reply(value)
        else:
            self.request.fail(value)

    def fail(self, error: BaseException) -> None:
        """There is no answer, and this is why."""
        if not self._is_done:
            self._is_done = True
            self.request.fail(error)


class PullReply(RoutedReply):
    """Passes items on to the isolate that has asked for them, as they came.

    Args:
        explained: makes of an error what it means for the stream.
    """

    __slots__ = ("_explained",)

    def __init__(self, request: Asked, explained: Callable[[BaseException], BaseException]) -> None:
        super().__init__(request)
        self._explained = explained

    def error(self, decoder: Decoder, payload: Any) -> None:
        """What makes the items has raised, or is gone."""
        found = self._explained(Released())
        if isinstance(found, Released):
            super().error(decoder, payload)
        else:
            self.fail(found)

    def fail(self, error: BaseException) -> None:
        """There are no more items, and this is why."""
        super().fail(self._explained(error))

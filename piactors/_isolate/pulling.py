"""Requests of this program for the items of a stream that an actor yields: calls of it among its others."""

from __future__ import annotations

from functools import partial

from piactors._codec import items
from piactors._codec.decode import Decoder
from piactors._isolate.trusting import HandedOver
from piactors.errors import ProtocolError
from piactors.pihost.memory import segments
from piactors.pihost.wire import wire


class Pull(HandedOver):
    """One request of this program for items; trusted as a function that was handed over is, if its isolate is.

    Who waits for it may stop that without losing them: they come for whoever asks next.
    """

    is_pinned = True

    def reply(self, decoder: Decoder, flags: int, payload: wire.Payload) -> None:
        """Items have come."""
        if self.trusted and isinstance(payload, segments.Received):
            raise ProtocolError("an answer in shared memory to a call that wants it inline")
        self.settle_with(partial(items.arrived, self._decoder(decoder), flags, payload))

    def cancel(self, kill_after: float | None = None) -> bool:
        """Go on: see `give_up`."""
        return False

    def give_up(self) -> None:
        """Nobody wants the items any more."""
        if not self._drop():  # it may run on though it has been answered
            self._delivery.cancel_begun(self, None)

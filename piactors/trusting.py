"""How far the answers of a `ProcessIsolator` are trusted, call by call, where its trust is "auto".

A function that the host handed over is the host's own code, so its answers may be pickles, as those of
``spawn(function)`` may.  Code that was called by name may stay in the process when its call has ended, and could forge
any later answer.  So the rule is: answers to functions that were handed over are trusted until the first call by name
leaves for the isolate, and never again after that, also not in a later generation.  With `concurrency` above 1 such
a call may still run beside the one by name, and its answer is not trusted from then on either.

Trusted answers do not come through shared memory: they are decoded when somebody asks for them, and code that was
called by name meanwhile could write there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from piactors.errors import ProtocolError
from piactors.pihost import segments, wire
from piactors.sinks import CallFuture

if TYPE_CHECKING:
    from piactors._host.serialise import Decoder
    from piactors.isolate import Isolate


class HandedOver(CallFuture):
    """The future of a function that the host handed over."""

    trusted = False
    """Whether its answer may be a pickle; decided when it is sent, and perhaps taken back."""

    def reply(self, decoder: Decoder, flags: int, payload: wire.Payload) -> None:
        """See `Sink`."""
        if self.trusted and isinstance(payload, segments.Received):
            raise ProtocolError("an answer in shared memory to a call that wants it inline")
        super().reply(self._decoder(decoder), flags, payload)

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """See `Sink`."""
        super().error(self._decoder(decoder), payload)

    def _decoder(self, decoder: Decoder) -> Decoder:
        return self._isolate.code_decoder if self.trusted else decoder


class Named(CallFuture):
    """The future of a call by name to an isolate that has had none so far."""


def future_of(isolate: Isolate, target: object) -> CallFuture:
    """Return the future of a function that an isolate is to call."""
    if isolate.named:
        return CallFuture(isolate)
    return Named(isolate) if isinstance(target, str) else HandedOver(isolate)


def flags_of(isolate: Isolate, sink: Any) -> int:
    """Return how the answer to a message is to be sent, other than that of a plain call; under the isolate's lock.

    What is sent is sent in the order in which this is called.
    """
    if type(sink) is HandedOver:
        sink.trusted = not isolate.named
        return wire.PICKLE | wire.INLINE | wire.CODE if sink.trusted else wire.PICKLE
    if type(sink) is Named:
        _take_back_trust(isolate)
        return wire.PICKLE
    return wire.PICKLE | wire.INLINE


def _take_back_trust(isolate: Isolate) -> None:
    isolate.named = True
    if isolate.options.concurrency == 1:
        return  # what was sent before is answered before this begins
    for message in isolate.mailbox.unanswered():
        if type(message.sink) is HandedOver:
            message.sink.trusted = False

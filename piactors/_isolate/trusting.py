"""How far the answers of a `ProcessIsolator` are trusted, call by call, if its trust is "auto".

A function that the host handed over is the host's own code, so its answers may be pickles, as those of
``spawn(function)`` may.  Code that was called by name may stay in the process when its call has ended, and could forge
any later answer.  So the rule is: answers to functions that were handed over are trusted until the first call by name
leaves for the isolate, and never again after that, also not in a later generation.  With `concurrency` above 1 such
a call may still run beside the one by name, and its answer is not trusted from then on either.

Trusted answers do not come through shared memory: they are decoded when they are asked for, and code that was
called by name meanwhile could write there.
"""

from __future__ import annotations

from collections.abc import Iterable

from piactors._codec.decode import Decoder
from piactors._isolate.call import Call
from piactors._isolate.line import Line
from piactors._isolate.reply_ports import Trust
from piactors._rules.message import Message
from piactors.errors import ProtocolError
from piactors.pihost.memory import segments
from piactors.pihost.wire import wire


class HandedOver(Call):
    """The future of a function that the host handed over."""

    is_plain = False
    trusted = False
    """Whether its answer may be a pickle; decided when it is sent, and perhaps taken back."""

    def flags(self, trust: Trust) -> int:
        """Return how the answer is to be sent; under the isolate's lock, in the order in which messages leave."""
        self.trusted = not trust.named
        return wire.PICKLE | wire.INLINE | wire.CODE if self.trusted else wire.PICKLE

    def take_back_trust(self) -> None:
        """Code that was called by name may run beside it."""
        self.trusted = False

    def reply(self, decoder: Decoder, flags: int, payload: wire.Payload) -> None:
        """The message was handled and has a result."""
        if self.trusted and isinstance(payload, segments.Received):
            raise ProtocolError("an answer in shared memory to a call that wants it inline")
        super().reply(self._decoder(decoder), flags, payload)

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """Its handler raised."""
        super().error(self._decoder(decoder), payload)

    def _decoder(self, decoder: Decoder) -> Decoder:
        return self._delivery.code_decoder if self.trusted else decoder


class CalledByName(Call):
    """The future of a call by name to an isolate that has had none so far."""

    is_plain = False

    def flags(self, trust: Trust) -> int:
        """Return how the answer is to be sent; under the isolate's lock, in the order in which messages leave."""
        trust.note_call_by_name()
        return wire.PICKLE


def call_of(delivery: Line, target: object, path: tuple[str, ...]) -> Call:
    """Return the call of a function, by name or not, that an isolate is to make."""
    if delivery.named:
        return Call(delivery, path)
    return (CalledByName if isinstance(target, str) else HandedOver)(delivery, path)


def take_back(messages: Iterable[Message]) -> None:
    """A call by name leaves, and may run beside these: their answers are not trusted any more."""
    for message in messages:
        take_back = getattr(message.reply_to, "take_back_trust", None)
        if take_back is not None:
            take_back()

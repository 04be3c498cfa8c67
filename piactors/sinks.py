"""Where outcomes of messages go: to a future of the host, or back to an isolate that asked."""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any, NoReturn, Protocol

from piactors._host.generation import Generation
from piactors._host.serialise import Decoder
from piactors.future import Future
from piactors.pihost import wire


class Sink(Protocol):
    """Takes exactly one outcome."""

    def reply(self, decoder: Decoder, flags: int, payload: wire.Payload) -> None:
        """The message was handled and has a result."""

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """Its handler raised."""

    def fail(self, error: BaseException) -> None:
        """There is no answer, and this is why."""


class FutureSink:
    """Settles a future of the host."""

    __slots__ = ("future",)

    def __init__(self, future: Future[Any]) -> None:
        self.future = future

    def reply(self, decoder: Decoder, flags: int, payload: wire.Payload) -> None:
        """See `Sink`; decoding is left to whoever asks for the result."""
        self.future.settle_with(partial(decoder.value, flags, payload))

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """See `Sink`."""
        self.future.settle_with(partial(raise_from, decoder, payload))

    def fail(self, error: BaseException) -> None:
        """See `Sink`."""
        self.future.fail(error)


class PeerSink:
    """Sends the outcome to the isolate that asked, as it came, and keeps a future of it for the host."""

    __slots__ = ("future", "generation", "number")

    def __init__(self, generation: Generation, number: int) -> None:
        self.generation = generation
        self.number = number
        self.future: Future[Any] = Future()

    def reply(self, decoder: Decoder, flags: int, payload: wire.Payload) -> None:
        """See `Sink`."""
        self.future.settle_with(partial(decoder.value, flags, payload))
        self.generation.answer(wire.RESPONSE, flags, self.number, payload)

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """See `Sink`."""
        self.future.settle_with(partial(raise_from, decoder, payload))
        self.generation.answer(wire.FAILURE, wire.PLAIN, self.number, payload)

    def fail(self, error: BaseException) -> None:
        """See `Sink`."""
        self.future.fail(error)
        self.generation.answer(wire.FAILURE, wire.PICKLE, self.number, pickle.dumps(error))


class StopSink:
    """Tells whoever asked for a stop that it has happened.  A stop is never answered, only ended."""

    __slots__ = ("future",)

    def __init__(self, future: Future[bool]) -> None:
        self.future = future

    def fail(self, error: BaseException) -> None:
        """See `Sink`: whatever became of the messages before it, the isolate has stopped."""
        self.future.settle_with(_true)


def _true() -> bool:
    return True


def raise_from(decoder: Decoder, payload: wire.Payload) -> NoReturn:
    """Raise the exception that a payload describes."""
    raise decoder.error(payload)


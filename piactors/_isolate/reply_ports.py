"""Where outcomes of messages go: to a future of the host, or back to an isolate that asked."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, Protocol

from piactors._codec.decode import Decoder
from piactors._future import waiting
from piactors._process.placement import Process
from piactors._rules.message import Message
from piactors.errors import ProtocolError, Timeout
from piactors.future import Future
from piactors.pihost.memory import segments
from piactors.pihost.wire import wire


class ReplyPort(Protocol):
    """Takes exactly one outcome of a message."""

    def flags(self, trust: Trust) -> int:
        """Return how the answer is to be sent; under the isolate's lock, in the order in which messages leave."""

    def reply(self, decoder: Decoder, flags: int, payload: wire.Payload) -> None:
        """The message was handled and has a result."""

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """Its handler raised."""

    def fail(self, error: BaseException) -> object:
        """There is no answer, and this is why."""


class Trust(Protocol):
    """How far the answers of one isolate are believed (see `trusting`)."""

    named: bool
    """Whether code may have run in it that was called by name."""

    @property
    def code_decoder(self) -> Decoder:
        """What decodes the answers of functions that were handed over."""

    def note_call_by_name(self) -> None:
        """From now on code runs in it that was called by name; under the isolate's lock."""


class PeerReply:
    """Sends the outcome to the isolate that asked, as it came, and keeps a future of it for the host."""

    __slots__ = ("future", "number", "process")

    def __init__(self, process: Process, number: int) -> None:
        self.process = process
        self.number = number
        self.future: Future[Any] = Future()

    def flags(self, trust: Trust) -> int:
        """Return the flags of what is passed on as it came, and so must not lie in a segment of the host's."""
        return wire.PICKLE | wire.INLINE

    def reply(self, decoder: Decoder, flags: int, payload: Any) -> None:
        """The message was handled and has a result."""
        if isinstance(payload, segments.Received):
            raise ProtocolError("an answer in shared memory to a call that wants it inline")
        self.process.answer(wire.RESPONSE, flags, self.number, payload)
        self.future.settle_with(partial(decoder.value, flags, payload))

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """Its handler raised."""
        self.process.answer(wire.FAILURE, wire.PLAIN, self.number, payload)
        self.future.settle_with(partial(raise_from, decoder, payload))

    def fail(self, error: BaseException) -> None:
        """There is no answer, and this is why."""
        if not self.future.done():  # otherwise it has been told before: the isolate gets one answer
            self.process.answer(wire.FAILURE, wire.PICKLE, self.number, pickle.dumps(error))
            self.future.fail(error)


class StopFuture(Future[bool]):
    """The future of a stop: True when it is over."""

    def __init__(self, name: str = "the actor") -> None:
        self._name = name

    def _late(self, timeout: float | None) -> BaseException:
        said = waiting.too_late(f"{self._name} has not stopped", timeout)
        return Timeout(f"{said}; the stop goes on, and terminate() ends it at once")


class StopReply:
    """Tells the caller that asked for a stop that it has happened.  A stop is never answered, only ended."""

    __slots__ = ("future",)

    def __init__(self, future: Future[bool]) -> None:
        self.future = future

    def flags(self, trust: Trust) -> int:
        """Return how the answer is to be sent; under the isolate's lock, in the order in which messages leave."""
        return wire.PICKLE | wire.INLINE

    def fail(self, error: BaseException) -> None:
        """There is no answer to a stop: whatever became of the messages before it, the isolate has stopped."""
        self.future.settle_with(_true)


def _true() -> bool:
    return True


def fail_all(messages: list[Message], error: Callable[[], BaseException], *, unless_given_up: bool = True) -> None:
    """Fail those who wait for these messages; if their caller gave up on them, nobody does."""
    for message in messages:
        # Cancelled, that is: one that was only told to be skipped, so that it waits again, still has its caller.
        if message.reply_to is not None and not (unless_given_up and message.given_up and message.abandoned):
            message.reply_to.fail(error())


def raise_from(decoder: Decoder, payload: wire.Payload, needs: object = None) -> NoReturn:
    """Raise the exception that a payload describes; what its call needed lives until here."""
    raise decoder.error(payload)

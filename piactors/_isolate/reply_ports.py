"""Where outcomes of messages go: to a future of the host, or back to an isolate that asked."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, Protocol

from piactors._codec import encode, lending
from piactors._codec.decode import Decoder
from piactors._codec.passing import PassedOn
from piactors._future import waiting
from piactors._process.placement import Process
from piactors._rules.message import Message
from piactors.errors import ProtocolError, Timeout, TooManyLoans
from piactors.future import Future
from piactors.pihost.memory import segments
from piactors.pihost.wire import wire

_log = logging.getLogger("pykka")
"""Where pykka logs what its actors return; here that is done where it arrives, as most programs do not want to know."""


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


def answer(process: Process, kind: int, flags: int, number: int, payload: Any, *, on_data: bool = False) -> None:
    """Answer a request of a process, with a copy of a payload and with what that lends.

    Args:
        on_data: whether the thread waits that reads the data channel, and so wants it there.
    """
    data, loans = lending.parts_of(payload)
    if type(data) is PassedOn:
        process.hand(data.lent)
        data = data.travelling()
    data = bytes(data)
    if loans and not process.ledger.has_room(loans.values()):
        error = TooManyLoans(f"it holds {lending.MOST_HELD:,} things already: let go of some of them")
        kind, flags, data, loans = wire.FAILURE, wire.PLAIN, encode.dumps_error(error, foreign=False).data, {}
    if loans:
        process.ledger.grant(loans.values())
        data = pickle.dumps(([loan.entry() for loan in loans.values()], data), 4)
        flags |= wire.LENDS
    if on_data:
        process.send(kind, flags, number, data)
    else:
        process.answer(kind, flags, number, data)


class PeerReply:
    """Sends the outcome to the isolate that asked, as it came, and keeps a future of it for the host."""

    __slots__ = ("_asks", "_channel", "future", "goal", "number", "process", "stamp")

    def __init__(self, process: Process, number: int, asks: dict[int, Any]) -> None:
        self.process = process
        self.number = number
        self.future: Future[Any] = Future()
        self._asks = asks
        self._channel: dict[str, bool] = {}
        self.stamp = number
        self.goal: tuple[Any, Message] | None = None
        """The message that it is the answer to, and whose that is."""

    def leads_to(self, delivery: Any, message: Message) -> None:
        """This message is what answers it."""
        self.goal = delivery, message

    def answer_on_data(self) -> bool:
        """Answer on the data channel; False if it has been answered, or is being answered, on the other one."""
        return self._channel.setdefault("data", True)  # one step for Python

    def _answer(self, kind: int, flags: int, payload: Any) -> None:
        answer(self.process, kind, flags, self.number, payload, on_data=self._channel.setdefault("data", False))

    def break_off(self, error: BaseException, target: object = None) -> bool:
        """Let the message not begin, for this reason; False if it has begun, or is not `target`."""
        goal = self.goal
        if goal is None or (target is not None and goal is not target) or not goal[0].give_up(goal[1]):
            return False
        self.fail(error)
        return True

    def flags(self, trust: Trust) -> int:
        """Return the flags of what is passed on as it came, and so must not lie in a segment of the host's."""
        return wire.PICKLE | wire.INLINE

    def reply(self, decoder: Decoder, flags: int, payload: Any) -> None:
        """The message was handled and has a result."""
        if isinstance(payload, segments.Received):
            raise ProtocolError("an answer in shared memory to a call that wants it inline")
        self._asks.pop(self.number, None)
        # A copy: the value may be decoded in place, and changed, before all of this has left.
        self._answer(wire.RESPONSE, flags & wire.PICKLE, payload)
        self.future.settle_with(partial(decoder.value, flags, payload))

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """Its handler raised."""
        self._asks.pop(self.number, None)
        self._answer(wire.FAILURE, wire.PLAIN, payload)
        self.future.settle_with(partial(raise_from, decoder, payload))

    def fail(self, error: BaseException) -> None:
        """There is no answer, and this is why."""
        self._asks.pop(self.number, None)
        if not self.future.done():  # otherwise it has been told before: the isolate gets one answer
            self._answer(wire.FAILURE, wire.PLAIN, encode.dumps_error(error, foreign=False).data)
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
    error = decoder.error(payload)
    if decoder.about is not None and _log.isEnabledFor(logging.INFO):
        info = (type(error), error, error.__traceback__)
        _log.info(f"Exception returned from {decoder.about()} to caller:", exc_info=info)
    raise error

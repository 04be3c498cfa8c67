"""Where outcomes of messages go: to a future of the host, or back to an isolate that asked."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import Any, NoReturn, Protocol

from piactors._codec.decode import Decoder
from piactors._future import outcome, waiting
from piactors._platform import wake as waking
from piactors._platform.reentry import Reentered
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


class Line(Trust, Protocol):
    """The data path of an isolate, as those who wait for an answer see it (see `delivery`)."""

    name: str

    def watch(self) -> None:
        """See to it that answers are read that no caller reads."""

    def read_until_settled(self, future: Future[Any], waker: waking.Waker, deadline: float | None) -> None:
        """Let the caller that waits for `future` read the answers."""

    def has_begun(self, message: Message) -> bool:
        """Whether the process says that it has begun a message, which has not been answered."""

    def give_up(self, message: Message) -> bool:
        """The caller of a message gave up on it: True if it will never begin, and has not begun before."""

    def has_given_up(self, message: Message) -> bool:
        """Whether a message will never begin because its caller gave up on it."""


class CallFuture(Future[Any]):
    """The future of one message to an isolate, and where its outcome goes.

    A thread that waits for it reads the isolate's answers itself, if nobody else does.
    """

    message: Message | None = None
    """The message, until there is an outcome."""

    def __init__(self, delivery: Line) -> None:
        self._delivery = delivery

    def carry(self, message: Message) -> None:
        """Its message is about to be sent."""
        self.message = message

    def flags(self, trust: Trust) -> int:
        """Return how the answer is to be sent; under the isolate's lock, in the order in which messages leave."""
        return wire.PICKLE

    def reply(self, decoder: Decoder, flags: int, payload: wire.Payload) -> None:
        """The message was handled; its result is decoded by the thread that asks for it."""
        message = self.message
        if message is None or message.needs is None:
            self.settle_with(partial(decoder.value, flags, payload))
        else:  # the answer may hold instances of what the call brought along
            self.settle_with(partial(_value_with, message.needs, decoder, flags, payload))
        self.message = None

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """Its handler raised."""
        needs = None if self.message is None else self.message.needs
        self.settle_with(partial(raise_from, decoder, payload, needs))
        self.message = None

    def fail(self, error: BaseException) -> bool:
        """There is no answer, and this is why."""
        failed = super().fail(error)
        self.message = None
        return failed

    def done(self) -> bool:
        """Whether `get` returns or raises at once."""
        if not self._settled:
            self._delivery.watch()
        return self._settled

    def running(self) -> bool:
        """Whether the isolate has begun the call, and not answered it."""
        message = self.message
        return message is not None and not self._settled and self._delivery.has_begun(message)

    def _when_done(self, callback: Callable[[], object]) -> None:
        super()._when_done(callback)
        if not self._settled:
            self._delivery.watch()

    def cancel(self) -> bool:
        """Give up on the call. True if it will never begin; one that has begun goes on."""
        try:
            cancelled = super().cancel()
        except BaseException:  # a KeyboardInterrupt: others may wait for what will never begin
            self._cancel_if_given_up()
            raise
        if cancelled:
            reply_to, self.message = None if self.message is None else self.message.reply_to, None
            if reply_to is not None and reply_to is not self:  # somebody watches it
                reply_to.cancelled()
        return cancelled

    def _give_up(self) -> bool:
        message = self.message
        return message is None or self._delivery.give_up(message)

    def _cancel_if_given_up(self) -> None:
        message = self.message
        if message is not None and not self._settled and self._delivery.has_given_up(message):
            self._settle(_error=CancelledError(), _cancelled=True)

    def _wait(self, timeout: float | None) -> None:
        seconds = None if timeout is None else waiting.seconds_of(timeout)
        message = self.message
        if message is not None and message.cancelled:  # this is a signal handler, and has interrupted `cancel`
            self._cancel_if_given_up()
            if self._settled:
                return
        if message is not None and (seconds is None or seconds > 0):
            deadline = None if seconds is None else time.monotonic() + seconds
            if outcome.is_held_by_me():
                raise Reentered(f"isolate {self._delivery.name}")
            waker = waking.mine()
            if waker is not None:  # otherwise the I/O thread reads the answer
                wake = waker.wake
                try:
                    self._wake_with(wake)
                    self._delivery.read_until_settled(self, waker, deadline)
                finally:
                    if self._wakers:
                        self._let_sleep(wake)
            if self._settled:
                return
            seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        self._delivery.watch()
        if not self._wait_until_settled(seconds):
            raise self._late(timeout, message)

    def _late(self, timeout: float | None, message: Message | None = None) -> BaseException:
        message = message or self.message
        what = "a call" if message is None else message.asked
        return waiting.too_late(f"{self._delivery.name}: no answer {what}", timeout)


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
        if message.reply_to is not None and not (unless_given_up and message.given_up and message.cancelled):
            message.reply_to.fail(error())


def _value_with(needs: object, decoder: Decoder, flags: int, payload: wire.Payload) -> Any:
    """Return the value of a reply; what its call needed lives until here."""
    return decoder.value(flags, payload)


def raise_from(decoder: Decoder, payload: wire.Payload, needs: object = None) -> NoReturn:
    """Raise the exception that a payload describes; what its call needed lives until here."""
    raise decoder.error(payload)

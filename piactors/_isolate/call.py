"""`Call`: one call to an isolate, the message and the future of its outcome in one object.

There may be a million of them, and each small call makes one: so it holds only what differs from one to the next.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from piactors._codec.decode import Decoder
from piactors._future import outcome, waiting
from piactors._io.spin import Spin
from piactors._isolate.reply_ports import Trust, raise_from
from piactors._platform import wake as waking
from piactors._platform.reentry import Reentered
from piactors._rules.message import Message
from piactors.future import Future
from piactors.pihost.pickles.byvalue import STACK_GLOBAL
from piactors.pihost.wire import wire

if TYPE_CHECKING:
    import asyncio

_HEAD, _unpack, _PICKLE, _REPLY = wire.HEADER_SIZE, wire.HEADER.unpack_from, wire.PICKLE, wire.REPLY


class Line(Trust, Protocol):
    """The data path of an isolate, as its calls see it (see `delivery`)."""

    name: str
    lock: threading.RLock
    is_mine: Callable[[], bool]
    decoder: Decoder
    spin: Spin

    def watch(self) -> None:
        """See to it that answers are read that no caller reads."""

    def watch_for(self, call: Message) -> None:
        """See to it that the answer to this call is read soon, though nobody waits who reads it."""

    def stays_awake(self, loop: asyncio.AbstractEventLoop, call: Call, since: float) -> bool:
        """Read, as code of the event loop in this thread awaits this answer; whether it is to look again at once."""

    def await_in(self, loop: asyncio.AbstractEventLoop, call: Call) -> None:
        """Have the event loop of this thread read the answer that its code awaits."""

    def wake_reader(self) -> None:
        """Have the caller look that reads the answers, if one does: its own may have come in some other way."""

    def read_until_settled(self, call: Call, waker: waking.Waker, deadline: float | None) -> None:
        """Let the caller that waits for a call read the answers."""

    def has_begun(self, message: Message) -> bool:
        """Whether the process says that it has begun a message, which has not been answered."""

    def give_up(self, message: Message) -> bool:
        """The caller of a message gave up on it: True if it will never begin, and has not begun before."""

    def has_given_up(self, message: Message) -> bool:
        """Whether a message will never begin because its caller gave up on it."""


class Call(Future[Any], Message):
    """One call: a thread that waits for its outcome reads the isolate's answers itself, if nobody else does."""

    kind = "call"
    is_plain = True
    payload: Any = b""
    _answer: bytes | None = None
    """The result as it came: a pickle of plain kinds that nobody has asked for yet."""
    _port: Any = None
    """Who passes the outcome on to here, if somebody watches."""

    def __init__(self, delivery: Line, path: tuple[str, ...], payload: Any = b"") -> None:
        self._delivery = delivery
        self.path = path
        self.payload = payload

    def carry(self, payload: Any, retries: int) -> None:
        """This is what is sent, and how often it may be tried again."""
        self.payload = payload
        if retries:
            self.retries = retries

    @property
    def reply_to(self) -> Any:
        """What takes the outcome of the message."""
        return self if self._port is None else self._port

    @reply_to.setter
    def reply_to(self, port: Any) -> None:
        self._port = port

    @property
    def _guard(self) -> Any:
        return self._delivery.lock

    @classmethod
    def prepare(cls, *more: str) -> None:
        """Have Python know which attributes instances get, and which `more`, before there are many.

        It learns that from the first 30 of a class.  An instance with others has a dictionary of its own, which costs
        more than all the rest of it.
        """
        first: Any = cls.__new__(cls)
        for name in (
            *more,
            "_delivery",
            "path",
            "payload",
            "seq",
            "size",
            "_settled",
            "_answer",
            "_producer",
            "_value",
        ):
            setattr(first, name, getattr(cls, name, None))

    # Its outcome

    def flags(self, trust: Trust) -> int:
        """Return how the answer is to be sent; under the isolate's lock, in the order in which messages leave."""
        return wire.PICKLE

    def take_answer(self, kind: int, flags: int, payload: wire.Payload) -> bool:
        """Take an answer, under the isolate's lock; False if it is not of a kind about which nothing is special."""
        if flags & wire.SHARED or kind not in (wire.REPLY, wire.ERROR):
            return False
        if not self._settled:
            if kind == wire.ERROR:
                self._producer = partial(raise_from, self._delivery.decoder, payload)
            else:
                self._producer = partial(self._delivery.decoder.value, flags, payload)
            self._settled = True
        return True

    def set_get_hook(self, func: Callable[[float | None], Any]) -> None:
        """Set a function that makes the value; see `Future`."""
        self.is_plain = False
        super().set_get_hook(func)

    def tell(self) -> None:
        """Its answer was accepted: tell who waits for it; not under the lock."""
        super()._tell()

    def reply(self, decoder: Decoder, flags: int, payload: wire.Payload) -> None:
        """The message was handled; its result is decoded by the thread that asks for it."""
        if self.needs is None:
            self.settle_with(partial(decoder.value, flags, payload))
        else:  # the answer may hold instances of what the call brought along
            self.settle_with(partial(_value_with, self.needs, decoder, flags, payload))

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """Its handler raised."""
        self.settle_with(partial(raise_from, decoder, payload, self.needs))

    def _tell(self) -> None:
        self._delivery.wake_reader()
        super()._tell()

    # Asking

    def get(self, *, timeout: float | None = None) -> Any:
        """Return the value; see `Future`."""
        if not self._settled and self._get_hook is None:
            self._wait(timeout)
        answer = self._answer
        if answer is not None:
            try:
                value = pickle.loads(answer)
            except Exception:
                self._leave_to_decoder(answer)
            else:
                # No thread is switched to between these steps, so that two that ask at once get the same object.
                if self._answer is None:
                    return self._value
                self._value = value
                self._answer = None
                return value
        try:
            return super().get(timeout=timeout)
        finally:
            del self  # as in `Future.get`

    def _leave_to_decoder(self, answer: bytes) -> None:
        with self._guard:  # whichever thread comes first makes the error that all of them get
            if self._answer is not None:
                self._producer = partial(self._delivery.decoder.value, wire.PICKLE, answer)
                self._answer = None

    def done(self) -> bool:
        """Whether `get` returns or raises at once."""
        if not self._settled:
            self._delivery.watch()
        return self._settled

    def running(self) -> bool:
        """Whether the isolate has begun the call, and not answered it."""
        return not self._settled and self._delivery.has_begun(self)

    def _when_done(self, callback: Callable[[], object]) -> None:
        super()._when_done(callback)
        if not self._settled:
            self._delivery.watch_for(self)

    def _await_on(self, loop: asyncio.AbstractEventLoop) -> Generator[Any, None, None]:
        import asyncio

        delivery, began = self._delivery, time.monotonic()
        try:
            while delivery.stays_awake(loop, self, began):
                yield
        except asyncio.CancelledError:
            self.cancel()
            raise
        if not self._settled:
            delivery.await_in(loop, self)
            yield from self._wait_on(loop, self._call_when_done)
            delivery.spin.learn(time.monotonic() - began)

    def _wait(self, timeout: float | None) -> None:
        seconds = None if timeout is None else waiting.seconds_of(timeout)
        if self.abandoned:  # this is a signal handler, and has interrupted `cancel`
            self._cancel_if_given_up()
            if self._settled:
                return
        if seconds is None or seconds > 0:
            deadline = None if seconds is None else time.monotonic() + seconds
            if outcome.is_held_by_me() or self._delivery.is_mine():
                raise Reentered(f"isolate {self._delivery.name}")
            waker = waking.mine()
            if waker is not None:  # otherwise the I/O thread reads the answer
                self._delivery.read_until_settled(self, waker, deadline)
                if self._settled:
                    return
            seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        self._delivery.watch_for(self)
        if not self._wait_until_settled(seconds):
            raise self._late(timeout)

    def _late(self, timeout: float | None) -> BaseException:
        return waiting.too_late(f"{self._delivery.name}: no answer {self.asked}", timeout)

    # Giving up

    def cancel(self) -> bool:
        """Give up on the call. True if it will never begin; one that has begun goes on."""
        try:
            cancelled = super().cancel()
        except BaseException:  # a KeyboardInterrupt: others may wait for what will never begin
            self._cancel_if_given_up()
            raise
        if cancelled and self._port is not None:
            port, self._port = self._port, None
            port.cancelled()
        return cancelled

    def _give_up(self) -> bool:
        return self._delivery.give_up(self)

    def _cancel_if_given_up(self) -> None:
        if not self._settled and self._delivery.has_given_up(self):
            self._settle(_error=CancelledError(), _cancelled=True)


def take_answers(
    data: bytes, taken: list[int], in_flight: dict[int, Any], generation: int, code: bool, told: list[Call]
) -> tuple[int, int, int]:
    """Settle calls about which nothing is special, as long as the frames in front are their answers.

    Under the isolate's lock, and in as few steps as there can be.  Whatever interrupts this, it can be done again.

    Args:
        taken: where the frames begin, and in the end where the rest begins.
        code: whether results may be pickles.
        told: gets the calls for which somebody waits; they are to be told without the lock.

    Returns how many they were, the highest of their numbers, and how many bytes the calls had.
    """
    count, highest, size, position, end = 0, 0, 0, taken[0], len(data)
    while end - position >= _HEAD:
        length, kind, flags, number, seq = _unpack(data, position)
        call, start = in_flight.get(seq), position + _HEAD
        position = start + length
        if position > end or call is None or not call.is_plain or number != generation:
            break
        payload = data[start:position]
        if flags == _PICKLE and kind == _REPLY and code and STACK_GLOBAL not in payload and not call._settled:
            call._answer = payload
            call._settled = True
        elif not call.take_answer(kind, flags, payload):
            break
        if call._callbacks or call._wakers:
            told.append(call)
        if seq > highest:
            highest = seq
        size += call.size
        count += 1
        call.payload = b""  # whoever asked may hold on to the call for long
        del in_flight[seq]
        taken[0] = position
    return count, highest, size


def _value_with(needs: object, decoder: Decoder, flags: int, payload: wire.Payload) -> Any:
    """Return the value of a reply; what its call needed lives until here."""
    return decoder.value(flags, payload)


Call.prepare()

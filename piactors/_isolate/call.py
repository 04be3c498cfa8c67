"""`Call`: one call to an isolate, the message and the future of its outcome in one object.

There may be a million of them, and each small call makes one: so it holds only what differs from one to the next.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from piactors._codec.decode import Decoder
from piactors._future import outcome, waiting
from piactors._future.results import Result
from piactors._io.loop import LoopTimer
from piactors._isolate.errands import Errand, Errands, left_to
from piactors._isolate.line import Line
from piactors._isolate.reply_ports import Trust, raise_from
from piactors._platform import wake as waking
from piactors._platform.reentry import Reentered
from piactors._rules.message import Message
from piactors.future import Future
from piactors.pihost.wire import wire

if TYPE_CHECKING:
    import asyncio

_HEAD, _unpack, _QUICK, _REPLY = wire.HEADER_SIZE, wire.HEADER.unpack_from, wire.PICKLE | wire.QUICK, wire.REPLY


current = threading.local()
"""What isolates have asked for that a thread does now: `stack`, the last one at the end."""


class Call(Future[Any], Message):
    """One call: a thread that waits for its outcome reads the isolate's answers itself, if nobody else does."""

    kind = "call"
    is_plain = True
    payload: Any = b""
    _answer: bytes | None = None
    """The result as it came: a pickle of plain kinds that nobody has asked for yet."""
    _port: Any = None
    """Who passes the outcome on to here, if somebody watches."""
    _errands: Errands | None = None
    """What the thread that waits for this is to do meanwhile; None if there is nothing."""
    _awaited_on: asyncio.AbstractEventLoop | None = None
    """The event loop whose code waits for it: no thread does, then."""
    _broken_off: BaseException | None = None
    """Why it is given up, if that is not its caller's doing."""
    _waiting_threads: int = 0
    """How many threads wait for it."""

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
        if flags & (wire.SHARED | wire.LENDS) or kind not in (wire.REPLY, wire.ERROR):
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
        needs = _for_answer(self.needs)
        if needs is None:
            self.settle_with(partial(decoder.value, flags, payload))
        else:  # the answer may hold instances of what the call brought along
            self.settle_with(partial(_value_with, needs, decoder, flags, payload))
        self.needs = None  # whoever asked may hold on to the call for long

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """Its handler raised."""
        self.settle_with(partial(raise_from, decoder, payload, _for_answer(self.needs)))
        self.needs = None

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

    def _result_at(self) -> Result | None:
        return self._delivery.result_of(self)

    def _came_from(self, there: Result) -> bool:
        return not there.is_asked and self.seq == there.number

    def running(self) -> bool:
        """Whether the isolate has begun the call, and not answered it."""
        return not self._settled and self._delivery.has_begun(self)

    def _when_done(self, callback: Callable[[], object]) -> None:
        super()._when_done(callback)
        if not self._settled:
            self._delivery.watch_for(self)

    def _await_on(self, loop: asyncio.AbstractEventLoop) -> Generator[Any, None, None]:
        import asyncio

        self._awaited_on = loop
        if self._errands:
            self._move_errands(loop)
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
        deadline = None if seconds is None else time.monotonic() + seconds
        asked = getattr(current, "stack", None)
        if asked:
            asked[-1].waits_for(self)
        self._waiting_threads += 1
        try:
            while not self._settled:
                if not self._read_or_wait(deadline) and not (self._settled or self._errands):
                    raise self._late(timeout)
                if self._errands:
                    self._errands.do(self)
        finally:
            self._waiting_threads -= 1
            if asked:
                asked[-1].waits_for(None)

    def _read_or_wait(self, deadline: float | None) -> bool:
        """Wait until it is settled, or there is an errand; False if the time has run out."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is None or left > 0:
            if outcome.is_held_by_me() or self._delivery.is_mine():
                raise Reentered(f"isolate {self._delivery.name}")
            waker = waking.mine()
            if waker is not None:  # otherwise the I/O thread reads the answer
                self._delivery.read_until_settled(self, waker, deadline)
                if self._settled or self._errands:
                    return True
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
        self._delivery.watch_for(self)
        return self._wait_until_settled(None if left is None else max(0.0, left))

    # What is to be done by whoever waits

    def add_errand(self, errand: Errand) -> bool:
        """Have the thread or event loop that waits for this, or will, do something meanwhile; False if none will."""
        with self._guard:  # either it is seen by who waits, or it is seen that nobody will
            if self._settled:
                return False
            loop = self._awaited_on
            if loop is not None:
                return left_to(loop, errand)
            errands = self._errands
            if errands is None:
                errands = self._errands = Errands()
            errands.add(errand)
            wakers = self._wakers
        if not errands.are_looked_after:
            errands.look_after(self, self._delivery.loop)
        self._delivery.wake_reader()
        for wake in wakers:
            with contextlib.suppress(RuntimeError):  # a latch that is open already
                wake()
        return True

    def _move_errands(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have an event loop do what came before it began to wait."""
        with self._guard:
            errands = [] if self._errands is None else self._errands.take()
        for errand in errands:
            if not left_to(loop, errand):
                errand.give_up()

    @property
    def is_waited_for(self) -> bool:
        """Whether a thread waits for it."""
        return self._waiting_threads > 0

    def _late(self, timeout: float | None) -> BaseException:
        return waiting.too_late(f"{self._delivery.name}: no answer {self.asked}", timeout)

    # Giving up

    def end_with(self, timer: LoopTimer) -> None:
        """Once there is an outcome, its timer is not needed any more, which holds on to it."""
        self._call_when_done(timer.cancel)

    def cancel(self, kill_after: float | None = None) -> bool:
        """Give up on the call, and cancel it if it has begun; see `Future.cancel`."""
        seconds = waiting.seconds_of(kill_after, "kill_after")
        cancelled = self._drop()
        if not cancelled and not self._settled:
            self._delivery.cancel_begun(self, seconds)
        return cancelled

    def _drop(self) -> bool:
        """Give up on the call. True if it will never begin; one that has begun goes on, unless it looks."""
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

    def fail(self, error: BaseException) -> bool:
        """Settle with an exception; False if there is an outcome already."""
        return self._settle(_error=error, _cancelled=type(error) is CancelledError)

    def is_broken_off_with(self, error: BaseException) -> None:
        """If it does not begin, this is why."""
        self._broken_off = error

    def _cancel_if_given_up(self) -> None:
        if not self._settled and self._delivery.has_given_up(self):
            self.fail(self._broken_off or CancelledError())


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
        if flags == _QUICK and kind == _REPLY and code and not call._settled:
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


def _for_answer(needs: Any) -> Any:
    """Return what of its needs has to live until the answer has been read: what a call has lent does so by itself."""
    if needs is None or not (needs.made or needs.held):
        return None
    return attrs.evolve(needs, lent=(), loans=())


def _value_with(needs: object, decoder: Decoder, flags: int, payload: wire.Payload) -> Any:
    """Return the value of a reply; what its call needed lives until here."""
    return decoder.value(flags, payload)


Call.prepare()

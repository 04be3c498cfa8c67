"""One request of an isolate about a thing that it holds, and how it is answered."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sized
from functools import partial
from typing import Any

from piactors._codec import encode
from piactors._codec.lending import Carrying, Loan
from piactors._codec.passing import PassedOn
from piactors._io.loop import LoopTimer
from piactors._isolate import errands, reply_ports
from piactors._isolate.call import Call, current
from piactors._isolate.delivery import Delivery
from piactors._process.placement import Process
from piactors._rules.message import Message
from piactors.errors import NoCaller, ProtocolError, Timeout
from piactors.pihost.values import uses
from piactors.pihost.wire import batches, direct, wire
from piactors.pihost.wire.yielded import Batch

_COST_OF_A_REQUEST = 2048
_LEAST_OF_REQUESTS = 16 << 20
"""However little max_frame allows: some thousands of small requests may be under way."""


class Kept:
    """Stands for what the host keeps of one request, for as long as anything of that lives.

    Args:
        all_kept: how many bytes each takes, about; several threads take away from it, one step for Python each.
    """

    __slots__ = ("_all_kept",)

    def __init__(self, all_kept: dict[int, int], size: int) -> None:
        self._all_kept = all_kept
        all_kept[id(self)] = size

    def __del__(self) -> None:
        self._all_kept.pop(id(self), None)


class Asker:
    """Who asks: one isolate, as what it asks for knows it.

    Attributes:
        name: its name.
        delivery: its messages.
        decoder: makes values of what it sends.
        foreign: whether it runs in another interpreter.
        strand: does what has to be done in the order in which it was asked for, and not on the I/O thread.
    """

    def __init__(self, delivery: Delivery, strand: Strand, *, foreign: bool) -> None:
        self.name, self.decoder, self.strand, self.foreign = delivery.name, delivery.decoder, strand, foreign
        self.delivery = delivery
        self._all_kept: dict[int, int] = {}
        self._unseen = 0
        self.names: set[str] = set()
        """What it has given actors as names."""

    def keep(self, payload: Sized) -> Kept:
        """Return what stands for a request while the host keeps any of it; on whichever thread reads.

        Raises:
            ProtocolError: if all that it has asked for, and that is not done, takes too much memory.
        """
        size = len(payload) + _COST_OF_A_REQUEST
        most = max(2 * self.delivery.max_frame, _LEAST_OF_REQUESTS)
        self._unseen += size
        if self._unseen > most // 8:  # the look walks through all of them
            self._unseen = 0
            if sum(list(self._all_kept.values())) + size > most:
                raise ProtocolError("what it asks for and is not done takes more memory than twice max_frame")
        return Kept(self._all_kept, size)

    def call_of(self, number: int) -> Message | None:
        """Return the call with a number that is with a process of it; None if there is none."""
        return self.delivery.call_of(number)

    @property
    def is_trusted(self) -> bool:
        """Whether what it sends may be a pickle."""
        return self.delivery.decoder.code

    def may_go_directly(self) -> bool:
        """Whether it may reach others without the host, which then cannot check what it says, or enter it."""
        delivery = self.delivery
        return self.is_trusted and not self.foreign and delivery.on_cycle != "reenter" and not delivery.has_marks()


class Strand:
    """Jobs of one isolate that have to run in order, one at a time, on the thread for callbacks.

    Args:
        submit: has a job run there.
    """

    def __init__(self, submit: Callable[..., None]) -> None:
        self._submit = submit
        self._jobs: deque[Callable[[], object]] = deque()

    @property
    def waiting(self) -> bool:
        """Whether jobs have not been done: what is not to overtake them has to wait with them."""
        return bool(self._jobs)

    def put(self, job: Callable[[], object]) -> None:
        """Have a job run after those that were put before; from any thread."""
        self._jobs.append(job)
        self._submit(self._run)

    def _run(self) -> None:
        while self._jobs:  # all of them: a KeyboardInterrupt may have come between a job and its submission
            try:
                self._jobs[0]()
            finally:
                self._jobs.popleft()


_stamps = itertools.count(1)


def broken_off(delivery: Delivery, message: Message, error: BaseException) -> bool:
    """Let a message not begin, and tell who sent it why; False if it has begun."""
    message.is_broken_off_with(error)  # before: whoever waits for it may see that it is given up, and ask why
    if not delivery.give_up(message):
        return False
    if message.reply_to is not None:
        message.reply_to.fail(error)
    return True


class Asked:
    """One request.  As a context, it is what this thread does meanwhile: the calls that it waits for are noted.

    Attributes:
        asker: who asks.
        process: the process of it that asks.
        loan: what it is asked of; None: the host itself.
        operation: what is to be done.
        name: which method or attribute it is about, or nothing.
        is_wanted: whether an answer is.
        timeout: after how many seconds who asks gives up; None if that waits for as long as it takes.
        call: the number of the call that it is asked in; 0 if in none.
        flags, payload: the arguments, as they came; empty if there are none.
        loans: what the arguments name, by number.
        stamp: larger for each that comes later.
        kept: lives for as long as the host keeps any of it.
    """

    def __init__(
        self, asker: Asker, process: Process, number: int, use: uses.Use, loan: Loan | None, loans: Mapping[int, Loan]
    ) -> None:
        self.kept = asker.keep(use.payload)
        self.asker, self.process, self.number = asker, process, number
        self.operation, self.name, self.call = use.operation, use.name, use.call
        self.is_wanted = use.answer != uses.UNWANTED
        self.timeout = None if use.timeout < 0 else use.timeout
        self._until = math.inf if use.timeout < 0 else time.monotonic() + use.timeout
        self.flags, self.loan, self.loans = use.flags, loan, loans
        self.payload: Any = use.payload
        self.goal: tuple[Delivery, Message] | None = None
        """The message that answers it, and whose that is; None if something else does."""
        self.stamp = next(_stamps)
        self._timer: LoopTimer | None = None
        self._is_of_future = False
        self._on_data = use.answer == uses.ON_DATA
        self._turns = [1]
        self._uses = [1]

    def begin(self) -> bool:
        """Begin to do it.

        False if that has been begun: its handling may have been interrupted, and done once more.  False as well if its
        time is over: then it has failed.
        """
        try:
            self._turns.pop()  # one step for Python
        except IndexError:
            return False
        if time.monotonic() < self._until:
            return True
        self.fail(Timeout(f"{self.name or self.operation}: not begun within its time"))
        return False

    def answer_on_data(self) -> bool:
        """Answer on the data channel; False if it has been answered, or is being answered, on the other one."""
        return bool(self.__dict__.setdefault("_answers_on", "data") == "data")  # one step for Python

    def on_loop(self, job: Callable[[], object]) -> None:
        """Have this done on the I/O thread, where nothing interrupts it, and once."""
        self.asker.delivery.loop.call_soon(lambda: self.begin() and job())

    def count(self) -> None:
        """It has been handled, so what it used may be dropped; once, however often this is called."""
        if self._uses:
            self._uses.clear()
            self.process.ledger.used()
        self.loan = None  # it may be the last to hold that

    def end_with(self, timer: LoopTimer) -> None:
        """Once it is answered, this timer is not needed any more, which ends the time for that."""
        self._timer = timer

    def leads_to(self, delivery: Delivery, message: Message) -> None:
        """This message is what answers it."""
        self.goal = delivery, message

    def waits_for(self, future: object) -> None:
        """It is answered once there is an outcome of this future, which may be that of a call; None: not any more."""
        self.goal = (future._delivery, future) if type(future) is Call else None  # type: ignore[assignment]
        self._is_of_future = self.operation == "outcome"
        if self.goal is not None:
            self.goal[0].look_for_circles()

    def break_off(self, error: BaseException, target: object = None) -> bool:
        """Let the message that is to answer it not begin, for this reason; False if it has begun.

        If it only waits for a call that somebody else has made, it does not wait for that any more.

        Args:
            target: what `goal` was when that was decided: if it is another one by now, nothing happens.
        """
        goal = self.goal
        if goal is None or (target is not None and goal is not target):
            return False
        if not self._is_of_future:
            return broken_off(*goal, error)
        self.fail(error)
        self.is_wanted = False
        return True

    def __enter__(self) -> None:
        current.stack = (*getattr(current, "stack", ()), self)

    def __exit__(self, *_: object) -> None:
        current.stack = current.stack[:-1]

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments, made of what came; not on the I/O thread.

        Raises:
            Exception: if that cannot be done, or is not allowed.
        """
        if not self.payload:
            return (), {}
        payload = self.payload.received() if type(self.payload) is PassedOn else self.payload
        flags = self.flags & wire.PICKLE | wire.LENDS
        found = self.asker.decoder.value(flags, Carrying(payload, dict(self.loans)))
        if type(found) is not tuple or len(found) != 2 or type(found[0]) is not tuple or type(found[1]) is not dict:
            raise ProtocolError(f"{self.asker.name} sent malformed arguments")
        return found

    def error(self) -> BaseException:
        """Return the exception that it describes in place of arguments; not on the I/O thread."""
        return self.asker.decoder.error(Carrying(self.payload, dict(self.loans)))

    def in_caller(self, job: Callable[[], object]) -> None:
        """Have `job()` run in the thread of this program that waits for the call in which this is asked.

        If that call was made by another isolate, it is the thread that waits for the call in which that made it.
        """
        errand = errands.Errand(job, self._has_no_caller, time.monotonic())
        self._leave(errand, lambda: self._fail_without_caller("that was told, or is awaited"))

    def in_caller_or_loop(self, job: Callable[[], object], otherwise: Callable[[], object]) -> None:
        """Have `job()` run as `in_caller` does, or on the event loop that awaits the call, whenever that comes.

        Args:
            otherwise: is called if nobody waits, or will.
        """
        self._leave(errands.Errand(job, otherwise, math.inf, lambda loop: loop.call_soon_threadsafe(job)), otherwise)

    def _leave(self, errand: errands.Errand, otherwise: Callable[[], object]) -> None:
        self.process.leave_to_caller()
        self._in_caller_of(errand, otherwise, self.asker, self.call)

    def _in_caller_of(self, errand: errands.Errand, otherwise: Callable[[], object], asker: Asker, number: int) -> None:
        """Have it done where somebody waits for a call of an isolate, or for the one in which that was made."""
        call = asker.call_of(number)
        is_unknown = call is None and direct.is_direct(number)
        if is_unknown and asker.delivery.direct.find_caller(number, partial(self._in_caller_of, errand, otherwise)):
            return
        if type(call) is not Call:
            request: Asked | None = getattr(getattr(call, "reply_to", None), "request", None)
            if request is not None:
                self._in_caller_of(errand, otherwise, request.asker, request.call)
                return
        if type(call) is not Call or not call.add_errand(errand):
            otherwise()

    def _has_no_caller(self) -> None:
        if self.begin():
            self._fail_without_caller(f"nobody has come to wait for it in {errands.SECONDS:g} s")

    def _fail_without_caller(self, why: str) -> None:
        text = "was called where no thread waits for the call that it was called in"
        self.fail(NoCaller(f"{self.name or 'it'} {text}: {why}"))

    def reply(self, value: Any) -> None:
        """Answer with a value; from any thread."""
        if not self.is_wanted:
            return
        try:
            whole = encode.dumps_answer(value, foreign=self.asker.foreign)
        except Exception as error:
            self.fail(error)
        else:
            self._answer(wire.RESPONSE, wire.PICKLE, whole)

    def fail(self, error: BaseException) -> None:
        """Answer with an exception; from any thread."""
        if self.is_wanted:
            self._answer(wire.FAILURE, wire.PLAIN, encode.dumps_error(error, foreign=self.asker.foreign))

    def reply_batch(self, batch: Batch) -> None:
        """Answer with items of a stream, which are encoded already; from any thread."""
        whole = encode.Whole(batches.packed(batch.items, batch.is_last), tuple(batch.lends))
        self._answer(wire.RESPONSE, wire.BATCH, whole)

    def _answer(self, kind: int, flags: int, whole: encode.Whole) -> None:
        self.pass_on(kind, flags, Carrying(whole.data, {loan.number: loan for loan in whole.loans}))

    def pass_on(self, kind: int, flags: int, payload: Any) -> None:
        """Answer with what is encoded already, as it came; from any thread."""
        if not self.is_wanted:
            return
        on_data = self._on_data or self.__dict__.setdefault("_answers_on", "control") == "data"
        self.asker.delivery.asks.pop(self.number, None)
        self.goal = None  # which leads back here
        if self._timer is not None:
            self._timer.cancel()
        try:
            flags &= wire.PICKLE | wire.BATCH | (wire.PASSED if flags & wire.SHARED else 0)
            reply_ports.answer(self.process, kind, flags, self.number, payload, on_data=on_data)
        except BaseException:  # a KeyboardInterrupt in a caller's thread: the isolate takes the first of two answers
            self.asker.delivery.loop.call_soon(self.pass_on, kind, flags, payload)
            raise

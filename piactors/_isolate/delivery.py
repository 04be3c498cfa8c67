"""The data path of one isolate: messages out and answers back, and the isolate's only lock.

Callers come in on their own threads and hold the lock for a few steps; it is never held while foreign code runs.
Whether anything may leave is one flag, `flows`, and whether anything is taken at all is `refusal`: both are set by
whoever knows why (`isolate`), so that a call looks at nothing else.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from piactors._host.loop import Share
from piactors._host.parcels import Outbox, bound
from piactors._host.serialise import Decoder
from piactors._host.spin import Spin, several_cores
from piactors._isolate import capacity, trusting
from piactors._isolate.reply_ports import CallFuture, fail_all
from piactors._lifecycle.mailbox import Aftermath, Doubt, Evidence, Mailbox, Message, UnknownSequence
from piactors._platform import reentry
from piactors._platform.reentry import Reentered
from piactors.errors import ProtocolError
from piactors.pihost import page, wire
from piactors.pihost.segments import Parcel

if TYPE_CHECKING:
    from piactors._host.generation import Generation
    from piactors._isolate.spec import IsolateSpec
    from piactors._platform.wake import Waker
    from piactors.future import Future

WINDOW_BYTES = 1 << 20
"""Bytes of messages that may be in flight; more would only wait in the kernel instead of here."""
_FRAME_KINDS = {"call": wire.CALL, "tell": wire.TELL, "stop": wire.STOP}
_RESULTS = (wire.REPLY, wire.ERROR)
_NO_MESSAGES = Aftermath([], [], [])
MakeError = Callable[[], BaseException]


class Clock(Protocol):
    """Who wants to know when calls begin."""

    runs: bool
    """Whether any call has a time limit, or a stop is wanted; until then nothing is noted."""

    def run(self) -> None:
        """A call has a time limit, or a stop is wanted."""

    def note(self) -> None:
        """Something was sent or answered; under the lock."""


class Delivery:
    """The mailbox of one isolate, and the process that it goes to, if there is one.

    Attributes:
        process: what messages go to, or None.
        flows: whether they leave.
        refusal: makes the error of whatever is put, or None: it is taken.
        named: whether code may have run in the isolate that was called by name (see `trusting`).
    """

    def __init__(
        self, spec: IsolateSpec, loop: Share, decoder: Decoder, not_run: Callable[[Message], BaseException]
    ) -> None:
        options = spec.options
        self.name = spec.name
        self.decoder = decoder
        self.named = not spec.trusts_objects
        self.concurrency = options.concurrency
        self.max_frame = options.max_frame
        self.capacity = options.mailbox_capacity
        self.overflow = options.overflow
        self.outbox = Outbox(bound(options))
        self.mailbox = Mailbox(page.WINDOW, WINDOW_BYTES)
        self.loop = loop
        self.process: Generation | None = None
        self.flows = False
        self.refusal: MakeError | None = None
        self._call_timeout = options.call_timeout
        self._spin = Spin(options.spin and several_cores())
        self._not_run = not_run
        self._clock: Clock = _NO_CLOCK
        self._on_done: Callable[[], object] | None = None
        self._on_drained: Callable[[], object] | None = None
        self._is_shut = False
        self.renew_locks()

    def renew_locks(self) -> None:
        """Make the locks, once more in a forked copy of the host, where somebody else may have held them."""
        self.lock = reentry.lock()
        self.is_mine: Callable[[], bool] = self.lock._is_owned
        """Whether this thread has the lock: then this is a signal handler that has interrupted it."""
        self.room = capacity.Room()

    @functools.cached_property
    def code_decoder(self) -> Decoder:
        """What decodes the answers of functions that were handed over."""
        return attrs.evolve(self.decoder, code=True)

    def note_call_by_name(self) -> None:
        """Code runs in the isolate from now on that was called by name."""
        self.named = True

    def watch_calls(self, clock: Clock, on_done: Callable[[], object] | None) -> None:
        """Have a clock know when calls begin, and somebody when one is done, under the lock."""
        self._clock, self._on_done = clock, on_done

    # Messages out, on the threads of callers

    def put(self, message: Message, *, may_block: bool = True, until: float | None = None) -> None:
        """Take a message into the mailbox, and send it if there is room in flight.

        Args:
            until: until when to wait for room in the mailbox, on the monotonic clock; None for as long as it takes.

        Raises:
            ActorDeadError: if the isolate takes none (any more).
            MailboxFull: if the mailbox is full and the options say to fail.
            Timeout: if it is full for too long.
            RuntimeError: in a signal handler that has interrupted this very function, or another one that holds the
                lock.
        """
        payload = message.payload
        if type(payload) is Parcel or len(payload) > self.max_frame:
            capacity.check_size(self, payload)
        if message.call_timeout is not None or self._call_timeout is not None:
            self._set_timeout(message)
        place: Any = True
        while place:
            if self.is_mine():
                raise Reentered(f"isolate {self.name}")
            with self.lock:
                if self.refusal is not None:
                    raise self.refusal()
                process, mailbox = self.process, self.mailbox
                place = None
                try:
                    if self.capacity is not None and message.kind != "stop":
                        place = capacity.make_room(self, may_block)
                    if place:
                        pass
                    elif not self.flows:
                        mailbox.put(message)
                    elif mailbox.put_and_send(message):
                        self._send(process, message)
                    if self._clock.runs:
                        self._clock.note()
                except BaseException as error:  # a KeyboardInterrupt: it may be numbered, and not sent
                    self._mend(process)
                    if isinstance(error, Reentered):
                        mailbox.give_up(message)
                    raise
                others = mailbox.count_on_way() > 1
            if place:
                capacity.wait_for_room(self, message, place, until)
        if others and process is not None:
            process.watch()  # whoever sends one after the other may not ask for the answers for a while

    def _set_timeout(self, message: Message) -> None:
        message.limit_to(self._call_timeout if message.call_timeout is None else message.call_timeout, math.inf)
        if message.call_timeout is not None:
            self._clock.run()

    def pump(self) -> None:
        """Send what has room in flight; under the lock, so messages leave in their order."""
        process = self.process
        if process is None:
            return
        try:
            if self.flows:
                while (message := self.mailbox.next_to_send()) is not None:
                    self._send(process, message)
            if self._clock.runs:
                self._clock.note()
        except BaseException:
            self._mend(process)
            raise

    def _send(self, process: Any, message: Message) -> None:
        kind, payload = _FRAME_KINDS[message.kind], message.payload
        if message.needs is not None or process.knowledge.forgotten:
            process.define(message.needs)
        sink = message.sink
        flags = wire.PICKLE if type(sink) is CallFuture else trusting.flags_of(self, sink)
        if type(payload) is Parcel:
            process.send_parcel(flags, kind, message.seq, payload, self.outbox.dropped())
        elif self.mailbox.count_on_way() == 1:
            process.send(kind, flags, message.seq, payload)
        else:
            process.send_soon(kind, flags, message.seq, payload)

    def _mend(self, process: Generation | None) -> None:
        """Under the lock: the sending of messages was interrupted, by a KeyboardInterrupt at any step of it."""
        self.loop.call_soon(self.go_on)
        message = self.mailbox.in_hand
        taken = message is not None and process is not None and process.has_taken(message)
        self.mailbox.mend(taken=taken)

    def go_on(self) -> None:
        """On the loop: do what somebody was kept from who was interrupted."""
        with self.lock:
            self.room.notify_all()
            self.pump()
        self.watch()

    def __len__(self) -> int:
        """How many messages wait or are in flight."""
        with self.lock:
            return len(self.mailbox)

    def held_bytes(self) -> int:
        """About how much memory the messages that wait take."""
        with self.lock:
            return self.mailbox.held_bytes()

    # For whoever waits for an answer

    def lend(self, future: Future[Any], waker: Waker, deadline: float | None) -> None:
        """Let the caller that waits for `future` read the answers of the process that runs now."""
        process = self.process
        if process is not None:
            process.lend(future, waker, self._spin, deadline, self.mailbox.count_on_way)

    def watch(self) -> None:
        """See to it that answers are read that no caller reads."""
        process = self.process
        if process is not None:
            process.watch()

    def has_begun(self, message: Message) -> bool:
        """Whether the process says that it has begun a message, which has not been answered."""
        with self.lock:
            process = self.process
            return process is not None and self.mailbox.is_on_way(message) and process.has_begun(message.seq)

    def give_up(self, message: Message) -> bool:
        """The caller of a message gave up on it: True if it will never begin, and has not begun before."""
        if self.is_mine():
            raise Reentered(f"isolate {self.name}")
        with self.lock:
            if message.attempts:
                return False  # its caller is told what comes of it
            if self.mailbox.give_up(message):
                message.cancel()
                self.room.notify()
                return True
            process = self.process
            in_flight = self.mailbox.is_on_way(message)
            message.skip("cancelled" if in_flight else "")  # before the isolate may skip it
            if process is None or not in_flight or not process.give_up(message.seq):
                return False
            message.cancel(sent=True)
            return True

    def has_given_up(self, message: Message) -> bool:
        """Whether a message will never begin because its caller gave up on it; he may have been interrupted."""
        with self.lock:
            return message.given_up or not (message in self.mailbox or self.mailbox.is_on_way(message))

    # Answers back, on the thread of whoever has read them

    def answered(self, frame: wire.Frame, again: bool) -> None:
        """Handle an answer.

        Args:
            again: whether the handling of this very frame may have been interrupted before.

        Raises:
            ProtocolError: if it should not have come.
        """
        try:
            if frame.kind in _RESULTS:
                self._result(frame)
            else:
                self._no_result(frame)
        except UnknownSequence as error:
            if not again:
                raise ProtocolError(str(error)) from None
            with self.lock:  # it was completed, and perhaps no more than that
                self.room.notify()
                self.pump()
            self._look_whether_drained()

    def _result(self, frame: wire.Frame) -> None:
        """Settle a call first and complete it then: whatever interrupts this, it can be done again."""
        message = self.mailbox.expect(frame.seq)  # no lock: it is one look-up, and what it finds may change after it
        if message.kind == "tell":
            raise ProtocolError("an answer to a message that wants none")
        timed = message.call_timeout is not None or message.deadline
        unwanted = message.given_up or (timed and not message.claim("answered"))
        if not unwanted and message.sink is not None:
            if frame.kind == wire.REPLY:
                message.sink.reply(self.decoder, frame.flags, frame.payload)
            else:
                message.sink.error(self.decoder, frame.payload)
        with self.lock:
            others_wait = self.mailbox.take_off(message)
            if self.capacity is not None:
                self.room.notify()
            if self._on_done is not None:
                self._on_done()
            if others_wait or self._clock.runs:
                self.pump()
        if self._on_drained is not None:
            self._look_whether_drained()

    def _no_result(self, frame: wire.Frame) -> None:
        """A message was handled and wants no result, or was skipped; the latter comes to the loop alone."""
        with self.lock:
            if frame.kind == wire.SKIPPED and self.mailbox.is_recalled(frame.seq):
                self.pump()
                return
            message = self.mailbox.answered(frame.seq)
            doubt = message.doubt if frame.kind == wire.SKIPPED else ""
            too_late = message.is_late
            if doubt == "waits":
                self.mailbox.put_back(message)
            else:
                self.room.notify()
                if self._on_done is not None:
                    self._on_done()
            self.pump()
        self._look_whether_drained()
        if doubt == "waits" or too_late:
            return
        if doubt:
            fail_all([message], partial(self._skipped, message, doubt))
        elif not message.given_up and message.kind == "tell" and frame.kind != wire.DONE:
            raise ProtocolError("an answer to a message that wants none")
        elif not message.given_up and message.kind != "tell" and message.sink is not None:
            raise Unanswered(message)

    def _skipped(self, message: Message, doubt: Doubt) -> BaseException:
        """The error of a call that was given up on in the very moment when it was to begin, and has not begun."""
        return self._not_run(message) if doubt == "stopped" else CancelledError()

    def _look_whether_drained(self) -> None:
        if self._on_drained is not None:
            self.loop.call_soon(self._drained)

    def _drained(self) -> None:
        report = self._on_drained
        if report is not None and self.mailbox.on_way == 0:
            report()

    # What the rules ask for, on the I/O thread

    def attach(self, process: Generation | None) -> None:
        """Send to this process from now on, as soon as `resume` says so."""
        with self.lock:
            self.process = process
            self.flows = self._is_shut = False
            self._on_drained = None
            self.mailbox.next_generation()
            self.outbox.generation_ended()

    def detach(self, evidence: Evidence | None, where: tuple[Any, ...] = ()) -> Aftermath:
        """The process has ended, or has nothing in flight (no `evidence`): sort what was in flight.

        Args:
            where: name, pid and number of the process, and why it ended: for the error of what is tried again.
        """
        with self.lock:
            self.process, self.flows, self._on_drained = None, False, None
            if evidence is None:
                return _NO_MESSAGES
            aftermath = self.mailbox.generation_ended(evidence)
            self.outbox.generation_ended()
            for message in aftermath.retried:
                message.lose(where)
        return aftermath

    def all_settled(self) -> None:
        """Whoever waited for what the last process has taken with it has been told."""
        self.mailbox.leaving.clear()

    def shut(self) -> None:
        """Send nothing more to this process: it is about to be ended.  From any thread, under the lock."""
        self.flows, self._is_shut = False, True

    def pause(self, on_drained: Callable[[], object]) -> None:
        """Send nothing more, take back what has not begun, and call `on_drained()` once the rest is answered."""
        with self.lock:
            self.flows, self._on_drained = False, on_drained
            self.take_back()
        self._look_whether_drained()

    def resume(self) -> None:
        """Send what waits."""
        with self.lock:
            self._on_drained = None
            self.flows = self.process is not None and not self._is_shut
            self.pump()

    def ask_to_stop(self) -> None:
        """Put a stop of this process before all that waits, and let what has not begun wait behind it."""
        with self.lock:
            if self.flows:
                self.take_back()
            self.mailbox.put_first(Message("stop", b"", own_wish=True))
            self.pump()

    def put_stop(self, message: Message) -> None:
        """Put a stop behind all that waits, once, whether other messages are taken or not."""
        with self.lock:
            self._clock.run()
            if not (message in self.mailbox or self.mailbox.is_on_way(message)):
                self.mailbox.put(message)
            self.pump()

    def take_back(self) -> None:
        """Let everything wait again that is in flight and has not begun; under the lock."""
        recalled = self.recall("waits")
        for message in recalled:
            message.skip("")
        in_doubt = max((message.seq for message in self.mailbox.unanswered() if message.doubt), default=0)
        self.mailbox.recall(recalled, in_doubt)

    def recall(self, why: Doubt) -> list[Message]:
        """Give up on everything in flight that has not begun; return it in its order.  Under the lock.

        The last one first: else the isolate could skip one that was given up on, and begin the next one before that is.

        Args:
            why: what becomes of a message that is skipped though it counts as begun.
        """
        process, recalled = self.process, []
        for message in reversed(list(self.mailbox.unanswered())):
            if process is not None and message.kind != "stop" and not message.given_up:
                given_up = process.give_up(message.seq)
                message.skip("" if given_up else why, given_up=given_up)
                recalled += [message] if given_up else []
        return recalled[::-1]

    def take_unbegun(self, *, in_flight: bool) -> list[Message]:
        """Take out what has not begun, with `in_flight` also of what was sent: it will not run any more."""
        with self.lock:
            left = self.mailbox.take_calls()
            recalled = self.recall("stopped") if in_flight else []
            self.room.notify_all()
        return [*left, *recalled]

    def take_untried(self) -> list[Message]:
        """Take out what waits and has not begun in any process: nothing is to wait for the next one."""
        with self.lock:
            self.room.notify_all()
            return self.mailbox.take_calls(tried=False)

    def refuse(self, refusal: MakeError | None) -> None:
        """Take no message any more, or take them again; whoever waits for room looks again."""
        with self.lock:
            self.refusal = refusal
            self.room.notify_all()

    def close(self) -> list[Message]:
        """No process follows: return what is left."""
        with self.lock:
            left = self.mailbox.close()
            self.process, self.flows = None, False
            self.room.notify_all()
        self.outbox.close()
        return left

    def abandon(self) -> list[Message]:
        """In a forked copy of the host: let go of everything, and return whose callers must not wait here."""
        self.renew_locks()
        left = [*self.mailbox.unanswered(), *self.mailbox.close()]
        self.process, self.flows = None, False
        return left


class Unanswered(ProtocolError):
    """An isolate has handled a call and left it without an answer."""

    def __init__(self, message: Message) -> None:
        super().__init__("it left a call without an answer")
        self.unanswered = message


class _NoClock:
    """Nobody wants to know when calls begin."""

    runs = False

    def run(self) -> None:
        """See `Clock`."""

    def note(self) -> None:
        """See `Clock`."""


_NO_CLOCK = _NoClock()

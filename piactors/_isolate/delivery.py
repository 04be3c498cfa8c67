"""The data path of one isolate: messages out and answers back, and the isolate's only lock.

Callers come in on their own threads and hold the lock for a few steps; it is never held while foreign code runs.
Whether anything may leave is one flag, `flows`, and whether anything is taken at all is `refusal`: both are set by
whatever knows why (`life`), so that a call looks at nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any

from piactors._codec.decode import Decoder
from piactors._future.results import Result
from piactors._io.loop import Share
from piactors._isolate import call as calls
from piactors._isolate.call import Call
from piactors._isolate.posting import MakeError
from piactors._isolate.reply_ports import fail_all
from piactors._isolate.sending import Sending
from piactors._rules.mailbox import Aftermath, Evidence
from piactors._rules.message import Message, SkipRace
from piactors._rules.numbers import UnknownSequence
from piactors.errors import ProtocolError, Timeout
from piactors.pihost.wire import batches, wire

if TYPE_CHECKING:
    from piactors._isolate.spec import IsolateSpec
    from piactors._process.placement import Process

_RESULTS = (wire.REPLY, wire.ERROR)
_NO_MESSAGES = Aftermath([], [], [])


class Delivery(Sending):
    """The mailbox of one isolate, the process that it goes to, and who waits for its answers.

    Args:
        not_run: makes the error of a message that no process runs.
    """

    def __init__(
        self, spec: IsolateSpec, loop: Share, decoder: Decoder, not_run: Callable[[Message], BaseException]
    ) -> None:
        super().__init__(spec, loop, decoder)
        self._not_run = not_run
        self._on_drained: Callable[[], object] | None = None
        self._is_shut = False
        self.is_closed = False
        """Whether what is left has been taken out, so that a message that comes now would not be looked at."""

    # Answers back, on the thread that has read them

    def take_answers(self, generation: int, data: bytes, taken: list[int]) -> None:
        """Settle calls about which nothing is special, as many answers as stand in front (see `channel.Take`).

        What comes after them is left to `answered`.  Whatever interrupts this, it can be done again.
        """
        told: list[Call] = []
        mailbox = self.mailbox
        try:
            with self.lock:  # for all of them; completing makes room in the window, and who waits longest is to fill it
                try:
                    count, highest, size = calls.take_answers(
                        data, taken, mailbox.by_number, generation, self.decoder.code, told
                    )
                    if count:
                        mailbox.completed(highest, size)
                        if not self.sails or mailbox.waiting or self._on_done is not None or self._clock.runs:
                            self._after(count)
                except BaseException:  # a KeyboardInterrupt
                    mailbox.completed(next(iter(mailbox.by_number), mailbox.last_seq + 1) - 1, 0)
                    mailbox.mend(taken=True)
                    self.loop.call_soon(self.go_on)
                    raise
            if told:
                self._tell(told)
        except BaseException:  # those who wait for what others have read are told all the same
            self.loop.call_soon(self._tell, told)
            raise
        if self._on_drained is not None:
            self.look_whether_drained()

    @staticmethod
    def _tell(told: list[Call]) -> None:
        for call in told:  # to be told twice does no harm
            call.tell()

    def _after(self, count: int) -> None:
        """So many messages were completed; under the lock."""
        for _ in range(count if self.capacity is not None or self._on_done is not None else 0):
            self.room.notify()
            if self._on_done is not None:
                self._on_done()
        if self.mailbox.waiting or self._clock.runs:
            self.pump()

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
            elif frame.kind == wire.PART:
                self._part(frame)
            else:
                self._no_result(frame)
        except UnknownSequence as error:
            if not again:
                raise ProtocolError(str(error)) from None
            self.go_on()  # it was completed, and perhaps no more than that
            self.look_whether_drained()

    def _result(self, frame: wire.Frame) -> None:
        """Settle a call first and complete it then: whatever interrupts this, it can be done again."""
        message = self.mailbox.expect(frame.seq)  # no lock: it is one look-up, and what it finds may change after it
        if message.kind == "tell":
            raise ProtocolError("an answer to a message that wants none")
        timed = message.call_timeout is not None or message.deadline
        unwanted = message.given_up or (timed and not message.claim("answered"))
        if not unwanted and message.reply_to is not None:
            if frame.kind == wire.REPLY:
                message.reply_to.reply(self.decoder, frame.flags, frame.payload)
            else:
                message.reply_to.error(self.decoder, frame.payload)
        with self.lock:  # completing makes room in the window, and a sender could fill that before what waits longer
            self.mailbox.complete(message)
            if message.holds and batches.is_end(frame):
                self.mailbox.release(message.holds)
            self._after(1)
        if self._on_drained is not None:
            self.look_whether_drained()

    def _part(self, frame: wire.Frame) -> None:
        """Pass on what a call has so far: it goes on, and is in flight until it has ended."""
        message = self.mailbox.expect(frame.seq)  # as in `_result`
        if not message.is_pinned or message.kind != "call" or message.is_parted or not frame.flags & wire.BATCH:
            raise ProtocolError("a part of an answer that has none")
        if not message.given_up and message.reply_to is not None:
            message.reply_to.reply(self.decoder, frame.flags, frame.payload)
        message.part()

    def _no_result(self, frame: wire.Frame) -> None:
        """A message was handled and wants no result, was skipped, or cancelled; the last two come to the loop alone."""
        with self.lock:  # whether it was recalled is decided by callers that give up, at the same time
            if frame.kind == wire.SKIPPED and self.mailbox.is_recalled(frame.seq):
                self.pump()
                return
            message = self.mailbox.expect(frame.seq)
            skip_race: SkipRace = message.skip_race if frame.kind == wire.SKIPPED else ""
            if frame.kind == wire.CANCELLED and message.is_told:
                skip_race = "cancelled"
            if skip_race == "waits":
                self.mailbox.put_back(message)
                self.pump()
        if skip_race != "waits":
            self._settle_without_result(message, frame.kind, skip_race)
        self.look_whether_drained()

    def _settle_without_result(self, message: Message, kind: int, skip_race: SkipRace) -> None:
        """Tell its caller first, if one waits, and complete it then, as a result does."""
        fault: ProtocolError | None = None
        if not message.is_late:  # else it has been told
            if skip_race:
                fail_all([message], partial(self._skipped, message, skip_race))
            elif not message.given_up and message.kind == "tell" and kind != wire.DONE:
                fault = ProtocolError("an answer to a message that wants none")
            elif not (message.given_up or message.is_parted or message.kind == "tell" or message.reply_to is None):
                fault = Unanswered(message)
        with self.lock:  # as in `_result`
            if fault is not None:
                self.shut()
            self.mailbox.complete(message)
            if message.holds and message.kind == "tell":  # it closes the stream
                self.mailbox.release(message.holds)
            self._after(1)
        if fault is not None:
            raise fault

    def _skipped(self, message: Message, skip_race: SkipRace) -> BaseException:
        """The error of a call that was given up on at the very moment when it was to begin, or has ended of that."""
        if skip_race == "stopped":
            return self._not_run(message)
        if not message.is_told and message.until <= time.monotonic():
            return Timeout(f"{self.name}: no answer {message.asked} within its time")
        return CancelledError()

    def look_whether_drained(self) -> None:
        """If it is to drain, see whether it has; from any thread."""
        if self._on_drained is not None:
            self.loop.call_soon(self._drained)

    def _drained(self) -> None:
        report = self._on_drained
        if report is not None and self.mailbox.in_flight == 0 and self.direct.is_quiet:
            report()

    def result_of(self, message: Message) -> Result | None:
        """Return where the result of a call will be, if it is with a process now that may be asked for it."""
        self.flush()
        process, seq = self.process, message.seq
        # It may be answered, or taken back, in the next moment: so what is asked for it may come too late in any case.
        is_there = self.mailbox.by_number.get(seq) is message and self.process is process
        return Result(process, False, seq, self.decoder) if is_there and process and not self._is_foreign else None

    # What the rules ask for, on the I/O thread

    def attach(self, process: Process | None) -> None:
        """Send to this process from now on, as soon as `resume` says so."""
        with self.lock:  # a sender must not see the new process with the numbers of the old one
            self.process = process
            self._generation = 0 if process is None else process.number & 0xFFFF
            self._let_flow(False)
            self._is_shut = False
            self._on_drained = None
            self.held.clear()
            self.mailbox.next_generation()
            self._wanted[:] = [len(self.mailbox)]  # who wants which of those that wait is not known
            self.outbox.generation_ended()
        self._process_changed(process)

    def detach(self, evidence: Evidence | None, where: tuple[Any, ...] = ()) -> Aftermath:
        """The process has ended, or has nothing in flight (no `evidence`): sort what was in flight.

        Args:
            where: name, pid and number of the process, and why it ended: for the error of what is tried again.
        """
        with self.lock:  # a sender must not send to it, nor number a message, while what was in flight is sorted
            self.process, self._on_drained = None, None
            self._let_flow(False)
            self.held.clear()
            if evidence is None:  # what its own code, or its supervisor, has asked for ends with it
                self.mailbox.take_own_stops()
                aftermath = _NO_MESSAGES
            else:
                aftermath = self.mailbox.generation_ended(evidence, self.direct.lost(evidence))
                self.room.notify_all()
                self.outbox.generation_ended()
                for message in aftermath.retried:
                    message.lose(where)
        self._process_changed(None)
        return aftermath

    def all_settled(self) -> None:
        """Those who waited for what the last process has taken with it have been told."""
        self.mailbox.all_settled()

    def shut(self) -> None:
        """Send nothing more to this process: it is about to end.  From any thread."""
        with self.lock:  # a sender that has seen that it flows has sent before this returns
            self._let_flow(False)
            self._is_shut = True

    def pause(self, on_drained: Callable[[], object]) -> None:
        """Send nothing more, take back what has not begun, and call `on_drained()` once the rest is answered."""
        with self.lock:  # what is sent before the flag falls is taken back; nothing may be sent in between
            self._let_flow(False)
            self._on_drained = on_drained
            self._flush()
            if not self.mailbox.stop_sent:  # else all that is in flight is to run before that
                self.take_back()
        self.direct.close()
        self.look_whether_drained()

    def resume(self) -> None:
        """Send what waits."""
        with self.lock:  # `shut` may come from any thread, and counts
            self._on_drained = None
            self._let_flow(self.process is not None and not self._is_shut)
            self.pump()

    def ask_to_stop(self) -> None:
        """Put a stop of this process before all that waits, and let what has not begun wait behind it."""
        with self.lock:  # nothing may be sent between what is taken back and the stop
            if self.flows:
                self.take_back()
            self.mailbox.push_front(Message("stop", b"", is_self_stop=True))
            self.pump()

    def put_stop(self, message: Message) -> None:
        """Put a stop behind all that waits, once, whether other messages are taken or not."""
        with self.lock:  # two callers that stop it must not put it there twice
            self._clock.run()
            if not (message in self.mailbox or self.mailbox.is_in_flight(message)):
                self.mailbox.put(message)
            self.pump()

    def nest(self, message: Message, request: int) -> bool:
        """Have a message run now, by the thread of the process that waits for the answer to a request.

        What has not begun is taken back, and follows it.  False if it cannot be sent.
        """
        with self.lock:  # nothing may be sent between what is taken back and the message
            process = self.process
            if process is None or self.mailbox.stop_sent or not (self.flows or self._on_drained):
                return False
            self.take_back(spare_begun=True)
            self.mailbox.nest(message)
            if self.flows:
                self.pump()
            elif (first := self.mailbox.next_to_send()) is not None:  # it drains, and what runs needs this to end
                self._send(process, first)
            if not self.mailbox.is_in_flight(message):
                self.mailbox.unnest(message)
                return False
            self._flush()
            process.send(wire.NEST, 0, request, message.seq.to_bytes(8, "little"))
        return True

    def take_back(self, *, spare_begun: bool = False) -> None:
        """Let everything wait again that is in flight and has not begun; under the lock.

        Args:
            spare_begun: whether what has begun for certain is not told either; what follows need not wait for it then.
        """
        recalled = self.recall("waits", spare_begun=spare_begun)
        for message in recalled:
            message.skip("")
        highest_racing = max((message.seq for message in self.mailbox.unanswered() if message.skip_race), default=0)
        self.mailbox.recall(recalled, highest_racing)

    def recall(self, why: SkipRace, *, spare_begun: bool = False) -> list[Message]:
        """Give up on everything in flight that has not begun; return it in order.  Under the lock.

        The last one first: otherwise the isolate could skip one that was given up on, and begin the next one too soon.

        Args:
            why: what becomes of a message that is skipped though it counts as begun.
            spare_begun: as in `take_back`.
        """
        process, recalled = self.process, []
        self._flush()  # what it is told to skip has to come to it
        for message in reversed(list(self.mailbox.unanswered())):
            if process is None or (spare_begun and process.has_begun(message.seq)):
                continue
            if message.kind != "stop" and not message.given_up:
                given_up = process.give_up(message.seq)
                message.skip("" if given_up else why, given_up=given_up)
                recalled += [message] if given_up else []
        return recalled[::-1]

    def take_unbegun(self, *, in_flight: bool, tried: bool = True) -> list[Message]:
        """Take out what has not begun and will not run any more.

        Args:
            in_flight: whether also what was sent.
            tried: whether also what has begun in an earlier process, and is to be tried again.
        """
        with self.lock:  # what is taken here must not be sent meanwhile
            left = self.mailbox.take_calls(tried=tried)
            recalled = self.recall("stopped") if in_flight else []
            self.room.notify_all()
        return [*left, *recalled]

    def refuse(self, refusal: MakeError | None) -> None:
        """Take no message any more, or take them again; those who wait for room look again."""
        with self.lock:  # whoever found room before this has put its message; whoever comes after is refused
            self.refusal = refusal
            self._let_flow(self.flows)
            self.room.notify_all()

    def close(self, refusal: MakeError) -> list[Message]:
        """No process follows, and no message is taken any more: return what is left."""
        with self.lock:  # a message that is put after the last look would wait forever
            self.refusal, self.is_closed = refusal, True
            left = self.mailbox.close()
            self.process = None
            self._let_flow(False)
            self.room.notify_all()
        self.outbox.close()
        self._process_changed(None)
        return left

    def abandon(self, refusal: MakeError) -> list[Message]:
        """In a forked copy of the host: let go of everything, and return whose callers must not wait here."""
        self.renew_locks()
        self.refusal, self.is_closed = refusal, True
        left = [*self.mailbox.unanswered(), *self.mailbox.close()]
        self.process = None
        self._let_flow(False)
        return left


class Unanswered(ProtocolError):
    """An isolate has handled a call and left it without an answer."""

    def __init__(self, message: Message) -> None:
        super().__init__("it left a call without an answer")
        self.unanswered = message

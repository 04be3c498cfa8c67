"""Messages out, on the threads of callers: into the mailbox, and to the process if they may leave; and who waits for
answers."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from piactors._io.spin import SECONDS
from piactors._isolate import capacity
from piactors._isolate.call import Call
from piactors._isolate.posting import AHEAD, HELD_BYTES, Posting
from piactors._isolate.reply_ports import ReplyPort
from piactors._platform import wake as waking
from piactors._platform.reentry import Reentered
from piactors._rules.message import Message
from piactors.pihost.memory.segments import Parcel
from piactors.pihost.wire import direct, wire

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from piactors._process.placement import Process

_FRAME_KINDS = {"call": wire.CALL, "tell": wire.TELL, "stop": wire.STOP}
_INLINE = wire.PICKLE | wire.INLINE
_pack = wire.HEADER.pack


class Sending(Posting):
    """The way of those messages about which something is special, or that have to wait."""

    def put(self, message: Message, *, may_block: bool = True, until: float | None = None, again: bool = False) -> None:
        """Take a message into the mailbox, and send it if there is room in flight.

        Args:
            until: until when to wait for room in the mailbox, on the monotonic clock; None for as long as it takes.
            again: whether this may have been interrupted before: a message that has been taken is left alone.

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
            with self.lock:  # that there is room, its number, and its place in the channel are one step for others
                if again and (message.seq or message.given_up or message in self.mailbox):
                    return
                place, busy = self._take(message, may_block)
            if place:
                capacity.wait_for_room(self, message, place, until)
        if busy is not None:  # whoever sends one after the other may not ask for the answers for a while
            if not self.sails:
                busy.watch()
            elif not (len(self.mailbox.waiting) or message.seq) % AHEAD:
                busy.read_ahead(self.answers_wanted)

    def _take(self, message: Message, may_block: bool) -> tuple[Any, Process | None]:
        """Under the lock: take a message, and send it if there is room in flight.

        Returns where to wait if the mailbox is full, and the process if other messages are in flight.
        """
        if self.refusal is not None:
            raise self.refusal()
        process, mailbox = self.process, self.mailbox
        try:
            if self.capacity is not None and message.kind != "stop" and message.is_counted:
                place = capacity.make_room(self, may_block)
                if place is not None:
                    return place, None
            mailbox.put(message)
            while self.flows and (first := mailbox.next_to_send()) is not None:
                self._send(process, first)
            if self._clock.runs:
                self._clock.note()
        except BaseException as error:  # a KeyboardInterrupt: it may be numbered, and not sent
            self._mend(process)
            if isinstance(error, Reentered):
                mailbox.give_up(message)
            raise
        return None, process if mailbox.count_in_flight() > 1 else None

    def _set_timeout(self, message: Message) -> None:
        message.limit_to(self._call_timeout if message.call_timeout is None else message.call_timeout, math.inf)
        if message.call_timeout is not None:
            self._clock.run()

    def pump(self) -> None:
        """Send what has room in flight; under the lock, so messages leave in order."""
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
        if message.until != math.inf:
            process.want_until(message.seq, message.until)
        if message.needs is not None or process.knowledge.forgotten:
            self._flush()
            process.define(message.needs)
        reply_to: ReplyPort | None = message.reply_to
        flags = wire.PICKLE if type(reply_to) is Call else _INLINE if reply_to is None else reply_to.flags(self)
        if type(payload) is Parcel:
            self._flush()
            process.send_parcel(flags, kind, message.seq, payload, self.outbox.dropped())
        elif len(payload) > HELD_BYTES:
            self._flush()
            process.send(kind, flags, message.seq, payload)
        else:
            self._hold(_pack(len(payload), kind, flags, self._generation, message.seq) + payload)

    def go_on(self) -> None:
        """On the loop: do what an interrupted sender did not get to."""
        with self.lock:  # the interrupted sender may have left a message that was numbered and not sent
            self._flush_due = False
            self._let_flow(self.flows)
            self.room.notify_all()
            self._flush()
            self.pump()
        self.watch()

    def watch(self) -> None:
        """See to it that answers are read that no caller reads."""
        self.flush()
        process = self.process
        if process is not None:
            process.watch()

    def watch_for(self, call: Message) -> None:
        """See to it that the answer to this call is read soon, though nobody waits who reads it."""
        mailbox, wanted = self.mailbox, self._wanted
        number = call.seq or mailbox.last_seq + len(mailbox)  # one that waits here gets one of those up to this
        if not wanted or wanted[-1] < number:
            wanted.append(number)
        self.watch()

    def answers_wanted(self) -> bool:
        """Whether answers are due that somebody wants soon who does not read them; from any thread."""
        mailbox = self.mailbox
        if not mailbox.count_in_flight():
            return False
        if not self.sails or self._clock.runs:
            return True
        wanted = self._wanted
        try:
            oldest = next(iter(mailbox.by_number), 0)
            while wanted and wanted[-1] < oldest:
                wanted.pop()
            return bool(wanted)
        except (RuntimeError, IndexError):  # another thread has just put one in, or taken one out
            return True

    def wake_reader(self) -> None:
        """Have the caller look that reads the answers, if one does: its own may have come in some other way."""
        process = self.process
        if process is not None:
            process.wake_reader()

    def __len__(self) -> int:
        """How many messages wait or are in flight."""
        with self.lock:  # two counts, which a message changes one after the other
            return len(self.mailbox)

    def held_bytes(self) -> int:
        """About how much memory the messages that wait take."""
        with self.lock:  # as in `__len__`
            return self.mailbox.held_bytes()

    # For those who wait for an answer

    def read_until_settled(self, call: Call, waker: waking.Waker, deadline: float | None) -> None:
        """Let the caller that waits for a call read the answers of the process that runs now."""
        if self.held:
            self.flush()
        process = self.process
        if process is not None:
            process.read_until_settled(call, waker, self.spin, deadline, self.answers_wanted)

    def stays_awake(self, loop: AbstractEventLoop, call: Call, since: float) -> bool:
        """Read, as code of the event loop in this thread awaits this answer; whether it is to look again at once.

        If answers have come fast, the loop stays awake for a moment: a core takes longer to wake than a small call to
        run.  What else is ready in the loop runs between two looks; if nothing is, it waits here.
        """
        process, spin = self.process, self.spin
        if self.held:
            self.flush()
        if process is None or call.is_settled() or not spin.is_awake():
            return False
        if not getattr(loop, "_ready", True):
            waker = waking.mine()
            if waker is not None:
                process.read_until_settled(call, waker, spin, since + SECONDS, self.answers_wanted)
            return False
        process.read_ahead(self.answers_wanted)
        if call.is_settled():
            spin.hit()
            return False
        return spin.goes_on(time.monotonic() - since)

    def await_in(self, loop: AbstractEventLoop, call: Call) -> None:
        """Have the event loop of this thread read the answer that its code awaits."""
        process = self.process
        if process is None or not process.await_in(loop, self.answers_wanted):
            self.watch_for(call)

    def has_begun(self, message: Message) -> bool:
        """Whether the process says that it has begun a message, which has not been answered."""
        with self.lock:  # its number means something only while the message is in flight to this very process
            process = self.process
            return process is not None and self.mailbox.is_in_flight(message) and process.has_begun(message.seq)

    def give_up(self, message: Message, *, also_again: bool = False) -> bool:
        """The caller of a message gave up on it: True if it will never begin, and has not begun before.

        Args:
            also_again: whether one that has begun before is given up on as well: True if it will not begin again.
        """
        if self.is_mine():
            raise Reentered(f"isolate {self.name}")
        if direct.is_direct(message.seq):
            return self.direct.give_up(message)
        with self.lock:  # between the look and the request the loop could send it, or recall it
            if message.attempts and not also_again:
                return False  # its caller is told the outcome
            if self.mailbox.give_up(message):
                message.abandon()
                self.room.notify()
                return True
            process = self.process
            in_flight = self.mailbox.is_in_flight(message)
            message.skip("cancelled" if in_flight else "")  # before the isolate may skip it
            if process is None or not in_flight or not process.give_up(message.seq):
                return False
            message.abandon(sent=True)
            return True

    def runs(self, message: Message) -> bool:
        """Whether the process has a message, and has not answered it."""
        if direct.is_direct(message.seq):
            return self.direct.runs(message.seq)
        return self.mailbox.is_in_flight(message)

    def has_given_up(self, message: Message) -> bool:
        """Whether a message will never begin because its caller gave up on it; the caller may have been interrupted."""
        with self.lock:  # it is in one of three places, and is moved from one to the next under the lock
            return message.given_up or not (message in self.mailbox or self.mailbox.is_in_flight(message))

"""What sends to one actor of another process: by way of the host, or directly (see `wire.direct`), always in order.

What goes directly is small and lends nothing.  The rest goes by way of the host, once what went directly before it is
answered; and what follows that goes directly again once it has been answered.  What waits for its turn is held here, so
that it is in order whatever becomes of the process at the other end: when that has ended, the host says how far it had
begun, and what had not goes by way of the host, before what is held.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from ..plain import encode as plain_encode
from ..wire import direct, wire
from ..wire.direct import WINDOW
from ..wire.wire import HEADER_SIZE
from . import asking, errors, leading, packing
from .quick import BY_KEY, quick

_NEVER = 1e12
_MOST_HEADS = 256
_CALL, _TELL = wire.CALL, wire.TELL
_pack, _UNTIL_SIZE, _unpack = direct.FRONT.pack, direct.UNTIL.size, wire.HEADER.unpack_from
_MOST = direct.MOST_BYTES - 256
"""Bytes of the arguments and the name of what goes directly: the rest is for the head."""
_QUICK = wire.PICKLE | wire.QUICK
_NOTHING = (wire.PLAIN, b"", ())  # type: Any
_NONE = plain_encode.encode(None)


class Outgoing:
    """One message on its way, and who waits for its answer.

    Attributes:
        operation, name: what is to be done to what.
        flags, payload, entries: the arguments, and what they lend.
        until: when it is not wanted any more.
        call: the number of the call that it is asked in; 0 if in none.
        kept: what has to live until it is answered.
        future: that of the answer; None if nobody wants one.
        fits: whether it is small, and lends nothing, so that it may go directly.
        number: among all that its receiver runs; 0 if it has not gone directly.
        request: that of the host, once it goes by way of it; 0 before.
        is_done: whether it is answered.
        is_wanted: whether an answer is.
        is_heard: whether somebody wants the answer who may not wait for it.
        told_as: the number under which the host knows that it is waited for; 0 if it does not.
        latches: what wakes those who wait for it and do not read.
    """

    __slots__ = (
        "call",
        "entries",
        "fits",
        "flags",
        "future",
        "is_done",
        "is_heard",
        "is_wanted",
        "kept",
        "latches",
        "name",
        "number",
        "operation",
        "payload",
        "request",
        "told_as",
        "until",
        "way",
    )

    def __init__(self, way: Any, operation: str, name: str, until: float, call: int, kept: Any, future: Any) -> None:
        self.way, self.operation, self.name, self.until, self.call = way, operation, name, until, call
        self.kept, self.future, self.is_wanted = kept, future, future is not None
        self.number = self.request = self.told_as = 0
        self.is_done = self.is_heard = self.fits = False
        self.latches: Optional[List[Any]] = None
        self.flags, self.payload, self.entries = _NOTHING

    def carry(self, link: Any, args: Tuple[Any, ...], kwargs: Optional[Dict[str, Any]], may: bool) -> None:
        """Take these arguments along.

        Args:
            link: encodes what is not of plain kinds.
            may: whether it may go directly.
        """
        if not kwargs:
            payload = quick(args)
            if payload is not None:
                self.flags, self.payload = _QUICK, payload
                self.fits = may and self._is_short()
                return
        if args or kwargs:
            self.flags, self.payload, self.entries = packing.packed(link, (args, kwargs or {}))
        is_pickle = self.flags == wire.PICKLE or not self.payload
        is_plain = is_pickle and not self.entries and self.payload.find(BY_KEY) < 0
        self.fits = may and is_plain and self._is_short()

    def _is_short(self) -> bool:
        return len(self.payload) + len(self.name) <= _MOST and self.operation in direct.OPERATIONS

    def known_as(self, number: int) -> None:
        """The host knows by this number that it is waited for."""
        self.told_as = number

    def add(self, latch: Any) -> List[Any]:
        """Have a latch be released when it is answered, or goes another way; return where that stands."""
        found = self.latches
        if found is None:
            found = self.latches = []
        found.append(latch)
        return found

    def wake(self) -> None:
        """Have those who wait for it look, except who reads."""
        latches, self.latches = self.latches, None
        for latch in latches or ():
            with contextlib.suppress(RuntimeError):  # it was woken before
                latch.release()

    def look(self) -> None:
        """Fail it if its time is over; take what has come if nobody reads."""
        if not (self.is_done or self.request):
            self.way.look_now()

    def hear(self) -> None:
        """Somebody wants the answer as soon as it is there."""
        self.is_heard = True


class Outlet:
    """What sends to one actor, for one holder of its ref, in order; from any thread.

    Args:
        link: the isolate's end of its channel to the host.
        thing: the number of the ref.
        after: how many messages go by way of the host before a direct channel is asked for.
    """

    def __init__(self, link: Any, thing: int, after: int) -> None:
        self.link, self.thing = link, thing
        # What number a message gets, where it goes and what is held before it are one step for others.
        self._lock = threading.RLock()
        self._left = after
        self._pause = max(after, 1)
        self._is_asked = False
        self.channel = 0
        self._sock: Optional[socket.socket] = None
        self._send: Optional[Callable[[bytes, int], int]] = None
        self._window = WINDOW
        self._is_leaving = False
        self._heads: Dict[str, bytes] = {}
        self._last = self._base = 0
        self._open: Dict[int, Outgoing] = {}
        """What went directly and is not answered, by number."""
        self._held: Deque[Outgoing] = deque()
        self._routed = 0
        """What went by way of the host since a channel was asked for, and is not answered."""
        self._cut: Optional[Tuple[int, bytes]] = None
        self._leading = leading.Leading(self._take, self._ended)
        self.is_watched = False

    # Sending

    def ask(
        self,
        operation: str,
        name: str,
        args: Tuple[Any, ...],
        kwargs: Optional[Dict[str, Any]],
        timeout: Optional[float],
        kept: Any,
        future: Any,
        may: bool = True,
    ) -> None:
        """Send a message.

        Args:
            timeout: seconds after which it is not wanted any more; None: never.
            kept: what has to live until it is answered.
            future: that of its answer, which is told what to wait for; None if nobody wants one.
            may: whether it may go directly.
        """
        link = self.link
        call, until = asking.context(link, timeout)
        sent = Outgoing(self, operation, name, until, call, (kept, args), future)
        sent.carry(link, args, kwargs, may)
        if future is not None:
            future.goes(sent)
        self._lock.acquire()
        try:
            if not self._is_asked:
                self._left -= 1
                if self._left < 0:
                    self.ask_for_channel()
            is_held = bool(self._held) or not self._goes(sent)
            if is_held:
                self._held.append(sent)
                if not self._open:  # what it was to wait for has just been answered
                    self._go_on()
        finally:
            self._lock.release()
        if is_held:  # until answers come, which somebody has to read
            self._leading.look()
            if self._held:
                self.watch()

    def watch(self, sent: Optional[Outgoing] = None) -> None:
        """Have the control thread read, as somebody wants answers who does not wait for them; all, or this one."""
        with self._lock:  # it looks at what is wanted, and then goes
            if sent is not None:
                sent.hear()
            wakes, self.is_watched = not self.is_watched, True
        if wakes:
            self.link.channels.watch()

    def leave(self) -> None:
        """This process ends: what is held goes by way of the host, and is run behind what went directly."""
        with self._lock:
            self._is_leaving = True
            self._go_on()

    def _goes(self, sent: Outgoing) -> bool:
        """Send a message if nothing before it is in its way; under the lock."""
        if self._send is not None and not self._routed and sent.fits and not self._is_leaving:
            if len(self._open) >= self._window:
                return False
            self._write(self._send, sent)
            return True
        if self._open and not self._is_leaving:
            return False
        self._route(sent)
        return True

    def _write(self, send: Callable[[bytes, int], int], sent: Outgoing) -> None:
        """Send a message directly; under the lock."""
        self._last = last = self._last + 1
        sent.number = number = self._base + last
        self._open[number] = sent
        name = sent.name
        head = self._heads.get(name) if sent.operation == "call" else None
        if head is None:
            head = direct.head(sent.operation, name)
            if sent.operation == "call" and len(self._heads) < _MOST_HEADS:
                self._heads[name] = head
        data = head + sent.payload
        frame = _pack(len(data) + _UNTIL_SIZE, _CALL if sent.is_wanted else _TELL, sent.flags, 0, last, sent.until)
        with contextlib.suppress(OSError):  # it has ended, and the host will say that this had not begun
            frame += data
            count = send(frame, direct.NO_SIGNAL)
            while count != len(frame):
                frame = frame[count:]
                count = send(frame, direct.NO_SIGNAL)
        if last >= direct.LAST:
            self.close()

    def _route(self, sent: Outgoing) -> None:
        """Send a message by way of the host; under the lock."""
        encoded = (sent.flags & ~wire.QUICK, sent.payload, sent.entries)
        until, counts = sent.until, self._is_asked
        left = -1.0 if until > _NEVER else max(0.0, until - time.monotonic())
        if not (sent.is_wanted or counts):
            asking.send(self.link, self.thing, sent.operation, sent.name, encoded, sent.call, -1.0, None)
            return

        def answered(_: int, frame: wire.Frame) -> None:
            if counts:
                with self._lock:
                    self._routed -= 1
                    self._go_on()
            self._settle(sent, frame)

        self._routed += counts
        try:
            sent.request = asking.send(
                self.link, self.thing, sent.operation, sent.name, encoded, sent.call, left, answered
            )
        except BaseException:
            self._routed -= counts
            raise
        if sent.future is not None:
            sent.future.is_of(sent.request)

    def _go_on(self) -> None:
        """Send what is held, as far as nothing is in its way any more; under the lock."""
        while self._held:
            sent = self._held[0]
            try:
                if sent.is_done:
                    self._not_sent(sent)
                elif not self._goes(sent):
                    return
            except Exception as error:  # it is larger than the host takes
                self._settle(sent, self._failure(error))
            self._held.popleft()
            sent.wake()

    def _not_sent(self, sent: Outgoing) -> None:
        """A message is not sent after all: nor is what it lends."""
        if sent.entries:
            self.link.border.not_sent(sent.entries)

    def withdraw(self, sent: Outgoing) -> bool:
        """Do not send a message that is held; False if it has been sent."""
        with self._lock:
            if sent not in self._held:
                return False
            self._held.remove(sent)
            self._not_sent(sent)
            self._go_on()
        self._settle(sent, self._failure(errors.cancelled()))
        return True

    # The channel (see `ways`)

    def ask_for_channel(self) -> None:
        """Ask for a channel, if there is none."""
        raise NotImplementedError

    def close(self) -> None:
        """End the channel, once what was sent has been answered; the host will say how far it had begun."""
        raise NotImplementedError

    def _ended(self) -> None:
        """All answers have been read that come directly."""
        raise NotImplementedError

    # Answers

    def _take(self, data: bytes) -> bytes:
        """Take answers that have been read, in the thread that reads; return what is left of a part of one."""
        position, end, base, most = 0, len(data), self._base, direct.MOST_FRAME
        while end - position >= HEADER_SIZE:
            length, kind, flags, _, number = _unpack(data, position)
            stop = position + HEADER_SIZE + length
            if stop > end:
                if length > most:
                    self.close()
                break
            sent = self._open.pop(base + number, None)  # one step for Python
            if sent is not None and not sent.is_done:
                self._settle(sent, self._answer(sent, kind, flags, data[position + HEADER_SIZE : stop]))
            position = stop
        if self._held:
            with self._lock:
                self._go_on()
        return data[position:]

    def _settle(self, sent: Outgoing, frame: wire.Frame) -> None:
        """A message is answered, in whatever way: the first answer counts."""
        with self._lock:
            if sent.is_done:
                return
            sent.is_done = True
            told_as, sent.told_as = sent.told_as, 0
        (future, kept), sent.future, sent.kept = (sent.future, sent.kept), None, None  # which lead back here
        if future is not None:
            future.take(frame)
        if sent.latches is not None:
            sent.wake()
        if told_as:
            self._leading.wake()  # who waits so long may be who reads
            self.link.forget(told_as)
            number = (wire.PLAIN, direct.pair(told_as, 0), ())
            asking.send(self.link, self.thing, "waited", "", number, 0, -1.0, None)
            del kept  # with the ref, which is to be held until here

    def _answer(self, sent: Outgoing, kind: int, flags: int, payload: bytes) -> wire.Frame:
        if sent.until < _NEVER and sent.until <= time.monotonic():
            return self._too_late(sent)
        if kind in (wire.REPLY, wire.ERROR):
            return wire.Frame(wire.RESPONSE if kind == wire.REPLY else wire.FAILURE, flags & wire.PICKLE, 0, 0, payload)
        if kind == wire.DONE:
            return wire.Frame(wire.RESPONSE, wire.PLAIN, 0, 0, _NONE)
        return self._failure(errors.cancelled())

    def _too_late(self, sent: Outgoing) -> wire.Frame:
        text = "no answer from {} within its time".format(sent.name or sent.operation)
        return self._failure(errors.make("Timeout", text))

    def _failure(self, error: BaseException) -> wire.Frame:
        return wire.Frame(wire.FAILURE, wire.PLAIN, 0, 0, self.link.replies.error(error))

    def answered_by_host(self, number: int, frame: wire.Frame) -> bool:
        """An answer has come by way of the host; whether it is to a message of this way.  On the control thread."""
        with self._lock:
            sent = self._open.pop(number, None)
            if sent is None:
                return False
            self._go_on()
        self._settle(sent, frame)
        self._leading.wake()
        return True

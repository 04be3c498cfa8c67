"""What an isolate asks of its host: messages to itself, its own stop, something to be done to what it has borrowed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from piactors._codec.definitions import Needs
from piactors._isolate import host_itself
from piactors._isolate.asked import Asked, Asker
from piactors._isolate.cycles import CycleWatch
from piactors._isolate.reply_ports import PeerReply
from piactors._isolate.timers import Timers
from piactors._process.placement import Process
from piactors._rules.message import Message
from piactors.errors import ActorDeadError, MailboxFull, PiactorsError, ProtocolError
from piactors.future import Future
from piactors.pihost.plain import decode as plain_decode
from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.values import uses
from piactors.pihost.wire import wire

_KEPT = 1024
"""Futures of requests that are kept for when the actor returns one."""


_SMALL = 4096
_MOST_UNREAD = 20_000
"""Answers that wait for an isolate to read them, and questions that wait for its answers."""


_LOOK_EVERY = 256
"""Requests between two looks at how much waits."""


class HostServices:
    """Handles the requests of one isolate, on the I/O thread.

    Args:
        asker: the isolate.
        wants_stop: notes that an actor asks for its own stop; returns True if its message is to be put behind what
            waits, as that process runs the calls.
    """

    def __init__(self, asker: Asker, wants_stop: Callable[[Process], bool]) -> None:
        self.asker = asker
        self._delivery = asker.delivery
        self.cycles = CycleWatch(asker.delivery)
        self._timers: Timers | None = None
        asker.delivery.look_for_circles_with(self.cycles.look)
        self._wants_stop = wants_stop
        self._futures: OrderedDict[int, Future[Any]] = OrderedDict()
        self._in_hand: Asked | None = None
        """What is being handled, or was when that was interrupted."""
        self._handled: tuple[Process, int] | None = None
        """What was handled last: of that nothing is kept, as it may be the last to hold what it was asked of."""
        self._put_so_far = 0
        self._next_look = _LOOK_EVERY

    def handle(self, process: Process, frame: wire.Frame, *, may_ask: bool) -> None:
        """Handle one request.

        Args:
            may_ask: whether its code may ask for more than what it has been lent.

        Raises:
            ProtocolError: if it is malformed.
        """
        try:
            # Hardly more than its bytes: on this thread nothing may be decoded that takes long.
            request = plain_decode.decode(frame.payload, budget=len(frame.payload) + _SMALL, max_depth=1)
        except plain_decode.BadPlain as error:
            raise ProtocolError(f"a request cannot be read: {error}") from None
        if type(request) is not tuple or not request or type(request[0]) is not str:
            raise ProtocolError("a malformed request")
        operation, *args = request
        handler = _OPERATIONS.get(operation)
        if operation in _OF_ACTORS and not may_ask:
            raise ProtocolError("it asks things of the host, which code that was called by name may not do")
        if handler is None or _SHAPES[operation] != tuple(type(arg) for arg in args):
            raise ProtocolError(f"a request {operation[:40]!r} that the host does not know")
        self._check_reads(process)
        handler(self, process, frame.seq, *args)

    def future(self, number: int) -> Future[Any]:
        """Return the future of a request that the actor made and now returns."""
        found = self._futures.get(number)
        if found is None:
            found = Future()
            text = f"the answer to request {number} of {self._delivery.name} is no longer kept"
            found.fail(PiactorsError(text))
        return found

    def _ask(self, process: Process, number: int, payload: bytes, lends: bytes) -> None:
        reply_to = PeerReply(process, number, self._delivery.asks)
        self._futures[number] = reply_to.future
        while len(self._futures) > _KEPT:
            self._futures.popitem(last=False)
        message = Message("call", payload, reply_to)
        reply_to.leads_to(self._delivery, message)
        self._delivery.asks[number] = reply_to
        self._put(self._lending(process, message, lends), reply_to)
        self.cycles.look()

    def _tell(self, process: Process, number: int, payload: bytes, lends: bytes) -> None:
        self._put(self._lending(process, Message("tell", payload), lends), None)
        process.answer(wire.RESPONSE, wire.PLAIN, number, _NOTHING)

    @staticmethod
    def _lending(process: Process, message: Message, lends: bytes) -> Message:
        """Return a message with what it lends, which it takes along to whichever process runs it."""
        if lends:
            message.ask_for(None, Needs((), (), loans=tuple(process.lends(lends).values())))
            process.ledger.used()
        return message

    def _timer(
        self, process: Process, number: int, timer: int, seconds: float, how: int, payload: bytes, lends: bytes
    ) -> None:
        loans = tuple(process.lends(lends).values()) if lends else ()
        if loans:
            process.ledger.used()
        if self._timers is None:
            self._timers = Timers(self._delivery)
        self._timers.set(process, timer, seconds, how, payload, loans)
        process.answer(wire.RESPONSE, wire.PLAIN, number, _NOTHING)

    def _end_timer(self, process: Process, number: int, timer: int) -> None:
        would = self._timers is not None and self._timers.end(process, timer)
        process.answer(wire.RESPONSE, wire.PLAIN, number, plain_encode.encode(would))

    def _cancel(self, process: Process, number: int, asked: int, kill_after: float) -> None:
        """Cancel what answers a request: whether that will never begin."""
        request, never = self._delivery.asks.get(asked), False
        if request is not None and getattr(request, "goal", None) is not None:
            never = request.break_off(CancelledError())
            if not never:
                there, message = request.goal
                there.cancel_begun(message, kill_after if kill_after >= 0 else None)
        process.answer(wire.RESPONSE, wire.PLAIN, number, plain_encode.encode(never))

    def _closed(self, process: Process, number: int, channel: int) -> None:
        self._delivery.direct.closed(channel, process)
        process.answer(wire.RESPONSE, wire.PLAIN, number, _NOTHING)

    def _stop(self, process: Process, number: int) -> None:
        if self._wants_stop(process):
            self._put(Message("stop", b"", is_self_stop=True), None)
        process.answer(wire.RESPONSE, wire.PLAIN, number, _NOTHING)

    def use(self, process: Process, frame: wire.Frame, *, again: bool, may_ask: bool) -> None:
        """Handle what is asked of a thing that the isolate holds; on whichever thread reads its data channel.

        Args:
            again: whether the handling of this very frame may have been interrupted: it is done once all the same.
            may_ask: whether its code may ask things of the host itself.

        Raises:
            ProtocolError: if it is malformed, or of a thing that the isolate does not hold.
        """
        if again and self._handled == (process, frame.seq):
            return
        asked = self._in_hand
        if not (again and asked is not None and asked.process is process and asked.number == frame.seq):
            asked = self._in_hand = self._asked(process, frame, may_ask)
        if asked.is_wanted:
            self._delivery.asks[frame.seq] = asked
        if asked.loan is None:
            host_itself.perform(asked)
        else:
            asked.loan.perform(asked)
        asked.count()
        self._handled = process, frame.seq
        self._in_hand = None

    def awaited(self, process: Process, number: int) -> None:
        """Send the answer to a request on the data channel, if it was not sent yet."""
        self._check_reads(process)
        asked = self._delivery.asks.get(number)
        if asked is None or not asked.answer_on_data():
            process.send(wire.SENT, 0, number, b"")
        elif asked.goal is not None:  # it waits from now on
            asked.goal[0].look_for_circles()

    @staticmethod
    def _check_reads(process: Process) -> None:
        if process.unread > _MOST_UNREAD or process.unread_frames > _MOST_UNREAD:
            raise ProtocolError("it asks things of the host and does not read the answers")
        if process.unanswered > _MOST_UNREAD:  # what it lends and lends again, it is told to take back again
            raise ProtocolError("it asks things of the host and does not answer what it is asked")

    def _asked(self, process: Process, frame: wire.Frame, may_ask: bool) -> Asked:
        self._check_reads(process)
        try:
            use = uses.unpacked(frame.flags, frame.payload)
        except ValueError as error:
            raise ProtocolError(f"a malformed request: {error}") from None
        if use.flags & wire.SHARED:
            use = self._passed(process, use)
        loans = process.lends(use.lends) if use.lends else {}
        loan = process.ledger.find(use.thing)
        if loan is None and not (use.thing == host_itself.NUMBER and may_ask):
            raise ProtocolError(f"it asks something of {use.thing}, which it does not hold")
        return Asked(self.asker, process, frame.seq, use, loan, loans)

    def _passed(self, process: Process, use: uses.Use) -> uses.Use:
        """Return a request whose arguments lie in a file, with that in the place of their table."""
        if not self.asker.is_trusted:
            raise ProtocolError("it passes on what nobody can look into")
        return use._replace(payload=process.passed(use.payload))  # type: ignore[arg-type]

    def _check_room(self) -> None:
        """End an actor that fills the host with messages to itself.

        The looks get rarer as the mailbox grows, so that their cost for each message stays the same.
        """
        self._put_so_far += 1
        if self._put_so_far < self._next_look:
            return
        if self._delivery.held_bytes() > self._delivery.max_frame:
            raise ProtocolError("the messages that it sends to itself take more memory than max_frame allows")
        self._next_look = self._put_so_far + max(_LOOK_EVERY, len(self._delivery) // 4)

    def _put(self, message: Message, reply_to: PeerReply | None) -> None:
        self._check_room()
        try:
            self._delivery.put(message, may_block=False)
        except (ActorDeadError, MailboxFull) as error:
            if reply_to is not None:
                reply_to.fail(error)


_NOTHING = plain_encode.encode(None)
_OF_ACTORS: dict[str, Any] = {
    "ask": HostServices._ask,
    "tell": HostServices._tell,
    "stop": HostServices._stop,
    "timer": HostServices._timer,
    "end_timer": HostServices._end_timer,
}
"""What an actor may ask about itself."""
_OPERATIONS = {**_OF_ACTORS, "cancel": HostServices._cancel, "closed": HostServices._closed}
_SHAPES: dict[str, tuple[type, ...]] = {
    "ask": (bytes, bytes),
    "tell": (bytes, bytes),
    "stop": (),
    "timer": (int, float, int, bytes, bytes),
    "end_timer": (int,),
    "cancel": (int, float),
    "closed": (int,),
}

"""The direct channels through which other isolates reach one isolate: opened, closed, and what was in them.

The host gives both sides an end of a socket pair and has no part in what goes through it.  It knows which channels
there are, reads in the sequence page how far each had begun, and tells the sender when one has ended: what had not
begun then comes by way of the host.  What somebody waits for too long, or cancels, is made known here, as a message
that is with the process.
"""

from __future__ import annotations

import itertools
import pickle
import socket
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from piactors._codec import encode, shared_objects
from piactors._codec.decode import Decoder
from piactors._codec.definitions import Needs
from piactors._codec.lending import Carrying
from piactors._codec.shared_objects import Lent
from piactors._isolate import reply_ports
from piactors._isolate.asked import Asked, Asker
from piactors._isolate.cycles import break_circle
from piactors._isolate.delivery import Delivery
from piactors._isolate.reply_ports import Trust
from piactors._isolate.routed_replies import ROUTED, RoutedReply
from piactors._process.placement import Process
from piactors._rules.mailbox import Evidence
from piactors._rules.message import Message
from piactors.errors import ProtocolError
from piactors.pihost.values.routed import HEAD
from piactors.pihost.wire import direct, page, wire

_numbers = itertools.count(1)
_FORMER = 256
"""Channels that are closed and kept in mind: answers may still come by way of the host to what went through them."""


@attrs.define(eq=False)
class DirectChannel:
    """One channel.

    Attributes:
        number: its own among all of this host.
        place: that in the page of the receiver.
        asker, process: who sends, and which process of it.
        receiver: the process that receives; None until that has said so.
    """

    number: int
    place: int
    asker: Asker
    process: Process
    receiver: Process | None = None
    is_over: bool = False
    """Whether the receiver has let go of it."""

    def cut(self, begun: int, error: bytes = b"") -> None:
        """Tell the sender that it has ended, how far it had begun, and what becomes of what is not answered of that."""
        self.process.answer(wire.CUT, wire.PLAIN, self.number, direct.pair(begun, 0) + error)


class DirectChannels:
    """Those of one receiver; see `posting.DirectPort`.  Opened by the dispatcher, ended on the I/O thread."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._channels: dict[int, DirectChannel] = {}
        self._places: dict[int, int] = {}
        """By place in the page: the number of the channel that has it."""
        self._former: OrderedDict[int, DirectChannel] = OrderedDict()
        self._told: dict[int, Message] = {}
        """What is known of what goes through them, by number."""

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of what comes directly can run in the process."""
        return not any(channel.receiver is not None for channel in list(self._channels.values()))

    # Opening

    def open(self, request: Asked) -> None:
        """Have a process that asks for it reach this isolate directly, behind all that it has sent before.

        The answer is the channel's number, and that of the descriptor; None: not now.
        """
        delivery = self._delivery
        process, number = delivery.process if delivery.flows else None, next(_numbers)
        place = None if process is None else self._take_place(number)
        if place is None or process is None:
            request.reply(None)
            return
        channel = self._channels[number] = DirectChannel(number, place, request.asker, request.process)
        process.begin_direct(place)
        try:
            ours, theirs = [shared_objects.lent_descriptor(sock.detach()) for sock in socket.socketpair()]
            delivery.put(self._message(channel, request, ours, theirs), may_block=False)
        except Exception:  # there is no descriptor left, or it takes no messages
            self._drop(channel)
            request.reply(None)

    def _take_place(self, number: int) -> int | None:
        """Return the place in the page of a channel from now on; None if there is none left."""
        for place in range(page.DIRECT_PLACES):
            if self._places.setdefault(place, number) == number:  # one step for Python
                return place
        return None

    def _drop(self, channel: DirectChannel) -> None:
        self._channels.pop(channel.number, None)
        self._places.pop(channel.place, None)

    def _message(self, channel: DirectChannel, request: Asked, ours: Lent, theirs: Lent) -> Message:
        head = pickle.dumps(("channel", (channel.number, channel.place, theirs.number), wire.PLAIN, ()), 4)
        port = _ChannelPort(partial(self._answered_open, channel, request, ours))
        message = Message("call", HEAD.pack(len(head)) + head, port, path=("a direct channel",))
        message.ask_for(None, Needs((), (), lent=(theirs,)))
        message.pin()
        return message

    def _answered_open(self, channel: DirectChannel, request: Asked, ours: Lent, is_open: bool) -> None:
        self._delivery.loop.call_soon(self._opened, channel, request, ours, self._delivery.process if is_open else None)

    def _opened(self, channel: DirectChannel, request: Asked, ours: Lent, receiver: Process | None) -> None:
        """The receiver has its end, or will never have it; on the I/O thread."""
        delivery = self._delivery
        is_there = receiver is not None and receiver is delivery.process and delivery.flows
        if not is_there or channel.is_over or channel.process.is_over:
            self._drop(channel)  # it sees the end, as nobody has the other one
            request.reply(None)
            return
        channel.receiver = receiver
        channel.process.hand(ours)
        request.reply((channel.number, ours.number))

    # The end of channels

    def close(self) -> None:
        """Have the process begin nothing more that comes directly; it is quiet once nothing of that runs."""
        process = self._delivery.process
        if process is not None and not self.is_quiet:
            numbers = [channel.number for channel in list(self._channels.values()) if channel.receiver is process]
            process.request("close_channels", (), partial(self._closed, process, numbers))

    def _closed(self, process: Process, numbers: list[int], frame: wire.Frame | None) -> None:
        if frame is not None:  # else its end says how far it had begun
            for number in numbers:
                self.closed(number, process)
            self._delivery.look_whether_drained()

    def closed(self, number: int, process: Process) -> None:
        """A process says that nothing of a channel begins there any more."""
        channel = self._channels.get(number)
        if channel is None:
            return
        channel.is_over = True
        if channel.receiver is process is self._delivery.process:
            begun = process.direct_begun()
            self._drop(channel)
            self._let_go(channel)
            channel.cut(begun[channel.place])

    def _take_open(self) -> list[DirectChannel]:
        found = [channel for channel in list(self._channels.values()) if channel.receiver is not None]
        for channel in found:
            self._drop(channel)
        return found

    def _let_go(self, channel: DirectChannel) -> None:
        for call in [call for call in list(self._told) if direct.channel_of(call) == channel.number]:
            self._forget(self._told.pop(call))
        self._former[channel.number] = channel
        if len(self._former) > _FORMER:
            self._former.popitem(last=False)

    def lost(self, evidence: Evidence | None) -> list[Message]:
        """The process is gone: return what stands for what was in each channel, to be failed as what it ran is.

        Args:
            evidence: None if nothing runs in it.
        """
        found = []
        for channel in self._take_open():
            self._let_go(channel)
            known = evidence is not None and evidence.credible and evidence.direct
            begun = evidence.direct[channel.place] if evidence is not None and known else direct.LAST
            found.append(Message("call", b"", _Cut(channel, begun)))
        return found

    # What goes through them

    def answered(self, request: Asked) -> None:
        """Pass on an answer of the process that does not go directly, as it is large or lends something."""
        call = request.call
        number = direct.channel_of(call)
        channel = self._channels.get(number) or self._former.get(number)
        if channel is None or channel.receiver is not request.process:
            return
        reply = RoutedReply(_ForSender(channel, call))  # type: ignore[arg-type]
        payload = Carrying(request.payload, dict(request.loans))
        if request.name == "error":
            reply.error(request.asker.decoder, payload)
        else:
            reply.reply(request.asker.decoder, request.flags, payload)

    def waits(self, request: Asked) -> None:
        """Somebody waits long for something that went directly, or wants it cancelled: know it from now on."""
        call, _ = _unpaired(request)
        channel = self._channels.get(direct.channel_of(call))
        if channel is None or channel.process is not request.process:
            return  # it has ended, and who asks is told of that
        path = tuple(request.name.split(".")) if request.name else ()
        message = Message("call", b"", RoutedReply(request), path=path, seq=call)
        self._told[call] = message
        request.leads_to(self._delivery, message)
        self._delivery.loop.call_soon(self._look)

    def _look(self) -> None:
        delivery = self._delivery
        while delivery.on_cycle != "wait" and delivery.process is not None and break_circle(delivery):
            pass

    def waited(self, request: Asked) -> None:
        """Nobody does any more."""
        number, _ = _unpaired(request)
        asked = request.asker.delivery.asks.get(number)
        if isinstance(asked, Asked) and asked.operation == "waits":
            del request.asker.delivery.asks[number]
            if asked.goal is not None:
                self._told.pop(asked.goal[1].seq, None)

    @staticmethod
    def _forget(message: Message) -> None:
        request = message.reply_to.request
        request.asker.delivery.asks.pop(request.number, None)

    def find(self, call: int) -> Message | None:
        """Return what is known of something that went directly."""
        return self._told.get(call)

    def give_up(self, message: Message) -> bool:
        """Who sent a message gave up on it: True if it will never begin."""
        channel, process = self._channels.get(direct.channel_of(message.seq)), self._delivery.process
        if channel is None or process is None or channel.receiver is not process:
            return False
        if not process.give_up_direct(channel.place, direct.of_call(message.seq)):
            return False
        self._told.pop(message.seq, None)
        message.abandon(sent=True)
        return True

    def runs(self, call: int) -> bool:
        """Whether the process runs something that came directly."""
        process = self._delivery.process
        return process is not None and any(thread.seq == call for thread in process.threads(1))

    def find_caller(self, call: int, then: Callable[[Asker, int], object]) -> bool:
        """Call `then(asker, number)` with the call in which something was asked that went directly.

        False if it cannot be known.  It is called on the I/O thread, with 0 if the sender does not know of any.
        """
        channel = self._channels.get(direct.channel_of(call))
        if channel is None:
            return False
        asker = channel.asker

        def answered(frame: wire.Frame | None) -> None:
            is_known = frame is not None and frame.kind == wire.RESPONSE
            number = asker.decoder.value(frame.flags, frame.payload) if frame is not None and is_known else 0
            then(asker, number if type(number) is int else 0)

        channel.process.request("asked_in", (channel.number, direct.of_call(call)), answered)
        return True


def _unpaired(request: Asked) -> tuple[int, int]:
    try:
        return direct.unpaired(request.payload)
    except ValueError as error:
        raise ProtocolError(f"a malformed request: {error}") from None


class _ChannelPort:
    """The port of the message with which a process gets its end of a channel."""

    __slots__ = ("_told",)

    def __init__(self, told: Any) -> None:
        self._told = told

    def flags(self, trust: Trust) -> int:
        """Return how it is to be sent."""
        return ROUTED

    def reply(self, decoder: Decoder, flags: int, payload: Any) -> None:
        """It has it, or does not want it."""
        self._told(bool(decoder.value(flags, payload)))

    def error(self, decoder: Decoder, payload: Any) -> None:
        """It could not take it."""
        self._told(False)

    def fail(self, error: BaseException) -> None:
        """It does not run any more."""
        self._told(False)


class _Cut:
    """Takes the error of what a process has taken with it that came through one channel."""

    __slots__ = ("_begun", "_channel")

    def __init__(self, channel: DirectChannel, begun: int) -> None:
        self._channel, self._begun = channel, begun

    def fail(self, error: BaseException) -> None:
        """The process has ended, for this reason."""
        self._channel.cut(self._begun, encode.dumps_error(error, foreign=False).data)


class _ForSender:
    """The answer to something that went directly, as `RoutedReply` takes a request."""

    __slots__ = ("_number", "_process", "asker")

    def __init__(self, channel: DirectChannel, call: int) -> None:
        self.asker, self._process, self._number = channel.asker, channel.process, call

    def pass_on(self, kind: int, flags: int, payload: Any) -> None:
        """Answer with what is encoded already."""
        flags &= wire.PICKLE | wire.BATCH | (wire.PASSED if flags & wire.SHARED else 0)
        reply_ports.answer(self._process, kind, flags, self._number, payload)

    def reply(self, value: Any) -> None:
        """Answer with a value."""
        try:
            whole = encode.dumps_answer(value, foreign=False)
        except Exception as error:
            self.fail(error)
        else:
            self._answer(wire.RESPONSE, wire.PICKLE, whole)

    def fail(self, error: BaseException) -> None:
        """Answer with an exception."""
        self._answer(wire.FAILURE, wire.PLAIN, encode.dumps_error(error, foreign=False))

    def _answer(self, kind: int, flags: int, whole: encode.Whole) -> None:
        self.pass_on(kind, flags, Carrying(whole.data, {loan.number: loan for loan in whole.loans}))

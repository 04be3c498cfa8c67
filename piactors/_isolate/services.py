"""What an actor in an isolate asks of its host: messages to itself, its own stop, something to be done to a handle."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from piactors._codec.decode import Decoder
from piactors._isolate.delivery import Delivery
from piactors._isolate.reply_ports import PeerReply, raise_from
from piactors._process.placement import Process
from piactors._rules.message import Message
from piactors._values import futures
from piactors._values.handles import Handle
from piactors.errors import ActorDeadError, MailboxFull, PiactorsError, ProtocolError
from piactors.future import Future
from piactors.pihost.plain import decode as plain_decode
from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.wire import wire

_KEPT = 1024
"""Futures of requests that are kept for when the actor returns one."""


_SMALL = 4096
_MOST_UNREAD = 20_000
"""Answers that wait for an isolate to read them."""


_LOOK_EVERY = 256
"""Requests between two looks at how much waits."""


class HostServices:
    """Handles the requests of one isolate, on the I/O thread.

    Args:
        wants_stop: notes that an actor asks for its own stop; returns True if its message is to be put behind what
            waits, as that process runs the calls.
    """

    def __init__(self, delivery: Delivery, wants_stop: Callable[[Process], bool]) -> None:
        self._delivery = delivery
        self._wants_stop = wants_stop
        self._futures: OrderedDict[int, Future[Any]] = OrderedDict()
        self._put_so_far = 0
        self._next_look = _LOOK_EVERY

    def handle(self, process: Process, frame: wire.Frame) -> None:
        """Handle one request.

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
        if handler is None or _SHAPES[operation] != tuple(type(arg) for arg in args):
            raise ProtocolError(f"a request {operation[:40]!r} that the host does not know")
        if process.unread > _MOST_UNREAD:
            raise ProtocolError("it asks things of the host and does not read the answers")
        handler(self, process, frame.seq, *args)

    def future(self, number: int) -> Future[Any]:
        """Return the future of a request that the actor made and now returns."""
        found = self._futures.get(number)
        if found is None:
            found = Future()
            text = f"the answer to request {number} of {self._delivery.name} is no longer kept"
            found.fail(PiactorsError(text))
        return found

    def _ask(self, process: Process, number: int, payload: bytes) -> None:
        reply_to = PeerReply(process, number)
        self._futures[number] = reply_to.future
        while len(self._futures) > _KEPT:
            self._futures.popitem(last=False)
        self._put(Message("call", payload, reply_to), reply_to)

    def _tell(self, process: Process, number: int, payload: bytes) -> None:
        self._put(Message("tell", payload), None)
        process.answer(wire.RESPONSE, wire.PLAIN, number, _NOTHING)

    def _stop(self, process: Process, number: int) -> None:
        if self._wants_stop(process):
            self._put(Message("stop", b"", is_self_stop=True), None)
        process.answer(wire.RESPONSE, wire.PLAIN, number, _NOTHING)

    def _post(
        self,
        process: Process,
        number: int,
        kind: str,
        token: str,
        operation: str,
        succeeded: bool,
        flags: int,
        payload: bytes,
    ) -> None:
        decoder: Decoder = self._delivery.decoder
        produce = partial(decoder.value, flags, payload) if succeeded else partial(raise_from, decoder, payload)
        try:
            futures.border.perform(Handle(kind, token), operation, produce)
        except LookupError:
            raise ProtocolError(f"a {kind[:40]!r} has no operation {operation[:40]!r}") from None
        process.answer(wire.RESPONSE, wire.PLAIN, number, _NOTHING)

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
_OPERATIONS: dict[str, Any] = {
    "ask": HostServices._ask,
    "tell": HostServices._tell,
    "stop": HostServices._stop,
    "post": HostServices._post,
}
_SHAPES: dict[str, tuple[type, ...]] = {
    "ask": (bytes,),
    "tell": (bytes,),
    "stop": (),
    "post": (str, str, str, bool, int, bytes),
}

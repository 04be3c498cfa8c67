"""Calls that come directly from other isolates, beside those that come from the host.

The one thread that runs calls waits for all of them at once, and runs each when it is its turn.  What had begun of each
channel is in the sequence page, so that the host can tell the senders when this process has ended.
"""

from __future__ import annotations

import pickle
import select
import socket
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Protocol, Tuple

from ..memory.handed import HandedDescriptor
from ..pickles import byvalue, lending, refusals
from ..pickles.store import store
from ..values import packing, uses
from ..values.quick import BY_KEY
from ..wire import direct, wire
from ..wire.page import SequencePage
from ..wire.spin import Spinner
from ..wire.streams import FrameStream
from ..wire.wire import HEADER_SIZE
from ..wire.yielded import GENERATORS, UNSETTLED, noted
from .answering import cancelled_errors, unsendable
from .hosted import Hosted
from .receiving import ReceivingEnd
from .replies import Replies

_ROOM = 64
_NEVER = 1e300
_KINDS = frozenset((wire.CALL, wire.TELL))
_QUICK = wire.PICKLE | wire.QUICK
_pack, _unpack, _until, _UNTIL_SIZE = (
    wire.HEADER.pack,
    wire.HEADER.unpack_from,
    direct.UNTIL.unpack_from,
    direct.UNTIL.size,
)
Closed = Callable[[], object]


class RunsCalls(Protocol):
    """What is to be known of what runs calls (see `calls.CallLoop`)."""

    page: SequencePage
    hosted: Hosted
    link: Any
    trusted_replies: Replies

    def is_ending(self) -> bool:
        """Whether nothing is to be run any more."""

    def settle(self, value: Any) -> Any:
        """Return a result as it is, or that of a coroutine, which is run."""

    def is_cancelled(self, call: int) -> bool:
        """Whether the caller of a call has cancelled it."""

    def told(self, hook: Callable[[BaseException], None], error: BaseException) -> None:
        """Call what reports an exception."""

    def end_with(self, error: BaseException) -> None:
        """End: something has raised what ends a process."""


class DirectCalls:
    """The channels that end in this process, and the calls that come through them.

    Args:
        loop: runs calls.
        spin: what waits for the host's messages awake for a moment, if something does.
    """

    def __init__(self, loop: RunsCalls, data: FrameStream, spin: Optional[Spinner]) -> None:
        self._loop, self._data, self._spin = loop, data, spin
        self._channels: Dict[int, ReceivingEnd] = {}
        """By descriptor."""
        self._poll = select.poll()
        self._poll.register(data.fileno(), select.POLLIN)
        # The control thread asks that nothing begins any more, which is not to come between a look and a begin.
        self._lock = threading.Lock()
        self._refuses = False
        self._runs = False
        self._on_closed: List[Closed] = []
        self._until: Tuple[int, float] = (0, 0.0)

    def open(self, number: int, place: int, handle: int) -> bool:
        """Take calls from one more sender, whose end comes under a number; whether they are taken."""
        sock = socket.socket(fileno=HandedDescriptor(handle).detach())
        if self._refuses:
            sock.close()
            return False
        channel = ReceivingEnd(number, place, sock)
        self._channels[sock.fileno()] = channel
        self._poll.register(sock.fileno(), select.POLLIN)
        if self._spin is not None:
            self._spin.also(sock.fileno())
        self._data.wait_idly_with(self)
        return True

    def deadline_of(self, call: int) -> Optional[float]:
        """Return when a call is not wanted any more that runs here; None if it does not."""
        return self._until[1] if self._until[0] == call else None

    # Waiting, in place of a `Spinner` of the data channel

    def wait(self) -> bool:
        """Wait until the host has sent something, and run meanwhile what comes directly."""
        data, is_there = self._data, self._data.take_back()
        while self._channels:
            # What was sent to here before something was sent to the host is here before what follows from that there.
            ready = self._poll.poll(0) if is_there else self._ready()
            if not is_there and any(fd == data.fileno() for fd, _ in ready):
                if data.receive_once() and not data.frames:
                    continue  # a part of one
                is_there = True
                ready = self._poll.poll(0)
            for fd, _ in ready:
                channel = self._channels.get(fd)
                if channel is not None:
                    self._serve(channel)
            if is_there or self._loop.is_ending():
                return False
        return not is_there and self._spin is not None and self._spin.wait()

    def came(self) -> None:
        """Learn from a wait that was asleep."""
        if self._spin is not None:
            self._spin.came()

    def _ready(self) -> List[Tuple[int, int]]:
        spin = self._spin
        asleep = spin is None or spin.wait()
        found = self._poll.poll()
        if asleep and spin is not None:
            spin.came()
        return found

    def _serve(self, channel: ReceivingEnd) -> None:
        """Run what has come through a channel."""
        data = channel.receive()
        position, end = 0, len(data)
        while end - position >= HEADER_SIZE:
            length, kind, flags, _, number = _unpack(data, position)
            start, position = position + HEADER_SIZE, position + HEADER_SIZE + length
            if not _UNTIL_SIZE <= length <= direct.MOST_FRAME or kind not in _KINDS:
                channel.give_up()
                break
            if position > end:
                position = start - HEADER_SIZE
                break
            if self._loop.is_ending() or not self._run(channel, kind, flags, number, data[start:position]):
                break
        channel.keep(data[position:])
        if channel.is_over:
            self._forget(channel)

    def _run(self, channel: ReceivingEnd, kind: int, flags: int, number: int, data: bytes) -> bool:
        """Run one message and answer it; False if nothing is to begin any more."""
        (until,) = _until(data)
        call, loop, lock = channel.base + number, self._loop, self._lock
        if until <= _NEVER and until <= time.monotonic():
            channel.answer(wire.SKIPPED, 0, call)
            return True
        lock.acquire()
        if channel.is_closed:
            lock.release()
            return False
        self._runs, self._until = True, (call, until)
        wanted = loop.page.begin_direct(0, call, number, channel.place, lock)
        try:
            value = self._perform(flags, data) if wanted else None
            if type(value) in UNSETTLED:
                value = loop.settle(value)
        except Exception as error:
            self._failed(kind, call, channel, error)
        except BaseException as error:
            self._end(error)
        else:
            self._answer(kind if wanted else wire.SKIPPED, call, channel, value)
        self._runs = False
        if self._on_closed:
            self._tell_closed()
            return False
        return True

    def _perform(self, flags: int, data: bytes) -> Any:
        """Do what a message asks for."""
        (operation, path), start = direct.unpacked(data, _UNTIL_SIZE)
        arguments = data[start:]
        if not arguments:
            args, kwargs = (), {}  # type: Any, Any
        elif flags & wire.QUICK and not store.pending:
            args, kwargs = pickle.loads(arguments)
        else:
            args, kwargs = byvalue.loads(arguments)
        hosted = self._loop.hosted
        if operation == "call":
            target = hosted.obj
            for name in path:
                target = getattr(target, name)
            value = target(*args, **kwargs)
        else:
            value = hosted.perform((operation, path, args, kwargs))
        if type(value) in GENERATORS:
            return noted(lambda: hosted.function_of((operation, path, args, kwargs)), value)
        return value

    # Answering.  In a fork, what is called after a call ends the process (see `cut`).

    def _end(self, error: BaseException) -> None:
        self._loop.told(self._loop.hosted.on_base_exception, error)
        self._loop.end_with(error)

    def _failed(self, kind: int, call: int, channel: ReceivingEnd, error: Exception) -> None:
        if kind != wire.CALL:
            self._loop.end_with(error)
        elif self._loop.is_cancelled(call) and type(error) in cancelled_errors():
            channel.answer(wire.CANCELLED, 0, call)
        else:
            self._loop.told(self._loop.hosted.on_returned_exception, error)
            self._fail(channel, call, error)

    def _answer(self, kind: int, call: int, channel: ReceivingEnd, value: Any) -> None:
        """Answer with a result: directly if it is small and lends nothing, else by way of the host."""
        if kind != wire.CALL:
            channel.answer(wire.SKIPPED if kind == wire.SKIPPED else wire.DONE, 0, call)
            return
        payload = _quick(value)
        if payload is not None:
            channel.answer(wire.REPLY, _QUICK, call, payload)
            return
        try:
            flags, payload, entries = packing.packed(self._loop.link, value)
            self._loop.trusted_replies.check_size(len(payload), _ROOM)
        except BaseException as error:
            self._fail(channel, call, unsendable(value, error))
            return
        if entries or flags != wire.PICKLE or len(payload) > direct.MOST_BYTES or payload.find(BY_KEY) >= 0:
            self._by_host(channel, call, False, flags, payload, entries)
        else:
            channel.answer(wire.REPLY, flags, call, payload)

    def _fail(self, channel: ReceivingEnd, call: int, error: BaseException) -> None:
        """Answer a call with an exception."""
        lending.begin()
        try:
            payload = self._loop.trusted_replies.error(error, room=_ROOM)
        except BaseException:
            lending.call_off()
            raise
        entries = lending.end()
        if entries or len(payload) > direct.MOST_BYTES or payload.find(BY_KEY) >= 0:
            self._by_host(channel, call, True, wire.PLAIN, payload, entries)
        else:
            channel.answer(wire.ERROR, wire.PLAIN, call, payload)

    def _by_host(
        self, channel: ReceivingEnd, call: int, is_error: bool, flags: int, payload: bytes, entries: Any
    ) -> None:
        link = self._loop.link
        lends = link.border.sent(entries) if entries else b""
        use = uses.Use(0, call, -1.0, "answer", uses.UNWANTED, flags, "error" if is_error else "", lends, payload)
        try:
            link.use(*uses.packed(use), None)
        except refusals.Refused as error:  # with what it lends it is larger than the host takes
            link.border.not_sent(entries)
            channel.answer(wire.ERROR, wire.PLAIN, call, self._loop.trusted_replies.error(error))

    # The end of channels

    def close(self, told: Optional[Closed] = None) -> None:
        """Begin nothing more, and call `told()` once nothing runs; from any thread."""
        channels = list(self._channels.values())
        with self._lock:
            for channel in channels:
                channel.begin_no_more()
        if told is not None:
            self._on_closed.append(told)
        for channel in channels:
            channel.listen_no_more()
        if not self._runs:
            self._tell_closed()

    def _tell_closed(self) -> None:
        while self._on_closed:
            try:
                told = self._on_closed.pop()
            except IndexError:  # the other thread has told it
                return
            told()

    def refuse(self) -> None:
        """Take no calls from now on, as what runs is to run alone."""
        self._refuses = True
        self.close()

    def drain(self) -> None:
        """Run what has come by now, and nothing more: this process is told to stop."""
        for channel in list(self._channels.values()):
            channel.listen_no_more()
            while not channel.is_over and not self._loop.is_ending():
                self._serve(channel)
            self._forget(channel)

    def cut(self, returned: Callable[..., Any], ended: Callable[[Optional[BaseException]], None]) -> None:
        """In a fork of the isolate: close the copies of the ends, and call one of these when a call comes back."""
        hidden: Dict[str, Any] = {"_answer": returned, "_end": ended, "_failed": lambda *failed: ended(failed[-1])}
        self.__dict__.update(hidden)
        self._lock = threading.Lock()  # another thread of the isolate may have held the old one
        for channel in self._channels.values():
            channel.sock.close()
        self._channels.clear()

    def _forget(self, channel: ReceivingEnd) -> None:
        """Nothing more comes through a channel: let go of it, and tell the host."""
        fd = channel.sock.fileno()
        if self._channels.pop(fd, None) is None:
            return
        self._poll.unregister(fd)
        if self._spin is not None:
            self._spin.no_longer(fd)
        channel.close()
        self._loop.link.request_plain(("closed", channel.number), _unheard)


def _unheard(_: int, __: wire.Frame) -> None:
    """The host has taken note."""


_OF_KIND, _NAMES_A_GLOBAL = byvalue.MOST_OF_KIND, byvalue.STACK_GLOBAL


def _quick(value: Any) -> Optional[bytes]:
    """Return the pickle of a result that is small and of plain kinds; None if it is not."""
    try:
        longest = _OF_KIND[type(value)]
        if longest and len(value) > longest:
            return None
        payload = pickle.dumps(value, 5)
    except Exception:
        return None
    return None if len(payload) > direct.MOST_BYTES or _NAMES_A_GLOBAL in payload else payload

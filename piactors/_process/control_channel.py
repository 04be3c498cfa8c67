"""The host's end of an isolate's control channel: questions and their answers, log records, news of segments.

It works while a call runs, and while megabytes are in flight in the data channel.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import pickle
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from piactors._codec.passing import PassedFiles, PassedOn
from piactors._codec.shared_memory import ReplySegments
from piactors._codec.shared_objects import Lent
from piactors._io.channel import Channel
from piactors._io.loop import Loop, Share
from piactors._io.writer import Writer
from piactors._process.announced import Announced, Resolve
from piactors.errors import ProtocolError
from piactors.pihost.memory import segments
from piactors.pihost.wire import wire
from piactors.pihost.wire.ends import SocketEnd

_MAX_FRAME = 1 << 26
_MOST_NEWS_READS = 4096
"""Reads for a segment that was announced before it was used: each descriptor needs one of its own."""
_DRAIN_READS = 64
"""Reads for what a peer sent before it stopped: a socket holds about 200 KiB, and more comes from one that floods."""
_TURN_SECONDS = 0.002
"""How long the loop handles what one channel has brought: others wait too."""
_KINDS = frozenset(
    {
        wire.HELLO,
        wire.STOPPING,
        wire.LOG,
        wire.RESPONSE,
        wire.FAILURE,
        wire.MAP,
        wire.UNMAP,
        wire.HAND,
        wire.LOST,
        wire.LEND,
        wire.DROP,
    }
)

_OF_SEGMENTS = frozenset({wire.MAP, wire.UNMAP, wire.HAND})
_OF_ITS_DOING = frozenset({"given_back", "cancel"})
"""Requests that follow from what a process asks for, as often as it likes: those without an answer are counted."""

Answer = Callable[[wire.Frame | None], None]
"""Gets the frame that answers a request of the host, or None if no answer will come."""


class ControlChannel:
    """One control channel.  `send`, `request` and `announce` come from any thread, the rest from the loop's.

    Args:
        pass_on: gets the frames that are answered elsewhere.
        lends: makes what answers lend of what is told of it.
    """

    def __init__(
        self,
        loop: Loop | Share,
        sock: socket.socket,
        number: int,
        max_frame: int,
        pass_on: Callable[[wire.Frame], None],
        lends: Resolve,
    ) -> None:
        self.channel = Channel(SocketEnd(sock), min(max_frame, _MAX_FRAME), takes_fds=True)
        self._sock = sock
        self._loop = loop
        self._number = number
        self._pass_on_rest = pass_on
        self._lends = Announced(lends)
        self._writer = Writer(loop, self.channel, number, self._want_write)
        # Any thread asks, the loop answers and closes; a signal handler may come while its thread has it.
        self._lock = threading.RLock()
        self._closed = self._again_due = False
        self._on_read: Callable[[], None] = self.read
        self._requests: dict[int, Answer] = {}
        self._numbers = itertools.count(1)
        self._inbox = ReplySegments(max_frame)
        self._passed = PassedFiles(max_frame)
        self._mapped: set[int] = set()
        self._given_back: list[int] = []
        self._open = 0

    def watch(self, on_read: Callable[[], None]) -> None:
        """Have the loop call `on_read` when something has come."""
        self._on_read = on_read
        self._loop.watch(self.channel.fileno(), on_read, self._writer.write)

    def _want_write(self, wanted: bool) -> None:
        self._loop.want_write(self.channel.fileno(), wanted)

    # Sending

    def send(self, kind: int, flags: int, seq: int, payload: wire.Payload) -> None:
        """Send one frame; never blocks."""
        self._writer.send(kind, flags, seq, payload)

    def request(self, operation: str, args: tuple[Any, ...], answer: Answer) -> int:
        """Ask the control thread for something; `answer` is called once, on the loop's thread.

        Returns the number of the request; 0 if there will be no answer.
        """
        payload = pickle.dumps((operation, args), 4)
        with self._lock:
            if operation in _OF_ITS_DOING:
                self._open += 1
                answer = partial(self._no_longer_open, answer)
            number = 0 if self._closed else next(self._numbers)
            if number:
                self._requests[number] = answer
        if number:
            self.send(wire.REQUEST, wire.PICKLE, number, payload)
        else:
            self._loop.call_soon(answer, None)
        return number

    def _no_longer_open(self, answer: Answer, frame: wire.Frame | None) -> None:
        with self._lock:
            self._open -= 1
        answer(frame)

    @property
    def unanswered(self) -> int:
        """How many requests have no answer yet of those that the process can bring about itself."""
        return self._open

    def give_back(self, number: int, count: int) -> None:
        """Tell the process that what it has lent so often is held no longer; called by the garbage collector.

        That must not take a lock, so the loop sends it.
        """
        self._given_back += (number, count)
        if not self._closed:
            self._loop.call_soon(self._send_given_back)

    def _send_given_back(self) -> None:
        counts, self._given_back = self._given_back, []
        if counts and not self._closed:
            self.request("given_back", (counts,), _nothing)

    def announce(self, segment: segments.Segment, dropped: list[int]) -> None:
        """See to it that the process has a segment; `dropped` are numbers of those that are not used any more."""
        self.retract(dropped)
        if segment.number in self._mapped:
            return
        try:
            self._writer.send_descriptor(wire.MAP, segment.number, segment)
            self._mapped.add(segment.number)
        except BaseException:  # a KeyboardInterrupt: it is announced once, by the next caller if not now
            if self._writer.has_taken(segment.number, b""):
                self._mapped.add(segment.number)
            raise

    def retract(self, dropped: list[int]) -> None:
        """Tell the process of segments that are not used any more."""
        for number in self._mapped.intersection(dropped):
            self._mapped.discard(number)
            self.send(wire.UNMAP, 0, number, b"")

    def mapped_bytes(self) -> int:
        """How many bytes the segments have that its answers came in."""
        return self._inbox.nbytes

    def hand_over(self, lent: Lent) -> None:
        """Send a descriptor that a message needs."""
        self._writer.send_descriptor(wire.HAND, lent.number, lent)

    # Arriving

    def read(self) -> None:
        """Read once and pass on what has come; of many frames only some, and the rest in the loop's next turn.

        Raises:
            ProtocolError: if something came that should not have come.
        """
        if self._closed:
            return
        until = time.monotonic() + _TURN_SECONDS
        if self._pass_on(until):
            self.channel.receive()
            self._pass_on(until)
        if self.channel.frames and not self._again_due:
            self._again_due = True
            self._loop.call_soon(self._read_again)

    def _read_again(self) -> None:
        self._again_due = False
        self._on_read()

    def read_rest(self) -> None:
        """Read until nothing is there, or the end.

        Raises:
            ProtocolError: if what came should not have come.
        """
        self._pass_on()
        for _ in range(_DRAIN_READS):
            if self.channel.ended:
                return
            self.channel.receive()
            if self.channel.dry:
                return
            self._pass_on()

    def _pass_on(self, until: float = math.inf) -> bool:
        """Pass on frames until then, but at least one; whether that was all."""
        channel = self.channel
        while channel.frames:
            frame = wire.Frame(*channel.frames.popleft())
            if frame.kind != wire.HELLO and frame.generation != self._number & 0xFFFF:
                raise ProtocolError(f"a frame of generation {frame.generation} in the channel of {self._number}")
            if frame.kind not in _KINDS:
                raise ProtocolError(f"a frame of kind {frame.kind} in a channel where it does not belong")
            if frame.kind in (wire.RESPONSE, wire.FAILURE):
                self._answered(self._lends.joined(frame) if frame.flags & wire.LENDS else frame)
            elif frame.kind == wire.LEND:
                self._lends.hear(frame)
            elif frame.kind in _OF_SEGMENTS:
                self._segment_news(frame)
            else:
                self._pass_on_rest(frame)
            if time.monotonic() >= until and channel.frames:
                return False
        if channel.fault is not None:
            raise channel.fault
        return True

    def _answered(self, frame: wire.Frame) -> None:
        with self._lock:
            answer = self._requests.pop(frame.seq, None)
        if answer is None:
            raise ProtocolError(f"an answer to request {frame.seq}, which was not made")
        answer(frame)

    def _segment_news(self, frame: wire.Frame) -> None:
        if frame.kind == wire.MAP:
            if not self._inbox.add(frame.seq, self.channel.fds):
                self.send(wire.LOST, 0, frame.seq, b"")
        elif frame.kind == wire.HAND:
            self._passed.add(frame.seq, self.channel.fds)
        else:
            self._inbox.drop(frame.seq)

    # Answers in shared memory

    def knows_segment_of(self, frame: wire.Frame) -> bool:
        """Whether the segment is here that holds the answer that a frame refers to."""
        return self._passed.knows(frame) if frame.flags & wire.INLINE else self._inbox.knows(frame)

    def passed(self, table: wire.Payload, read_later: Callable[[], None]) -> PassedOn:
        """Return a value of the process that is for another one; its descriptor was announced before it.

        Raises:
            ProtocolError: if it was not.
        """
        if not self._passed.has(table):
            self._read_segment_news(lambda: self._passed.has(table))
            self._loop.call_soon(read_later)
        return self._passed.take(table)

    def unpacked(self, frame: wire.Frame, read_later: Callable[[], None]) -> wire.Frame:
        """Return an answer that lies in shared memory, with what lies there as its payload.

        Its segment was announced before it, but here, where the loop may not have read yet.

        Raises:
            ProtocolError: if that is not allowed.
        """
        if frame.kind != wire.REPLY:
            raise ProtocolError(f"a frame of kind {frame.kind} that lies in shared memory")
        if frame.flags & wire.INLINE:
            return frame._replace(payload=self.passed(frame.payload, read_later))
        if not self._inbox.knows(frame):
            self._read_segment_news(lambda: self._inbox.knows(frame))
            self._loop.call_soon(read_later)
        return self._inbox.unpacked(frame)

    def _read_segment_news(self, is_there: Callable[[], bool]) -> None:
        """Read until a segment has been announced; what else came stays for later."""
        channel = self.channel
        for _ in range(_MOST_NEWS_READS):
            channel.receive()
            for position, other in enumerate(map(wire.Frame._make, channel.frames)):
                if other.kind in _OF_SEGMENTS and other.generation == self._number & 0xFFFF:
                    self._segment_news(other)
                    channel.frames[position] = other._replace(kind=wire.UNMAP, seq=0)
            if channel.dry or channel.ended or channel.fault is not None or is_there():
                return

    # The end

    def hang_up(self) -> None:
        """Have the process see the end of the channel; here it ends as well."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> list[Answer]:
        """Close the channel; returns who still waits for an answer."""
        self._loop.unwatch(self.channel.fileno())
        self._inbox.close()
        self._passed.close()
        self._writer.close()
        with self._lock:
            self._closed = True
            waiting, self._requests = list(self._requests.values()), {}
        return waiting


def _nothing(_: wire.Frame | None) -> None:
    """Nobody waits for the answer."""

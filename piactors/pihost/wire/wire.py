"""The frame codec: bytes in, frames out, no input or output of its own.

A frame is a 16-byte header and a payload.  The header holds, little-endian: the payload's length
(u32), the kind (u8), flags (u8), the generation (u16, modulo 65536) and a sequence number (u64).

Bytes that cannot be the start of an acceptable frame raise `WireError` as soon as the header is
there, before anything is allocated for the payload.
"""

from __future__ import annotations

import contextlib
import struct
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Union

HEADER = struct.Struct("<IBBHQ")
HEADER_SIZE = HEADER.size

# Data channel, host to isolate.
INIT = 2
CALL = 5
TELL = 6
STOP = 10
# Data channel, isolate to host.  Each CALL and TELL gets exactly one of REPLY, ERROR, DONE, SKIPPED, CANCELLED.
READY = 3
START_FAILED = 4
REPLY = 7
ERROR = 8
DONE = 17
SKIPPED = 9
CANCELLED = 29
"""It ended of being cancelled, as its caller wanted."""
PART = 30
"""Items of a stream in place of the answer to a CALL that asks for some; a DONE follows when it has run.  Isolate to
host."""
BULK = 23
"""Calls of one method with an argument each, which have numbers in a row: it carries the last one.  Each is begun, and
answered, by itself, as if it were a CALL.  Host to isolate."""
DEFINE = 20
"""Definitions that the messages after it need, and the keys of those that the host has let go of.  Host to isolate."""
# Control channel.  REQUEST, RESPONSE and FAILURE go both ways: the protocol is symmetric.
HELLO = 1
STOPPING = 11
PROCEED = 12
REQUEST = 13
RESPONSE = 14
FAILURE = 15
LOG = 16
MAP = 18
"""A segment of shared memory (`segments`), by number; its descriptor comes along.  Both ways, before its first use."""
UNMAP = 19
HAND = 21
"""A descriptor that goes along with a message, by number; it comes along.  Both ways."""
LEND = 24
"""What the answer that follows, of this number, lends or gives back.  Isolate to host, on either channel."""
DROP = 25
"""What the sender holds no longer of what it was lent, after so many frames on the data channel that used such things.
Isolate to host."""
AWAIT = 27
"""The thread that reads the data channel waits for the answer to a request, by number, and wants it there.  Isolate to
host, on the data channel."""
ALIVE = 44
"""Whether an actor takes messages (a payload of one byte, 1 or 0) whose ref the isolate holds by this number.  Host to
isolate, on both channels: on the one it is there soon, on the other in order."""
CUT = 46
"""A direct channel has ended, by number, and how far what came through it had begun.  Host to isolate, on the control
channel (see `serve.direct`)."""
NEST = 45
"""The thread that waits for the answer to a request, by number, is to run what came until a CALL meanwhile.  The number
of that is the payload.  Host to isolate, on the data channel, after it."""
SENT = 28
"""That answer has been sent on the control channel already.  Host to isolate, on the data channel."""
USE = 26
"""Something is asked of a thing that is borrowed (see `values.uses`).  Isolate to host, on the data channel; the answer
is a RESPONSE or FAILURE, on either."""
LOST = 22
"""A segment, by number, could not be taken: it is not to be used again.  Both ways."""
# Between the host and its launcher.
SETUP = 32
LAUNCH = 33
LAUNCHED = 34
REFUSED = 35
EXITED = 36
WARM = 37
SIGNAL = 38
"""To the launcher, which may have rights that its host has given up: send a signal to a process that it has made."""
SPARED = 39
"""The launcher may not send it either."""
LOOK = 40
"""To the launcher: news of an isolate is due and does not come; it is to look, and to end what holds that back."""
JOIN = 42
"""To the launcher: the control group that it and its forks are in, and where groups of its isolates may be."""
LOOKED = 41
"""What it saw: the letter of the process's state in /proc, or nothing if there is no such process (any more)."""
HANDED = 43
"""A spare that was LAUNCHED has its orders: from here on it needs its launcher no longer."""

ASIDE = frozenset((RESPONSE, FAILURE, SENT, ALIVE, NEST))
"""What the host sends on the data channel beside the messages, whose numbers are of another kind."""
KINDS = frozenset(
    (
        HELLO,
        INIT,
        READY,
        START_FAILED,
        CALL,
        TELL,
        BULK,
        REPLY,
        ERROR,
        DONE,
        SKIPPED,
        CANCELLED,
        PART,
        STOP,
        STOPPING,
        PROCEED,
        REQUEST,
        RESPONSE,
        FAILURE,
        LOG,
        MAP,
        UNMAP,
        DEFINE,
        HAND,
        LOST,
        LEND,
        DROP,
        USE,
        AWAIT,
        SENT,
        ALIVE,
        NEST,
        CUT,
        SETUP,
        LAUNCH,
        LAUNCHED,
        REFUSED,
        EXITED,
        WARM,
        SIGNAL,
        SPARED,
        LOOK,
        LOOKED,
        JOIN,
        HANDED,
    )
)

# Flags: how a payload is encoded, whether it lies in a segment, and whether the answer may.
PLAIN = 0
PICKLE = 1
SHARED = 2
INLINE = 4
"""Of a CALL: the answer has to come through the data channel."""
CODE = 8
"""Of a CALL: the answer may be a pickle, whatever else the isolate is trusted with."""
QUICK = 32
"""Of a CALL, BULK or REPLY: its pickle names nothing that has another name at the other end."""
LENDS = 64
"""Of a REPLY, ERROR, RESPONSE or FAILURE: it lends things, or gives them back.  Of a CALL or TELL: it was routed, and
begins with a head (see `serve.routed`)."""
BATCH = 128
"""Of a REPLY, PART or RESPONSE: it holds items of a stream (see `values.batches`)."""
PASSED = SHARED | INLINE
"""Of a REPLY, a RESPONSE or a USE: it lies in a file whose descriptor comes along (HAND, see `memory.passed`)."""
LACK = 16
"""Of a START_FAILED: there was too little of something (see `lacks`), and it was not isolated code that met with it."""

LEAST_READ = 4096
MOST_READ = 262144 + LEAST_READ
"""How many bytes to read at once.  A buffer of the larger size for each small message costs more than the message; but
what goes through a pipe although there are segments is to come in one piece."""

DIRECT_FROM = 65536
"""Payloads from this size on, if they come in pieces, are received straight into their own buffer."""

FIRST_ALLOCATION = 1 << 20
"""Bytes that are allocated on the word of a header; more once these have come."""
MAPPED_FROM = 4 << 20
"""Payloads from this size on get memory of their own, of which nothing is there before something is written to it."""
_LARGE_PAGE = 2 << 20
"""To have one of this size made costs a small part of what the small pages in it do; nearly all machines have it."""

Payload = Union[bytes, bytearray, memoryview]


class WireError(Exception):
    """The peer sent bytes that are not a frame of this protocol.

    `frames` holds what stood whole before them in the same bytes: it counts, however they were cut.
    """

    def __init__(self, text: str, frames: Sequence[Raw] = ()) -> None:
        super().__init__(text)
        self.frames = [Frame(*frame) for frame in frames]


class Frame(NamedTuple):
    """One message of the protocol."""

    kind: int
    flags: int
    generation: int
    seq: int
    payload: Any
    """Bytes; or `segments.Received`, once a receiver has unpacked what lies in shared memory."""


Raw = Tuple[int, int, int, int, Any]
"""The same as a tuple: where each small message makes one, that costs half as much."""


def header(kind: int, flags: int, generation: int, seq: int, length: int) -> bytes:
    """Return the header of a frame whose payload has `length` bytes."""
    return HEADER.pack(length, kind, flags, generation & 0xFFFF, seq)


def encode(kind: int, flags: int = 0, generation: int = 0, seq: int = 0, payload: Payload = b"") -> bytes:
    """Return a whole frame as bytes (it copies the payload: for small frames)."""
    return header(kind, flags, generation, seq, len(payload)) + payload


def next_read(size: int, got: int, most: int = MOST_READ) -> int:
    """Return how many bytes to read at once, after a read of up to `size` has returned `got`."""
    if got == size:
        return most
    return LEAST_READ if got < LEAST_READ else size


class FrameDecoder:
    """Turns a stream of bytes, however it was cut, into frames.

    `feed` takes bytes from a scratch buffer, and so does `split`, which returns frames as tuples.  While a large
    payload is arriving, `direct` returns the place where its next bytes belong, so that the reader can receive into it
    and call `received`.  After a `WireError` the decoder refuses everything: the stream has no next frame.
    """

    def __init__(self, max_frame: int) -> None:
        self.max_frame = max_frame
        self.rest = b""
        """What has come of a frame that is not complete, except a large payload."""
        self.head: Optional[Frame] = None
        """Of the large payload that is arriving, if any: only then does `direct` return something."""
        self._length = 0
        self._body: Payload = b""
        self._filled = 0
        self._view: Optional[memoryview] = None
        self._broken: Optional[WireError] = None

    def state(self) -> Tuple[Any, ...]:
        """Return what `restore` needs to go back to here, from after one `feed` or `received` that may be cut short."""
        return self.head, self._length, self._body, self._filled, self.rest, self._broken

    def restore(self, state: Optional[Tuple[Any, ...]]) -> None:
        """Go back to an earlier state; None: one between two frames.  What `direct` has filled since stays there."""
        if self._view is not None:
            self._view.release()
            self._view = None
        clean: Tuple[Any, ...] = (None, 0, b"", 0, b"", None)
        self.head, self._length, self._body, self._filled, self.rest, self._broken = state or clean

    def take_rest(self) -> bytes:
        """Return what has come of a frame that is not complete: it is given back with what follows it."""
        rest, self.rest = self.rest, b""
        return rest

    @property
    def mid_frame(self) -> bool:
        """Whether the stream stands inside a frame: an end here has cut one off."""
        return self.head is not None or bool(self.rest)

    def feed(self, data: Union[bytes, bytearray, memoryview]) -> List[Frame]:
        """Take the next bytes of the stream and return the frames that they complete."""
        return [Frame(*frame) for frame in self.split(data)]

    def split(self, data: Union[bytes, bytearray, memoryview]) -> List[Raw]:
        """Take the next bytes of the stream and return the frames that they complete, as tuples."""
        if self._broken is not None:
            raise self._broken
        frames: List[Raw] = []
        if self.head is not None:
            data = self._feed_body(memoryview(data), frames)
        elif not self.rest and HEADER_SIZE <= len(data) < DIRECT_FROM and type(data) is bytes:
            # What nearly always comes: one frame, whole.
            length, kind, flags, generation, seq = HEADER.unpack_from(data)
            if length == len(data) - HEADER_SIZE and length <= self.max_frame and kind in KINDS:
                return [(kind, flags, generation, seq, data[HEADER_SIZE:])]
        self._feed_frames(data, frames)
        return frames

    def direct(self) -> Optional[memoryview]:
        """Return where the next bytes of a large payload belong, or None if none is arriving."""
        if self.head is None:
            return None
        if self._view is not None:
            self._view.release()
        if self._filled == len(self._body):
            self._body = self._grown()
        self._view = memoryview(self._body)[self._filled :]
        return self._view

    def _grown(self) -> Payload:
        """Return more room for the payload that is arriving, with what has come of it; a lie costs its own length."""
        body: Any = self._body
        if self._length >= MAPPED_FROM and type(body) is bytearray:
            try:
                place = mapped(self._length)
            except MemoryError:
                pass  # of so much at once; perhaps it is a lie
            else:
                place[: self._filled] = body
                return place
        body.extend(bytes(min(self._length, 2 * len(body)) - len(body)))
        return body  # type: ignore[no-any-return]

    def received(self, count: int) -> List[Raw]:
        """Say that `count` bytes were written to what `direct` returned."""
        if self._view is not None:
            self._view.release()
            self._view = None
        self._filled += count
        frames: List[Raw] = []
        if self._filled == self._length:
            self._finish_body(frames)
        return frames

    def _feed_frames(self, data: Union[bytes, bytearray, memoryview], frames: List[Raw]) -> None:
        buffer = self.rest + bytes(data) if self.rest else data if type(data) is bytes else bytes(data)
        position, end = 0, len(buffer)
        while end - position >= HEADER_SIZE:
            length, kind, flags, generation, seq = HEADER.unpack_from(buffer, position)
            if length > self.max_frame or kind not in KINDS:
                self._check(length, kind, frames)
            stop = position + HEADER_SIZE + length
            if stop > end:
                if length >= DIRECT_FROM:
                    self._start_body(Frame(kind, flags, generation, seq, b""), length, buffer[position + HEADER_SIZE :])
                    position = end
                break
            frames.append((kind, flags, generation, seq, buffer[position + HEADER_SIZE : stop]))
            position = stop
        self.rest = buffer[position:]

    def _check(self, length: int, kind: int, frames: List[Raw]) -> None:
        text = ""
        if length > self.max_frame:
            text = "a frame of {:,} bytes is announced, but max_frame allows {:,}".format(length, self.max_frame)
        elif kind not in KINDS:
            text = "frame kind {} is not of this protocol".format(kind)
        if text:
            self._broken = WireError(text)
            raise WireError(text, frames)

    def _start_body(self, head: Frame, length: int, first: bytes) -> None:
        self.head = head
        self._length = length
        self._body = body = bytearray(min(length, max(FIRST_ALLOCATION, len(first))))
        body[: len(first)] = first
        self._filled = len(first)

    def _feed_body(self, data: memoryview, frames: List[Raw]) -> memoryview:
        while self.head is not None and len(data):
            target = self.direct()
            assert target is not None
            count = min(len(target), len(data))
            target[:count] = data[:count]
            data = data[count:]
            frames.extend(self.received(count))
        return data

    def _finish_body(self, frames: List[Raw]) -> None:
        assert self.head is not None
        frames.append((*self.head[:4], self._body))
        self.head, self._body, self._filled, self._length = None, b"", 0, 0


def mapped(length: int) -> memoryview:
    """Return memory that ends where a page does; it takes up none before it is written to.

    Raises:
        MemoryError: if this process may not have so much.
    """
    import mmap  # most processes never get anything so large

    size = -(-length // _LARGE_PAGE) * _LARGE_PAGE
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    try:
        found = mmap.mmap(-1, size, **private)
    except OSError as error:
        raise MemoryError("no room for a message of {:,} bytes: {}".format(length, error)) from None
    if hasattr(mmap, "MADV_HUGEPAGE") and hasattr(found, "madvise"):
        with contextlib.suppress(OSError):
            found.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(found)[size - length :]

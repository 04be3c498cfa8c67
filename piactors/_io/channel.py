"""The host's end of a channel: what does not block, its frames, and what waits to be written."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice, takewhile
from typing import Any, Protocol

from piactors.errors import ProtocolError
from piactors.pihost.memory import descriptors
from piactors.pihost.wire import wire
from piactors.pihost.wire.ends import PipeEnd, SocketEnd

Take = Callable[[bytes, list[int]], None]
"""Handles whole frames from the front of bytes, as many as it can at once, from the position in the list on, which it
moves on frame by frame: what interrupts it may have interrupted the handling of the frame there."""
_NOTHING_TO_UNDO: tuple[Any, int] = (None, 0)
_MOST_BUFFERS = 64
_MOST_FDS = 64
JOIN_UP_TO = 32_768


class HasDescriptor(Protocol):
    """What holds a descriptor that is to be sent; it stays open until then."""

    @property
    def fd(self) -> int:
        """The descriptor."""


class Channel:
    """A channel over a socket or two pipes.  Not thread-safe: callers hold a lock to send, and one to receive.

    `receive` may be cut short by a KeyboardInterrupt, in the thread of a caller: what it had read stays in `_chunks`,
    which is one step for Python, and the next one decodes that anew.

    So may whatever sends.  A frame will be sent once it is in `out`, which is one step for Python; how much of it the
    kernel has taken is known by one step too, and the next sender takes account of it.
    """

    def __init__(self, end: SocketEnd | PipeEnd, max_frame: int, *, takes_fds: bool = False) -> None:
        end.set_blocking(False)
        self.end = end
        self.fds: list[int] = []
        """Descriptors that came along, in order."""
        self._read: Callable[[int], Any] = self._receive_with_fds if takes_fds else end.read
        self.most_read = min(max_frame, wire.MOST_READ)  # so that no whole frame that is too large is in one read
        self._rights: dict[int, tuple[bytes, HasDescriptor]] = {}
        self._decoder = wire.FrameDecoder(max_frame)
        self._read_size = wire.LEAST_READ
        self._chunks: list[Any] = []
        self._taken = [0]
        """How much of what is in `_chunks`, and of what was there before it, was handled at once."""
        self._undo: tuple[Any, int] = (None, 0)
        """How the decoder and `frames` were before what is in `_chunks` was read."""
        self.frames: deque[wire.Raw] = deque()
        """What has come and has not been handled; as tuples, of which a `wire.Frame` is made where that is easier."""
        self.out: deque[memoryview | bytes] = deque()
        """What waits to be written."""
        self.last: tuple[int, int, bytes | None] = (-1, 0, None)
        """The frame that was to be sent last: its number, the `id` of its payload (0 if the number is enough), and how
        it begins in `out`; None if that has been sent."""
        self.attempt: tuple[tuple[memoryview | bytes, ...], list[int]] = ((), [])
        """What was offered to the kernel last, and how many bytes of that it has taken, once that is known."""
        self.broken = False
        self.dry = self.was_full = False
        """Whether the last read has found nothing, or as much as it had room for."""
        self.ended = False
        self.fault: ProtocolError | None = None

    def forget_last(self) -> None:
        """What was sent last is not what is sent next."""
        self.last = (-1, 0, None)

    def discard(self) -> None:
        """Nothing that has come, or comes, is looked at any more."""
        self.ended = True
        self.frames.clear()

    def fileno(self) -> int:
        """Return the descriptor to wait at for what comes, or -1 once closed."""
        return self.end.fileno()

    def send(self, kind: int, flags: int, generation: int, seq: int, payload: wire.Payload) -> bool:
        """Send a frame now, as far as the other side takes it, and keep the rest."""
        head = wire.header(kind, flags, generation, seq, len(payload))
        is_joined = len(payload) <= JOIN_UP_TO
        begin = head + payload if is_joined else head
        if not is_joined:
            self.end.make_room()
        if kind in wire.ASIDE:
            self.keep_last()
        else:
            self.last = (seq, id(payload), begin)
        self.out.extend((begin,) if is_joined else (begin, memoryview(payload)))
        return self.flush()

    def keep_last(self) -> None:
        """A frame follows that is no message: what `has_taken` is asked about stays the message before it."""
        seq, payload, begin = self.last
        pieces, sent = self.attempt
        if begin is not None and sent and _holds(pieces, begin):
            self.last = (seq, payload, None)  # it has left, and what is offered to the kernel next is another

    def refused(self, error: OSError) -> None:
        """Say that nothing was taken: there is no room, or the peer is gone."""
        self.broken = self.broken or not isinstance(error, BlockingIOError)

    def has_taken(self, seq: int, payload: wire.Payload) -> bool:
        """Whether the frame of a message will be sent, or has been; of the last one that was to be sent, which may have
        been interrupted.
        """
        last_seq, last_payload, begin = self.last
        if self.broken or seq != last_seq or last_payload not in (0, id(payload)):
            return self.broken
        if begin is None:
            return True
        pieces, sent = self.attempt
        return _holds((*self.out, *(pieces if sent else ())), begin)

    def send_descriptor(self, kind: int, generation: int, seq: int, segment: HasDescriptor) -> bool:
        """Send a frame without a payload and a descriptor, which is kept until then; see `send`."""
        if self.broken:
            return True
        head = wire.header(kind, 0, generation, seq, 0)
        self.last = (seq, id(b""), head)
        self._rights[id(head)] = (head, segment)
        self.out.append(head)
        return self.flush()

    def _receive_with_fds(self, size: int) -> bytes:
        assert isinstance(self.end, SocketEnd)
        data, ancillary, flags, _ = self.end.sock.recvmsg(size, socket.CMSG_SPACE(_MOST_FDS * 4))
        self.fds.extend(descriptors.received_descriptors(ancillary, flags))
        return data

    def flush(self) -> bool:
        """Send what is kept, as far as the other side takes it; what a dead peer will never read is dropped."""
        self.take_account()
        while self.out and not self.broken:
            pieces, *ancillary = self._next_pieces()
            sent: list[int] = []
            self.attempt = (pieces, sent)
            try:
                sent.extend(map(self.end.write_pieces, (pieces,), *ancillary))  # one step for Python
            except BlockingIOError:
                return False
            except OSError:
                self.broken = True
                break
            self.take_account()
        if self.broken:
            self.out.clear()
        return True

    def _next_pieces(self) -> tuple[Any, ...]:
        """Return what to send next: up to the next piece that has a descriptor to go along, or that piece alone."""
        pieces = tuple(islice(self.out, _MOST_BUFFERS))
        if not self._rights:
            return (pieces,)
        plain = tuple(takewhile(lambda piece: id(piece) not in self._rights, pieces))
        if plain:
            return (plain,)
        fds = array.array("i", [self._rights[id(pieces[0])][1].fd])
        return pieces[:1], ([(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)],)

    def take_account(self) -> None:
        """Take out of `out` what the kernel has taken; repeating it gives the same result."""
        pieces, sent = self.attempt
        if not sent:
            return
        out, left = self.out, sent[0]
        for piece in pieces:
            first = bool(out) and out[0] is piece  # else this has been done
            if left < len(piece):
                if first and left:
                    out[0] = memoryview(piece)[left:]
                break
            left -= len(piece)
            if piece is self.last[2]:  # though another sender may have taken it out of `out` and been interrupted then
                self.last = (*self.last[:2], None)
            if first:
                self._rights.pop(id(piece), None)
                out.popleft()
        self.attempt = ((), sent)

    def take_now(self, take: Take) -> bool:
        """Read once, and have all that has come taken; False: what is left, or went wrong, is for `receive`.

        That is what nearly always comes for a caller that waits, so it is done in as few steps as there can be.
        """
        chunks, taken, decoder, size = self._chunks, self._taken, self._decoder, self._read_size
        self.dry = False
        if chunks or self.frames or decoder.rest or decoder.head is not None:
            return False
        taken[0], self._undo = 0, _NOTHING_TO_UNDO
        try:
            chunks.extend(map(self._read, (size,)))
        except OSError as error:
            self.dry = type(error) is BlockingIOError
            return False
        found = chunks[0]
        take(found, taken)
        if not 0 < taken[0] == len(found) < size:
            return False
        self.was_full = False
        chunks.clear()  # from here on it has been received
        return True

    def receive(self, take: Take | None = None) -> None:
        """Read what has come, and put the frames that are complete into `frames`.

        Args:
            take: handles what it can of the bytes, in front, before frames are made of the rest.
        """
        decoder, chunks, taken, size = self._decoder, self._chunks, self._taken, self._read_size
        try:
            if chunks:
                self._rewind()
                take = None
            elif decoder.head is None:
                taken[0] = 0
                self._undo = (decoder.state() if decoder.rest else None, len(self.frames))
                chunks.extend(map(self._read, (size,)))
            else:
                taken[0] = 0
                place = decoder.direct()  # which may be elsewhere than before, also to go back to
                self._undo = (decoder.state(), len(self.frames))
                chunks.extend(map(self.end.read_into, (place,)))
            found = chunks[0]
            if type(found) is bytes:
                count = len(found)
                self.was_full = count == size
                if count >= wire.LEAST_READ or size != wire.LEAST_READ:
                    self._read_size = wire.next_read(size, count, self.most_read)
                if count:
                    self._split(found, take)
            else:
                count = found
                self.frames.extend(decoder.received(count))
            chunks.clear()  # from here on it has been received
            self._undo = _NOTHING_TO_UNDO  # it may hold what is large
            if len(self.fds) > _MOST_FDS:
                raise wire.WireError("more descriptors than segments")
        except (BlockingIOError, InterruptedError):
            self.dry = True
            return
        except OSError:
            self.ended = True
            return
        except wire.WireError as error:
            chunks.clear()
            count = -1
            self.fault = ProtocolError(str(error))
            self.frames.extend(error.frames)
        self.dry = False
        self.ended = count == 0

    def _split(self, found: bytes, take: Take | None) -> None:
        decoder, taken = self._decoder, self._taken
        if (take is not None and not self.frames) or taken[0]:
            if decoder.rest:
                found = decoder.take_rest() + found
            if take is not None:
                take(found, taken)
            if taken[0] == len(found):  # nearly always
                return
            found = found[taken[0] :]
        self.frames.extend(decoder.split(found))

    def _rewind(self) -> None:
        """What was read has perhaps been decoded, and that was interrupted: it will be decoded once more."""
        state, count = self._undo
        self._decoder.restore(state)
        while len(self.frames) > count:
            self.frames.pop()

    def close(self) -> None:
        """Close it."""
        self.out.clear()
        self.broken = True
        for fd in self.fds:
            with contextlib.suppress(OSError):  # one that was lost in transit
                os.close(fd)
        self.fds.clear()
        self._rights.clear()
        self.end.close()
        self._read = lambda _: self.end.read(0)  # its own number may be that of another file


def _holds(pieces: Iterable[memoryview | bytes], begin: bytes) -> bool:
    """Whether one of these is the beginning of a frame, or what is left of that."""
    return any(piece is begin or (type(piece) is memoryview and piece.obj is begin) for piece in pieces)

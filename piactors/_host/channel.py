"""The host's end of a channel: a non-blocking socket, its frames, and what waits to be written."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections import deque
from itertools import islice, takewhile
from typing import Protocol

from piactors.errors import ProtocolError
from piactors.pihost import segments, wire

_MOST_BUFFERS = 64
_MOST_FDS = 64
JOIN_UP_TO = 32_768


class Channel(Protocol):
    """What an isolate needs of a channel; there is one over a socket and one in memory."""

    def send(self, kind: int, flags: int, generation: int, seq: int, payload: wire.Payload) -> bool:
        """Send a frame without blocking; False where part of it has to wait for `flush`."""

    def flush(self) -> bool:
        """Write what waits; False while some still does."""

    dry: bool
    """Whether the last `receive` found nothing to read."""
    ended: bool
    """Whether the last `receive` met the end of the stream."""
    fault: ProtocolError | None
    """What the peer did wrong, once what came before that has been returned."""

    frames: deque[wire.Frame]
    """What has been received and not been taken out yet."""

    def receive(self) -> None:
        """Add the frames that one read completes to `frames`."""


class HasDescriptor(Protocol):
    """What a descriptor is sent of; it stays open until then."""

    @property
    def fd(self) -> int:
        """The descriptor."""


class SocketChannel:
    """A channel over a connected stream socket.  Not thread-safe: callers hold a lock to send, and one to receive.

    `receive` may be cut short by a KeyboardInterrupt, in the thread of a caller: what it had read stays, and the
    next one goes on from there, or finds the stream `torn`.
    """

    def __init__(self, sock: socket.socket, max_frame: int, *, takes_fds: bool = False) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fds: list[int] = []
        """Descriptors that came along, in their order."""
        self._takes_fds = takes_fds
        self._rights: dict[int, HasDescriptor] = {}
        self._decoder = wire.FrameDecoder(max_frame)
        self._read_size = wire.LEAST_READ
        self._chunks: list[bytes] = []
        self._decoding = False
        self.frames: deque[wire.Frame] = deque()
        self.out: deque[memoryview | bytes] = deque()
        """What waits to be written."""
        self.held_back = 0
        """Bytes that wait although the socket may have room, to leave together."""
        self.broken = False
        self.dry = False
        self.ended = False
        self.fault: ProtocolError | None = None

    def fileno(self) -> int:
        """Return the socket's descriptor, or -1 once closed."""
        return self.sock.fileno()

    def send(self, kind: int, flags: int, generation: int, seq: int, payload: wire.Payload) -> bool:
        """See `Channel`."""
        head = wire.header(kind, flags, generation, seq, len(payload))
        if self.out or len(payload) > JOIN_UP_TO:
            self.out.append(head)
            if payload:
                self.out.append(memoryview(payload))
            return self.flush()
        data = head + payload
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.broken = True
            return True
        if sent == len(data):
            return True
        self.out.append(memoryview(data)[sent:])
        return False

    def refused(self, error: OSError) -> int:
        """Say that the socket has taken nothing: it is full, or the peer is gone."""
        self.broken = self.broken or not isinstance(error, BlockingIOError)
        return 0

    def hold_back(self, kind: int, flags: int, generation: int, seq: int, payload: wire.Payload) -> int:
        """Queue a frame without writing it; returns how many bytes are held back by now."""
        self.out.append(wire.header(kind, flags, generation, seq, len(payload)) + payload)
        self.held_back += wire.HEADER_SIZE + len(payload)
        return self.held_back

    def send_descriptor(self, kind: int, generation: int, seq: int, segment: HasDescriptor) -> bool:
        """Send a frame without a payload and a descriptor, which is kept until then; see `send`."""
        if self.broken:
            return True
        head = wire.header(kind, 0, generation, seq, 0)
        self._rights[id(head)] = segment
        self.out.append(head)
        return self.flush()

    def _receive_with_fds(self, size: int) -> bytes:
        data, ancillary, flags, _ = self.sock.recvmsg(size, socket.CMSG_SPACE(_MOST_FDS * 4))
        self.fds.extend(segments.received_descriptors(ancillary, flags))
        return data

    def flush(self) -> bool:
        """See `Channel`; what a dead peer will never read is dropped."""
        self.held_back = 0
        while self.out and not self.broken:
            data = self._joined()
            try:
                sent = self._send_with_rights(data) if self._rights else self.sock.sendmsg(data)
            except BlockingIOError:
                return False
            except OSError:
                self.broken = True
                break
            self._consume(sent)
        if self.broken:
            self.out.clear()
        return True

    def _send_with_rights(self, data: list[memoryview | bytes]) -> int:
        """Send up to the next piece that has a descriptor to go along, or that piece alone."""
        plain = list(takewhile(lambda piece: id(piece) not in self._rights, data))
        if plain:
            return self.sock.sendmsg(plain)
        fds = array.array("i", [self._rights[id(data[0])].fd])
        sent = self.sock.sendmsg(data[:1], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        del self._rights[id(data[0])]
        return sent

    def _joined(self) -> list[memoryview | bytes]:
        return list(islice(self.out, _MOST_BUFFERS))

    def _consume(self, sent: int) -> None:
        while sent:
            first = self.out.popleft()
            if sent < len(first):
                self.out.appendleft(memoryview(first)[sent:])
                return
            sent -= len(first)

    def receive(self) -> None:
        """See `Channel`."""
        count = 1
        try:
            if self._decoding:
                raise wire.WireError("the reading of a frame was interrupted")
            target = None if self._decoder.head is None else self._decoder.direct()
            if target is not None:
                self._decoding = True
                count = self.sock.recv_into(target)
                self.frames.extend(self._decoder.received(count))
            else:
                if not self._chunks:
                    # One step for Python, so that no KeyboardInterrupt comes between the reading and the keeping.
                    read = self._receive_with_fds if self._takes_fds else self.sock.recv
                    self._chunks.extend(map(read, (self._read_size,)))
                count = len(self._chunks[0])
                if count >= wire.LEAST_READ or self._read_size != wire.LEAST_READ:
                    self._read_size = wire.next_read(self._read_size, count)
                self._decoding = True
                if count:
                    self.frames.extend(self._decoder.feed(self._chunks[0]))
                self._chunks.clear()
                if len(self.fds) > _MOST_FDS:
                    raise wire.WireError("more descriptors than segments")
        except (BlockingIOError, InterruptedError):
            self._decoding = False
            self.dry = True
            return
        except OSError:
            self.ended = True
            return
        except wire.WireError as error:
            self.fault = ProtocolError(str(error))
            self.frames.extend(error.frames)
        self._decoding = False
        self.dry = False
        self.ended = count == 0

    def close(self) -> None:
        """Close the socket."""
        self.out.clear()
        self.broken = True
        for fd in self.fds:
            with contextlib.suppress(OSError):  # one that was lost on its way
                os.close(fd)
        self.fds.clear()
        self._rights.clear()
        with contextlib.suppress(OSError):
            self.sock.close()

"""The host's end of a channel: a non-blocking socket, its frames, and what waits to be written."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from typing import Protocol

from piactors.errors import ProtocolError
from piactors.pihost import wire

_MOST_BUFFERS = 64


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

    def receive(self, scratch: bytearray) -> list[wire.Frame]:
        """Return the frames that one read completes."""


class SocketChannel:
    """A channel over a connected stream socket.  Not thread-safe in sending: callers hold a lock."""

    def __init__(self, sock: socket.socket, max_frame: int) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._decoder = wire.FrameDecoder(max_frame)
        self._out: deque[memoryview | bytes] = deque()
        self.broken = False
        self.dry = False
        self.ended = False
        self.fault: ProtocolError | None = None

    def fileno(self) -> int:
        """Return the socket's descriptor, or -1 once closed."""
        return self.sock.fileno()

    @property
    def backlog(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._out)

    @property
    def unsent_bytes(self) -> int:
        """How many bytes wait to be written."""
        return sum(map(len, self._out))

    @property
    def unsent(self) -> int:
        """How many pieces wait to be written."""
        return len(self._out)

    def send(self, kind: int, flags: int, generation: int, seq: int, payload: wire.Payload) -> bool:
        """See `Channel`."""
        self._out.append(wire.header(kind, flags, generation, seq, len(payload)))
        if payload:
            self._out.append(memoryview(payload))
        return self.flush()

    def flush(self) -> bool:
        """See `Channel`; what a dead peer will never read is dropped."""
        while self._out and not self.broken:
            buffers = [self._out[index] for index in range(min(len(self._out), _MOST_BUFFERS))]
            try:
                sent = self.sock.sendmsg(buffers)
            except BlockingIOError:
                return False
            except OSError:
                self.broken = True
                break
            self._consume(sent)
        if self.broken:
            self._out.clear()
        return True

    def _consume(self, sent: int) -> None:
        while sent:
            first = self._out.popleft()
            if sent < len(first):
                self._out.appendleft(memoryview(first)[sent:])
                return
            sent -= len(first)

    def receive(self, scratch: bytearray) -> list[wire.Frame]:
        """See `Channel`."""
        try:
            target = self._decoder.direct()
            if target is not None:
                count = self.sock.recv_into(target)
                frames = self._decoder.received(count)
            else:
                count = self.sock.recv_into(scratch)
                frames = self._decoder.feed(memoryview(scratch)[:count]) if count else []
        except (BlockingIOError, InterruptedError):
            self.dry = True
            return []
        except OSError:
            self.ended = True
            return []
        except wire.WireError as error:
            self.fault = ProtocolError(str(error))
            frames, count = error.frames, 1
        self.dry = False
        self.ended = count == 0
        return frames

    def close(self) -> None:
        """Close the socket."""
        self._out.clear()
        self.broken = True
        with contextlib.suppress(OSError):
            self.sock.close()

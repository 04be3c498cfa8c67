"""Blocking frame streams of the child side: the data channel and the control channel."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional

from ..memory import descriptors
from . import wire

if TYPE_CHECKING:
    from .spin import Spinner

_JOIN_UP_TO = 32768
_pack = wire.HEADER.pack


class FrameStream:
    """A connected socket that carries frames.  One thread reads; any thread may send."""

    def __init__(
        self, sock: socket.socket, max_frame: int = 0xFFFFFFFF, waits_when_gone: bool = False, takes_fds: bool = False
    ) -> None:
        sock.setblocking(True)  # whatever time-out is the default of this process's sockets
        self.sock = sock
        self.fds: Deque[int] = deque()
        """Descriptors that came along, in order."""
        self._takes_fds = takes_fds
        self.generation = 0
        self.spin: Optional[Spinner] = None
        """How to wait for what comes next; None to sleep."""
        self._waits_when_gone = waits_when_gone
        self._decoder = wire.FrameDecoder(max_frame)
        self._read_size = wire.LEAST_READ
        self._frames: Deque[wire.Frame] = deque()
        self._lock = threading.Lock()  # a frame of one thread must not begin within a frame of another one

    def belong_to(self, generation: int) -> None:
        """What is sent from now on is of this generation."""
        self.generation = generation

    def wait_with(self, spin: Spinner) -> None:
        """Wait for frames awake for a moment, as this says."""
        self.spin = spin

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self.sock.fileno()

    def cut(self, refuse: Callable[..., Any]) -> None:
        """In a fork of the isolate: close this copy, and have `refuse` raise when somebody would use it."""
        self.sock.close()
        while self.fds:
            os.close(self.fds.popleft())
        refusals: Dict[str, Any] = {"send": refuse, "send_descriptor": refuse, "next": refuse}
        self.__dict__.update(refusals)

    def next(self) -> Optional[wire.Frame]:
        """Return the next frame, waiting for it; None when the peer has closed its end."""
        frames = self._frames
        while not frames:
            spin = self.spin
            if spin is None or not spin.wait():
                alive = self._receive()
            else:
                alive = self._receive()
                spin.came()
            if not alive:
                return None
        return frames.popleft()

    def ready(self) -> List[wire.Frame]:
        """Return the frames already here after one more receive, which must not block."""
        alive = self._receive()
        frames = list(self._frames)
        self._frames.clear()
        if not alive and not frames:
            raise EOFError
        return frames

    def send(self, kind: int, flags: int = 0, seq: int = 0, payload: wire.Payload = b"") -> None:
        """Send one frame, whole, waiting while the peer's buffer is full."""
        size = len(payload)
        head = _pack(size, kind, flags, self.generation & 0xFFFF, seq)
        try:
            with self._lock:
                if size <= _JOIN_UP_TO:
                    self.sock.sendall(head + payload)
                else:
                    self.sock.sendall(head)
                    self.sock.sendall(payload)
        except OSError:
            if not self._waits_when_gone:
                raise
            # The host is gone.  The control thread ends this process, and all that is below it.
            threading.Event().wait()

    def send_descriptor(self, kind: int, seq: int, fd: int) -> None:
        """Send a frame without a payload, and a descriptor with it."""
        with self._lock:
            descriptors.send_descriptor(self.sock, wire.header(kind, 0, self.generation, seq, 0), fd)

    def _receive_with_fds(self) -> bytes:
        data, ancillary, flags, _ = self.sock.recvmsg(self._read_size, socket.CMSG_SPACE(64 * 4))
        self.fds.extend(descriptors.received_descriptors(ancillary, flags))
        return data

    def _receive(self) -> bool:
        target = None if self._decoder.head is None else self._decoder.direct()
        if target is not None:
            count = self.sock.recv_into(target)
            self._frames.extend(self._decoder.received(count))
        else:
            data = self._receive_with_fds() if self._takes_fds else self.sock.recv(self._read_size)
            count = len(data)
            if count >= wire.LEAST_READ or self._read_size != wire.LEAST_READ:
                self._read_size = wire.next_read(self._read_size, count)
            if count:
                self._frames.extend(self._decoder.feed(data))
        return count > 0

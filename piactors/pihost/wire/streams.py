"""Blocking frame streams of the child side: the data channel and the control channel."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, List, Optional, Union

from ..memory import descriptors
from . import wire
from .ends import PipeEnd, SocketEnd

if TYPE_CHECKING:
    from .spin import Spinner

JOIN_UP_TO = 32768
_pack = wire.HEADER.pack


class FrameStream:
    """Carries frames over one end of a channel.  One thread reads; any thread may send."""

    def __init__(
        self,
        end: Union[SocketEnd, PipeEnd],
        max_frame: int = 0xFFFFFFFF,
        waits_when_gone: bool = False,
        takes_fds: bool = False,
    ) -> None:
        end.set_blocking(True)  # whatever time-out is the default of this process's sockets
        self.end = end
        self.fds: Deque[int] = deque()
        """Descriptors that came along, in order."""
        self._takes_fds = takes_fds
        self.generation = 0
        self.spin: Optional[Spinner] = None
        """How to wait for what comes next; None to sleep."""
        self._waits_when_gone = waits_when_gone
        self._decoder = wire.FrameDecoder(max_frame)
        self._read_size = wire.LEAST_READ
        self._is_stopped = False
        self.frames: Deque[wire.Raw] = deque()
        """What has come and was not asked for yet."""
        self.lock = threading.Lock()  # a frame of one thread must not begin within a frame of another one

    def belong_to(self, generation: int) -> None:
        """What is sent from now on is of this generation."""
        self.generation = generation & 0xFFFF

    def wait_with(self, spin: Spinner) -> None:
        """Wait for frames awake for a moment, as this says."""
        self.spin = spin

    def fileno(self) -> int:
        """Return the descriptor to wait at for what comes."""
        return self.end.fileno()

    def stop(self) -> None:
        """Have nothing be read any more: a thread that waits for the next frame gets None."""
        self._is_stopped = True
        self.end.interrupt()

    def cut(self, refuse: Callable[..., Any]) -> None:
        """In a fork of the isolate: close this copy, and have `refuse` raise when somebody would use it."""
        self.end.close()
        while self.fds:
            os.close(self.fds.popleft())
        self.__dict__.update(dict.fromkeys(("send", "send_descriptor", "next", "next_raw"), refuse))

    def next(self) -> Optional[wire.Frame]:
        """Return the next frame, waiting for it; None when the peer has closed its end."""
        found = self.next_raw()
        return None if found is None else wire.Frame(*found)

    def next_raw(self) -> Optional[wire.Raw]:
        """Return the next frame as `next` does, as a tuple."""
        frames = self.frames
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
        frames = [wire.Frame(*frame) for frame in self.frames]
        self.frames.clear()
        if not alive and not frames:
            raise EOFError
        return frames

    def send(self, kind: int, flags: int = 0, seq: int = 0, payload: wire.Payload = b"") -> None:
        """Send one frame, whole, waiting while the peer's buffer is full."""
        size, lock = len(payload), self.lock
        head = _pack(size, kind, flags, self.generation, seq)
        lock.acquire()  # not `with`, which takes twice as long
        try:
            if size <= JOIN_UP_TO:
                data = head + payload
                sent = self.end.write(data)
                if sent != len(data):
                    self.send_rest(data, sent)
            else:
                self.end.make_room()
                sent = self.end.write_pieces((head, payload))  # at once: the reader would wake for the head alone
                if sent < len(head):
                    self.send_rest(head, sent)
                    sent = len(head)
                self.send_rest(payload, sent - len(head))
        except OSError:
            self.gone()
        finally:
            lock.release()

    def gone(self) -> None:
        """The host is gone, while its error is handled: the control thread ends this process, and all below it.

        Raises:
            OSError: that error, if this is to be known here.
        """
        if not self._waits_when_gone:
            raise
        threading.Event().wait()

    def send_rest(self, data: wire.Payload, sent: int) -> None:
        """Send what is left of data, under the lock."""
        view = memoryview(data)
        while sent < len(view):
            sent += self.end.write(view[sent:])

    def send_descriptor(self, kind: int, seq: int, fd: int) -> None:
        """Send a frame without a payload, and a descriptor with it."""
        with self.lock:
            assert isinstance(self.end, SocketEnd)
            descriptors.send_descriptor(self.end.sock, wire.header(kind, 0, self.generation, seq, 0), fd)

    def _receive_with_fds(self) -> bytes:
        assert isinstance(self.end, SocketEnd)
        data, ancillary, flags, _ = self.end.sock.recvmsg(self._read_size, socket.CMSG_SPACE(64 * 4))
        self.fds.extend(descriptors.received_descriptors(ancillary, flags))
        return data

    def _receive(self) -> bool:
        decoder = self._decoder
        if decoder.head is not None:
            count = self.end.read_into(decoder.direct())
            if not self._is_stopped:
                self.frames.extend(decoder.received(count))
        else:
            size = self._read_size
            data = self._receive_with_fds() if self._takes_fds else self.end.read(size)
            count = len(data)
            if count >= wire.LEAST_READ or size != wire.LEAST_READ:
                self._read_size = wire.next_read(size, count)
            if count and not self._is_stopped:
                self.frames.extend(decoder.split(data))
        return count > 0 and not self._is_stopped

"""Blocking frame streams of the child side: the data channel and the control channel."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Callable, Deque, Iterable, List, Optional, Tuple, Union

from ..memory import descriptors
from ..memory.chunks import bytes_of
from . import wire
from .ends import PipeEnd, SocketEnd

if TYPE_CHECKING:
    from .spin import Spinner

JOIN_UP_TO = 32768
_MOST_BUFFERS = 64
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
        self.idle: Any = None
        """The same, for who waits for the next frame, whatever that is."""
        self._waits_when_gone, self._ender = waits_when_gone, 0
        self._decoder = wire.FrameDecoder(max_frame)
        self._read_size = wire.LEAST_READ
        self._is_stopped = False
        self.frames: Deque[wire.Raw] = deque()
        """What has come and was not asked for yet."""
        self._aside: Deque[wire.Raw] = deque()
        """What came while an answer was waited for, if `idle` has to see to something before it is run."""
        self.lock = threading.Lock()  # a frame of one thread must not begin within a frame of another one

    def belong_to(self, generation: int) -> None:
        """What is sent from now on is of this generation."""
        self.generation = generation & 0xFFFF

    def wait_with(self, spin: Spinner) -> None:
        """Wait for frames awake for a moment, as this says."""
        self.spin = self.idle = spin

    def wait_idly_with(self, waiting: Any) -> None:
        """Wait in this way, for as long as it lasts, for the next frame that is to be run."""
        self.idle = waiting

    def take_back(self) -> bool:
        """Put what came while an answer was waited for in front of what comes; whether there was something."""
        found = bool(self._aside)
        self.frames.extendleft(reversed(self._aside))
        self._aside.clear()
        return found

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
        self.__dict__.update(dict.fromkeys(("send", "send_pieces", "send_descriptor", "next", "next_raw"), refuse))

    def next(self) -> Optional[wire.Frame]:
        """Return the next frame, waiting for it; None when the peer has closed its end."""
        found = self.next_raw()
        return None if found is None else wire.Frame(*found)

    def next_raw(self) -> Optional[wire.Raw]:
        """Return the next frame as `next` does, as a tuple."""
        frames = self.frames
        while not frames:
            idle = self.idle
            if idle is None or not idle.wait():
                alive = bool(frames) or self._receive()
            else:
                alive = self._receive()
                idle.came()
            if not alive:
                return None
        return frames.popleft()

    def next_of(
        self, kinds: Tuple[int, ...], seq: int, timeout: Optional[float], again: bool = False
    ) -> Optional[wire.Raw]:
        """Return one frame as `_next_of` does, and set aside what came before it if `idle` has to see to something."""
        found = self._next_of(kinds, seq, timeout, again)
        if self.idle is not self.spin:
            if found is not None and found[0] == wire.NEST:  # what came before it is run now
                self.take_back()
            else:
                self._aside.extend(self.frames)
                self.frames.clear()
        return found

    def _next_of(self, kinds: Tuple[int, ...], seq: int, timeout: Optional[float], again: bool) -> Optional[wire.Raw]:
        """Return the frame of one of these kinds with a number, waiting for it; None if `timeout` seconds pass first.

        What comes before it stays, to be returned by `next`.  If the peer has closed its end, this never returns.

        Args:
            again: whether it may have come already; otherwise it is the answer to what was asked just now.

        Raises:
            RuntimeError: if nothing is read any more.
        """
        if again and self._aside:
            self.take_back()
        frames, spin, looked = self.frames, self.spin, 0 if again else len(self.frames)
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            while looked < len(frames):
                found = frames[looked]
                if found[0] in kinds and found[3] == seq:
                    del frames[looked]
                    return found
                looked += 1
            if until is not None and not self._has_come(until - time.monotonic()):
                return None
            asleep = until is None and spin is not None and spin.wait()
            alive = self._receive()
            if asleep and spin is not None:
                spin.came()
            if not alive:
                if self._is_stopped:
                    raise RuntimeError("this isolate ends: nothing is answered any more")
                threading.Event().wait()  # the control thread ends this process

    def _has_come(self, seconds: float) -> bool:
        """Wait until there is something to read; False if these seconds pass first."""
        import select  # which only who waits with a limit needs

        poll = select.poll()
        poll.register(self.end.fileno(), select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

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

    def send_pieces(self, kind: int, flags: int, seq: int, pieces: Iterable[wire.Payload]) -> None:
        """Send one frame whose payload is these pieces, none of which is copied."""
        views = deque(filter(None, map(bytes_of, pieces)))
        size = sum(map(len, views))
        views.appendleft(memoryview(_pack(size, kind, flags, self.generation, seq)))
        with self.lock:
            try:
                self.end.make_room()
                while views:
                    sent = self.end.write_pieces(list(islice(views, _MOST_BUFFERS)))
                    while views and sent >= len(views[0]):
                        sent -= len(views.popleft())
                    if sent:
                        views[0] = views[0][sent:]
            except OSError as error:
                if error.errno == errno.EFAULT:  # of a file that was cut short: nothing can follow half a frame
                    raise
                self.gone()

    def ended_by(self, ident: int) -> None:
        """The thread with this number ends the process when the host is gone."""
        self._ender = ident

    def gone(self) -> None:
        """The host is gone, while its error is handled: the control thread ends this process, and all below it.

        Raises:
            OSError: that error, if this is to be known here.
        """
        if not self._waits_when_gone or threading.get_ident() == self._ender:
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

    def receive_once(self) -> bool:
        """Read once, into `frames`, and wait for that; False at the end."""
        return self._receive()

    def _receive_with_fds(self) -> bytes:
        assert isinstance(self.end, SocketEnd)
        data, ancillary, flags, _ = self.end.sock.recvmsg(self._read_size, socket.CMSG_SPACE(64 * 4))
        self.fds.extend(descriptors.received_descriptors(ancillary, flags))
        return data

    def _receive(self) -> bool:
        if self._is_stopped:
            return False
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

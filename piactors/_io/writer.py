"""The writing of one channel, from any thread: at once when the socket has room, else when the loop says so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from piactors._io.channel import JOIN_UP_TO, Channel, HasDescriptor
from piactors._io.loop import Loop, Share
from piactors._platform import reentry
from piactors._platform.reentry import Reentered
from piactors.pihost.wire import wire

_pack = wire.HEADER.pack


class Writer:
    """Writes frames of one generation to one channel.  Its lock is held for single steps, and is the innermost.

    Args:
        lock: of whoever sends, who holds it already then; None: it has one of its own.
    """

    def __init__(
        self,
        loop: Loop | Share,
        channel: Channel,
        number: int,
        want_write: Callable[[bool], None],
        lock: threading.RLock | None = None,
    ) -> None:
        self._loop = loop
        self._channel = channel
        self._number = number
        self._want_write = want_write
        # Frames must not mix; a signal handler must not wait for its own thread.
        held: Any = reentry.lock() if lock is None else lock
        self._lock = held
        self._is_mine: Callable[[], bool] = held._is_owned if lock is None else bool

    def send(self, kind: int, flags: int, seq: int, payload: wire.Payload) -> None:
        """Send one frame; never blocks."""
        if self._is_mine():
            raise Reentered("an isolate")
        try:
            with self._lock:
                size = len(payload)
                if size <= JOIN_UP_TO:
                    frame = _pack(size, kind, flags, self._number & 0xFFFF, seq) + payload
                    self.send_frames([frame], seq, aside=kind in wire.ASIDE)
                    return
                had_backlog = bool(self._channel.out)  # then the loop tells when there is room
                wait = not self._channel.send(kind, flags, self._number, seq, payload) and not had_backlog
            if wait:
                self._loop.call_soon(self._want_write, True)
        except BaseException:
            self._loop.call_soon(self._mend)
            raise

    def send_frames(self, frames: list[bytes], seq: int, *, aside: bool = False) -> None:
        """Send whole frames in one piece, under the lock; never blocks.

        Args:
            seq: the number of the last one, by which `has_taken` is asked whether they have left.
            aside: whether nobody asks that of this one, but of the message before it.
        """
        channel, out = self._channel, self._channel.out
        if channel.broken:
            return
        try:
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            if aside:
                channel.keep_last()
            else:
                channel.last = (seq, 0, data)
            if out:
                out.append(data)
                channel.flush()  # if there is no room yet, the loop tells when there is
                return
            # Nearly always: in as few steps as there can be.
            sent: list[int] = []
            channel.attempt = ((data,), sent)
            out.append(data)
            try:
                sent.extend(map(channel.end.write, (data,)))  # one step for Python
            except OSError as error:
                channel.refused(error)
            if sent and sent[0] == len(data):
                out.popleft()
                return
            if channel.broken:
                out.clear()
                return
            channel.take_account()
            self._loop.call_soon(self._want_write, True)
        except BaseException:
            self._loop.call_soon(self._mend)
            raise

    def send_descriptor(self, kind: int, seq: int, segment: HasDescriptor) -> None:
        """Send a frame without a payload, and a descriptor with it; never blocks."""
        if self._is_mine():
            raise Reentered("an isolate")
        try:
            with self._lock:
                had_backlog = bool(self._channel.out)
                wait = not self._channel.send_descriptor(kind, self._number, seq, segment) and not had_backlog
            if wait:
                self._loop.call_soon(self._want_write, True)
        except BaseException:
            self._loop.call_soon(self._mend)
            raise

    def _mend(self) -> None:
        """On the loop: a sender was interrupted by a KeyboardInterrupt; send what it had to leave."""
        with self._lock:
            done = self._channel.flush()
        self._want_write(not done)

    def has_taken(self, seq: int, payload: wire.Payload) -> bool:
        """Whether a message has left, or is among what leaves next."""
        with self._lock:
            return self._channel.has_taken(seq, payload)

    def write(self) -> None:
        """Write what waits, on the loop: there is room."""
        with self._lock:
            done = self._channel.flush()
        if done:
            self._want_write(False)
            with self._lock:
                again = bool(self._channel.out)
            if again:
                self._want_write(True)

    def unsent_bytes(self) -> int:
        """How many bytes the kernel has not taken yet."""
        with self._lock:
            return sum(map(len, self._channel.out))

    def close(self) -> None:
        """Close the channel, and its socket."""
        with self._lock:
            self._channel.close()

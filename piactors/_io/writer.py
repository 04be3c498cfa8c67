"""The writing of one channel, from any thread: at once when the socket has room, else when the loop says so.

Messages that follow each other closely may be held back for a moment, to leave in one system call.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from piactors._io.channel import JOIN_UP_TO, HasDescriptor, SocketChannel
from piactors._io.loop import Loop, Share
from piactors._platform import reentry
from piactors._platform.reentry import Reentered
from piactors.pihost.wire import wire

HOLD_SECONDS = 50e-6
"""How long a message may be held back, when a thread sends many and others are in flight already."""
_HOLD_BYTES = 32_768
_pack = wire.HEADER.pack


class Writer:
    """Writes frames of one generation to one channel.  Its lock is held for single steps, and is the innermost."""

    def __init__(
        self, loop: Loop | Share, channel: SocketChannel, number: int, want_write: Callable[[bool], None]
    ) -> None:
        self._loop = loop
        self._channel = channel
        self._number = number
        self._want_write = want_write
        self._lock = reentry.lock()  # frames must not mix; a signal handler must not wait for its own thread
        self._is_mine: Callable[[], bool] = self._lock._is_owned
        self._last_write = 0.0
        self._flush_due = False

    def send(self, kind: int, flags: int, seq: int, payload: wire.Payload) -> None:
        """Send one frame; never blocks."""
        channel, out = self._channel, self._channel.out
        if self._is_mine():
            raise Reentered("an isolate")
        try:
            with self._lock:
                if not out and len(payload) <= JOIN_UP_TO:  # nearly always: in as few steps as there can be
                    data = _pack(len(payload), kind, flags, self._number & 0xFFFF, seq) + payload
                    sent: list[int] = []
                    channel.last = (seq, id(payload), data)
                    channel.attempt = ((data,), sent)
                    out.append(data)
                    try:
                        sent.extend(map(channel.sock.send, (data,)))  # one step for Python
                    except OSError as error:
                        channel.refused(error)
                    if channel.broken:
                        out.clear()
                        return
                    if sent and sent[0] == len(data):
                        out.popleft()
                        return
                    channel.take_account()
                    wait = True
                else:
                    had_backlog = bool(out) and not channel.held_back  # then the loop tells when there is room
                    wait = not channel.send(kind, flags, self._number, seq, payload) and not had_backlog
            if wait:
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

    def send_soon(self, kind: int, flags: int, seq: int, payload: wire.Payload) -> None:
        """Send one frame of many: now, or together with those that follow it within `HOLD_SECONDS`.

        What is held back leaves at the latest with `flush` or the loop's next turn.
        """
        channel = self._channel
        if self._is_mine():
            raise Reentered("an isolate")
        try:
            with self._lock:
                now = time.monotonic()
                waits_for_room = channel.out and not channel.held_back
                if waits_for_room or len(payload) > _HOLD_BYTES or now - self._last_write > HOLD_SECONDS:
                    had_backlog = bool(channel.out) and not channel.held_back  # then the loop tells when there is room
                    self._last_write = now
                    wait = not channel.send(kind, flags, self._number, seq, payload) and not had_backlog
                    due = False
                else:
                    held = channel.hold_back(kind, flags, self._number, seq, payload)
                    wait = held > _HOLD_BYTES and not self._flush_now()
                    due, self._flush_due = not self._flush_due, True
            if wait:
                self._loop.call_soon(self._want_write, True)
            elif due:
                self._loop.call_soon(self._flush_held)
        except BaseException:
            self._loop.call_soon(self._mend)
            raise

    def flush(self) -> None:
        """Send what is held back."""
        if self._channel.held_back and not self._is_mine():
            try:
                with self._lock:
                    done = self._flush_now()
                if not done:
                    self._loop.call_soon(self._want_write, True)
            except BaseException:
                self._loop.call_soon(self._mend)
                raise

    def _flush_now(self) -> bool:
        self._last_write = time.monotonic()
        return self._channel.flush()

    def _flush_held(self) -> None:
        self._flush_due = False
        self.flush()

    def _mend(self) -> None:
        """On the loop: a sender was interrupted by a KeyboardInterrupt; send what it had to leave."""
        self._flush_due = False
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

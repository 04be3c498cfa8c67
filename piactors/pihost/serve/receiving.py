"""The receiver's end of one direct channel."""

from __future__ import annotations

import contextlib
import socket

from ..wire import direct, wire

_READ = 65536
_pack = wire.HEADER.pack


class ReceivingEnd:
    """The receiver's end of one channel.

    Args:
        number: of the channel.
        place: its own in the page.
    """

    def __init__(self, number: int, place: int, sock: socket.socket) -> None:
        direct.prepare(sock)
        self.number, self.place, self.sock = number, place, sock
        self.base = direct.call_number(number, 0)
        self.rest = b""
        self.is_over = False
        """Whether nothing more comes."""
        self.is_closed = False
        """Whether nothing of it begins any more: the host has said so to its sender."""
        self._send = sock.send

    def receive(self) -> bytes:
        """Read once, and return what has come and was not taken."""
        data = self._read()
        self.is_over = not data
        while len(data) % _READ == 0 and data:  # there is more
            more = self._read(direct.NO_WAIT)
            if not more:
                break
            data += more
        rest = self.rest
        return rest + data if rest else data

    def _read(self, flags: int = 0) -> bytes:
        try:
            return self.sock.recv(_READ, flags)
        except OSError:
            return b""

    def answer(self, kind: int, flags: int, call: int, payload: bytes = b"") -> None:
        """Send an answer, whole; if nobody is there any more it goes nowhere."""
        frame = _pack(len(payload), kind, flags, 0, call - self.base) + payload
        try:
            count = self._send(frame, direct.NO_SIGNAL)
            while count != len(frame):
                frame = frame[count:]
                count = self._send(frame, direct.NO_SIGNAL)
        except OSError:
            pass

    def keep(self, rest: bytes) -> None:
        """This has been read and is a part of a message, or is not to be run."""
        self.rest = rest

    def give_up(self) -> None:
        """What comes is of another version, or not of ours at all: the host takes it from here."""
        self.is_over = True

    def begin_no_more(self) -> None:
        """Let nothing of it begin."""
        self.is_closed = True

    def listen_no_more(self) -> None:
        """Let nothing more be sent to it; what was sent can be read, and answered."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Have the sender see the end, after the answers; also if a fork has a copy of this end."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

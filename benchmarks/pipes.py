"""What a call is compared with: a process that returns what comes through a bare `multiprocessing.Pipe`."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import time
from types import TracebackType
from typing import Any, Self

# A fresh interpreter holds no copy of this process's sockets; and this process may run threads, which fork badly.
_context = multiprocessing.get_context("spawn")


class RawPipe:
    """The least that a call to another process can be: pickle, a write, a read, unpickle, and back."""

    def __init__(self, work: float = 0.0) -> None:
        """Start the process, which keeps its processor busy for `work` microseconds before each answer."""
        self.connection, theirs = _context.Pipe()
        self._process = _context.Process(target=_serve, args=(theirs, work), daemon=True)
        self._process.start()
        theirs.close()
        self.call(None)

    @property
    def pid(self) -> int:
        """The pid of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def call(self, value: Any) -> Any:
        """Send a value and wait for it to come back."""
        self.connection.send(value)
        return self.connection.recv()

    def pipelined(self, value: Any, calls: int, window: int) -> None:
        """Make many calls with up to `window` of them under way: more could block both sides forever."""
        ahead = min(window, calls)
        for _ in range(ahead):
            self.connection.send(value)
        for _ in range(calls - ahead):
            self.connection.recv()
            self.connection.send(value)
        for _ in range(ahead):
            self.connection.recv()

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self._process.join(5)
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class RawSocket:
    """The least that a large message without shared memory can be: bytes through a socket, and back."""

    def __init__(self, size: int) -> None:
        """Start the process, which returns `size` bytes at a time."""
        self._sock, theirs = socket.socketpair()
        self._size = size
        self._process = _context.Process(target=_return_bytes, args=(theirs, size), daemon=True)
        self._process.start()
        theirs.close()

    def call(self, value: Any) -> bytearray:
        """Send the bytes of an array, and wait for them to come back into fresh memory."""
        self._sock.sendall(value)
        return _received(self._sock, bytearray(self._size))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._sock.close()
        self._process.join(5)
        self._process.kill()
        self._process.join()


def _received(sock: socket.socket, place: bytearray) -> bytearray:
    view = memoryview(place)
    while view:
        count = sock.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return place


def _return_bytes(sock: socket.socket, size: int) -> None:
    place = bytearray(size)
    with contextlib.suppress(EOFError, KeyboardInterrupt, OSError):
        while True:
            sock.sendall(_received(sock, place))


def keep_busy(microseconds: float) -> None:
    """Compute for a while, as a program does that has something to do between two messages."""
    end = time.perf_counter_ns() + microseconds * 1000
    while time.perf_counter_ns() < end:
        pass


def _serve(connection: Any, work: float) -> None:
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            value = connection.recv()
            if work:
                keep_busy(work)
            connection.send(value)

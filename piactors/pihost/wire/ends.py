"""One end of a channel: a socket, or two pipes, one for each direction.

A small message through a pipe costs the kernel a third of what it costs through a socket, which keeps a buffer of its
own for each; a large one costs twice as much, as writer and reader wait for each other.  So a channel that large
messages have to go through has a socket for each direction in place of a pipe.  What needs to carry descriptors is one
socket.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import sys
from functools import partial
from typing import Any, Callable, List, Sequence

_SET_SIZE = getattr(fcntl, "F_SETPIPE_SZ", 1031)
_LARGE = 1 << 20
"""Bytes that a pipe holds once there was a large message, if the kernel lets this user have so much."""


class SocketEnd:
    """A connected stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.read: Callable[[int], bytes] = sock.recv
        self.read_into: Callable[[Any], int] = sock.recv_into
        self.write: Callable[[Any], int] = sock.send
        self.write_pieces: Callable[..., int] = sock.sendmsg

    def fileno(self) -> int:
        """Return the descriptor to wait at for what comes; -1 once closed."""
        return self.sock.fileno()

    def write_fd(self) -> int:
        """Return the descriptor to wait at for room."""
        return self.sock.fileno()

    def set_blocking(self, blocking: bool) -> None:
        """Say whether reading and writing wait."""
        self.sock.setblocking(blocking)

    def make_room(self) -> None:
        """A large message is to be written."""

    def interrupt(self) -> None:
        """Have this process's own read of it return, in another thread; nothing is read after that."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Close it."""
        with contextlib.suppress(OSError):
            self.sock.close()


class PipeEnd:
    """The ends of two pipes, or of two sockets: one to read from, and one to write to."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._fds: List[int] = [read_fd, write_fd]
        self._is_large = not sys.platform.startswith("linux")
        self.read: Callable[[int], bytes] = partial(os.read, read_fd)
        self.read_into: Callable[[Any], int] = partial(_read_into, read_fd)
        self.write: Callable[[Any], int] = partial(os.write, write_fd)
        self.write_pieces: Callable[[Sequence[Any]], int] = partial(os.writev, write_fd)

    def fileno(self) -> int:
        """Return the descriptor to wait at for what comes; -1 once closed."""
        return self._fds[0] if self._fds else -1

    def write_fd(self) -> int:
        """Return the descriptor to wait at for room; -1 once closed."""
        return self._fds[1] if self._fds else -1

    def set_blocking(self, blocking: bool) -> None:
        """Say whether reading and writing wait; the other end's are not concerned."""
        for fd in self._fds:
            os.set_blocking(fd, blocking)

    def make_room(self) -> None:
        """A large message is to be written: have the kernel take more at once, if it allows that."""
        if self._is_large or not self._fds:
            return
        self._is_large = True
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._fds[1], _SET_SIZE, _LARGE)

    def interrupt(self) -> None:
        """Have this process's own read of it return, in another thread, which has to know that this is the end."""
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(self._fds[0]).st_mode):
                with socket.socket(fileno=os.dup(self._fds[0])) as sock:
                    sock.setblocking(True)  # a default time-out has changed that, of the descriptor as well
                    sock.shutdown(socket.SHUT_RD)
                return
            fd = os.open("/proc/self/fd/{}".format(self._fds[0]), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(fd, b"\0")
            finally:
                os.close(fd)

    def close(self) -> None:
        """Close both: from here on nothing is read or written, as the numbers may be those of other files."""
        fds, self._fds = self._fds, []
        self.read = self.read_into = self.write = self.write_pieces = _closed
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)


def _closed(*_: Any) -> Any:
    raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _read_into(fd: int, view: Any) -> int:
    return os.readv(fd, [view])

"""The least that a start can be: a small process that forks on request, and the child writes one byte.

Run as a program it is the process itself: `python zygote.py DESCRIPTOR`, with a socket that it inherits.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from types import TracebackType
from typing import Self


class Zygote:
    """Holds the small process."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-I", "-S", __file__, str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=(theirs.fileno(),))
        theirs.close()
        self.fork()

    def fork(self) -> None:
        """Have it fork, and wait for the byte of the child."""
        self._socket.sendall(b"f")
        if self._socket.recv(1) != b"c":
            raise RuntimeError("the zygote has ended")

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def serve(descriptor: int) -> None:
    """Fork for each byte, until there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes the children away
    with socket.socket(fileno=descriptor) as connection:
        while connection.recv(1):
            if os.fork() == 0:
                connection.send(b"c")
                os._exit(0)


if __name__ == "__main__":
    serve(int(sys.argv[1]))

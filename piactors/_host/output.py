"""Lines out of a pipe: however they were cut, ended by newline or carriage return, bounded in length."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

MAX_LINE = 65_536
TAIL_LINES = 20
_READ = 65_536


class LineSplitter:
    """Turns chunks into lines.  A line longer than `MAX_LINE` bytes comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that `data` completes."""
        data = self._rest + data
        # A carriage return at the end may be the first half of "\r\n": its line waits for what follows.
        held = data[-1:] if data.endswith(b"\r") else b""
        data = data[: len(data) - len(held)]
        *lines, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        pieces: list[bytes] = []
        for line in lines:
            pieces.extend(_cut(line))
        *long, self._rest = _cut(rest)
        pieces.extend(long)
        self._rest += held
        return [piece.decode("utf-8", "backslashreplace") for piece in pieces]

    def end(self) -> list[str]:
        """Return the last line, where it had no newline."""
        rest, self._rest = self._rest.rstrip(b"\r"), b""
        return [rest.decode("utf-8", "backslashreplace")] if rest else []


def _cut(line: bytes) -> list[bytes]:
    if len(line) <= MAX_LINE:
        return [line]
    return [line[start : start + MAX_LINE] for start in range(0, len(line), MAX_LINE)]


class OutputPipe:
    """The host's end of an isolate's stdout or stderr."""

    def __init__(self, fd: int, on_line: Callable[[str], None]) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._on_line = on_line
        self._splitter = LineSplitter()
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.ended = False

    def read(self) -> bool:
        """Read once; False where there was nothing to read, or the end (then `ended` is set)."""
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        self.ended = not data
        self._pass_on(self._splitter.feed(data) if data else self._splitter.end())
        return bool(data)

    def drain(self) -> None:
        """Read all that is there: nobody writes any more."""
        while self.read():
            pass
        self._pass_on(self._splitter.end())

    def _pass_on(self, lines: list[str]) -> None:
        for line in lines:
            self.tail.append(line[-2000:])
            self._on_line(line)

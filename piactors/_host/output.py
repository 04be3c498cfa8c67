"""Lines out of a pipe: however they were cut, ended by newline or carriage return, bounded in length."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

MAX_LINE = 65_536
TAIL_LINES = 20
TAIL_BYTES = 2_000
_READ = 65_536
_DRAIN_READS = 64  # a pipe holds 64 KiB, or 1 MiB where somebody without privileges has enlarged it
_READS_A_TURN = 8


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
        return [piece.decode("utf-8", "replace") for piece in pieces]

    def end(self) -> list[str]:
        """Return the last line, where it had no newline."""
        rest, self._rest = self._rest, b""
        return [rest.removesuffix(b"\r").decode("utf-8", "replace")] if rest else []


def _cut(line: bytes) -> list[bytes]:
    if len(line) <= MAX_LINE:
        return [line]
    pieces = []
    start = 0
    while len(line) - start > MAX_LINE:
        end = start + MAX_LINE
        for back in range(4):  # not inside a character
            if line[end - back] & 0xC0 != 0x80:
                end -= back
                break
        pieces.append(line[start:end])
        start = end
    return [*pieces, line[start:]]


class OutputPipe:
    """The host's end of an isolate's stdout or stderr.

    `on_lines` gets what one read completes.  Where `wanted` says that nobody can take more just now,
    what is read is thrown away unsplit: a flood must cost less than it takes to write.
    """

    def __init__(self, fd: int, on_lines: Callable[[list[str]], None], wanted: Callable[[], bool]) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._on_lines = on_lines
        self._wanted = wanted
        self._splitter = LineSplitter()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.ended = False

    @property
    def tail(self) -> str:
        """The last lines."""
        return "\n".join(self._tail)

    def read(self) -> None:
        """Read what is there, a few times at most: other pipes wait too.  At the end, `ended` is set."""
        for _ in range(_READS_A_TURN):
            if not self._read_once():
                return

    def drain(self) -> None:
        """Read what is there.  No more than a pipe holds: another isolate may have been lent its other end."""
        for _ in range(_DRAIN_READS):
            if not self._read_once():
                break
        self._pass_on(self._splitter.end())

    def _read_once(self) -> bool:
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._take(data)
        else:
            self._pass_on(self._splitter.end())
        self.ended = not data
        return bool(data)

    def _take(self, data: bytes) -> None:
        if self._wanted():
            self._pass_on(self._splitter.feed(data))
            return
        self._splitter = LineSplitter()
        self._tail.extend(LineSplitter().feed(data[-TAIL_BYTES:])[-TAIL_LINES:])

    def _pass_on(self, lines: list[str]) -> None:
        if lines:
            self._tail.extend(line[-TAIL_BYTES:] for line in lines[-TAIL_LINES:])
            self._on_lines(lines)

"""Lines out of a pipe: however they were cut, ended by newline or carriage return, bounded in length."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Protocol

MAX_LINE = 65_536
TAIL_LINES = 20
TAIL_BYTES = 2_000
_READ = 65_536
_DRAIN_READS = 64  # a pipe holds 64 KiB, or 1 MiB if somebody without privileges has enlarged it
_READS_A_TURN = 8
_LINE_END = re.compile(rb"\r\n|\r|\n")


class LineSplitter:
    """Turns chunks into lines.  A line longer than `MAX_LINE` bytes comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, *, whole: bool = False) -> list[str]:
        """Return the lines that `data` completes.

        Args:
            whole: whether a carriage return at the end stands for itself.  Otherwise it may be the first half of
                "\\r\\n", so its line waits for what follows.
        """
        data = self._rest + data
        held = data[-1:] if data.endswith(b"\r") and not whole else b""
        data = data[: len(data) - len(held)]
        *lines, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        pieces: list[bytes] = []
        for line in lines:
            pieces.extend(_cut(line))
        *long, self._rest = _cut(rest)
        pieces.extend(long)
        self._rest += held
        return [piece.decode("utf-8", "replace") for piece in pieces]

    def clear(self) -> None:
        """Forget the beginning of a line."""
        self._rest = b""

    def end(self) -> list[str]:
        """Return the last line, if it had no newline."""
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


def lines_ended(data: bytes) -> int:
    """Return how many line ends there are, however they are written."""
    returns = data.count(b"\r")
    return data.count(b"\n") + (returns - data.count(b"\r\n") if returns else 0)


def _after(data: bytes, lines: int) -> int:
    """Return where that many lines end."""
    end = next(islice(_LINE_END.finditer(data), lines - 1, None), None)
    return len(data) if end is None else end.end()


class Taker(Protocol):
    """Who takes the lines of a pipe."""

    def on_lines(self, stream: str, lines: list[str]) -> None:
        """Lines have come."""

    def output_room(self) -> int:
        """How many more lines can be taken now."""

    def on_dropped(self, lines: int) -> None:
        """That many lines have come, and could not be taken."""


class OutputPipe:
    """The host's end of an isolate's stdout or stderr.

    What one read completes goes to the taker.  If nothing more can be taken now, what is read is counted and thrown
    away unsplit: a flood must cost less than it takes to write.
    """

    def __init__(self, fd: int, stream: str, taker: Callable[[], Taker]) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._stream = stream
        self._taker = taker
        self._splitter = LineSplitter()
        self._skips = False
        """Whether the end of a line whose beginning was thrown away is still to come."""
        self._held = b""
        """A carriage return that waits for what follows."""
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
        self._end()

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
            self._end()
        self.ended = not data
        return bool(data)

    def _end(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._take_whole(b"\n")
        if self._skips:
            self._skips = False
            self._taker().on_dropped(1)
        self._pass_on(self._splitter.end())

    def _take(self, data: bytes) -> None:
        data = self._held + data
        # It may be the first half of "\r\n"; everything below sees line ends as a whole.
        self._held = b"\r" if data.endswith(b"\r") else b""
        self._take_whole(data[:-1] if self._held else data)

    def _take_whole(self, data: bytes) -> None:
        room = self._taker().output_room()
        if room <= 0:
            self._drop(data)
            return
        if self._skips:
            data = self._skip(data)
        if len(data) > room and lines_ended(data) > room:  # no more than it may be split into, however short they are
            cut = _after(data, room)
            data, rest = data[:cut], data[cut:]
        else:
            rest = b""
        self._pass_on(self._splitter.feed(data, whole=True))
        self._drop(rest)

    def _skip(self, data: bytes) -> bytes:
        """Return what follows the line whose beginning was thrown away."""
        if not lines_ended(data):
            return b""
        self._skips = False
        self._taker().on_dropped(1)
        return data[_after(data, 1) :]

    def _drop(self, data: bytes) -> None:
        if data:
            self._splitter.clear()
            self._skips = not data.endswith((b"\n", b"\r"))
            self._tail.extend(LineSplitter().feed(data[-TAIL_BYTES:])[-TAIL_LINES:])
            self._taker().on_dropped(lines_ended(data))

    def _pass_on(self, lines: list[str]) -> None:
        if lines:
            self._tail.extend(line[-TAIL_BYTES:] for line in lines[-TAIL_LINES:])
            self._taker().on_lines(self._stream, lines)

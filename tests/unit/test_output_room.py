"""Rules of `piactors._io.output.OutputPipe`: what cannot be taken is dropped by whole lines, and counted exactly."""

from __future__ import annotations

import os
import random
import re

import pytest

from piactors._io.output import OutputPipe, lines_ended


class Taker:
    """Has room for so many lines at each look."""

    def __init__(self, rooms: list[int]) -> None:
        self.rooms = rooms
        self.lines: list[str] = []
        self.dropped = 0
        self.most = 0

    def on_lines(self, stream: str, lines: list[str]) -> None:
        self.most = max(self.most, len(lines))
        self.lines += lines

    def output_room(self) -> int:
        return self.rooms.pop(0) if self.rooms else 1000

    def on_dropped(self, lines: int) -> None:
        assert lines >= 0
        self.dropped += lines


def passed(chunks: list[bytes], rooms: list[int]) -> Taker:
    """Send chunks through a pipe, each of them read before the next."""
    taker = Taker(rooms)
    read, write = os.pipe()
    pipe = OutputPipe(read, "stdout", lambda: taker)
    try:
        for chunk in chunks:
            os.write(write, chunk)
            pipe.read()
        os.close(write)
        pipe.drain()
    finally:
        os.close(read)
    return taker


@pytest.mark.parametrize("seed", range(40))
def test_what_is_passed_on_and_what_is_dropped_are_all_lines(seed: int) -> None:
    """However the chunks are cut, and whenever there is no room; what is passed on was written like that."""
    chance = random.Random(seed)
    for _ in range(50):
        pieces = [b"a", b"bc", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r"]
        chunks = [b"".join(chance.choices(pieces, k=chance.randint(1, 12))) for _ in range(chance.randint(1, 10))]
        rooms = [chance.choice([0, 0, 1, 2, 5, 1000]) for _ in range(chance.randint(0, 12))]
        whole = b"".join(chunks)
        written = re.split(rb"\r\n|\r|\n", whole)
        if not written[-1]:
            written.pop()
        taker = passed(chunks, list(rooms))
        assert len(taker.lines) + taker.dropped == len(written), (chunks, rooms, taker.lines, taker.dropped)
        left = iter(written)
        assert all(line.encode() in left for line in taker.lines), (chunks, rooms, taker.lines)


def test_no_more_lines_are_made_than_there_is_room_for() -> None:
    """However short they are: the I/O thread has others to serve."""
    taker = passed([b"\n" * 60_000], [100, 100])
    assert taker.most <= 100
    assert len(taker.lines) + taker.dropped == 60_000


@pytest.mark.parametrize(("data", "ends"), [(b"a\r\nb\rc\nd", 3), (b"", 0), (b"\r\r\n\n", 3), (b"\n\r", 2)])
def test_line_ends_are_counted(data: bytes, ends: int) -> None:
    assert lines_ended(data) == ends

"""Rules of `piactors._io.writer`: messages leave in their order, at once or together, and never later than soon."""

from __future__ import annotations

import functools
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from piactors._io.channel import Channel
from piactors._io.loop import Loop
from piactors._io.writer import Writer
from piactors.pihost.wire import wire
from piactors.pihost.wire.ends import PipeEnd, SocketEnd
from tests.interrupting import Injector
from tests.support import wait_until
from tests.unit.test_loop import on_loop, unexpected


class Side:
    """A writer on a real loop, and the other end."""

    def __init__(self) -> None:
        one, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.loop = Loop(unexpected, unexpected)
        self.loop.start()
        self.channel = Channel(SocketEnd(one), 1 << 24)
        self.writer = Writer(self.loop, self.channel, 1, self._want_write)
        on_loop(self.loop, lambda: self.loop.watch(self.channel.fileno(), self._read, self.writer.write))
        self.decoder = wire.FrameDecoder(1 << 24)
        self.seen: list[int] = []

    def _want_write(self, wanted: bool) -> None:
        self.loop.want_write(self.channel.fileno(), wanted)

    def _read(self) -> None:
        self.channel.receive()

    def arrived(self) -> list[int]:
        """The numbers of all frames that have arrived so far."""
        while True:
            try:
                data = self.peer.recv(1 << 20)
            except BlockingIOError:
                return self.seen
            self.seen += [frame.seq for frame in self.decoder.feed(data)]

    def hold_loop(self) -> threading.Event:
        """Have the loop do nothing until the event is set."""
        held, go = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            go.wait(20)

        self.loop.call_soon(hold)
        assert held.wait(20)
        return go

    def burst(self, first: int, count: int, payload: bytes = b"x") -> None:
        """Send frames in one piece."""
        frames = [wire.encode(wire.CALL, 1, 1, number, payload) for number in range(first, first + count)]
        with self.writer._lock:
            self.writer.send_frames(frames, first + count - 1)

    def close(self) -> None:
        on_loop(self.loop, lambda: self.loop.unwatch(self.channel.fileno()))
        self.writer.close()
        self.peer.close()
        self.loop.stop()


@pytest.fixture
def side() -> Iterator[Side]:
    """A writer and its peer."""
    made = Side()
    yield made
    made.close()


def test_a_message_leaves_at_once(side: Side) -> None:
    """Without the loop."""
    go = side.hold_loop()
    side.writer.send(wire.CALL, 1, 1, b"x")
    assert side.arrived() == [1]
    go.set()


def test_many_leave_in_one_piece(side: Side) -> None:
    """In their order, and before what is sent after them."""
    go = side.hold_loop()
    side.burst(1, 20)
    side.writer.send(wire.CALL, 1, 21, b"x")
    assert side.arrived() == list(range(1, 22))
    go.set()


@pytest.mark.parametrize("size", [10, 5000, 100_000])
def test_a_backlog_leaves_in_order_when_there_is_room(side: Side, size: int) -> None:
    """Of several threads' messages, in the order of each; nobody blocks meanwhile."""
    each = min(5000, 3_000_000 // size // 4)
    began = time.monotonic()

    def send(first: int) -> None:
        for number in range(first, first + each):
            if number % 2:
                side.burst(number, 1, b"x" * size)
            else:
                side.writer.send(wire.CALL, 1, number, b"x" * size)

    threads = [threading.Thread(target=send, args=(number * 1_000_000,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert time.monotonic() - began < 20
    wait_until(lambda: len(side.arrived()) == 4 * each, 30)
    for number in range(4):
        mine = [seq for seq in side.seen if seq // 1_000_000 == number]
        assert mine == list(range(number * 1_000_000, number * 1_000_000 + each))
    wait_until(lambda: side.writer.unsent_bytes() == 0)


def test_a_dead_peer_stops_nobody(side: Side) -> None:
    """What it will never read is dropped."""
    side.peer.close()
    side.burst(1, 1000, b"x" * 1000)
    side.writer.send(wire.CALL, 1, 1, b"x")
    assert side.writer.unsent_bytes() == 0


@pytest.mark.parametrize("size", [10, 40_000])
@pytest.mark.parametrize("way", ["send", "send_frames"])
def test_it_is_known_whether_a_message_leaves_whose_sender_is_interrupted(side: Side, way: str, size: int) -> None:
    """At any instruction, and though the loop has tidied up before the sender asks."""
    at, injector = 0, Injector(0)
    while at == injector.points:
        at, injector = at + 1, Injector(at + 1)
        payload = bytes(size)
        frames = [wire.encode(wire.CALL, 0, 1, at, payload)]
        if way == "send":
            injector.run(functools.partial(side.writer.send, wire.CALL, 0, at, payload))
        else:
            injector.run(functools.partial(side.writer.send_frames, frames, at))
        on_loop(side.loop, lambda: None)
        on_loop(side.loop, lambda: None)
        taken = side.writer.has_taken(at, payload)
        assert taken == (at in side.arrived()), injector.where
    assert at > 20


@pytest.mark.parametrize("size", [0, 5, 100_000])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("kind", sorted(wire.ASIDE))
def test_what_is_sent_beside_a_message_says_nothing_about_that(size: int, full: bool, kind: int) -> None:
    """A sender that was interrupted asks whether its message has left, and other frames may have left since."""
    side = Side()
    if full:
        side.writer.send(wire.CALL, 0, 6, bytes(1 << 22))
    payload = bytes(size)
    side.writer.send(wire.CALL, 0, 7, payload)
    for number in (7, 8):
        side.writer.send(kind, 0, number, bytes(size))
        assert side.writer.has_taken(7, payload)
    assert not side.writer.has_taken(8, payload)
    wait_until(lambda: side.arrived() == [*([6] if full else []), 7, 7, 8])
    assert side.writer.has_taken(7, payload)
    side.close()


@pytest.mark.parametrize("size", [5, 100_000])
@pytest.mark.parametrize("kind", [wire.CALL, wire.RESPONSE])
def test_nothing_is_written_to_what_was_closed(size: int, kind: int, tmp_path: Path) -> None:
    """The number of its descriptor may be that of a file of the program by now."""
    side = Side()
    ours, theirs = os.pipe(), os.pipe()
    end = PipeEnd(theirs[0], ours[1])
    writer = Writer(side.loop, Channel(end, 1 << 24), 1, lambda _: None)
    with open(tmp_path / "file", "w+b") as file:  # before what is closed, so that it does not take that number
        writer.close()
        os.dup2(file.fileno(), ours[1])
        os.dup2(file.fileno(), theirs[0])
        try:
            writer.send(kind, 0, 7, bytes(size))
            for read in (end.read, end.read_into, end.write, end.write_pieces):
                with pytest.raises(OSError, match="Bad file descriptor"):
                    read(b"x")  # type: ignore[operator]
            end.make_room()
            end.close()
            assert (tmp_path / "file").read_bytes() == b""
        finally:
            for fd in (*ours, *theirs):
                os.close(fd)
    side.close()

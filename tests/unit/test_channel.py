"""Rules of `piactors._io.channel`: bytes in their order, frames however they were cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from piactors._io.channel import Channel
from piactors.pihost.wire import wire
from piactors.pihost.wire.ends import SocketEnd

MAX = 1 << 24
Pair = tuple[Channel, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A channel and its peer's socket."""
    one, other = socket.socketpair()
    channel = Channel(SocketEnd(one), MAX)
    yield channel, other
    channel.close()
    other.close()


def reply(seq: int, payload: bytes = b"x") -> bytes:
    return wire.encode(wire.REPLY, 0, 1, seq, payload)


def taken(channel: Channel) -> list[tuple[int, bytes]]:
    found = [(seq, bytes(payload)) for _, _, _, seq, payload in channel.frames]
    channel.frames.clear()
    return found


def read_all(sock: socket.socket) -> bytes:
    sock.setblocking(False)
    found = b""
    while True:
        try:
            data = sock.recv(1 << 20)
        except BlockingIOError:
            return found
        if not data:
            return found
        found += data


def test_a_frame_may_come_byte_by_byte(pair: Pair) -> None:
    """It is there with its last byte, and not before."""
    channel, peer = pair
    data = reply(1, b"hello")
    for byte in data[:-1]:
        peer.send(bytes([byte]))
        channel.receive()
        assert not channel.frames
        assert not channel.dry
    peer.send(data[-1:])
    channel.receive()
    assert taken(channel) == [(1, b"hello")]
    channel.receive()
    assert channel.dry
    assert not channel.ended


def test_many_frames_may_come_at_once(pair: Pair) -> None:
    """With the beginning of one that follows."""
    channel, peer = pair
    more = reply(101, b"later")
    peer.send(b"".join(reply(n, b"%d" % n) for n in range(100)) + more[:7])
    while True:
        channel.receive()
        if channel.dry:
            break
    peer.send(more[7:])
    channel.receive()
    assert taken(channel) == [(n, b"%d" % n) for n in range(100)] + [(101, b"later")]


@pytest.mark.parametrize("size", [wire.DIRECT_FROM - 1, wire.DIRECT_FROM, 3 << 20])
def test_a_large_frame_is_whole_among_small_ones(pair: Pair, size: int) -> None:
    """However its bytes were cut."""
    channel, peer = pair
    body = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    data = memoryview(reply(1) + reply(2, body) + reply(3))
    peer.setblocking(False)
    while len(data):
        try:
            data = data[peer.send(data) :]
        except BlockingIOError:
            channel.receive()
    while not channel.dry:
        channel.receive()
    assert taken(channel) == [(1, b"x"), (2, body), (3, b"x")]


def test_what_came_before_a_fault_counts(pair: Pair) -> None:
    """In the same bytes; the fault is kept."""
    channel, peer = pair
    peer.send(reply(1) + reply(2) + b"\xff" * wire.HEADER_SIZE + reply(3))
    channel.receive()
    assert taken(channel) == [(1, b"x"), (2, b"x")]
    assert channel.fault is not None


def test_the_end_is_seen_after_all_that_came_before(pair: Pair) -> None:
    """And again where it is asked again."""
    channel, peer = pair
    peer.send(reply(1))
    peer.shutdown(socket.SHUT_WR)
    channel.receive()
    assert (len(channel.frames), channel.ended) == (1, False)
    for _ in range(2):
        channel.receive()
        assert channel.ended


def test_bytes_leave_in_their_order_through_a_full_socket(pair: Pair) -> None:
    """Small and large frames."""
    channel, peer = pair
    expected = []
    for number in range(400):
        payload = b"%d " % number * (1 + number * 37 % 2000)
        expected.append(wire.encode(wire.CALL, 1, 1, number, payload))
        channel.send(wire.CALL, 1, 1, number, payload)
    assert not channel.flush()
    found = read_all(peer)
    while not channel.flush():
        found += read_all(peer)
    assert found + read_all(peer) == b"".join(expected)


def test_what_a_dead_peer_will_never_read_is_dropped(pair: Pair) -> None:
    """Nothing waits, and nothing raises."""
    channel, peer = pair
    peer.close()
    assert channel.send(wire.CALL, 0, 1, 1, b"x" * 100_000)
    assert channel.send(wire.CALL, 0, 1, 2, b"x")
    assert channel.flush()
    assert not channel.out

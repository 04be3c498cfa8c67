"""Frames come out of a stream as they went in, however it was cut, and nothing else comes out of it."""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piactors.pihost.wire import wire
from piactors.pihost.wire.wire import HEADER, HEADER_SIZE, KINDS, Frame, FrameDecoder, WireError, encode, header
from tests.tiers import sizes

pytestmark = pytest.mark.timeout(120)

MIB = 1 << 20
MAX_FRAME = 4096
DIRECT_FROM, MAPPED_FROM, FIRST_ALLOCATION = wire.DIRECT_FROM, wire.MAPPED_FROM, wire.FIRST_ALLOCATION

frames_ = st.builds(
    Frame,
    kind=st.sampled_from(sorted(KINDS)),
    flags=st.integers(0, 255),
    generation=st.integers(0, 0xFFFF),
    seq=st.integers(0, 2**64 - 1),
    payload=st.binary(max_size=300),
)


def coded(frames: list[Frame]) -> bytes:
    """Return the stream of these frames."""
    return b"".join(encode(f.kind, f.flags, f.generation, f.seq, f.payload) for f in frames)


class Reader:
    """Feeds a decoder as a channel does: by pieces, directly where it offers a place, or both in turn."""

    def __init__(self, decoder: FrameDecoder, direct: st.DataObject | bool) -> None:
        self.decoder = decoder
        self.direct = direct
        self.largest_place = 0

    def take(self, piece: bytes) -> list[Frame]:
        """Give the decoder a piece of the stream."""
        found: list[Frame] = []
        while piece:
            place = self.decoder.direct()
            if place is not None and self._directly():
                self.largest_place = max(self.largest_place, len(place))
                count = min(len(place), len(piece))
                place[:count] = piece[:count]
                found += [Frame(*frame) for frame in self.decoder.received(count)]
            else:
                count = len(piece)
                found += self.decoder.feed(memoryview(piece))
            piece = piece[count:]
        return found

    def _directly(self) -> bool:
        return self.direct if isinstance(self.direct, bool) else self.direct.draw(st.booleans())


@pytest.fixture(autouse=True, scope="module")
def short_payloads_count_as_large() -> Iterator[None]:
    """Have payloads of test size go the way that large ones go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "DIRECT_FROM", 64)
        patch.setattr(wire, "MAPPED_FROM", 100)
        patch.setattr(wire, "FIRST_ALLOCATION", 16)
        yield


@pytest.fixture
def real_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take that back."""
    monkeypatch.setattr(wire, "DIRECT_FROM", DIRECT_FROM)
    monkeypatch.setattr(wire, "MAPPED_FROM", MAPPED_FROM)
    monkeypatch.setattr(wire, "FIRST_ALLOCATION", FIRST_ALLOCATION)


def pieces_of(data: st.DataObject, stream: bytes) -> list[bytes]:
    """Cut a stream anywhere."""
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    edges = [0, *sorted(cuts), len(stream)]
    return [stream[start:stop] for start, stop in itertools.pairwise(edges)]


# --- what goes in comes out ---------------------------------------------------------------------


@sizes("examples", 100, soak=[3000])
def test_frames_come_out_as_they_went_in_however_the_stream_was_cut(examples: int) -> None:
    settings(max_examples=examples)(given(st.lists(frames_, max_size=8), st.data())(come_out_as_they_went_in))()


def come_out_as_they_went_in(frames: list[Frame], data: st.DataObject) -> None:
    decoder = FrameDecoder(MAX_FRAME)
    reader = Reader(decoder, data)
    found = [frame for piece in pieces_of(data, coded(frames)) for frame in reader.take(piece)]
    assert [frame._replace(payload=bytes(frame.payload)) for frame in found] == frames
    assert not decoder.mid_frame
    assert decoder.direct() is None


@given(st.lists(frames_, min_size=1, max_size=3), st.booleans())
def test_frames_come_out_of_single_bytes(frames: list[Frame], direct: bool) -> None:
    reader = Reader(FrameDecoder(MAX_FRAME), direct)
    found = [frame for byte in coded(frames) for frame in reader.take(bytes((byte,)))]
    assert [frame._replace(payload=bytes(frame.payload)) for frame in found] == frames


@given(frames_, st.data())
def test_a_stream_that_ends_inside_a_frame_says_so(frame: Frame, data: st.DataObject) -> None:
    stream = coded([frame])
    size = data.draw(st.integers(0, len(stream)))
    decoder = FrameDecoder(MAX_FRAME)
    assert Reader(decoder, data).take(stream[:size]) == ([frame] if size == len(stream) else [])
    assert decoder.mid_frame == (0 < size < len(stream))


@given(st.integers(0, 2**32))
def test_a_generation_travels_modulo_65536(generation: int) -> None:
    (frame,) = FrameDecoder(MAX_FRAME).feed(encode(wire.REPLY, 0, generation, 1))
    assert frame.generation == generation % 65536


def test_a_header_is_little_endian_length_kind_flags_generation_number() -> None:
    assert header(7, 1, 0x0203, 0x0405060708090A0B, 0x0C0D0E0F) == bytes.fromhex("0f0e0d0c 07 01 0302 0b0a090807060504")
    assert HEADER_SIZE == 16


def test_an_empty_piece_is_no_end_and_no_frame() -> None:
    decoder = FrameDecoder(MAX_FRAME)
    assert decoder.feed(b"") == []
    assert not decoder.mid_frame
    decoder.feed(header(wire.REPLY, 0, 1, 1, 200))
    assert decoder.received(0) == []
    assert decoder.mid_frame


def test_a_place_asked_for_twice_is_the_same_place() -> None:
    decoder = FrameDecoder(MAX_FRAME)
    decoder.feed(header(wire.REPLY, 0, 1, 1, 100) + b"ab")
    place = decoder.direct()
    assert place is not None
    place[:1] = b"c"
    again = decoder.direct()
    assert again is not None
    assert bytes(again[:1]) == b"c"
    again[:2] = b"de"
    assert decoder.received(2) == []
    (frame,) = decoder.feed(b"f" * 96)
    assert bytes(frame.payload) == b"abde" + b"f" * 96


# --- bounds -------------------------------------------------------------------------------------


def header_with(length: int, kind: int) -> bytes:
    """Return a header that may be none."""
    return struct.pack("<IBBHQ", length, kind, 0, 0, 0)


bad_headers = st.one_of(
    st.builds(header_with, st.integers(MAX_FRAME + 1, 2**32 - 1), st.sampled_from(sorted(KINDS))),
    st.builds(header_with, st.integers(0, MAX_FRAME), st.sampled_from(sorted(set(range(256)) - KINDS))),
)


@pytest.mark.parametrize("length", [0, 1, MAX_FRAME - 1, MAX_FRAME])
def test_a_payload_up_to_the_bound_is_taken(length: int) -> None:
    (frame,) = FrameDecoder(MAX_FRAME).feed(encode(wire.LOG, payload=bytes(length)))
    assert len(frame.payload) == length


@given(bad_headers)
def test_a_header_that_cannot_be_is_refused_as_soon_as_it_is_there(bad: bytes) -> None:
    decoder = FrameDecoder(MAX_FRAME)
    assert decoder.feed(bad[:-1]) == []
    with pytest.raises(WireError):
        decoder.feed(bad[-1:])


@given(st.lists(frames_, max_size=3), bad_headers, st.binary(max_size=40), st.data())
def test_nothing_that_follows_a_wrong_header_is_ever_a_frame(
    frames: list[Frame], bad: bytes, more: bytes, data: st.DataObject
) -> None:
    decoder = FrameDecoder(MAX_FRAME)
    reader = Reader(decoder, data)
    found: list[Frame] = []
    pieces = pieces_of(data, coded(frames) + bad + more)
    with pytest.raises(WireError) as first:
        any(found.extend(reader.take(piece)) for piece in pieces)
    found = [frame._replace(payload=bytes(frame.payload)) for frame in found]
    assert found == frames[: len(found)]
    for again in (b"", coded([Frame(wire.REPLY, 0, 0, 1, b"x")]), more, bad):
        with pytest.raises(WireError) as second:
            decoder.feed(again)
        assert str(second.value) == str(first.value)
    assert decoder.direct() is None


@given(st.lists(frames_, min_size=1, max_size=3), bad_headers)
def test_frames_before_a_wrong_header_are_delivered_however_the_stream_was_cut(frames: list[Frame], bad: bytes) -> None:
    """A reply that is on the wire counts, also where the bytes behind it are wrong and came with it."""
    decoder = FrameDecoder(MAX_FRAME)
    try:
        found = decoder.feed(coded(frames) + bad)
    except WireError as error:
        found = getattr(error, "frames", [])
    assert [frame._replace(payload=bytes(frame.payload)) for frame in found] == frames
    with pytest.raises(WireError):
        decoder.feed(b"")


@sizes("examples", 100, soak=[3000])
def test_any_bytes_are_frames_within_bounds_or_a_wire_error(examples: int) -> None:
    settings(max_examples=examples)(given(st.binary(max_size=400), st.data())(are_frames_or_a_wire_error))()


def are_frames_or_a_wire_error(stream: bytes, data: st.DataObject) -> None:
    decoder = FrameDecoder(MAX_FRAME)
    reader = Reader(decoder, data)
    try:
        for piece in pieces_of(data, stream):
            for frame in reader.take(piece):
                assert len(frame.payload) <= MAX_FRAME
                assert frame.kind in KINDS
    except WireError:
        with pytest.raises(WireError):
            decoder.feed(b"")


def test_the_errors_name_what_was_announced() -> None:
    with pytest.raises(WireError, match="5,000 bytes is announced, but max_frame allows 4,096"):
        FrameDecoder(MAX_FRAME).feed(header_with(5000, wire.REPLY))
    with pytest.raises(WireError, match="kind 99 is not of this protocol"):
        FrameDecoder(MAX_FRAME).feed(header_with(0, 99))


# --- large payloads -----------------------------------------------------------------------------


def growth_in(action: Any) -> int:
    """Return by how many bytes this process has grown after an action, whose result is still held."""
    before = private_bytes()
    held = action()
    grown = private_bytes() - before
    del held
    return grown


def private_bytes() -> int:
    """Return how many bytes of memory of its own this process has."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


@pytest.mark.usefixtures("real_sizes")
@pytest.mark.parametrize("length", [DIRECT_FROM - 1, DIRECT_FROM, DIRECT_FROM + 1, MIB, MIB + 1, 5 * MIB])
@pytest.mark.parametrize("direct", [True, False], ids=["directly", "by-pieces"])
def test_a_large_payload_arrives_whole_with_its_neighbours(length: int, direct: bool) -> None:
    payload = bytes(range(251)) * (length // 251 + 1)
    frames = [
        Frame(wire.REPLY, 0, 3, 1, b"before"),
        Frame(wire.REPLY, 1, 3, 2, payload[:length]),
        Frame(wire.LOG, 0, 3, 0, b""),
    ]
    stream, reader = coded(frames), Reader(FrameDecoder(16 * MIB), direct)
    found: list[Frame] = []
    for start in range(0, len(stream), 50_000):
        found += reader.take(stream[start : start + 50_000])
    assert [frame._replace(payload=bytes(frame.payload)) for frame in found] == frames
    assert (reader.largest_place > 0) == (direct and length >= DIRECT_FROM)


@pytest.mark.usefixtures("real_sizes")
@pytest.mark.parametrize("length", [MAPPED_FROM, 2**32 - 1])
def test_the_word_of_a_header_takes_no_memory(length: int) -> None:
    decoder = FrameDecoder(2**32 - 1)
    assert growth_in(lambda: decoder.feed(header(wire.REPLY, 0, 0, 1, length) + b"x")) < 3 * MIB


@pytest.mark.usefixtures("real_sizes")
def test_a_payload_that_does_not_come_costs_what_has_come() -> None:
    decoder = FrameDecoder(2**32 - 1)
    reader = Reader(decoder, True)

    def act() -> None:
        reader.take(header(wire.REPLY, 0, 0, 1, 2**32 - 1))
        for _ in range(64):
            reader.take(bytes(65536))

    assert 3 * MIB < growth_in(act) < 8 * MIB


@pytest.mark.usefixtures("real_sizes")
def test_a_large_payload_is_in_memory_once() -> None:
    decoder = FrameDecoder(64 * MIB)
    reader = Reader(decoder, True)
    piece = bytes(262_144)
    found: list[Frame] = []

    def act() -> None:
        found.extend(reader.take(header(wire.REPLY, 0, 0, 1, 32 * MIB)))
        for _ in range(128):
            found.extend(reader.take(piece))

    assert 31 * MIB < growth_in(act) < 36 * MIB
    assert len(found[0].payload) == 32 * MIB


@pytest.mark.usefixtures("real_sizes")
@pytest.mark.parametrize("length", [MAPPED_FROM, MAPPED_FROM + 16, 5 * MIB])
def test_memory_of_a_large_payload_ends_where_a_page_does(length: int) -> None:
    """So that what is an array at its end has the alignment that arrays want."""
    reader = Reader(FrameDecoder(64 * MIB), True)
    reader.take(header(wire.REPLY, 0, 0, 1, length))
    (frame,) = reader.take(bytes(length))
    address = ctypes.addressof(ctypes.c_char.from_buffer(frame.payload))
    assert (address + length) % 4096 == 0


@pytest.mark.parametrize("direct", [True, False], ids=["directly", "by-pieces"])
def test_a_process_without_room_for_all_of_a_payload_takes_what_comes(
    direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a header announces may be a lie, and too much for a limit of this process."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(MemoryError, match="a message of 5,000 bytes"):
        wire.mapped(5000)
    reader = Reader(FrameDecoder(MIB), direct)
    assert reader.take(header(wire.REPLY, 0, 0, 1, 5000)) == []
    found = [frame for start in range(0, 5000, 500) for frame in reader.take(bytes([start // 500]) * 500)]
    assert bytes(found[0].payload) == b"".join(bytes([number]) * 500 for number in range(10))


def test_headers_agree_with_the_layout() -> None:
    assert HEADER.size == HEADER_SIZE == struct.calcsize("<IBBHQ")

"""Segments of shared memory: whose they are, who may reuse them, and what of garbage."""

from __future__ import annotations

import fcntl
import gc
import io
import mmap
import os
import pickle
import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piactors.pihost.memory import segments
from piactors.pihost.memory.chunks import IN_PARTS, LEAST, Chunks, ViewReader
from piactors.pihost.memory.leases import FREE, MOST_SEGMENTS, SENT, TAKEN
from piactors.pihost.memory.parts import laid_out, parts_of
from piactors.pihost.memory.segments import BadTable, Parcel, Pool, Table
from piactors.pihost.serve.replies import Replies

pytestmark = pytest.mark.skipif(not segments.available(), reason="no sealed files in memory here")

MIB = 1 << 20


def chunks_of(value: Any) -> Chunks:
    chunks = Chunks()
    pickle.Pickler(chunks, 5, buffer_callback=chunks.take).dump(value)
    return chunks


def raw(size: int, fill: bytes = b"x") -> Chunks:
    chunks = Chunks()
    chunks.write(fill * size)
    return chunks


def loaded(views: list[memoryview]) -> Any:
    return pickle.Unpickler(ViewReader(views[0]), buffers=views[1:]).load()


def word(segment: segments.Segment) -> int:
    found: int = struct.unpack_from("<Q", segment.view)[0]
    return found


def memory_fds() -> int:
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += "piactors-segment" in os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
    return count


class Peers:
    """A sender's pool and the receiver's table, joined without a socket."""

    def __init__(self, most: int = 64 * MIB) -> None:
        self.dropped: list[int] = []
        self.pool = Pool(most, self._drop)
        self.table = Table(2 * most, wary=True)

    def _drop(self, number: int) -> None:
        self.dropped.append(number)
        self.table.drop(number)

    def send(self, chunks: Chunks) -> segments.Received:
        """Send a message for good, as an isolate sends an answer."""
        parcel = self.pool.pack(chunks)
        assert parcel is not None
        return self.take(parcel)

    def take(self, parcel: Parcel) -> segments.Received:
        """Have a packed message received."""
        segment = parcel.segment
        assert segment is not None
        if segment.number not in self.table:
            self.table.add(segment.number, os.dup(segment.fd))
        return self.table.receive(parcel.hand_over(), 1 << 40)


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> Iterator[None]:
    """Leave what was there before to itself: these tests collect garbage often, and each time that takes long."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def peers() -> Iterator[Peers]:
    """Both ends, of whose descriptors nothing may be left."""
    gc.collect()
    before = memory_fds()
    both = Peers()
    yield both
    both.pool.close()
    both.table._maps.clear()
    gc.collect()
    assert memory_fds() <= before


def test_a_segment_is_used_again_once_what_lay_in_it_is_gone(peers: Peers) -> None:
    first = peers.pool.pack(raw(100_000))
    assert first is not None
    segment = first.segment
    assert segment is not None
    received = peers.take(first)
    assert word(segment) == TAKEN
    other = peers.pool.pack(raw(100_000))
    assert other is not None
    assert other.segment is not segment
    del received
    assert word(segment) == FREE
    del other
    third = peers.pool.pack(raw(100_000))
    assert third is not None
    assert len(peers.pool._segments) == 2


def test_the_smallest_segment_that_fits_is_taken(peers: Peers) -> None:
    parcels = [peers.pool.pack(raw(size)) for size in (400_000, 200_000, 300_000)]
    sizes = sorted(parcel.segment.size for parcel in parcels if parcel is not None and parcel.segment is not None)
    for parcel in parcels:
        assert parcel is not None
        peers.take(parcel)
    parcel = peers.pool.pack(raw(190_000))
    assert parcel is not None
    assert parcel.segment is not None
    assert parcel.segment.size == sizes[0]


def test_a_small_message_does_not_occupy_a_segment_many_times_its_size(peers: Peers) -> None:
    peers.send(raw(8 * MIB))
    small = peers.pool.pack(raw(100_000))
    assert small is not None
    assert small.segment is not None
    assert small.segment.size < MIB


@given(st.integers(1, 1 << 40))
def test_sizes_are_rounded_up_by_a_quarter_or_64_kib_at_most(need: int) -> None:
    size = segments._rounded(need)
    assert need <= size <= max(need + LEAST, need + need // 4 + 1)


def test_the_pool_keeps_its_bound_and_says_none_beyond_it() -> None:
    peers = Peers(MIB)
    held = [parcel for _ in range(50) if (parcel := peers.pool.pack(raw(100_000))) is not None]
    assert 5 <= len(held) <= 10
    assert sum(segment.size for segment in peers.pool._segments) <= MIB
    assert peers.pool.pack(raw(2 * MIB)) is None


def test_free_segments_are_retired_for_a_message_of_another_size() -> None:
    peers = Peers(MIB)
    numbers = []
    for _ in range(8):
        numbers.append(peers.send(raw(100_000)))
    assert len(peers.pool._segments) == 8
    numbers.clear()
    received = peers.send(raw(900_000))
    assert len(received) >= 900_000
    assert len(peers.dropped) >= 7  # as many as it takes
    assert len(peers.table._maps) == 9 - len(peers.dropped)


def test_there_are_never_more_than_so_many_segments() -> None:
    peers = Peers(1 << 30)
    kept = []
    for _ in range(MOST_SEGMENTS):
        kept.append(peers.send(raw(70_000)))
    assert peers.pool.pack(raw(70_000)) is None
    kept.pop()
    assert peers.pool.pack(raw(70_000)) is not None
    kept.clear()
    for size in range(70_000, 70_000 * 200, 700_000):  # sizes that no old one fits
        peers.send(raw(size))
        assert len(peers.pool._segments) <= MOST_SEGMENTS
        assert set(peers.table._maps) <= {segment.number for segment in peers.pool._segments}


def test_descriptors_are_gone_with_the_pool() -> None:
    gc.collect()
    before = memory_fds()
    peers = Peers()
    kept = [peers.send(raw(100_000)) for _ in range(10)]
    assert memory_fds() > before
    del peers, kept
    gc.collect()
    assert memory_fds() == before


def test_a_segment_whose_message_nobody_took_is_let_go(peers: Peers) -> None:
    parcel = peers.pool.pack(raw(100_000))
    assert parcel is not None
    segment = parcel.segment
    assert segment is not None
    segment.mark(SENT)
    assert not segment.is_free
    del parcel
    peers.send(raw(100_000))
    assert segment not in peers.pool._segments
    assert peers.dropped == [1]


def test_what_the_receiver_holds_stays_taken_when_the_sender_forgets_the_message(peers: Peers) -> None:
    parcel = peers.pool.pack(raw(100_000))
    assert parcel is not None
    segment = parcel.segment
    assert segment is not None
    segment.mark(SENT)
    peers.table.add(segment.number, os.dup(segment.fd))
    received = peers.table.receive(parcel.table, MIB)
    del parcel
    assert word(segment) == TAKEN
    assert not segment.is_free
    del received
    assert segment.is_free


def test_what_a_dead_receiver_had_taken_is_let_go_once_its_message_is_settled(peers: Peers) -> None:
    """Also where the message was still known when the process ended."""
    parcel = peers.pool.pack(raw(100_000))
    assert parcel is not None
    segment = parcel.segment
    assert segment is not None
    segment.mark(TAKEN)
    peers.pool.keep_pinned()
    assert peers.pool._segments == [segment]
    del parcel
    peers.send(raw(100_000))
    assert peers.dropped == [1]


def test_a_closed_pool_packs_nothing(peers: Peers) -> None:
    peers.send(raw(100_000))
    peers.pool.close()
    assert peers.pool.pack(raw(100_000)) is None


@pytest.mark.parametrize("how", ["slice", "array", "view of an array", "reversed", "bytearray", "second of two"])
def test_a_segment_is_given_back_when_the_last_object_in_it_is_gone(peers: Peers, how: str) -> None:
    value: Any = np.arange(100_000)
    if how == "bytearray":
        value = pickle.PickleBuffer(bytearray(400_000))
    if how == "second of two":
        value = [np.arange(100_000), np.arange(100_000)]
    parcel = peers.pool.pack(chunks_of(value))
    assert parcel is not None
    segment = parcel.segment
    assert segment is not None
    received: Any = peers.take(parcel)
    held: Any = received.chunks()[1][5:9] if how == "slice" else loaded(received.chunks())
    del received
    if how == "view of an array":
        held = held[10:20]
    if how == "reversed":
        held = held.reshape(100, 1000).T[::-1, ::7]
    if how == "second of two":
        held = held[1]
    gc.collect()
    assert word(segment) == TAKEN
    del held
    assert word(segment) == FREE


@pytest.mark.process
def test_a_forked_copy_of_the_receiver_gives_nothing_back(peers: Peers) -> None:
    parcel = peers.pool.pack(raw(100_000))
    assert parcel is not None
    segment = parcel.segment
    assert segment is not None
    received = peers.take(parcel)
    pid = os.fork()
    if pid == 0:
        del received
        gc.collect()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert word(segment) == TAKEN
    del received
    assert word(segment) == FREE


@pytest.mark.process
def test_a_forked_copy_of_the_sender_frees_nothing(peers: Peers) -> None:
    parcel = peers.pool.pack(raw(100_000))
    assert parcel is not None
    segment = parcel.segment
    assert segment is not None
    segment.mark(SENT)
    pid = os.fork()
    if pid == 0:
        del parcel
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert word(segment) == SENT
    assert not segment.unread


# --- garbage ------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_refused(data: bytes) -> None:
    try:
        number, entries = segments.parse(data)
    except BadTable:
        return
    assert len(data) == 8 + 16 * len(entries)
    assert 0 <= number < 1 << 32


NUMBERS = st.one_of(st.integers(0, 300_000), st.integers(0, (1 << 64) - 1), st.sampled_from([63, 64, 65, 65535, 65536]))


@settings(deadline=None)
@given(st.integers(0, 3), st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=5))
def test_a_table_never_reaches_out_of_its_segment(number: int, places: list[tuple[int, int]]) -> None:
    peers = Peers()
    peers.send(raw(100_000))
    size = peers.pool._segments[0].size
    data = struct.pack("<II", number, len(places)) + b"".join(struct.pack("<QQ", *place) for place in places)
    try:
        views = peers.table.receive(data, 200_000).chunks()
    except BadTable:
        return
    assert number == 1
    assert all(start >= 64 and start + length <= size for start, length in places)
    assert [len(view) for view in views] == [length for _, length in places]
    assert sum(map(len, views)) <= 200_000


def sealed(size: int, seals: int = 7) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def refuses(table: Table, number: int, fd: int) -> None:
    with pytest.raises(BadTable):
        table.add(number, fd)
    if fd >= 0:
        with pytest.raises(OSError):
            os.fstat(fd)


def pipe_end() -> int:
    read, write = os.pipe()
    os.close(write)
    return read


@pytest.mark.parametrize(
    "make",
    [
        lambda: sealed(100_000, 0),
        lambda: sealed(100_000, fcntl.F_SEAL_GROW),
        lambda: sealed(0),
        lambda: sealed(64),
        lambda: sealed(1 << 50),
        lambda: sealed(MIB + 1),
        pipe_end,
        lambda: -1,
        lambda: os.open("/dev/zero", os.O_RDWR),
        lambda: os.open(sys.executable, os.O_RDONLY),
        lambda: os.open("/proc/self/mem", os.O_RDONLY),
        lambda: os.open("/", os.O_RDONLY),
        lambda: sealed(100_000, 7 | fcntl.F_SEAL_WRITE),
    ],
    ids=[
        "unsealed",
        "may-shrink",
        "empty",
        "head-only",
        "huge",
        "over-the-bound",
        "pipe",
        "lost",
        "zero",
        "file",
        "mem",
        "folder",
        "read-only",
    ],
)
def test_what_is_no_segment_is_refused_and_closed(make: Any) -> None:
    refuses(Table(MIB, wary=True), 1, make())


def test_a_number_is_used_once_and_the_bound_is_for_all() -> None:
    table = Table(MIB, wary=True)
    table.add(1, sealed(600_000))
    refuses(table, 1, sealed(100_000))
    refuses(table, 2, sealed(600_000))
    table.drop(1)
    table.add(2, sealed(600_000))


def test_more_segments_than_there_may_be_are_refused() -> None:
    table = Table(1 << 30, wary=True)
    for number in range(MOST_SEGMENTS):
        table.add(number, sealed(100))
    refuses(table, MOST_SEGMENTS, sealed(100))


def test_a_segment_cannot_be_cut_short_by_either_side() -> None:
    segment = segments.Segment(1, 100_000)
    for size in (0, 4096, 200_000):
        with pytest.raises(PermissionError):
            os.ftruncate(segment.fd, size)
    mmap.mmap(segment.fd, 100_000).close()


# --- values -------------------------------------------------------------------------------------------


def arrays() -> st.SearchStrategy[Any]:
    dtypes = st.sampled_from(["<f8", ">i4", "u1", "c16", "M8[s]", "S7", "U3", "?", [("a", "<i4"), ("b", "<f8")]])
    sizes = st.sampled_from([0, 1, 100, 8191, 8192, 8193, 70_000])

    def made(dtype: Any, size: int, how: str) -> Any:
        array = np.zeros(size * 2, dtype).view()
        array[: size // 3] = np.ones(size // 3, "u1").astype("?") if dtype == "?" else np.zeros(size // 3, dtype)
        if array.dtype.kind in "fiu":
            array[:] = np.arange(len(array)) % 251
        if how == "F":
            return np.asfortranarray(array.reshape(2, -1))
        if how == "strides":
            return array[::2]
        if how == "reversed":
            return array[::-1]
        if how == "read-only":
            array.flags.writeable = False
        return array

    return st.builds(made, dtypes, sizes, st.sampled_from(["C", "F", "strides", "reversed", "read-only"]))


SIZES = st.sampled_from([0, 1, 255, 65_535, 65_536, 65_537, 200_000])
LEAVES = st.one_of(
    arrays(),
    SIZES.map(lambda size: os.urandom(8) * (size // 8) + b"r" * (size % 8)),
    SIZES.map(lambda size: bytearray(b"b" * size)),
    SIZES.map(lambda size: "\u00e9" * size),
    SIZES.map(lambda size: pickle.PickleBuffer(bytearray(b"p" * size))),
    st.integers(),
    st.none(),
    st.just(np.array([1, "x", None], dtype=object)),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray):
        return (
            found.dtype == expected.dtype
            and found.shape == expected.shape
            and found.flags.writeable == expected.flags.writeable
            and found.flags.f_contiguous == expected.flags.f_contiguous
            and bool((found == expected).all())
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    return bool(found == expected)  # a large PickleBuffer comes back as a view, which equals the bytes


@settings(deadline=None, max_examples=150)
@given(VALUES)
def test_values_come_through_a_segment_as_they_come_through_a_pickle(value: Any) -> None:
    expected = pickle.loads(pickle.dumps(value, 5))
    peers = Peers()
    chunks = chunks_of(value)
    assert chunks.nbytes == sum(memoryview(part).nbytes for part in [*chunks.pieces, *chunks.apart])
    received = peers.send(chunks)
    assert len(received) == chunks.nbytes
    assert same(loaded(received.chunks()), expected)


@settings(deadline=None, max_examples=150)
@given(VALUES)
def test_values_come_in_parts_as_they_come_through_a_pickle(value: Any) -> None:
    """The way of what is large and finds no segment."""
    chunks = chunks_of(value)
    payload = b"".join(laid_out(chunks))
    parts = parts_of(bytearray(payload))
    assert (parts is not None) == bool(chunks.apart)
    assert same(loaded(parts or [memoryview(payload)]), pickle.loads(pickle.dumps(value, 5)))


@given(st.integers(0, 40), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**64 - 1), max_size=4))
def test_a_table_that_says_what_is_not_there_is_refused(rest: int, count: int, lengths: list[int]) -> None:
    for claimed in (count, len(lengths)):
        payload = struct.pack(f"<BxxxI{len(lengths)}Q", IN_PARTS, claimed, *lengths) + bytes(rest)
        try:
            parts = parts_of(payload)
        except ValueError as error:
            assert "cut short" in str(error)
        else:
            assert parts is not None
            assert [part.nbytes for part in parts] == [*lengths, *(0 for _ in parts)][:claimed]  # the rest is zeros


def test_parts_lie_as_arrays_want_it() -> None:
    chunks = chunks_of([np.ones(LEAST + 1, np.uint8), b"x", np.ones(LEAST, np.float64)])
    payload = bytearray(b"".join(laid_out(chunks)))
    parts = parts_of(payload)
    assert parts is not None
    start = np.frombuffer(payload, np.uint8).ctypes.data
    places = [np.frombuffer(part, np.uint8).ctypes.data - start for part in parts]
    assert len(payload) % 16 == 0
    assert all(place % 16 == 0 for place in places[1:])


@given(st.binary(max_size=300), st.lists(st.integers(0, 50), max_size=20))
def test_a_view_is_read_as_a_file_is(data: bytes, sizes: list[int]) -> None:
    reader, file = ViewReader(memoryview(data)), io.BytesIO(data)
    for size in sizes:
        assert reader.read(size) == file.read(size)


@given(st.lists(st.one_of(st.binary(max_size=5), SIZES.map(bytes), SIZES.map(bytearray)), max_size=20))
def test_gathered_pieces_are_the_same_message(pieces: list[Any]) -> None:
    chunks = Chunks()
    for piece in pieces:
        chunks.write(piece)
    chunks.gather()
    assert b"".join(chunks.pieces) == b"".join(pieces)
    assert sum(type(piece) is bytes and len(piece) < LEAST for piece in chunks.pieces) <= len(chunks.pieces) // 2 + 1


def test_a_plain_reply_of_many_small_values_is_a_few_pieces() -> None:
    _, chunks = Replies(False, frozenset()).chunks([str(number) for number in range(50_000)])
    assert len(chunks.pieces) == 1

"""The sequence page says what has begun, in an order that leaves no call unaccounted for."""

from __future__ import annotations

import os
import random
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from piactors._platform import memory_file
from piactors._process.host_page import FilePage, HostPage, MappedPage, evidence, open_page
from piactors.pihost.wire import direct
from piactors.pihost.wire import page as wire_page
from piactors.pihost.wire.page import FAULT_OFFSET, MAX_THREADS, SIZE, WINDOW, Fence, SequencePage, Snapshot
from tests.interrupting import Injector

pytestmark = pytest.mark.timeout(60)

BEGUN, SLOTS, CANCELLED = 1, 8, 512
WORDS = SIZE // 8
NONE_DIRECT = (0,) * wire_page.DIRECT_PLACES
per_test = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@pytest.fixture
def fd() -> Iterator[int]:
    """A new page, as the host makes it."""
    made = memory_file.create(SIZE)
    fds = made if isinstance(made, tuple) else (made,)
    yield fds[0]
    for number in fds:
        os.close(number)


@pytest.fixture(params=["mapped", "file"])
def host(fd: int, request: pytest.FixtureRequest) -> Iterator[HostPage]:
    """The host's view of it, either way."""
    found = open_page(os.dup(fd)) if request.param == "mapped" else FilePage(os.dup(fd))
    assert isinstance(found, MappedPage if request.param == "mapped" else FilePage)
    yield found
    found.close()


def words(fd: int) -> list[int]:
    """Return the page as its words."""
    return list(struct.unpack(f"={WORDS}Q", os.pread(fd, SIZE, 0)))


def put(fd: int, index: int, value: int) -> None:
    """Write one word, as a lying isolate may."""
    os.pwrite(fd, struct.pack("=Q", value), index * 8)


# --- the layout ---------------------------------------------------------------------------------


def test_the_areas_of_the_page_do_not_overlap() -> None:
    assert BEGUN < SLOTS
    assert SLOTS + MAX_THREADS <= CANCELLED
    assert CANCELLED + WINDOW <= FAULT_OFFSET // 8
    assert FAULT_OFFSET < SIZE


def test_a_new_page_says_that_nothing_has_begun(fd: int, host: HostPage) -> None:
    assert host.snapshot(MAX_THREADS) == Snapshot(0, frozenset(), NONE_DIRECT)
    assert host.begun() == 0
    assert host.fault_text() == ""
    assert words(fd) == [0] * WORDS


@given(st.integers(0, MAX_THREADS - 1), st.integers(1, 2**64 - 1))
@per_test
def test_a_beginning_writes_two_words_and_no_other(fd: int, slot: int, seq: int) -> None:
    before = words(fd)
    assert SequencePage(fd).begin(slot, seq)
    after = words(fd)
    assert after[BEGUN] == seq
    assert after[SLOTS + slot] == seq
    assert [at for at in range(WORDS) if before[at] != after[at] and at not in (BEGUN, SLOTS + slot)] == []


@given(st.integers(1, 2**64 - 1))
@per_test
def test_giving_up_writes_the_word_of_its_number(fd: int, host: HostPage, seq: int) -> None:
    before = words(fd)
    host.give_up(seq)
    after = words(fd)
    assert after[CANCELLED + seq % WINDOW] == seq
    assert [at for at in range(WORDS) if before[at] != after[at] and at != CANCELLED + seq % WINDOW] == []


def test_the_text_of_a_fault_is_read_without_what_pads_it(fd: int, host: HostPage) -> None:
    os.pwrite(fd, b"Fatal Python error: Segmentation fault\n", FAULT_OFFSET)
    assert host.fault_text() == "Fatal Python error: Segmentation fault\n"


def test_a_fault_text_that_fills_the_page_or_is_no_text_is_still_text(fd: int, host: HostPage) -> None:
    os.pwrite(fd, b"\xff" * (SIZE - FAULT_OFFSET), FAULT_OFFSET)
    assert len(host.fault_text()) == SIZE - FAULT_OFFSET


# --- beginning and giving up ----------------------------------------------------------------------


def test_a_call_that_was_given_up_before_it_began_is_not_run(fd: int, host: HostPage) -> None:
    isolate = SequencePage(fd)
    host.give_up(5)
    assert host.begun() < 5  # so the host says: it will never begin
    assert not isolate.begin(0, 5)
    assert isolate.begin(0, 6)


def test_giving_up_on_a_call_that_has_begun_comes_too_late(fd: int, host: HostPage) -> None:
    isolate = SequencePage(fd)
    assert isolate.begin(0, 5)
    host.give_up(5)
    assert host.begun() >= 5  # so the host says: it goes on


@given(st.integers(1, 2**63), st.integers(1, 3))
@per_test
def test_a_number_a_window_later_is_not_taken_for_the_one_given_up(
    fd: int, host: HostPage, seq: int, windows: int
) -> None:
    host.give_up(seq)
    assert SequencePage(fd).begin(0, seq + windows * WINDOW)
    assert not SequencePage(fd).begin(0, seq)


def test_all_numbers_of_a_window_can_be_given_up_at_once(fd: int, host: HostPage) -> None:
    isolate = SequencePage(fd)
    for seq in range(1, WINDOW + 1):
        host.give_up(seq)
    assert not any(isolate.begin(0, seq) for seq in range(1, WINDOW + 1))
    assert isolate.begin(0, WINDOW + 1)


def test_of_host_and_isolate_at_least_one_sees_the_others_word(fd: int, host: HostPage) -> None:
    """Each call is either known to have begun or not run: a call that is given up and run is seen by the host."""
    isolate = SequencePage(fd)
    rounds, size = 4, WINDOW - 1  # no more than that is ever on its way
    ran = [False] * (rounds * size + 1)
    never = [False] * (rounds * size + 1)
    together = threading.Barrier(2)

    def begin_all() -> None:
        for start in range(1, rounds * size + 1, size):
            together.wait(30)
            for seq in range(start, start + size):
                ran[seq] = isolate.begin(0, seq)

    thread = threading.Thread(target=begin_all)
    thread.start()
    for start in range(1, rounds * size + 1, size):
        together.wait(30)
        for seq in range(start, start + size):
            host.give_up(seq)
            never[seq] = host.begun() < seq
    thread.join()
    assert [seq for seq in range(len(ran)) if never[seq] and ran[seq]] == []


# --- the snapshot ---------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 2**64 - 1)), max_size=12))
@per_test
def test_a_snapshot_says_the_last_of_each_thread_and_the_last_of_all(
    fd: int, host: HostPage, begins: list[tuple[int, int]]
) -> None:
    os.pwrite(fd, bytes(SIZE), 0)
    isolate = SequencePage(fd)
    latest: dict[int, int] = {}
    for slot, seq in begins:
        isolate.begin(slot, seq)
        latest[slot] = seq
    seen = host.snapshot(8)
    assert seen.running == frozenset(latest.values())
    assert seen.begun == (begins[-1][1] if begins else 0) == host.begun()


def test_a_snapshot_looks_at_as_many_threads_as_there_are(fd: int, host: HostPage) -> None:
    isolate = SequencePage(fd)
    isolate.begin(0, 1)
    isolate.begin(1, 2)
    assert host.snapshot(1).running == {1}
    assert host.snapshot(2).running == {1, 2}


@given(st.integers(0, 2**32))
@per_test
def test_garbage_is_read_as_numbers_and_raises_nothing(fd: int, host: HostPage, seed: int) -> None:
    os.pwrite(fd, random.Random(seed).randbytes(SIZE), 0)
    seen = host.snapshot(MAX_THREADS)
    assert 0 <= seen.begun < 2**64
    assert all(0 < seq < 2**64 for seq in seen.running)
    assert isinstance(host.fault_text(), str)


@pytest.mark.parametrize("size", [0, 1, 8, 15, 16, 63, 64, 100])
def test_a_page_that_is_too_short_says_that_nothing_has_begun(size: int) -> None:
    """Where a file cannot be sealed, an isolate may cut it; the host reads it and never maps it."""
    host = open_page(os.memfd_create("short"))
    assert isinstance(host, FilePage)
    try:
        os.ftruncate(host._fd, size)
        assert host.snapshot(8) == Snapshot(0, frozenset(), NONE_DIRECT)
        assert host.begun() == 0
        assert host.fault_text() == ""
    finally:
        host.close()


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="files can be sealed on Linux only")
@pytest.mark.parametrize("size", [0, SIZE - 1, SIZE + 1])
def test_the_file_can_be_neither_cut_nor_grown(fd: int, size: int) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(fd, size)
    with pytest.raises(OSError):
        os.pwrite(fd, b"x", SIZE)


def test_the_file_is_not_inherited_by_other_programs(fd: int) -> None:
    assert not os.get_inheritable(fd)


def test_what_is_written_through_one_end_is_read_through_the_other(fd: int, host: HostPage) -> None:
    other = os.dup(fd)
    try:
        put(other, BEGUN, 7)
        put(other, SLOTS + 3, 7)
    finally:
        os.close(other)
    assert host.snapshot(4) == Snapshot(7, frozenset({7}), NONE_DIRECT)


# --- the fence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("two_rounds", [False, True])
def test_an_interrupt_anywhere_leaves_the_fence_passable(two_rounds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_page, "TWO_ROUNDS", two_rounds)
    fence, at, where = Fence(), 0, "somewhere"
    while where:
        at += 1
        injector = Injector(at)
        injector.run(fence.pass_through)
        where = injector.where
        assert fence.acquire(False), where
        fence.release()
    assert at > 3


# --- what comes directly ------------------------------------------------------------------------


def begin_direct(page: SequencePage, channel: int, number: int, place: int) -> bool:
    lock = threading.Lock()
    lock.acquire()
    begun = page.begin_direct(0, direct.call_number(channel, number), number, place, lock)
    assert not lock.locked()
    return begun


def test_each_channel_has_a_place_of_its_own(fd: int, host: HostPage) -> None:
    page = SequencePage(fd)
    for place in range(wire_page.DIRECT_PLACES):
        assert begin_direct(page, 7 + place, place + 1, place)
    assert host.direct_begun() == tuple(range(1, wire_page.DIRECT_PLACES + 1))
    last = direct.call_number(6 + wire_page.DIRECT_PLACES, wire_page.DIRECT_PLACES)
    assert host.threads(1) == [(last, 0)]
    assert host.begun() == 0
    host.begin_direct(3)
    assert host.direct_begun()[2:5] == (3, 0, 5)
    page.close()


@pytest.mark.parametrize("place", [0, 5, wire_page.DIRECT_PLACES - 1])
def test_what_is_given_up_on_before_it_begins_never_does(fd: int, host: HostPage, place: int) -> None:
    page = SequencePage(fd)
    assert host.give_up_direct(place, 1)
    assert not begin_direct(page, 9, 1, place)
    assert begin_direct(page, 9, 2, place)
    assert not host.give_up_direct(place, 2), "it has begun"
    other = (place + 1) % wire_page.DIRECT_PLACES
    assert begin_direct(page, 10, 1, other), "the place of another channel"
    host.begin_direct(place)
    assert begin_direct(page, 11, 1, place), "another channel has the place"
    page.close()


def test_what_a_page_says_in_the_end(fd: int, host: HostPage) -> None:
    page = SequencePage(fd)
    assert evidence(host, 1) == (0, True, NONE_DIRECT)
    begin_direct(page, 9, 1, 2)
    assert evidence(host, 1).credible, "nothing that came by way of the host has begun"
    page.begin(0, 1)
    assert evidence(host, 1) == (1, True, (0, 0, 1, *NONE_DIRECT[3:]))
    put(fd, SLOTS, 5)
    assert not evidence(host, 1).credible
    put(fd, SLOTS, 0)
    assert not evidence(host, 1).credible
    page.close()


def test_numbers_of_direct_calls() -> None:
    call = direct.call_number(0x7FFFFFFF, direct.LAST)
    assert call < 1 << 64
    assert direct.is_direct(call)
    assert not direct.is_direct((1 << 63) - 1)
    assert (direct.channel_of(call), direct.of_call(call)) == (0x7FFFFFFF, direct.LAST)
    assert direct.unpaired(direct.pair(call, 1) + b"rest") == (call, 1)
    assert direct.tail(direct.pair(call, 1) + b"rest") == b"rest"
    with pytest.raises(ValueError, match="cut short"):
        direct.unpaired(b"x" * 15)

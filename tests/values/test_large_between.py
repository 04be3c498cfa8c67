"""Large values between isolates: in files of memory that the host passes on, without a look into them."""

from __future__ import annotations

import threading
from typing import Any

import numpy
import pytest

from piactors import IsolateCrashed, by_ref
from piactors._codec import passing
from tests.children.large_talk import Giver, Taker
from tests.kept import Kept
from tests.support import wait_until

SECONDS = 20
pytestmark = pytest.mark.usefixtures("all_stopped")
MIB = 1 << 20
SIZES = [262_143, 262_144, 5 * MIB]


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


def pair(**options: Any) -> tuple[Any, Any]:
    taker = Taker.with_options(restart="permanent", max_restarts=None, **options).start()
    return Giver.with_options(**options).start(taker).proxy(), taker


@pytest.fixture(params=["routed", "direct"])
def two(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return pair(channels=request.param)


@pytest.mark.parametrize("size", SIZES)
def test_arrays_there_and_back(two: Any, size: int) -> None:
    giver, _ = two
    assert get(giver.array(size))
    assert get(giver.made(size))
    assert get(giver.received("text", size)) == [size, size]
    assert get(giver.with_ref(size)) == (True, size)


def test_an_array_of_20_mib(two: Any) -> None:
    assert get(two[0].made(20 * MIB))


@pytest.mark.parametrize("size", SIZES)
def test_plain_data_of_isolates_that_are_not_trusted(size: int) -> None:
    """Which goes through the host as it is, and nobody else's descriptors with it."""
    giver, _ = pair(trust="data")
    assert get(giver.received("plain", size)) == size
    assert get(giver.ask("size", b"x" * size)) == size


def test_the_host_looks_into_nothing(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It maps none of it, and gets a few bytes of it."""
    seen: list[int] = []
    take = passing.PassedFiles.take

    def noted(files: Any, table: Any) -> Any:
        seen.append(len(table))
        return take(files, table)

    def never(_: Any) -> Any:
        raise AssertionError("it has looked")

    monkeypatch.setattr(passing.PassedFiles, "take", noted)
    monkeypatch.setattr(passing.PassedOn, "received", never)
    giver, _ = two
    assert get(giver.array(MIB))
    assert get(giver.made(MIB))
    assert len(seen) == 4
    assert max(seen) < 200


@pytest.mark.parametrize("size", SIZES)
def test_what_an_isolate_lends_takes_and_gives_it_too(two: Any, size: int) -> None:
    assert get(two[0].use_lent(size)) == (size, True, size)


def test_a_callback_into_the_host_gets_it_too(two: Any) -> None:
    assert get(two[0].call_back(by_ref(lambda array, text: (int(array.sum()), len(text))), MIB)) == (MIB, MIB)


def test_what_waits_while_its_receiver_dies_goes_to_the_next_process(two: Any) -> None:
    giver, taker = two
    held = threading.Event()
    taker.proxy().hold.defer(by_ref(lambda: held.wait(SECONDS)))
    crash = taker.proxy().die()
    get(giver.tell(5, MIB))
    held.set()
    with pytest.raises(IsolateCrashed):
        get(crash)
    assert get(giver.ask("sizes")) == [MIB + number for number in range(5)]
    assert taker.generation == 2


def test_many_leave_nothing(two: Any) -> None:
    giver, _ = two
    get(giver.many(20, MIB // 2))
    before = Kept.now(giver.actor_ref.pid)
    get(giver.many(200, MIB // 2))
    get(giver.unheard(50, MIB // 2))
    before.no_more()


def test_those_that_are_held_take_no_descriptor(two: Any) -> None:
    get(two[0].many(5, MIB // 2))
    assert get(two[0].keep_many(50, MIB // 2)) <= 1


def test_what_never_begins_is_let_go_of(two: Any) -> None:
    giver, taker = two
    before = 1 << 20
    for number in range(6):
        if number == 1:  # whatever is made once has been made
            before = get(taker.proxy().descriptors())
        held = threading.Event()
        taker.proxy().hold.defer(by_ref(lambda held=held: held.wait(SECONDS)))  # type: ignore[misc]
        assert get(giver.late(MIB)) == "Timeout"
        held.set()
    wait_until(lambda: get(taker.proxy().descriptors()) <= before)


def test_what_is_larger_than_max_frame_is_refused_and_nothing_else_happens() -> None:
    giver, taker = pair(max_frame=2 * MIB)
    pid = giver.actor_ref.pid, taker.pid
    assert get(giver.array(MIB))
    assert get(giver.fail("size", numpy.ones(MIB, "u1"))) == "no error"
    assert "max_frame" in str(giver.call_back(by_ref(len), 3 * MIB).exception(timeout=SECONDS))
    assert "max_frame" in str(giver.made(3 * MIB).exception(timeout=SECONDS))
    assert (giver.actor_ref.pid, taker.pid) == pid


def test_large_exceptions(two: Any) -> None:
    assert get(two[0].fail("raise_large", MIB)) == "LookupError True"


def test_who_has_no_descriptor_left_to_take_it_says_so(two: Any) -> None:
    giver, taker = two
    assert get(giver.made(MIB))
    get(taker.proxy().leave_no_descriptor())
    assert get(giver.fail("size", numpy.ones(MIB, "u1"))).startswith("OSError")
    assert get(giver.ask("size", b"small")) == 5


def test_who_has_no_descriptor_left_to_make_one_sends_it_as_it_is(two: Any) -> None:
    giver, taker = two
    assert get(giver.received("plain", MIB)) == MIB
    get(taker.proxy().leave_no_descriptor())
    assert get(giver.received("plain", MIB)) == MIB

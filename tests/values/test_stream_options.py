"""What the author of a method says of its streams: an actor that runs nothing else meanwhile; what travels together."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from piactors import ActorDeadError, IsolateCrashed, MailboxFull, stream_options
from tests import inside
from tests.children.streaming import Keeper
from tests.support import wait_until

SECONDS = 20


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


@pytest.fixture
def keeper() -> Iterator[Any]:
    ref = Keeper.with_options(restart="permanent").start()
    yield ref
    ref.stop(timeout=SECONDS)


# Exclusive


def test_the_actor_runs_nothing_else_until_the_end(keeper: Any) -> None:
    items = keeper.proxy().kept(100)
    found = [next(items)]
    others = [keeper.proxy().note(f"other {n}") for n in range(50)]
    found += items
    assert found == list(range(100))
    assert [get(other) for other in others] == [f"other {n}" for n in range(50)]
    assert get(keeper.proxy().logged()) == [*range(100), "end", *(f"other {n}" for n in range(50))]


def test_what_was_sent_before_its_first_item_runs_before(keeper: Any) -> None:
    items = keeper.proxy().kept(3)
    calls = [keeper.proxy().note("before") for _ in range(30)]
    assert list(items) == [0, 1, 2]
    assert [get(call) for call in calls] == ["before"] * 30
    log = get(keeper.proxy().logged())
    assert log == ["before"] * 30 + [0, 1, 2, "end"]


def test_it_is_free_once_the_stream_is_closed(keeper: Any) -> None:
    with keeper.proxy().kept(1000) as items:
        assert next(items) == 0
        waiting = keeper.proxy().note("waits")
        assert not waiting.done()
    assert get(waiting) == "waits"


def test_it_is_free_once_nobody_holds_the_stream(keeper: Any) -> None:
    items = keeper.proxy().kept(1000)
    assert next(items) == 0
    waiting = keeper.proxy().note("waits")
    del items
    assert get(waiting) == "waits"


def test_it_is_free_after_an_error(keeper: Any) -> None:
    items = keeper.proxy().kept_fails()
    assert next(items) == 1
    waiting = keeper.proxy().note("waits")
    with pytest.raises(LookupError, match="in the middle"):
        next(items)
    assert get(waiting) == "waits"


def test_it_is_free_after_a_crash(keeper: Any) -> None:
    items = keeper.proxy().kept(1000)
    assert next(items) == 0
    waiting = keeper.proxy().note("waits")
    os.kill(keeper.pid, signal.SIGKILL)
    with pytest.raises(IsolateCrashed):
        list(items)
    assert get(waiting) == "waits"


def test_two_of_them_run_one_after_the_other(keeper: Any) -> None:
    first, second = keeper.proxy().kept(20), keeper.proxy().kept(20)
    assert next(first) == 0
    pending = keeper.proxy().read.with_options(timeout=SECONDS)
    assert list(first) == list(range(1, 20))
    assert list(second) == list(range(20))
    assert get(keeper.proxy().logged()) == [*range(20), "end"] * 2
    del pending


def test_coroutines_too(keeper: Any) -> None:
    async def main() -> list[Any]:
        found: list[Any] = []
        waiting = None
        async for item in keeper.proxy().kept_async(30):
            waiting = waiting or keeper.proxy().note("waits")
            found.append(item)
        assert waiting is not None
        return [*found, await waiting]

    assert asyncio.run(asyncio.wait_for(main(), SECONDS)) == [*range(30), "waits"]
    assert get(keeper.proxy().logged()) == [*range(30), "waits"]


def test_another_isolate_reads_it(keeper: Any) -> None:
    reader = Keeper.start()
    assert get(reader.proxy().read(keeper.proxy().kept(100))) == list(range(100))
    partly = reader.proxy().read_one(keeper.proxy().kept(100))
    assert get(partly) == 0
    assert get(keeper.proxy().note("free again")) == "free again"
    reader.stop(timeout=SECONDS)


def test_a_reader_that_dies_lets_go(keeper: Any) -> None:
    reader = Keeper.with_options(restart="temporary").start()
    kept = keeper.proxy().kept(10**9)
    call = reader.proxy().read(kept)
    wait_until(lambda: get_length(keeper) > 0)
    os.kill(reader.pid, signal.SIGKILL)
    assert call.exception(timeout=SECONDS) is not None
    assert get(keeper.proxy().note("free again")) == "free again"


def get_length(keeper: Any) -> int:
    return int(inside.delivery(keeper).mailbox.last_seq)


def test_a_full_mailbox_does_not_keep_its_requests_out() -> None:
    ref = Keeper.with_options(mailbox_capacity=3, overflow="fail").start()
    items = ref.proxy().kept(200)
    found = [next(items)]
    wait_until(lambda: ref.mailbox_size == 0)  # what was asked for ahead is answered
    others = [ref.proxy().note(n) for n in range(10)]
    assert [*found, *items] == list(range(200))
    outcomes = [other.exception(timeout=SECONDS) for other in others]
    assert outcomes[0] is None
    assert all(error is None or isinstance(error, MailboxFull) for error in outcomes)
    assert sum(error is None for error in outcomes) <= 3
    wait_until(lambda: ref.mailbox_size == 0)
    assert get(ref.proxy().note("free again")) == "free again"
    ref.stop(timeout=SECONDS)


def test_a_request_has_the_time_limit_of_its_method(keeper: Any) -> None:
    items = keeper.proxy().stuck()
    with pytest.raises(IsolateCrashed, match="ran longer than its call_timeout, 0.3 s"):
        list(items)
    assert get(keeper.proxy().note("free again")) == "free again"


@pytest.mark.parametrize("how", ["ref", "itself"])
def test_a_stop_does_not_wait_for_its_end(how: str) -> None:
    """What was sent before the stop runs before it, and what is asked of the stream after it finds nobody."""
    ref = Keeper.with_options(restart="temporary", shutdown_timeout=None).start()
    items = ref.proxy().kept(1000)
    assert next(items) == 0
    others = [ref.proxy().note(n) for n in range(5)]
    if how == "ref":
        assert ref.stop(timeout=SECONDS)
        assert [get(other) for other in others] == list(range(5))
    else:
        inside.delivery(ref).ask_to_stop()
        ref.wait_for_exit(SECONDS)
    with pytest.raises(ActorDeadError):
        list(items)


# Batches


def test_each_item_travels_alone(keeper: Any) -> None:
    assert list(keeper.proxy().one_by_one(50)) == list(range(50))
    before = inside.delivery(keeper).mailbox.last_seq
    assert list(keeper.proxy().one_by_one(50)) == list(range(50))
    assert inside.delivery(keeper).mailbox.last_seq - before >= 50


@pytest.mark.parametrize("seconds", [0.0, 0.004])
def test_so_many_items_travel_together(keeper: Any, seconds: float) -> None:
    """Also if they are slow: they are waited for, and the last ones are those that are left."""
    items = keeper.proxy().fives(23, seconds)
    sizes = []
    for item in items:
        there = len(items._reading.values) + sum(entry[0][2] or 1 for entry in items._reading._encoded)
        sizes.append(there + 1 if item % 5 == 0 else 0)
    assert [size % 5 for size in sizes if size][:4] == [0] * 4


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"exclusive": 1}, TypeError, "exclusive=1"),
        ({"batch": "all"}, TypeError, "batch='all'"),
        ({"batch": 0}, ValueError, "batch=0"),
        ({"batch": 17}, ValueError, "1 to the window, 16"),
        ({"batch": True}, TypeError, "batch=True"),
        ({"batch": None}, TypeError, "batch=None"),
    ],
)
def test_what_is_not_allowed_is_told_at_once(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        stream_options(**options)

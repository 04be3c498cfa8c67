"""Streams: what arrives, in which order, how far their makers are ahead, and how they end."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy
import pytest

import piactors
from piactors import DeadlockError, IsolateCrashed, Moved, NotSendable, ProcessIsolator, Stream, Timeout, by_ref
from tests.children.streaming import Maker, Point, anumbers, numbers
from tests.kept import Kept
from tests.support import wait_until

SECONDS = 20
METHODS = ("count", "acount")


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as found:
        yield found


def read(found: Any, into: list[Any]) -> None:
    """Read all of a stream into a list, which has what came before an error."""
    into.extend(iter(found.__next__, None))


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


def made(ref: Any) -> int:
    return int(get(ref.proxy().about())[0])


def closed(ref: Any) -> list[str]:
    return list(get(ref.proxy().about())[1])


class Gate:
    """Something that a maker waits for; it is let go on by whoever has got what it made before."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self) -> None:
        assert self._event.wait(SECONDS)

    def open(self) -> None:
        self._event.set()

    def open_at_2(self, item: int) -> None:
        if item == 2:
            self.open()


# What arrives


@pytest.mark.parametrize("number", [0, 1, 7, 1000])
@pytest.mark.parametrize("method", METHODS)
def test_all_items_arrive_in_order_each_once(maker: Any, method: str, number: int) -> None:
    found = getattr(maker.proxy(), method)(number)
    assert type(found) is Stream
    assert list(found) == list(range(number))
    assert list(found) == []


def test_many_items(maker: Any) -> None:
    assert list(maker.proxy().wide(100_000)) == list(range(100_000))
    assert sum(maker.proxy().count(10_000, step=2)) == sum(range(0, 20_000, 2))


@pytest.mark.parametrize("method", METHODS)
def test_they_arrive_in_an_event_loop(maker: Any, method: str) -> None:
    async def read() -> list[int]:
        return [item async for item in getattr(maker.proxy(), method)(100)]

    assert asyncio.run(read()) == list(range(100))


def test_an_item_is_what_it_was_when_it_was_yielded(maker: Any) -> None:
    assert list(maker.proxy().one_list(50)) == [list(range(n)) for n in range(1, 51)]


def test_items_of_any_kind(maker: Any) -> None:
    assert list(maker.proxy().mixed()) == [1, "x" * 100_000, [2], b"y" * 200_000, None]
    assert list(maker.proxy().points(20)) == [Point(n) for n in range(20)]
    assert next(maker.proxy().refs()) is maker
    arrays = list(maker.proxy().arrays(5, 1 << 20))
    assert [(array.nbytes, int(array[-1])) for array in arrays] == [(1 << 20, n) for n in range(5)]


@pytest.mark.parametrize("target", ["tests.children.streaming:numbers", "tests.children.streaming:anumbers"])
def test_a_function_that_is_called_by_name_gives_a_stream(target: str) -> None:
    with ProcessIsolator() as isolator:
        assert list(get(isolator.invoke_method(target, 50))) == list(range(50))


@pytest.mark.parametrize("function", [numbers, anumbers])
def test_a_function_that_is_handed_over_gives_a_stream(function: Callable[..., Any]) -> None:
    with ProcessIsolator() as isolator:
        assert list(get(isolator.invoke_method(function, 50))) == list(range(50))


def test_what_is_handed_over_yields_anything_until_something_is_called_by_name() -> None:
    def points(number: int) -> Iterator[Point]:
        for n in range(number):
            yield Point(n)

    with ProcessIsolator() as isolator:
        assert list(get(isolator.invoke_method(points, 3))) == [Point(0), Point(1), Point(2)]
        later = get(isolator.invoke_method(points, 3))
        get(isolator.invoke_method("os:getpid"))
        with pytest.raises(piactors.UntrustedReply):
            list(later)


def test_threads_of_an_actor_keep_the_order() -> None:
    ref = Maker.with_options(concurrency=4).start()
    assert list(ref.proxy().count(2000)) == list(range(2000))
    assert list(ref.proxy().acount(2000)) == list(range(2000))
    ref.stop(timeout=SECONDS)


# When it arrives


@pytest.mark.parametrize("method", ["gated", "agated"])
def test_what_is_there_comes_although_the_next_item_does_not(maker: Any, method: str) -> None:
    """Its maker waits until the items before it have come: buffers anywhere would hold both up."""
    gate = Gate()
    found = getattr(maker.proxy(), method)(by_ref(gate.wait))
    assert [found.get_next(SECONDS), found.get_next(SECONDS)] == [1, 2]
    with pytest.raises(Timeout):
        found.get_next(0.05)
    gate.open()
    assert list(found) == [3]


def test_the_same_between_isolates(maker: Any, other: Any) -> None:
    gate = Gate()
    found = other.proxy().doubled(maker.proxy().gated(by_ref(gate.wait)))
    assert [found.get_next(SECONDS), found.get_next(SECONDS)] == [2, 4]
    gate.open()
    assert list(found) == [6]


def test_the_same_of_what_is_lent(maker: Any) -> None:
    gate = Gate()

    def items() -> Iterator[int]:
        yield 1
        yield 2
        gate.wait()
        yield 3

    found = maker.proxy().doubled(piactors.stream(items()))
    assert [found.get_next(SECONDS), found.get_next(SECONDS)] == [2, 4]
    gate.open()
    assert list(found) == [6]


# How far the maker is ahead


@pytest.mark.parametrize(("method", "window"), [("count", 16), ("narrow", 4), ("wide", 256), ("acount", 16)])
def test_a_maker_is_at_most_a_window_ahead(maker: Any, method: str, window: int) -> None:
    found = getattr(maker.proxy(), method)(10_000)
    assert made(maker) == 0  # it begins when the first item is asked for
    for consumed in range(1, 3 * window):
        next(found)
        if consumed % 7 == 0 or consumed <= 3:
            assert consumed <= made(maker) <= consumed + window
    wait_until(lambda: made(maker) > consumed)
    before = made(maker)
    for _ in range(10):
        assert made(maker) == before  # whoever has stopped reading has stopped it


def test_bytes_bound_it_as_well(maker: Any) -> None:
    found, consumed = maker.proxy().texts(1000), 200
    for _ in range(consumed):
        next(found)
    assert consumed < made(maker) <= consumed + 68  # 64 KiB, and the item that crosses that, of each of two requests


def test_large_items_count_for_the_bound(maker: Any) -> None:
    found, consumed = maker.proxy().arrays(100, 1 << 20), 20
    for _ in range(consumed):
        next(found)
    assert consumed <= made(maker) <= consumed + 6


def test_an_actor_is_free_for_other_calls_meanwhile(maker: Any) -> None:
    slow = maker.proxy().count(10_000)
    next(slow)
    assert made(maker) <= 17
    fast = maker.proxy().wide(10_000)
    first, second = [], []
    for one, two in zip(slow, fast, strict=False):
        first.append(one)
        second.append(two)
        assert get(maker.proxy().about())
        if len(first) == 300:
            break
    assert (first, second) == (list(range(1, 301)), list(range(300)))


def test_waiting_for_an_item_loses_nothing(maker: Any) -> None:
    async def read() -> list[int]:
        gate = Gate()
        found = maker.proxy().gated(by_ref(gate.wait))
        items = [await anext(found), await anext(found)]
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(found), 0.02)
        gate.open()
        return [*items, *[item async for item in found]]

    assert asyncio.run(read()) == [1, 2, 3]


def test_two_threads_cannot_wait_for_one_stream(maker: Any) -> None:
    gate = Gate()
    found = maker.proxy().gated(by_ref(gate.wait))
    assert [next(found), next(found)] == [1, 2]
    outcomes: list[object] = []
    thread = threading.Thread(target=lambda: outcomes.append(next(found)))
    thread.start()
    reading = found._reading
    wait_until(lambda: reading._busy.locked())
    with pytest.raises(ValueError, match="read by another thread"):
        next(found)
    gate.open()
    thread.join(SECONDS)
    assert outcomes == [3]


# How it ends


def test_an_exception_comes_after_all_items_before_it(maker: Any) -> None:
    found, items = maker.proxy().fails(40), []
    with pytest.raises(LookupError) as caught:
        read(found, items)
    assert (items, caught.value.args) == (list(range(40)), ("no more", 40))
    assert list(found) == []


def test_a_crash_comes_after_all_items_that_were_sent(maker: Any) -> None:
    gate = Gate()
    found = maker.proxy().dies(by_ref(gate.wait))
    assert [next(found), next(found)] == [1, 2]
    gate.open()
    with pytest.raises(IsolateCrashed) as caught:
        next(found)
    assert caught.value.reason.signal == 9
    assert "ended while it yielded a stream" in str(caught.value)
    assert list(found) == []
    assert sum(maker.proxy().count(4)) == 6


def test_items_that_have_come_survive_the_crash_and_the_stream_does_not(maker: Any) -> None:
    found = maker.proxy().count(1000)
    assert next(found) == 0
    wait_until(lambda: made(maker) == 16)
    maker.proxy().die()
    items = []
    with pytest.raises(IsolateCrashed):
        read(found, items)
    assert items == list(range(1, 1 + len(items)))
    assert len(items) >= 7


def test_a_stream_is_not_that_of_the_next_process(maker: Any) -> None:
    found = maker.proxy().count(1000)
    assert next(found) == 0
    with pytest.raises(IsolateCrashed):
        get(maker.proxy().die())
    wait_until(lambda: maker.generation == 2 and maker.state == "running")
    with pytest.raises(IsolateCrashed) as caught:
        list(found)
    assert caught.value.generation == 1
    assert closed(maker) == []


def test_an_actor_that_stops_closes_its_streams(maker: Any, capfd: Any) -> None:
    ref = Maker.with_options(output="inherit").start()
    found = ref.proxy().count(1000)
    next(found)
    ref.stop(timeout=SECONDS)
    with pytest.raises(piactors.ActorDeadError):
        read(found, [])
    assert "closed count" in capfd.readouterr().out


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["close", "with", "break", "gone", "aclose"])
def test_whoever_stops_reading_closes_the_maker(maker: Any, method: str, how: str) -> None:
    def begin() -> Any:
        return getattr(maker.proxy(), method)(1000)

    if how == "close":
        found = begin()
        next(found)
        found.close()
        found.close()
        assert list(found) == []
    elif how == "with":
        with begin() as found:
            next(found)
    elif how == "break":
        for _ in begin():
            break
    elif how == "gone":
        found = begin()
        next(found)
        del found
    else:

        async def read() -> None:
            async with begin() as found:
                await anext(found)
            await found.aclose()

        asyncio.run(read())
    gc.collect()
    wait_until(lambda: closed(maker) == [method])


def test_a_stream_that_was_never_read_runs_nothing(maker: Any) -> None:
    found = maker.proxy().count(10)
    del found
    maker.proxy().count(10).close()
    gc.collect()
    assert get(maker.proxy().about()) == (0, [])


def test_what_does_not_look_is_told_that_nobody_wants_more(maker: Any) -> None:
    found = maker.proxy().patient()
    assert next(found) == 1
    found.close()
    assert get(maker.proxy().saw_cancel) is True


def test_so_it_is_when_its_reader_lets_go(maker: Any) -> None:
    found = maker.proxy().patient()
    assert next(found) == 1
    del found
    gc.collect()
    assert get(maker.proxy().saw_cancel) is True


def test_a_time_limit_holds_for_all_of_it(maker: Any) -> None:
    found = maker.proxy().patient.with_options(timeout=0.3)()
    began = time.monotonic()
    assert next(found) == 1
    with pytest.raises(Timeout):
        next(found)
    assert 0.2 < time.monotonic() - began < 5
    assert get(maker.proxy().saw_cancel) is True
    with piactors.deadline(0.3):
        found = maker.proxy().patient()
    assert next(found) == 1
    with pytest.raises(Timeout):
        next(found)


def test_an_end_that_fails_is_logged_and_ends_nothing(maker: Any, caplog: Any) -> None:
    pid = maker.pid
    found = maker.proxy().bad_end()
    assert next(found) == 1
    found.close()
    wait_until(lambda: "bad_end has failed" in caplog.text)
    assert (get(maker.proxy().about())[0], maker.pid) == (0, pid)


def test_an_item_that_cannot_be_sent_ends_it_after_those_before(maker: Any) -> None:
    found, items = maker.proxy().unsendable(10), []
    with pytest.raises(NotSendable, match="an item of the stream: an open file"):
        read(found, items)
    assert items == list(range(10))
    assert closed(maker) == ["unsendable"]


def test_a_call_that_fails_before_it_yields(maker: Any) -> None:
    found = maker.proxy().count("x")
    with pytest.raises(TypeError):
        next(found)
    with pytest.raises(TypeError, match="missing"):
        next(maker.proxy().count())


def test_whoever_reads_a_stream_of_its_own_is_told(maker: Any) -> None:
    with pytest.raises(DeadlockError):
        get(maker.proxy().sum(maker.proxy().count(3)))


# Passing on


@pytest.mark.parametrize("read", ["sum", "asum"])
def test_another_isolate_reads_it(maker: Any, other: Any, read: str) -> None:
    found = maker.proxy().count(1000)
    assert get(getattr(other.proxy(), read)(found)) == sum(range(1000))
    with pytest.raises(Moved):
        next(found)
    with pytest.raises(Moved):
        list(found)
    with pytest.raises(Moved):
        other.proxy().sum(found).get()


def test_a_chain_of_three(maker: Any, other: Any) -> None:
    third = Maker.start()
    doubled = other.proxy().adoubled(maker.proxy().acount(200))
    assert list(third.proxy().doubled(doubled)) == [4 * n for n in range(200)]
    third.stop(timeout=SECONDS)


@pytest.mark.parametrize("method", ["sum_of", "asum_of"])
def test_isolates_call_each_others_generators(maker: Any, other: Any, method: str) -> None:
    assert get(getattr(other.proxy(), method)(maker, 500)) == sum(range(500))


def test_instances_reach_other_isolates(maker: Any, other: Any) -> None:
    found, error = get(other.proxy().ends_with(maker.proxy().points(30)))
    assert (found, error) == ([Point(n) for n in range(30)], "")


def test_what_was_read_from_cannot_be_passed_on(maker: Any, other: Any) -> None:
    found = maker.proxy().count(100)
    next(found)
    with pytest.raises(NotSendable, match="read from"):
        get(other.proxy().sum(found))
    assert sum(found) == sum(range(100))


def test_ends_reach_whoever_it_was_passed_on_to(maker: Any, other: Any, executor: Any) -> None:
    assert get(other.proxy().ends_with(maker.proxy().fails(20))) == (list(range(20)), "LookupError: ('no more', 20)")
    gate = Gate()
    ended = other.proxy().ends_with(maker.proxy().dies(by_ref(gate.wait)), by_ref(gate.open_at_2, run=executor))
    items, error = get(ended)
    assert (items, error[:14]) == ([1, 2], "IsolateCrashed")
    items, error = get(other.proxy().ends_with(maker.proxy().unsendable(5)))
    assert (items, error[:11]) == (list(range(5)), "NotSendable")


@pytest.mark.parametrize("how", ["let_go", "die"])
def test_the_end_of_a_reader_closes_the_maker(maker: Any, other: Any, how: str) -> None:
    assert get(other.proxy().keep(maker.proxy().count(1000))) == 0
    assert closed(maker) == []
    getattr(other.proxy(), how)()
    wait_until(lambda: closed(maker) == ["count"])
    assert made(maker) <= 17


def test_a_reader_that_breaks_off_closes_the_maker(maker: Any, other: Any) -> None:
    assert get(other.proxy().some(maker.proxy().count(1000), 5)) == list(range(5))
    wait_until(lambda: closed(maker) == ["count"])


# Options, and what is left


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"window": 0}, ValueError),
        ({"window": 1.5}, TypeError),
        ({"window": True}, TypeError),
        ({"window_bytes": "much"}, ValueError),
        ({"window_bytes": 0}, ValueError),
        ({"window": 1 << 30}, ValueError),
    ],
)
def test_windows_that_are_not_allowed(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        piactors.stream_options(**options)
    with pytest.raises(error):
        piactors.stream([1], **options)


def test_streams_that_are_abandoned_leave_nothing(maker: Any) -> None:
    def streams(number: int) -> None:
        for n in range(number):
            found = maker.proxy().count(5 if n % 2 else 1000)
            assert next(found) == 0
            if n % 2:
                assert list(found) == [1, 2, 3, 4]

    streams(500)
    before = Kept.now(maker.pid)
    streams(10_000)
    before.no_more()
    assert len(closed(maker)) == 5250


def test_arrays_are_whole(maker: Any) -> None:
    for n, array in enumerate(maker.proxy().arrays(20, 300_000)):
        assert numpy.array_equal(array, numpy.full(300_000, n, "u1"))


def test_a_stream_is_closed_though_its_reader_s_caller_holds_the_future(maker: Any, other: Any) -> None:
    """A call that is done holds nothing of what it was given."""
    call = other.proxy().first(maker.proxy().count(10**9))
    assert get(call) == 0
    wait_until(lambda: closed(maker) == ["count"])
    assert call.done()


def test_who_waits_too_briefly_for_the_first_item_may_wait_again(maker: Any) -> None:
    """The call that the stream comes from has not even begun, and is not given up."""

    async def main() -> list[int]:
        busy = maker.proxy().sleep(0.4)
        items = maker.proxy().count(5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(items), 0.05)
        assert not busy.done()
        return [item async for item in items]

    assert asyncio.run(asyncio.wait_for(main(), SECONDS)) == list(range(5))


def test_a_cancelled_reader_leaves_the_stream_to_others(maker: Any, other: Any) -> None:
    """The same for the future of the call itself: to cancel that gives the call up."""

    async def main() -> None:
        busy = maker.proxy().sleep(0.3)
        items = maker.proxy().count(5)
        task = asyncio.create_task(anext(items))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [item async for item in items] == list(range(5))
        await busy

    asyncio.run(asyncio.wait_for(main(), SECONDS))

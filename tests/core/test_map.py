"""`map` and `amap`: a window of calls, each of them accounted for by itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from piactors import IsolateCrashed, IsolationOptions, NotSendable, ProcessActor, spawn
from piactors.errors import MailboxFull
from tests.support import wait_until
from tests.test_interpreters import python

__all__ = ["python"]


class Mapper(ProcessActor):
    """Notes what it is asked, in a file that outlives it."""

    def __init__(self, path: str = os.devnull) -> None:
        super().__init__()
        self._file = open(path, "a", buffering=1)  # noqa: SIM115
        self._gate = threading.Event()

    def double(self, item: Any) -> Any:
        self._file.write(f"{item}\n")
        return item * 2

    def refuse(self, item: int) -> int:
        if item % 3 == 0:
            raise ValueError(item)
        return item

    def append(self, item: list[int]) -> list[int]:
        item.append(0)
        return item

    def kind(self, item: Any) -> str:
        return type(item).__name__

    def die(self, item: int) -> int:
        self._file.write(f"{item}\n")
        if item % 40 == 39:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    async def later(self, item: int) -> int:
        await asyncio.sleep(0.001)
        return item


def lines(path: Path) -> list[str]:
    return path.read_text().split()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("window", [1, 2, 3, 64, 256, 5000])
def test_each_item_has_its_result(window: int, ordered: bool) -> None:
    proxy = Mapper.start().proxy()
    found = list(proxy.double.map(range(1000), window=window, ordered=ordered))
    assert (found if ordered else sorted(found)) == [2 * item for item in range(1000)]


@pytest.mark.parametrize(
    "item",
    [
        *(0, -1, 2**70, 1.5, True, None, "text", "x" * 600, b"bytes", "x" * 100_000),
        *((1, "a"), (), ((1,), 2), ("x" * 600, 1), tuple(range(100))),
        *([1], {"a": 1}, {1}, 1 + 2j, range(3)),
    ],
    ids=lambda item: f"{type(item).__name__}-{str(item)[:9]}",
)
def test_items_of_every_kind_arrive_as_they_are(item: Any) -> None:
    proxy = Mapper.start().proxy()
    assert list(proxy.kind.map([item] * 70)) == [type(item).__name__] * 70
    if not isinstance(item, dict | set | range) and item is not None:
        assert list(proxy.double.map([item] * 3)) == [item * 2] * 3


def test_an_item_is_a_snapshot_though_it_stands_there_twice() -> None:
    """What one call does to it, the next one does not see; nor does what is done to it here later."""
    proxy, item = Mapper.start().proxy(), [1]
    results = proxy.append.map([item, item, item])
    item.append(5)
    assert list(results) == [[1, 0]] * 3


def test_exceptions_are_raised_or_returned_item_by_item() -> None:
    proxy = Mapper.start().proxy()
    found = list(proxy.refuse.map(range(100), return_exceptions=True))
    assert [item for item in found if isinstance(item, int)] == [item for item in range(100) if item % 3]
    assert [item.args for item in found if isinstance(item, ValueError)] == [(item,) for item in range(0, 100, 3)]
    results, numbers, errors = proxy.refuse.map(range(100)), [], 0
    while True:
        try:
            numbers.append(next(results))
        except StopIteration:
            break
        except ValueError:
            errors += 1
    assert (numbers, errors) == ([item for item in range(100) if item % 3], 34)
    assert next(results, None) is None


def test_what_cannot_be_sent_fails_its_item_only() -> None:
    proxy = Mapper.start().proxy()
    items = [1, threading.Lock(), 3]
    found = list(proxy.kind.map(items, return_exceptions=True))
    assert (found[0], found[2]) == ("int", "int")
    assert isinstance(found[1], NotSendable)


def test_an_iterable_that_fails_does_so_after_what_came_before() -> None:
    def broken() -> Iterator[int]:
        yield from range(100)
        raise LookupError("no more")

    results = Mapper.start().proxy().double.map(broken())
    assert [next(results) for _ in range(100)] == [2 * item for item in range(100)]
    with pytest.raises(LookupError):
        next(results)
    assert list(results) == []


def test_bad_arguments_are_refused_at_once() -> None:
    proxy = Mapper.start().proxy()
    with pytest.raises(ValueError, match="window=0 is not allowed; use a whole number of at least 1"):
        proxy.double.map([1], window=0)
    with pytest.raises(TypeError, match=r"window=1.5 is not allowed"):
        proxy.double.amap([1], window=1.5)
    with pytest.raises(TypeError, match="not iterable"):
        proxy.double.map(5)


def test_no_more_items_are_taken_than_fit_into_the_window() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = Mapper.start().proxy().double.map(items(), window=20)
    assert len(taken) <= 20
    for number in range(500):
        assert next(results) == 2 * number
        assert number < len(taken) <= number + 1 + 20


@pytest.mark.parametrize("how", ["del", "close", "with"])
def test_what_has_not_begun_is_cancelled_when_it_is_let_go_of(tmp_path: Path, how: str) -> None:
    path = tmp_path / "noted"
    ref = Mapper.start(str(path))
    proxy = ref.proxy()
    blocking = proxy.sleep(0.3)
    results: Any = proxy.double.map(range(200))
    if how == "del":
        del results
        gc.collect()
    elif how == "close":
        results.close()
        assert list(results) == []
    else:
        with results:
            pass
    assert blocking.get(timeout=20) == 0.3
    assert proxy.double(-1).get(timeout=20) == -2
    assert lines(path) == ["-1"]
    assert ref.mailbox_size == 0


def test_a_crash_fails_the_item_that_had_begun_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "noted"
    ref = Mapper.with_options(restart="permanent", max_restarts=None).start(str(path))
    found = list(ref.proxy().die.map(range(200), return_exceptions=True))
    crashed = [item for item, outcome in enumerate(found) if isinstance(outcome, IsolateCrashed)]
    assert crashed == list(range(39, 200, 40))
    assert [outcome for outcome in found if isinstance(outcome, int)] == [
        item for item in range(200) if item % 40 != 39
    ]
    assert lines(path) == [str(item) for item in range(200)]  # each ran once, in order


def test_a_kill_at_any_moment_leaves_no_item_unaccounted_for(tmp_path: Path) -> None:
    """What has a result ran once; what failed ran once at most; nothing ran that was not asked for."""
    chance = random.Random(7)
    path = tmp_path / "noted"
    ref = Mapper.with_options(restart="permanent", max_restarts=None, backoff=None).start(str(path))
    done = threading.Event()

    def kill() -> None:
        for _ in range(30):
            seen = len(path.read_bytes())
            wait_until(lambda seen=seen: len(path.read_bytes()) > seen or done.is_set(), 20)  # type: ignore[misc]
            if done.wait(chance.random() * 0.01):
                return
            pid = ref.pid
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        found = list(ref.proxy().double.map(range(20_000), return_exceptions=True))
    finally:
        done.set()
        thread.join()
    failed = {item for item, outcome in enumerate(found) if isinstance(outcome, IsolateCrashed)}
    assert [item for item, outcome in enumerate(found) if outcome != 2 * item] == sorted(failed)
    ran = [int(line) for line in lines(path)]
    assert len(ran) == len(set(ran))
    assert set(range(20_000)) - set(ran) <= failed


def test_options_hold_for_each_item(tmp_path: Path) -> None:
    path = tmp_path / "noted"
    ref = Mapper.with_options(restart="permanent", max_restarts=None).start(str(path))
    found = list(ref.proxy().die.with_options(retries=1).map(range(30, 50), return_exceptions=True))
    assert [type(outcome).__name__ for outcome in found].count("PoisonMessage") == 1
    assert lines(path).count("39") == 2
    slow = list(ref.proxy().sleep.with_options(call_timeout=0.2).map([0.0, 5.0, 0.0], return_exceptions=True))
    assert [type(outcome).__name__ for outcome in slow] == ["float", "CallTimeout", "float"]


def test_as_done_means_that_a_slow_one_holds_nothing_up() -> None:
    proxy = Mapper.with_options(concurrency=4).start().proxy()
    seconds = [0.5, *[0.0] * 30]
    assert list(proxy.sleep.map(seconds, ordered=False))[-1] == 0.5
    assert next(iter(proxy.sleep.map(seconds))) == 0.5


def test_coroutine_methods_and_functions_too() -> None:
    assert list(Mapper.start().proxy().later.map(range(100))) == list(range(100))
    assert list(spawn(abs).proxy().call.map(range(-50, 0))) == list(range(50, 0, -1))


@pytest.mark.parametrize("options", [IsolationOptions(trust="data"), IsolationOptions(call_timeout=30)], ids=str)
def test_it_works_where_calls_are_special(options: IsolationOptions) -> None:
    proxy = Mapper.with_options(options).start().proxy()
    assert list(proxy.double.map(range(300))) == [2 * item for item in range(300)]


def test_a_bounded_mailbox_bounds_the_window() -> None:
    proxy = Mapper.with_options(mailbox_capacity=5, overflow="fail").start().proxy()
    assert list(proxy.double.map(range(100))) == [2 * item for item in range(100)]
    futures = [proxy.sleep(0.05) for _ in range(7)]
    assert isinstance(futures[-1].exception(timeout=20), MailboxFull)


def test_another_interpreter_takes_them_as_well(python: str) -> None:
    ref = spawn("string:capwords", options=IsolationOptions(python=python))
    assert list(ref.proxy().call.map(["a b", "c d"] * 100)) == ["A B", "C D"] * 100


def test_after_the_end_each_item_says_so() -> None:
    ref = Mapper.start()
    method = ref.proxy().double
    ref.stop()
    found = list(method.map(range(3), return_exceptions=True))
    assert [type(outcome).__name__ for outcome in found] == ["ActorDeadError"] * 3


# In an event loop


def test_an_event_loop_iterates_too() -> None:
    proxy = Mapper.start().proxy()

    async def main() -> tuple[list[int], list[Any]]:
        plain = [item async for item in proxy.double.amap(range(1000))]
        return plain, [item async for item in proxy.refuse.amap(range(6), return_exceptions=True)]

    plain, refused = asyncio.run(main())
    assert plain == [2 * item for item in range(1000)]
    assert [str(item) for item in refused] == ["0", "1", "2", "3", "4", "5"]


def test_a_cancelled_iteration_cancels_what_has_not_begun(tmp_path: Path) -> None:
    path = tmp_path / "noted"
    proxy = Mapper.start(str(path)).proxy()

    results = proxy.double.amap(range(100))  # held here, so that it does not end by being dropped

    async def iterate() -> None:
        async for _ in results:
            raise AssertionError("it cannot be there yet")

    async def main() -> None:
        blocking = proxy.sleep(0.3)
        task = asyncio.create_task(iterate())
        while not results._outcomes.calls:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await blocking == 0.3

    asyncio.run(main())
    assert proxy.double(-1).get(timeout=20) == -2
    assert lines(path) == ["-1"]


def test_a_call_cancelled_by_somebody_else_is_told_of() -> None:
    proxy = Mapper.start().proxy()
    proxy.sleep(0.2)
    results = proxy.double.map(range(3))
    assert results._outcomes.calls[1].cancel()
    assert next(results) == 0
    with pytest.raises(CancelledError):
        next(results)
    assert next(results) == 4


def test_the_loop_goes_on_meanwhile() -> None:
    proxy, ticks = Mapper.start().proxy(), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def main() -> None:
        task = asyncio.create_task(tick())
        async for _ in proxy.sleep.amap([0.02] * 20):
            pass
        task.cancel()

    asyncio.run(main())
    assert ticks >= 10
    wait_until(lambda: proxy.actor_ref.mailbox_size == 0)

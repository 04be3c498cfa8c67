"""Items that are lent as a stream, by the host and by isolates: where they are made, and how they end."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import piactors
from piactors import IsolateCrashed, Moved, NotSendable, ProcessIsolator, Released, stream
from tests.children.streaming import Point
from tests.support import wait_until

SECONDS = 20
PLAIN = "tests.children.plain_talk"


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


class Made:
    """A generator, and what has become of it."""

    def __init__(self) -> None:
        self.made = 0
        self.ends: list[str] = []

    def numbers(self, count: int) -> Iterator[int]:
        try:
            for number in range(count):
                self.made += 1
                yield number
        finally:
            self.ends.append(threading.current_thread().name)

    async def anumbers(self, count: int) -> AsyncIterator[int]:
        try:
            for number in range(count):
                self.made += 1
                yield number
                await asyncio.sleep(0)
        finally:
            self.ends.append(threading.current_thread().name)


@pytest.mark.parametrize("number", [0, 1, 7, 5000])
@pytest.mark.parametrize("read", ["sum", "asum"])
def test_all_items_arrive(maker: Any, read: str, number: int) -> None:
    assert get(getattr(maker.proxy(), read)(stream(range(number)))) == sum(range(number))


def test_items_are_snapshots_of_any_kind(maker: Any) -> None:
    def items() -> Iterator[Any]:
        found: list[int] = []
        for number in range(3):
            found.append(number)
            yield found
        yield Point(3)
        yield "x" * 300_000
        yield maker

    found = get(maker.proxy().some(stream(items()), 10))
    assert found == [[0], [0, 1], [0, 1, 2], Point(3), "x" * 300_000, maker]


def test_a_file_is_a_stream_of_lines(maker: Any, tmp_path: Any) -> None:
    (tmp_path / "lines").write_text("one\ntwo\n")
    with open(tmp_path / "lines") as file:
        assert get(maker.proxy().some(stream(file), 5)) == ["one\n", "two\n"]


def test_they_are_made_at_most_a_window_ahead(maker: Any) -> None:
    made = Made()
    lent = stream(made.numbers(1000), window=4)
    assert made.made == 0
    assert get(maker.proxy().keep(lent)) == 0
    wait_until(lambda: made.made >= 3)
    assert made.made <= 5
    del lent
    maker.proxy().let_go()
    wait_until(lambda: made.ends)
    assert made.ends == ["piactors-stream"]
    assert made.made <= 5


def test_asynchronous_items_are_made_on_the_event_loop(maker: Any) -> None:
    async def main() -> tuple[int, list[int]]:
        made = Made()
        total = await maker.proxy().sum(stream(made.anumbers(200)))
        some = await maker.proxy().some(stream(made.anumbers(200)), 3)
        gc.collect()
        for _ in range(2000):
            if len(made.ends) == 2:
                break
            await asyncio.sleep(0.005)
        assert made.ends == [threading.current_thread().name] * 2
        return total, some

    assert asyncio.run(main()) == (sum(range(200)), [0, 1, 2])
    with pytest.raises(ValueError, match="event loop"):
        stream(Made().anumbers(1))


def test_they_are_made_in_an_executor(maker: Any) -> None:
    made = Made()
    with ThreadPoolExecutor(3, thread_name_prefix="mine") as executor:
        assert get(maker.proxy().sum(stream(made.numbers(500), run=executor))) == sum(range(500))
    assert made.ends[0].startswith("mine")


def test_they_are_made_in_the_thread_that_waits(maker: Any) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("create table numbers (number)")
    database.executemany("insert into numbers values (?)", [(number,) for number in range(100)])
    rows = database.execute("select number from numbers order by number")
    assert get(maker.proxy().some(stream(rows, run="caller"), 1000)) == [(number,) for number in range(100)]


def test_what_they_raise_comes_after_all_before_it(maker: Any) -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        raise LookupError("no more")

    assert get(maker.proxy().ends_with(stream(items()))) == (list(range(20)), "LookupError: no more")


def test_an_item_that_cannot_be_sent_ends_them(maker: Any) -> None:
    items, error = get(maker.proxy().ends_with(stream([1, 2, threading.Lock(), 4])))
    assert (items, error[:11]) == ([1, 2], "NotSendable")


@pytest.mark.parametrize("how", ["let_go", "die", "close"])
def test_they_are_closed_when_nobody_reads(maker: Any, how: str) -> None:
    made = Made()
    lent = stream(made.numbers(1000))
    assert get(maker.proxy().keep(lent)) == 0
    if how == "close":
        lent.close()
    else:
        del lent
        getattr(maker.proxy(), how)()
    wait_until(lambda: made.ends)
    assert made.made <= 17


def test_what_is_closed_is_released(maker: Any) -> None:
    lent = stream(range(1000))
    get(maker.proxy().keep(lent))
    lent.close()
    lent.close()
    with pytest.raises(Released):
        get(maker.proxy().rest())


def test_what_was_never_read_is_let_go_of() -> None:
    made = Made()
    generator = made.numbers(10)
    reference = weakref.ref(generator)
    lent = stream(generator)
    del generator, lent
    gc.collect()
    assert reference() is None
    assert not [thread for thread in threading.enumerate() if thread.name == "piactors-stream" and thread.is_alive()]


def test_it_comes_home_as_the_iterator(maker: Any) -> None:
    generator = Made().numbers(3)
    lent = stream(generator)
    assert get(maker.proxy().back(lent)) is generator


@pytest.mark.parametrize(
    ("items", "options", "error"),
    [(5, {}, TypeError), ([1], {"run": "elsewhere"}, ValueError), ([1], {"window": 0}, ValueError)],
)
def test_what_cannot_be_a_stream(items: Any, options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        stream(items, **options)


# Lent by isolates


def test_the_host_and_others_read_what_an_isolate_lends(maker: Any, other: Any) -> None:
    assert list(get(maker.proxy().lends(500))) == list(range(500))
    assert get(other.proxy().sum(get(maker.proxy().lends(500)))) == sum(range(500))
    assert get(maker.proxy().lends_to(other, 500)) == sum(range(500))


def test_it_ends_with_its_process(maker: Any) -> None:
    found = get(maker.proxy().lends(100_000))
    assert next(found) == 0
    with pytest.raises(IsolateCrashed):
        get(maker.proxy().die())
    with pytest.raises(IsolateCrashed):
        list(found)


# Other interpreters, and code that is called by name


def test_code_that_knows_nothing_reads_and_yields() -> None:
    with ProcessIsolator() as isolator:
        invoke = isolator.invoke_method
        assert get(invoke(f"{PLAIN}:total", stream(range(300)))) == sum(range(300))
        assert list(get(invoke(f"{PLAIN}:doubled", stream([1, 2, 3])))) == [2, 4, 6]
        assert get(invoke(f"{PLAIN}:first", stream(iter(int, 1)), 5)) == [0] * 5
        found = get(invoke(f"{PLAIN}:objects", 3))
        with pytest.raises(piactors.UntrustedReply):
            list(found)


def test_isolates_whose_code_is_called_by_name_read_each_other(maker: Any) -> None:
    with ProcessIsolator() as isolator:
        assert get(isolator.invoke_method(f"{PLAIN}:total", maker.proxy().count(300))) == sum(range(300))
        assert get(maker.proxy().sum(get(isolator.invoke_method(f"{PLAIN}:doubled", stream([1, 2]))))) == 6


def test_a_time_limit_for_one_item_of_plain_code() -> None:
    with ProcessIsolator() as isolator:
        began = time.monotonic()
        assert get(isolator.invoke_method(f"{PLAIN}:waits", stream(_one_and_never()))) == [1, "Timeout"]
        assert time.monotonic() - began < SECONDS


def _one_and_never() -> Iterator[int]:
    yield 1
    threading.Event().wait()


def test_what_is_lent_is_sent_once(maker: Any, other: Any) -> None:
    lent = stream(range(100))
    assert get(maker.proxy().keep(lent)) == 0
    with pytest.raises(Moved):
        get(other.proxy().sum(lent))
    assert get(maker.proxy().rest()) == list(range(1, 100))
    with pytest.raises(Moved):
        get(maker.proxy().sum(lent))


def test_a_message_that_is_not_sent_takes_no_items(maker: Any) -> None:
    lent = stream(range(3))
    with pytest.raises(NotSendable):
        get(maker.proxy().some(lent, threading.Lock()))
    assert get(maker.proxy().sum(lent)) == 3

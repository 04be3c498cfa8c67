"""Calls on results that are not there yet: sent at once, begun in order, and failing as what they wait for does."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

import piactors
from piactors import IsolateCrashed, NotPermitted, NotSendable, Released, by_ref
from piactors._values import in_turn
from tests import inside
from tests.children.shelves import Shelf
from tests.support import wait_until

SECONDS = 20


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


@pytest.fixture
def shelf() -> Iterator[Any]:
    ref = Shelf.with_options(restart="permanent", max_restarts=20).start()
    yield ref
    ref.stop(timeout=SECONDS)


@pytest.fixture
def library(shelf: Any) -> Iterator[Any]:
    """One that knows another one."""
    ref = Shelf.with_options(restart="permanent", max_restarts=20).start(shelf)
    yield ref
    ref.stop(timeout=SECONDS)


# What it is for


def test_a_method_of_what_a_call_returns(shelf: Any) -> None:
    proxy = shelf.proxy()
    assert get(proxy.open(3).call("read")) == (3,)
    assert get(proxy.open(3).call("read", 4, more=[5])) == (3, 4, [5])
    assert get(proxy.open_async(6).call("read")) == (6,)
    assert get(proxy.doubler().call("__call__", 21)) == 42
    assert get(shelf.call("open", 8).call("read")) == (8,)


def test_a_chain_begins_before_its_first_answer(shelf: Any, tmp_path: Path) -> None:
    proxy = shelf.proxy()
    future = proxy.open_after(str(tmp_path / "go"), 0)
    for _ in range(20):
        future = future.call("next")
    read = future.call("read")
    assert not read.done()
    (tmp_path / "go").touch()
    assert get(read) == (20,)


def test_it_runs_where_calls_of_what_is_lent_run(shelf: Any) -> None:
    proxy = shelf.proxy()
    lent = get(proxy.open(1))
    assert get(proxy.open(1).call("where")) == lent.where() == (get(proxy.pid()), "pihost-callbacks")


@pytest.mark.parametrize("when", ["before", "after"])
def test_calls_on_one_result_begin_in_order(shelf: Any, tmp_path: Path, when: str) -> None:
    proxy = shelf.proxy()
    first = proxy.open_after(str(tmp_path / "go"), 0)
    if when == "after":
        (tmp_path / "go").touch()
    calls = []
    for number in range(200):
        calls.append(first.call("note", number))
        if number == 100:
            (tmp_path / "go").touch()
    assert [get(call) for call in calls] == list(range(1, 201))
    assert get(first.call("all_notes")) == list(range(200))


def test_on_a_result_that_is_there(shelf: Any) -> None:
    future = shelf.proxy().open(2)
    get(future)
    assert get(future.call("read")) == (2,)
    assert get(future.call("next").call("next").call("read")) == (4,)


def test_arguments_may_be_lent_and_answers_too(shelf: Any) -> None:
    seen: list[int] = []
    assert get(shelf.proxy().open(9).call("use", by_ref(seen.append))) is None
    assert seen == [9]
    assert get(shelf.proxy().open(9).call("use", by_ref(lambda number: by_ref(lambda: number))))() == 9


def test_it_can_be_awaited(shelf: Any) -> None:
    async def main() -> Any:
        return await shelf.proxy().open(3).call("next").call("read")

    assert asyncio.run(asyncio.wait_for(main(), SECONDS)) == (4,)


def test_arguments_are_as_they_were_when_it_was_made(shelf: Any, tmp_path: Path) -> None:
    future, values = shelf.proxy().open_after(str(tmp_path / "go"), 0), [1]
    call = future.call("read", values)
    values.append(2)
    (tmp_path / "go").touch()
    assert get(call) == (0, [1])


# Refs, and what is elsewhere


def test_a_method_of_the_actor_of_a_ref(shelf: Any, library: Any) -> None:
    assert get(shelf.proxy().me().call("pid")) == get(shelf.proxy().pid())
    assert get(library.proxy().the_other().call("pid")) == get(shelf.proxy().pid())
    assert get(library.proxy().the_other().call("open", 4).call("read")) == (4,)


def test_what_another_isolate_has_lent(library: Any) -> None:
    assert get(library.proxy().book_of_other().call("next").call("read")) == (41,)


def test_in_an_isolate(library: Any, shelf: Any) -> None:
    assert get(library.proxy().chain(3)) == (4, 5)
    assert get(library.proxy().chain_to_ref()) == get(shelf.proxy().pid())


def test_of_futures_of_every_kind(shelf: Any) -> None:
    promise = piactors.Promise()
    call = promise.call("pid")
    promise.set(shelf)
    assert get(call) == get(shelf.proxy().pid())
    joined = shelf.proxy().open(1).join(shelf.proxy().open(2)).map(lambda books: books[1])
    assert get(joined.call("read")) == (2,)


def test_a_full_mailbox_keeps_no_callback_waiting(shelf: Any) -> None:
    """They are made in order once there is room; meanwhile what others have to be called for goes on."""
    narrow, asked, go_on = Shelf.with_options(mailbox_capacity=1).start(), threading.Event(), threading.Event()

    def hold(_: int) -> str:
        asked.set()
        assert go_on.wait(SECONDS)
        return "held"

    with ThreadPoolExecutor(1) as executor:
        held = narrow.proxy().use(by_ref(hold, run=executor))
        assert asked.wait(SECONDS)
        first = shelf.proxy().give(narrow)
        calls = [first.call("note", 10 + n) for n in range(1, 6)]
        called = [threading.Event() for _ in calls]
        for event in called:
            shelf.proxy().give(1).add_done_callback(lambda _, event=event: event.set())
        assert all(event.wait(SECONDS) for event in called)
        assert get(shelf.proxy().open(3).call("use", by_ref(abs))) == 3
        assert not any(call.done() for call in calls)
        go_on.set()
        assert get(held) == "held"
    assert [get(call) for call in calls] == [10] * 5
    narrow.stop(timeout=SECONDS)


def test_no_thread_to_wait_for_room_fails_the_calls(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = Shelf.with_options(mailbox_capacity=1).start()
    first = shelf.proxy().give(narrow)
    get(first)
    with monkeypatch.context() as patch:
        patch.setattr(in_turn.threading.Thread, "start", _no_thread)
        assert isinstance(first.call("note", 1).exception(timeout=SECONDS), RuntimeError)
    assert get(first.call("note", 5)) == 4
    narrow.stop(timeout=SECONDS)


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


# What fails


def test_as_the_first_call_fails_so_does_the_second(shelf: Any) -> None:
    first = shelf.proxy().fail()
    calls = [first.call("read"), first.call("next").call("next")]
    for call in calls:
        assert call.exception(timeout=SECONDS) is first.exception(timeout=SECONDS)
        with pytest.raises(ValueError, match="no books"):
            get(call)


def test_what_it_raises_itself(shelf: Any) -> None:
    broken = shelf.proxy().open(5).call("fail")
    with pytest.raises(LookupError, match="torn"):
        get(broken)
    with pytest.raises(LookupError, match="torn"):
        get(broken.call("read"))
    with pytest.raises(AttributeError, match="burn"):
        get(shelf.proxy().open(5).call("burn"))


@pytest.mark.parametrize("method", ["plain", "nested"])
def test_copies_have_no_methods_elsewhere(shelf: Any, method: str) -> None:
    with pytest.raises(TypeError, match="the result is a list, which is a copy"):
        get(getattr(shelf.proxy(), method)().call("append", 1))
    with pytest.raises(TypeError, match="the result is a list, which is a copy"):
        get(shelf.proxy().open(1).call("copy").call("append", 1))
    with pytest.raises(TypeError, match="a ref of an actor"):
        get(shelf.proxy().me().call("__call__"))


@pytest.mark.parametrize(
    ("name", "error"),
    [(3, TypeError), ("", ValueError), ("_x", ValueError), ("__init__", ValueError), ("a.b", ValueError)],
)
def test_bad_names_are_told_at_once(shelf: Any, name: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="call: "):
        shelf.proxy().open(1).call(name)


def test_what_cannot_be_sent_is_told_at_once(shelf: Any) -> None:
    with pytest.raises(NotSendable, match="lock"):
        shelf.proxy().open(1).call("read", threading.Lock())


def test_what_is_released_is_not_called(shelf: Any) -> None:
    proxy = shelf.proxy()
    proxy.release()
    with pytest.raises((Released, NotPermitted)):
        get(proxy.the_same().call("read"))


def test_only_what_is_lent_may_be_called_with_trust_data() -> None:
    ref = piactors.spawn("tests.children.shelves:Book", 5, options=piactors.IsolationOptions(trust="data"))
    assert get(ref.proxy().next().call("read", (1,))) == (6, (1,))
    ref.stop(timeout=SECONDS)


# Crashes


def test_a_crash_before_the_first_call_begins_moves_both_to_the_next_process(shelf: Any, tmp_path: Path) -> None:
    proxy = shelf.proxy()
    crash, first = proxy.die(), proxy.open(3)
    second = first.call("next").call("read")
    with pytest.raises(IsolateCrashed):
        get(crash)
    assert get(second) == (4,)


def test_a_crash_in_the_first_call_fails_the_second(shelf: Any) -> None:
    call = shelf.proxy().die().call("read")
    with pytest.raises(IsolateCrashed):
        get(call)


def test_the_first_call_is_tried_again_and_the_second_goes_with_it(shelf: Any, tmp_path: Path) -> None:
    assert get(shelf.proxy().die_once(str(tmp_path / "seen")).call("next").call("read")) == (8,)


def test_a_crash_in_the_second_call_is_told(shelf: Any) -> None:
    call = shelf.proxy().open(3).call("die")
    with pytest.raises(Released, match="has ended"):
        get(call)
    with pytest.raises(Released):
        get(call.call("read"))
    assert get(shelf.proxy().open(3).call("read")) == (3,)


# Giving up


def test_to_cancel_the_first_cancels_the_second(shelf: Any, tmp_path: Path) -> None:
    busy = shelf.proxy().open_after(str(tmp_path / "go"), 1)
    first = shelf.proxy().open(2)
    second = first.call("read")
    assert first.cancel()
    with pytest.raises(CancelledError):
        get(second)
    assert second.cancelled()
    (tmp_path / "go").touch()
    assert get(busy.call("read")) == (1,)


def test_one_that_waits_is_cancelled_and_the_others_go_on(shelf: Any, tmp_path: Path) -> None:
    first = shelf.proxy().open_after(str(tmp_path / "go"), 1)
    before, second, after = (first.call("note", number) for number in range(3))
    second.cancel()
    with pytest.raises(CancelledError):
        get(second)
    assert second.cancelled()
    (tmp_path / "go").touch()
    assert (get(before), get(after)) == (1, 2)
    assert get(first.call("all_notes")) == [0, 2]


def test_one_that_has_begun_is_not(shelf: Any, tmp_path: Path) -> None:
    call = shelf.proxy().open(1).call("wait_for", str(tmp_path / "go"))
    wait_until(lambda: get(shelf.proxy().count) == 0)
    assert call.cancel() is False
    (tmp_path / "go").touch()
    assert get(call) == str(tmp_path / "go")


# What is left


def test_nothing_is_left_of_10_000_chains(shelf: Any) -> None:
    me, there = psutil.Process(), psutil.Process(shelf.pid)
    proxy = shelf.proxy()

    def chains(count: int) -> None:
        for number in range(count):
            first = proxy.open(number)
            call = first.call("next").call("read")
            if number % 2:
                assert get(call) == (number + 1,)
            elif number % 4:
                call.cancel()
        assert get(proxy.plain()) == [1]

    def state() -> tuple[int, int]:
        lender = inside.life(shelf).current._lender
        wait_until(lambda: gc.collect() >= 0 and not lender._loans)
        wait_until(lambda: not inside.process(shelf)._control._requests)
        return me.memory_info().rss, there.memory_info().rss

    chains(1_000)
    before = state()
    chains(10_000)
    for grown in (now - then for now, then in zip(state(), before, strict=True)):
        assert grown < 4 << 20

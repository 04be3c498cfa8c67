"""Calls that are not wanted any more: they never begin, or are told, and so is what they have asked for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import math
import os
import signal
import threading
import time
import weakref
from concurrent.futures import CancelledError
from typing import Any

import pytest

import piactors
from piactors import IsolateCrashed, ProcessActor, Timeout, by_ref, current_call
from tests.support import wait_until

SECONDS = 20


class Worker(ProcessActor):
    """Says when it begins, and goes on until it is told that this is not wanted any more."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def work(self, began: Any) -> str:
        began()
        end = time.monotonic() + SECONDS
        while not piactors.cancelled():
            time.sleep(0.002)
            assert time.monotonic() < end, "nobody told it"
        self.done.append("returned early")
        return "early"

    def stubborn(self, began: Any) -> str:
        began()
        time.sleep(SECONDS)
        return "late"

    async def rest(self, began: Any) -> str:
        began()
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            self.done.append("cancelled")
            raise
        return "late"

    async def rest_at_last(self, began: Any) -> str:
        began()
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            return "made the best of it"
        return "late"

    def work_then_rest(self, began: Any) -> Any:
        self.work(began)
        return self.rest(bool)

    def ask(self, other: Any, method: str, began: Any) -> Any:
        return getattr(other.proxy(), method)(began).get(timeout=SECONDS)

    async def ask_and_await(self, other: Any, method: str, began: Any) -> Any:
        return await getattr(other.proxy(), method)(began)

    def left(self, other: Any = None) -> float:
        if other is not None:
            return float(other.proxy().left().get(timeout=SECONDS))
        call = current_call()
        assert call is not None
        return call.remaining()

    async def left_later(self) -> float:
        await asyncio.sleep(0)
        call = current_call()
        assert call is not None
        return call.remaining()

    def left_within(self, other: Any, seconds: float) -> float:
        with piactors.deadline(seconds):
            return float(other.proxy().left().get(timeout=SECONDS))

    def numbers(self) -> tuple[int, int]:
        first, second = current_call(), current_call()
        assert first is not None
        assert second is not None
        return first.id, second.id

    def what_is_done(self) -> list[str]:
        return self.done


@pytest.fixture
def worker() -> Any:
    return Worker.with_options(restart="permanent").start()


def begun(make: Any) -> Any:
    """Return the future of `make(began)`, once the call has begun."""
    event = threading.Event()
    future = make(by_ref(event.set))
    assert event.wait(SECONDS), "it did not begin"
    return future


def test_code_that_looks_returns_early(worker: Any) -> None:
    future = begun(worker.proxy().work)
    assert future.cancel() is False  # it has begun
    assert future.get(timeout=SECONDS) == "early"  # what it does is the outcome
    assert not future.cancelled()


def test_a_coroutine_is_cancelled_at_its_next_await(worker: Any) -> None:
    future = begun(worker.proxy().rest)
    assert future.cancel() is False
    with pytest.raises(CancelledError):
        future.get(timeout=SECONDS)
    assert future.cancelled()
    assert worker.proxy().what_is_done().get(timeout=SECONDS) == ["cancelled"]


def test_a_coroutine_may_make_the_best_of_it(worker: Any) -> None:
    future = begun(worker.proxy().rest_at_last)
    future.cancel()
    assert future.get(timeout=SECONDS) == "made the best of it"
    assert not future.cancelled()


def test_a_call_that_is_cancelled_before_it_makes_its_coroutine(worker: Any) -> None:
    future = begun(worker.proxy().work_then_rest)
    future.cancel()
    with pytest.raises(CancelledError):
        future.get(timeout=SECONDS)


def test_what_begins_after_a_cancelled_call_knows_nothing_of_it(worker: Any) -> None:
    for _ in range(5):
        begun(worker.proxy().work).cancel()
        begun(worker.proxy().rest).cancel()
    assert worker.proxy().left().get(timeout=SECONDS) == math.inf
    assert worker.proxy().left_later().get(timeout=SECONDS) == math.inf


@pytest.mark.parametrize("ask", ["ask", "ask_and_await"])
@pytest.mark.parametrize("method", ["work", "rest"])
def test_what_a_cancelled_call_has_asked_for_is_cancelled(worker: Any, ask: str, method: str) -> None:
    other = Worker.start()
    future = begun(lambda began: getattr(worker.proxy(), ask)(other, method, began))
    future.cancel()
    if (ask, method) == ("ask", "work"):  # what is told returns, and so does who has asked
        assert future.get(timeout=SECONDS) == "early"
    elif concurrent.futures.wait([future], SECONDS) and method == "work" and not future.cancelled():
        assert future.get() == "early"  # it was there before the coroutine came to await it, so that did not wait
    else:
        with pytest.raises(CancelledError):
            future.get(timeout=SECONDS)
        assert future.cancelled()
    assert len(wait_until(lambda: other.proxy().what_is_done().get(timeout=SECONDS))) == 1


def test_what_a_cancelled_call_has_asked_for_and_has_not_begun_never_begins(worker: Any) -> None:
    other = Worker.start()
    first = begun(other.proxy().work)
    event = threading.Event()
    asking = begun(lambda began: worker.proxy().ask(Nested(began, other), "go", by_ref(event.set)))
    asking.cancel()
    with pytest.raises(CancelledError):
        asking.get(timeout=SECONDS)
    first.cancel()
    assert first.get(timeout=SECONDS) == "early"
    assert other.proxy().what_is_done().get(timeout=SECONDS) == ["returned early"]
    assert not event.is_set()


class Nested:
    """Stands for a ref, and says when it is used."""

    def __init__(self, began: Any, ref: Any) -> None:
        self.began, self.ref = began, ref

    def proxy(self) -> Any:
        return self

    def go(self, began: Any) -> Any:
        future = self.ref.proxy().work(began)
        self.began()
        return future


@pytest.mark.parametrize("method", ["stubborn", "rest_at_last"])
def test_kill_after_ends_a_process_that_goes_on(worker: Any, method: str) -> None:
    future = begun(getattr(worker.proxy(), method))
    assert future.cancel(kill_after=0.2 if method == "stubborn" else SECONDS) is False
    if method == "rest_at_last":
        assert future.get(timeout=SECONDS) == "made the best of it"
        return
    with pytest.raises(IsolateCrashed) as caught:
        future.get(timeout=SECONDS)
    assert (caught.value.reason.kind, caught.value.reason.detail) == ("killed", "cancelled")
    assert worker.proxy().what_is_done().get(timeout=SECONDS) == []  # a new process


def test_cancelling_again_with_kill_after(worker: Any) -> None:
    future = begun(worker.proxy().stubborn)
    assert future.cancel() is False
    assert future.cancel(kill_after=0) is False
    with pytest.raises(IsolateCrashed, match="cancelled"):
        future.get(timeout=SECONDS)


@pytest.mark.parametrize("kill_after", ["soon", True, math.nan])
def test_kill_after_is_a_number_of_seconds(worker: Any, kill_after: Any) -> None:
    future = worker.proxy().left()
    with pytest.raises((TypeError, ValueError), match="kill_after=.*use a number of seconds"):
        future.cancel(kill_after=kill_after)
    assert future.get(timeout=SECONDS) == math.inf


def test_an_isolate_cancels_what_it_was_lent(worker: Any) -> None:
    future = begun(worker.proxy().rest)
    assert Canceller.start().proxy().cancel(future).get(timeout=SECONDS) is False
    with pytest.raises(CancelledError):
        future.get(timeout=SECONDS)


def test_an_isolate_has_a_process_ended_that_goes_on(worker: Any) -> None:
    future = begun(worker.proxy().stubborn)
    assert Canceller.start().proxy().cancel(future, 0.1).get(timeout=SECONDS) is False
    with pytest.raises(IsolateCrashed, match="cancelled"):
        future.get(timeout=SECONDS)


class Canceller(ProcessActor):
    """Cancels futures that it is given."""

    def cancel(self, future: Any, *kill_after: float) -> bool:
        return bool(future.cancel(*kill_after))


class Dying(ProcessActor):
    """Dies when it is told to, the first time."""

    @piactors.idempotent(retries=1)
    def work(self, path: str, began: Any) -> str:
        if not os.path.exists(path):
            with open(path, "w"):
                os.kill(os.getpid(), signal.SIGKILL)
        began()
        end = time.monotonic() + SECONDS
        while not piactors.cancelled() and time.monotonic() < end:
            time.sleep(0.002)
        return "early"

    @piactors.idempotent(retries=1)
    async def rest(self, path: str, began: Any) -> str:
        if not os.path.exists(path):
            with open(path, "w"):
                os.kill(os.getpid(), signal.SIGKILL)
        began()
        await asyncio.sleep(SECONDS)
        return "late"

    def left(self, path: str) -> float:
        if not os.path.exists(path):
            with open(path, "w"):
                os.kill(os.getpid(), signal.SIGKILL)
        call = current_call()
        assert call is not None
        return call.remaining()


@pytest.fixture
def dying() -> Any:
    return Dying.with_options(restart="permanent").start()


def test_a_second_try_is_told_too(dying: Any, tmp_path: Any) -> None:
    future = begun(lambda began: dying.proxy().work(str(tmp_path / "one"), began))
    assert future.cancel() is False
    assert future.get(timeout=SECONDS) == "early"
    future = begun(lambda began: dying.proxy().rest(str(tmp_path / "two"), began))
    assert not future.cancelled()
    assert future.cancel() is False
    with pytest.raises(CancelledError):
        future.get(timeout=SECONDS)
    assert dying.proxy().left(str(tmp_path / "one")).get(timeout=SECONDS) == math.inf


# Time that goes along


def test_what_has_not_begun_in_its_time_never_begins(worker: Any) -> None:
    first = begun(worker.proxy().work)
    event = threading.Event()
    late = worker.proxy().work.with_options(timeout=0.1)(by_ref(event.set))
    with pytest.raises(Timeout, match="no answer .* within its time"):
        late.get(timeout=SECONDS)
    first.cancel()
    assert worker.proxy().what_is_done().get(timeout=SECONDS) == ["returned early"]
    assert not event.is_set()


def test_what_has_begun_is_told_and_not_ended(worker: Any) -> None:
    pid = worker.pid
    assert worker.proxy().work.with_options(timeout=0.2)(by_ref(bool)).get(timeout=SECONDS) == "early"
    assert worker.pid == pid


def test_a_call_knows_how_much_time_it_has(worker: Any) -> None:
    assert worker.proxy().left().get(timeout=SECONDS) == math.inf
    for name in ("left", "left_later"):
        assert 1 < getattr(worker.proxy(), name).with_options(timeout=SECONDS)().get(timeout=SECONDS) < SECONDS


def test_its_time_goes_along_with_what_it_asks(worker: Any) -> None:
    other = Worker.start()
    assert 1 < worker.proxy().left.with_options(timeout=7)(other).get(timeout=SECONDS) < 7
    assert worker.proxy().left(other).get(timeout=SECONDS) == math.inf


def test_the_earlier_of_two_ends_holds(worker: Any) -> None:
    other = Worker.start()
    assert 0 < worker.proxy().left_within(other, 5.0).get(timeout=SECONDS) < 5
    assert 0 < worker.proxy().left_within.with_options(timeout=3)(other, 5.0).get(timeout=SECONDS) < 3


def test_a_block_with_a_deadline(worker: Any) -> None:
    with piactors.deadline(SECONDS):
        with piactors.deadline(5):
            assert 0 < worker.proxy().left().get(timeout=SECONDS) < 5
        assert 5 < worker.proxy().left().get(timeout=SECONDS) < SECONDS
        with piactors.deadline(100):
            assert 5 < worker.proxy().left().get(timeout=SECONDS) < SECONDS
    assert worker.proxy().left().get(timeout=SECONDS) == math.inf


def test_the_time_of_an_ask_goes_along() -> None:
    ref = Echo.start()
    assert 0 < ref.ask("left", timeout=5) < 5
    assert ref.ask("left") == math.inf
    with piactors.deadline(5):
        assert 0 < ref.ask("left", timeout=SECONDS) < 5


class Echo(ProcessActor):
    """Answers how much time there is."""

    def on_receive(self, message: Any) -> float:
        call = current_call()
        assert message == "left"
        assert call is not None
        return call.remaining()


def test_a_deadline_is_of_its_task_alone(worker: Any) -> None:
    async def bounded(seconds: float) -> float:
        with piactors.deadline(seconds):
            await asyncio.sleep(0)
            return float(await worker.proxy().left())

    async def main() -> tuple[float, ...]:
        return tuple(await asyncio.gather(bounded(5), bounded(50), bounded(500)))

    five, fifty, more = asyncio.run(main())
    assert five < 5 < fifty < 50 < more < 500


def test_what_a_time_may_be(worker: Any) -> None:
    for wrong in (0, -1, "1", True, None, math.nan):
        with pytest.raises(ValueError, match="use a number of seconds, more than 0"), piactors.deadline(wrong):  # type: ignore[arg-type]
            pass
    with pytest.raises(TypeError, match="^timeout='1' is not allowed"):
        worker.proxy().left.with_options(timeout="1")
    with pytest.raises(ValueError, match="^timeout=-1 is not allowed"):
        worker.proxy().left.with_options(timeout=-1)


def test_calls_have_numbers_and_the_host_has_none(worker: Any) -> None:
    assert current_call() is None
    assert piactors.cancelled() is False
    (one, same), (two, _) = (worker.proxy().numbers().get(timeout=SECONDS) for _ in range(2))
    assert one == same != two


def test_a_restart_keeps_the_time(dying: Any, tmp_path: Any) -> None:
    path = str(tmp_path / "died")
    assert 0 < dying.proxy().left.with_options(timeout=15, retries=1)(path).get(timeout=SECONDS) < 15


def test_calls_that_are_over_are_not_kept_until_their_time_ends(worker: Any) -> None:
    proxy = worker.proxy()
    call = proxy.left.with_options(timeout=3600)
    futures = [call() for _ in range(200)]
    watched = [weakref.ref(future) for future in futures]
    assert all(future.get(timeout=SECONDS) for future in futures)
    del futures[:]
    future = None
    for _ in range(2000):  # timers that are cancelled leave once there are many of them
        future = call()
        future.get(timeout=SECONDS)
    del future
    gc.collect()
    assert sum(reference() is not None for reference in watched) == 0


def test_many_that_are_given_up_at_once(worker: Any) -> None:
    first = begun(worker.proxy().work)
    late = [worker.proxy().left.with_options(timeout=0.05)() for _ in range(3000)]
    for future in late:
        with pytest.raises(Timeout):
            future.get(timeout=SECONDS)
    first.cancel()
    assert first.get(timeout=SECONDS) == "early"
    assert wait_until(lambda: worker.mailbox_size == 0)


def test_cancels_that_meet_the_end_of_their_calls(worker: Any) -> None:
    """Whoever comes first: a value or a cancelled future, and the next call is well."""
    for _ in range(200):
        future = worker.proxy().left_later()
        thread = threading.Thread(target=future.cancel)
        thread.start()
        try:
            assert future.get(timeout=SECONDS) == math.inf
        except CancelledError:
            assert future.cancelled()
        thread.join()
    assert worker.proxy().left_later().get(timeout=SECONDS) == math.inf

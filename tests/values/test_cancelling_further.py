"""More of calls that are not wanted any more: asked by isolates, from their own threads, at odd moments, in circles."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import math
import threading
import time
import weakref
from concurrent.futures import CancelledError
from typing import Any

import pykka
import pytest

import piactors
from piactors import DeadlockError, IsolateCrashed, ProcessActor, Timeout, by_ref
from tests.support import wait_until

SECONDS = 20


class Target(ProcessActor):
    """Does what others ask."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[Any] = []

    def busy(self, seconds: float) -> None:
        time.sleep(seconds)

    def on_receive(self, message: Any) -> Any:
        self.got.append(message)
        return message

    def note(self, value: Any) -> Any:
        self.got.append(value)
        return value

    def all(self) -> list[Any]:
        return self.got

    def left(self, *_: Any) -> float:
        call = piactors.current_call()
        assert call is not None
        return call.remaining()

    def search(self, began: Any) -> str:
        began()
        end = time.monotonic() + SECONDS
        while not piactors.cancelled() and time.monotonic() < end:
            time.sleep(0.002)
        self.got.append("told" if piactors.cancelled() else "not told")
        return "early"

    async def rest(self, began: Any, seconds: float = SECONDS) -> str:
        began()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.got.append("told")
            raise
        return "rested"

    def stubborn(self, began: Any) -> None:
        began()
        time.sleep(SECONDS)

    def raise_cancelled(self, began: Any) -> None:
        began()
        time.sleep(0.3)
        raise concurrent.futures.CancelledError

    async def await_cancelled(self, began: Any) -> None:
        began()
        task = asyncio.ensure_future(asyncio.sleep(SECONDS))
        await asyncio.sleep(0.3)
        task.cancel()
        await task


class Asker(ProcessActor):
    """Asks others, in every way."""

    def __init__(self) -> None:
        super().__init__()
        self.other: Any = None

    def link(self, other: Any) -> None:
        self.other = other

    def from_a_thread(self, other: Any) -> list[Any]:
        answers: list[Any] = []

        def ask() -> None:
            other.tell("told")
            answers.append(other.proxy().note("called").get(timeout=SECONDS))
            answers.append(other.ask("asked", timeout=SECONDS))

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return answers

    def cancel_search(self, other: Any, method: str, began: Any, *kill_after: float) -> bool:
        future = getattr(other.proxy(), method)(began)
        time.sleep(0.3)
        return bool(future.cancel(*kill_after))

    def cancel_queued(self, other: Any, event: Any) -> tuple[bool, bool]:
        other.tell("first")
        other.proxy().busy(0.5)
        queued = other.proxy().search(event)
        return queued.cancel(), queued.cancelled()

    async def wait_briefly(self, other: Any, began: Any) -> str:
        try:
            await asyncio.wait_for(other.proxy().rest(began), 0.3)
        except TimeoutError:
            return "too late"
        return "in time"

    async def go(self, steps: int) -> str:
        return str(await self.other.proxy().go(steps - 1)) if steps else "there"

    def go_and_wait(self, steps: int) -> str:
        return str(self.other.proxy().go(steps - 1).get(timeout=SECONDS)) if steps else "there"

    async def own(self) -> str:
        return str(await self.actor_ref.proxy().go(0))

    async def slowly(self, other: Any, seconds: float) -> Any:
        return await other.proxy().rest(bool, seconds)

    def callback_asks(self, other: Any) -> list[Any]:
        found: list[Any] = []
        ready = threading.Event()

        def ask(_: Any) -> None:
            found.append(other.proxy().note("from a callback").get(timeout=SECONDS))
            ready.set()

        other.proxy().note("first").add_done_callback(ask)
        assert ready.wait(SECONDS)
        return found

    def callback_raises(self, other: Any) -> int:
        other.proxy().note(1).add_done_callback(lambda _: 1 / 0)
        ready = threading.Event()
        other.proxy().note(2).add_done_callback(lambda _: ready.set())
        return int(ready.wait(SECONDS))

    def late_text(self, other: Any) -> str:
        try:
            other.proxy().busy(1).get(timeout=0.2)
        except Timeout as error:
            return str(error)
        return ""

    def call(self, function: Any, *args: Any) -> Any:
        return function(*args)

    def call_cancelled(self) -> bool:
        return piactors.cancelled()

    def left_with(self, other: Any, seconds: float) -> Any:
        method = other.proxy().left
        return method.with_options(timeout=seconds)().get(timeout=SECONDS), method().get(timeout=SECONDS)

    def call_own(self) -> Any:
        return self.actor_ref.call("late_text_of", 3), self.actor_ref.call(self.late_text_of, 4)

    def late_text_of(self, value: int) -> int:
        return value

    def left_through(self, other: Any) -> Any:
        return other.proxy().rest(bool).get(timeout=SECONDS)


@pytest.fixture
def target() -> Any:
    return Target.with_options(restart="permanent").start()


@pytest.fixture
def asker() -> Any:
    return Asker.start()


def begun(make: Any) -> Any:
    event = threading.Event()
    future = make(by_ref(event.set))
    assert event.wait(SECONDS), "it did not begin"
    return future


def test_what_an_isolate_asks_from_its_own_threads_has_all_the_time(target: Any, asker: Any) -> None:
    target.proxy().busy(0.3)
    assert asker.proxy().from_a_thread(target).get(timeout=SECONDS) == ["called", "asked"]
    assert target.proxy().all().get(timeout=SECONDS) == ["told", "called", "asked"]


@pytest.mark.parametrize("method", ["search", "rest"])
def test_an_isolate_cancels_what_it_has_asked_for(target: Any, asker: Any, method: str) -> None:
    other = Target.with_options(concurrency=2).start()
    event = threading.Event()
    assert asker.proxy().cancel_search(other, method, by_ref(event.set)).get(timeout=SECONDS) is False
    assert event.wait(SECONDS)
    assert wait_until(lambda: other.proxy().all().get(timeout=SECONDS)) == ["told"]


def test_what_has_not_begun_never_does(target: Any, asker: Any) -> None:
    event = threading.Event()
    assert asker.proxy().cancel_queued(target, by_ref(event.set)).get(timeout=SECONDS) == (True, True)
    assert target.proxy().all().get(timeout=SECONDS) == ["first"]
    assert not event.is_set()


def test_an_isolate_has_a_process_ended_that_it_has_asked(target: Any, asker: Any) -> None:
    pid = target.pid
    event = threading.Event()
    asker.proxy().cancel_search(target, "stubborn", by_ref(event.set), 0.1).get(timeout=SECONDS)
    wait_until(lambda: target.pid not in (None, pid))


def test_wait_for_in_an_isolate_cancels_what_it_awaits(target: Any, asker: Any) -> None:
    event = threading.Event()
    assert asker.proxy().wait_briefly(target, by_ref(event.set)).get(timeout=SECONDS) == "too late"
    assert wait_until(lambda: target.proxy().all().get(timeout=SECONDS)) == ["told"]


@pytest.mark.parametrize("method", ["raise_cancelled", "await_cancelled"])
def test_a_recycling_runs_nothing_twice_that_ends_of_a_cancelled_wait(target: Any, method: str) -> None:
    count: list[int] = []
    event = threading.Event()

    def began() -> None:
        count.append(1)
        event.set()

    future = getattr(target.proxy(), method)(by_ref(began))
    assert event.wait(SECONDS)
    replaced = target.recycle()
    with pytest.raises((CancelledError, piactors.RemoteError)):
        future.get(timeout=SECONDS)
    replaced.get(timeout=SECONDS)
    assert len(count) == 1
    assert not future.cancelled()


@pytest.mark.parametrize("how", ["recycle", "revoke"])
def test_what_goes_on_is_not_told_that_it_was_cancelled(target: Any, how: str) -> None:
    ref = target.restrict(["search"]) if how == "revoke" else target
    future = begun(ref.proxy().search)
    other = None
    if how == "revoke":
        ref.revoke()
    else:
        other = target.recycle()
    with pytest.raises(Timeout):
        future.get(timeout=0.3)
    future.cancel()
    assert future.get(timeout=SECONDS) == "early"
    if other is not None:
        other.get(timeout=SECONDS)


def test_a_cancelled_coroutine_runs_once_though_its_process_is_replaced(target: Any) -> None:
    future = begun(target.proxy().rest)
    future.cancel()
    replaced = target.recycle()
    with pytest.raises(CancelledError):
        future.get(timeout=SECONDS)
    assert future.cancelled()
    replaced.get(timeout=SECONDS)
    assert target.proxy().all().get(timeout=SECONDS) == []


# Circles of coroutines


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_circle_of_coroutines_fails_at_once(concurrency: int) -> None:
    first, second = (Asker.with_options(concurrency=concurrency).start() for _ in range(2))
    first.proxy().link(second).get(timeout=SECONDS)
    second.proxy().link(first).get(timeout=SECONDS)
    began = time.monotonic()
    with pytest.raises(DeadlockError):
        first.proxy().go(2 * concurrency).get(timeout=SECONDS)
    assert time.monotonic() - began < 5
    assert first.proxy().go(1).get(timeout=SECONDS) == "there"


def test_a_circle_of_a_coroutine_and_a_method() -> None:
    first, second = Asker.start(), Asker.start()
    first.proxy().link(second).get(timeout=SECONDS)
    second.proxy().link(first).get(timeout=SECONDS)
    with pytest.raises(DeadlockError):
        first.proxy().go_and_wait(2).get(timeout=SECONDS)


def test_a_coroutine_that_awaits_its_own_actor(asker: Any) -> None:
    with pytest.raises(DeadlockError):
        asker.proxy().own().get(timeout=SECONDS)


def test_coroutines_that_are_only_slow_are_no_circle(target: Any) -> None:
    askers = [Asker.start() for _ in range(3)]
    futures = [asker.proxy().slowly(target, 0.3) for asker in askers]
    assert [future.get(timeout=SECONDS) for future in futures] == ["rested"] * 3


# Callbacks in isolates


def test_a_done_callback_in_an_isolate_may_ask(target: Any, asker: Any) -> None:
    assert asker.proxy().callback_asks(target).get(timeout=SECONDS) == ["from a callback"]


def test_a_done_callback_that_raises_spoils_nothing(target: Any, asker: Any) -> None:
    assert asker.proxy().callback_raises(target).get(timeout=SECONDS) == 1


def test_the_error_of_a_wait_says_for_how_long_it_was(target: Any, asker: Any) -> None:
    assert "within 0.2 seconds" in asker.proxy().late_text(target).get(timeout=SECONDS)


def test_an_actor_calls_itself_as_others_do(asker: Any) -> None:
    assert pykka.get_all(asker.proxy().call_own().get(timeout=SECONDS), timeout=SECONDS) == [3, 4]


# Deadlines


def test_an_isolate_gives_its_calls_a_time(target: Any, asker: Any) -> None:
    bounded, unbounded = asker.proxy().left_with(target, 5).get(timeout=SECONDS)
    assert 0 < bounded < 5
    assert unbounded == math.inf
    with pytest.raises(TypeError, match="timeout='x' is not allowed"):
        asker.proxy().left_with(target, "x").get(timeout=SECONDS)


def test_a_deadline_bounds_all_kinds_of_calls(target: Any) -> None:
    async def amapped() -> list[float]:
        return [seconds async for seconds in target.proxy().left.amap([1, 2])]

    with piactors.deadline(5):
        found = [*target.proxy().left.map([1, 2]), *asyncio.run(amapped())]
        found += [target.call("left").get(timeout=SECONDS), target.ask(Left(), timeout=SECONDS).remaining]
    assert all(0 < seconds < 5 for seconds in found)


class Left:
    """A message that notes the time when it is read."""

    def __init__(self) -> None:
        self.remaining = math.inf

    def __reduce__(self) -> tuple[Any, ...]:
        return _left, ()


def _left() -> Left:
    made, call = Left(), piactors.current_call()
    made.remaining = math.inf if call is None else call.remaining()
    if made.remaining == math.inf:
        made.remaining = 1.0  # here, when the answer is read
    return made


@pytest.mark.parametrize("overflow", ["block", "fail"])
def test_a_full_mailbox_is_waited_for_no_longer_than_the_time_is(overflow: Any) -> None:
    ref = Target.with_options(mailbox_capacity=2, overflow=overflow).start()
    ref.proxy().busy(1)
    waiting = ref.proxy().note("waits")
    began = time.monotonic()
    late = ref.proxy().note.with_options(timeout=0.2)("late")
    assert time.monotonic() - began < 0.8
    with pytest.raises((Timeout, piactors.MailboxFull)):
        late.get(timeout=SECONDS)
    waiting.exception(timeout=SECONDS)
    assert "late" not in ref.proxy().all().get(timeout=SECONDS)


def test_what_is_asked_when_the_time_is_over_never_begins(target: Any) -> None:
    with piactors.deadline(0.001):
        time.sleep(0.01)
        late = [target.proxy().note("late"), target.call("note", "late"), target.ask("late", block=False)]
        for future in late:
            with pytest.raises(Timeout):
                future.get(timeout=SECONDS)
    assert target.proxy().all().get(timeout=SECONDS) == []


def test_a_time_that_ends_cancels_no_coroutine(target: Any, asker: Any) -> None:
    future = asker.proxy().slowly.with_options(timeout=0.2)(target, 0.6)
    assert future.get(timeout=SECONDS) == "rested"


def test_a_time_that_ends_as_the_call_begins_is_a_time_out(target: Any) -> None:
    for _ in range(60):
        busy = target.proxy().busy(0.01)
        late = [target.proxy().note.with_options(timeout=0.01 + n / 10_000)(n) for n in range(5)]
        for future in late:
            error = future.exception(timeout=SECONDS)
            assert error is None or type(error) is Timeout
            assert not future.cancelled()
        busy.get(timeout=SECONDS)


def test_a_call_whose_time_is_over_is_not_tried_again(tmp_path: Any) -> None:
    backoff = piactors.Backoff(initial=0.6)
    ref = Once.with_options(restart="permanent", backoff=backoff).start()
    with pytest.raises((Timeout, IsolateCrashed)):
        ref.proxy().die_once.with_options(timeout=0.2)(str(tmp_path / "died")).get(timeout=SECONDS)
    assert ref.proxy().count().get(timeout=SECONDS) == 0


class Once(ProcessActor):
    """Dies at the first try."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0

    @piactors.idempotent(retries=2)
    def die_once(self, path: str) -> None:
        import os

        self.tries += 1
        if not os.path.exists(path):
            with open(path, "w"):
                os._exit(1)

    def count(self) -> int:
        return self.tries


def test_what_is_lent_does_not_begin_after_the_time(asker: Any) -> None:
    seen: list[str] = []
    hold, began = threading.Event(), threading.Event()

    def first() -> None:
        began.set()
        hold.wait(SECONDS)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = by_ref(first, run=pool)
        quick = by_ref(lambda: seen.append("ran"), run=pool)
        other = Asker.start()
        blocked = other.proxy().call(slow)
        assert began.wait(SECONDS)
        late = asker.proxy().call.with_options(timeout=0.2)(quick)
        time.sleep(0.4)
        hold.set()
        with pytest.raises(Timeout):
            late.get(timeout=SECONDS)
        blocked.get(timeout=SECONDS)
    assert seen == []


def test_a_call_that_is_over_is_not_kept_until_its_process_would_be_ended(target: Any) -> None:
    watched = []
    for _ in range(20):
        future = begun(target.proxy().search)
        future.cancel(kill_after=3600)
        future.get(timeout=SECONDS)
        watched.append(weakref.ref(future))
    del future
    gc.collect()
    assert sum(reference() is not None for reference in watched) == 0


def test_no_number_is_too_large(target: Any) -> None:
    future = target.proxy().note(1)
    assert future.get(timeout=10**400) == 1
    assert begun(target.proxy().search).cancel(kill_after=10**400) is False


def test_threads_that_are_first_to_ask_at_once(target: Any) -> None:
    """In a fresh isolate: each loads what the other one needs."""
    for _ in range(8):
        ref = Asker.with_options(concurrency=4).start()
        proxy = ref.proxy()
        futures = [proxy.call_cancelled(), proxy.call(by_ref(abs), -1), proxy.from_a_thread(target)]
        futures += [proxy.call(by_ref(abs), -1), proxy.call_cancelled()]
        assert len(pykka.get_all(futures, timeout=SECONDS)) == 5
        ref.stop()

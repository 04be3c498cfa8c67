"""Calls that wait for each other in a circle: one of them fails at once, and says who waits for whom."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import piactors
from piactors import DeadlockError, ProcessActor, Timeout, by_ref
from tests.support import wait_until

SECONDS = 20


class Node(ProcessActor):
    """Asks the next one, which asks the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.next: Any = None

    def link(self, following: Any) -> None:
        self.next = following

    def go(self, steps: int) -> str:
        if not steps:
            return "end"
        return str(self.next.proxy().go(steps - 1).get(timeout=SECONDS))

    def go_slowly(self, steps: int) -> str:
        time.sleep(0.02)
        return str(self.next.proxy().go_slowly(steps - 1).get(timeout=SECONDS)) if steps else "end"

    def ask(self, steps: int) -> str:
        return str(self.next.ask(steps, timeout=SECONDS))

    def on_receive(self, message: Any) -> Any:
        return self.ask(message - 1) if message else "end"

    def begin(self, steps: int) -> Any:
        self.future: Any = self.next.proxy().go(steps)
        return "begun"

    def end(self) -> Any:
        return self.future.get(timeout=SECONDS)

    def own(self) -> Any:
        return self.actor_ref.proxy().go(0).get(timeout=SECONDS)

    def own_message(self) -> Any:
        return self.actor_ref.ask(0, timeout=SECONDS)

    def wait_for(self, future: Any) -> Any:
        return future.get(timeout=SECONDS)

    def wait_briefly(self, future: Any) -> Any:
        return future.get(timeout=0.3)

    def wait_for_first(self, futures: list[Any]) -> Any:
        return futures[0].get(timeout=SECONDS) if futures else None

    def run(self, function: Any, *args: Any) -> Any:
        return function(*args)

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"


def ring(count: int, **options: Any) -> list[Any]:
    refs = [Node.with_options(**options).start() for _ in range(count)]
    for ref, following in zip(refs, refs[1:] + refs[:1], strict=True):
        ref.proxy().link(following).get(timeout=SECONDS)
    return refs


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    yield
    piactors_stop()


def piactors_stop() -> None:
    import pykka

    pykka.ActorRegistry.stop_all(timeout=SECONDS)


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("way", ["go", "ask"])
def test_a_circle_fails_at_once_and_names_its_members(count: int, way: str) -> None:
    refs = ring(count)
    first = refs[0].proxy()
    longest = count - 1 if way == "go" else count - 2
    assert get(getattr(first, way)(longest)) == "end"
    began = time.monotonic()
    with pytest.raises(DeadlockError) as caught:
        get(getattr(first, way)(longest + 1))
    assert time.monotonic() - began < 5
    assert [name.partition(".")[0] for name in caught.value.cycle] == [ref.name for ref in refs]
    assert " waits for ".join(caught.value.cycle) in str(caught.value)
    assert get(getattr(first, way)(longest)) == "end", "everybody goes on"


def test_who_asks_itself_is_a_circle_of_one() -> None:
    ref = Node.start()
    for call in (ref.proxy().own, ref.proxy().own_message):
        with pytest.raises(DeadlockError, match="its own actor") as caught:
            get(call())
        assert len(caught.value.cycle) == 1
    assert get(ref.proxy().go(0)) == "end"


def test_two_calls_that_meet_fail_one_of_them() -> None:
    """Neither comes from the other: both wait, and the younger one is told."""
    first, second = ring(2)
    for _ in range(20):
        calls = [first.proxy().go(1), second.proxy().go(1)]
        outcomes = [future.exception(timeout=SECONDS) for future in calls]
        assert sum(isinstance(error, DeadlockError) for error in outcomes) <= 1
        assert all(error is None or isinstance(error, DeadlockError) for error in outcomes)


def test_another_slot_that_may_get_free_is_no_circle() -> None:
    """Of two threads one waits, and the other one is only slow."""
    first, second = ring(2, concurrency=2)
    slow = first.proxy().sleep(0.5)
    wait_until(slow.running)
    assert get(first.proxy().go(2)) == "end"
    assert get(slow) == "slept"
    with pytest.raises(DeadlockError):
        get(first.proxy().go(6)), second


def test_who_does_not_wait_is_not_in_a_circle() -> None:
    first, second = ring(2)
    assert get(first.proxy().begin(1)) == "begun"
    wait_until(lambda: second.mailbox_size == 0)
    assert get(first.proxy().end()) == "end"
    assert get(second.proxy().go(0)) == "end"


def test_slow_calls_without_a_circle_are_left_alone() -> None:
    refs = ring(3)
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(lambda ref=ref: get(ref.proxy().go_slowly(0))) for ref in refs * 10]
        assert all(future.result() == "end" for future in futures)
    chain = [Node.start() for _ in range(3)]
    chain[0].proxy().link(chain[1]).get()
    chain[1].proxy().link(chain[2]).get()
    calls = [chain[0].proxy().go_slowly(2) for _ in range(10)]
    assert [get(call) for call in calls] == ["end"] * 10


def test_a_future_that_waits_behind_the_call_that_reads_it_fails_that_alone() -> None:
    """The call behind it is the host's, and waits in the very mailbox: it goes on."""
    ref = Node.start()
    slow = ref.proxy().sleep(0.3)
    wait_until(slow.running)
    waiting = ref.proxy().wait_for_first([])
    behind = ref.proxy().go(0)
    promise: Any = piactors.Future()
    reading = ref.proxy().wait_for(promise)
    promise.set(1)
    assert get(reading) == 1
    assert (get(slow), get(waiting), get(behind)) == ("slept", None, "end")
    later = ref.proxy().run(_wait_for_later, by_ref(lambda: ref.proxy().go(0)))
    with pytest.raises(DeadlockError) as caught:
        get(later)
    assert caught.value.cycle == (f"{ref.name}.run",)


def _wait_for_later(make: Any) -> Any:
    return make().get(timeout=SECONDS)


def test_a_call_back_into_the_one_that_waits_for_it_through_the_host() -> None:
    """An isolate calls the host, whose function asks that isolate and waits."""
    ref = Node.start()
    with pytest.raises(DeadlockError) as caught:
        get(ref.proxy().run(by_ref(lambda: get(ref.proxy().go(0)))))
    assert caught.value.cycle == (f"{ref.name}.run",)
    assert get(ref.proxy().go(0)) == "end"


def test_with_wait_nothing_is_looked_for() -> None:
    refs = ring(2, on_cycle="wait")
    refs[0].proxy().link(refs[1]).get()
    call = refs[0].proxy().go(2)
    with pytest.raises(Timeout):
        call.get(timeout=1)
    for ref in refs:
        ref.terminate()


def test_what_is_no_way_to_treat_circles_is_refused() -> None:
    with pytest.raises(ValueError, match="on_cycle"):
        Node.with_options(on_cycle="hope")

"""Many of anything: sixteen times as many take about sixteen times as long, not its square, 256 times."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import piactors
from piactors import Future, IsolationOptions, events
from tests.children.plain import give

FEW, MANY = 500, 8_000
TRIES = 3
TIMES_AS_LONG = 64.0
"""As far from 16 as from 256: a busy machine, and two threads that take turns, make four times as long of some."""


class Host:
    """What is called: it runs one call that lasts, and all others wait."""

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def give(self, value: Any) -> Any:
        return give(value)


@contextmanager
def waiting(count: int, **options: Any) -> Iterator[tuple[Any, list[Future[Any]]]]:
    """An isolate with so many calls that wait."""
    ref = piactors.spawn(Host, options=IsolationOptions(shutdown_timeout=0.01, **options))
    try:
        ref.call("sleep", 1000)
        yield ref, [ref.call("give", 1) for _ in range(count)]
    finally:
        ref.terminate()


def seconds(do: Callable[[], Any]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def cancel(count: int) -> float:
    with waiting(count) as (ref, futures):
        took = seconds(lambda: [future.cancel() for future in futures])
        assert all(future.cancelled() for future in futures)
        assert ref.mailbox_size <= 1024  # those that were on their way are skipped there
        return took


def cancel_from_the_end(count: int) -> float:
    with waiting(count) as (_, futures):
        return seconds(lambda: [future.cancel() for future in reversed(futures)])


def cancel_when_full(count: int) -> float:
    with waiting(count, mailbox_capacity=count + 1) as (_, futures):
        return seconds(lambda: [future.cancel() for future in futures])


def give_way(count: int) -> float:
    with waiting(count, mailbox_capacity=count + 1, overflow="drop_oldest") as (ref, _):
        return seconds(lambda: [ref.tell({"n": 1}) for _ in range(count)])


def stop(count: int) -> float:
    with waiting(count) as (ref, futures):
        took = seconds(lambda: ref.terminate(timeout=30))
        assert all(isinstance(future.exception(timeout=30), Exception) for future in futures)
        return took


def wait(count: int) -> float:
    with waiting(count) as (ref, futures):

        def end() -> None:
            ref._isolate.terminate()
            assert not concurrent.futures.wait(futures, timeout=50).not_done
            assert len(list(concurrent.futures.as_completed(futures, timeout=50))) == count

        return seconds(end)


def callbacks_of_many(count: int) -> float:
    with waiting(count) as (_, futures):
        return seconds(lambda: [future.add_done_callback(print) for future in futures])


def callbacks_of_one(count: int) -> float:
    """And their running, which ends when the last one has."""
    future, done = Future[int](), Future[int]()
    future_callbacks = [lambda _: None] * (count - 1) + [lambda _: done.set(1)]

    def all_of_it() -> None:
        for callback in future_callbacks:
            future.add_done_callback(callback)
        future.set(1)
        done.get(timeout=50)

    return seconds(all_of_it)


def remove_callbacks(count: int) -> float:
    with waiting(count) as (_, futures):
        for future in futures:
            future.add_done_callback(print)
        return seconds(lambda: [future.remove_done_callback(print) for future in futures])


def subscribers(count: int) -> float:
    def come_and_go() -> None:
        for undo in [events.subscribe(print, events.CallTimedOut) for _ in range(count)]:
            undo()

    return seconds(come_and_go)


def watches(count: int) -> float:
    with waiting(0) as (ref, _):

        def come_and_go() -> None:
            for undo in [piactors.watch(ref, print) for _ in range(count)]:
                undo()

        return seconds(come_and_go)


@pytest.mark.parametrize(
    "what",
    [
        cancel,
        cancel_from_the_end,
        cancel_when_full,
        give_way,
        stop,
        wait,
        callbacks_of_many,
        callbacks_of_one,
        remove_callbacks,
        subscribers,
        watches,
    ],
)
def test_sixteen_times_as_many_do_not_take_the_square_as_long(what: Callable[[int], float]) -> None:
    """The shortest of three tries counts for each, since the machine may be busy."""
    few, many = [], []
    for _ in range(TRIES):
        few.append(what(FEW))
        many.append(what(MANY))
        if min(many) < TIMES_AS_LONG * max(min(few), 0.001):
            return
    pytest.fail(f"{what.__name__}: {FEW} took {few}, {MANY} took {many} seconds")


@pytest.mark.soak
def test_40_000_waiting_calls_are_cancelled_within_a_second() -> None:
    """They took 23 s once."""
    assert min(cancel(40_000) for _ in range(TRIES)) < 1

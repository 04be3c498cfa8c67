"""Rules of `piactors._io.loop`: every call runs, in order, and nothing polls."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from piactors._io import loop as loop_module
from piactors._io.loop import Loop, Share
from tests.support import wait_until

PATIENCE = 10.0


def unexpected(error: BaseException) -> None:
    raise error


def end(loop: Loop) -> None:
    """Stop a loop, also one that has lost a wake-up and sleeps."""
    with contextlib.suppress(OSError):
        os.write(loop._wake_write, b"\0")
    loop.stop()


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop that runs."""
    made = Loop(unexpected, unexpected)
    made.start()
    yield made
    end(made)


@pytest.fixture
def pipes() -> Iterator[Callable[[], tuple[int, int]]]:
    """Make pipes, which the fixture closes."""
    made: list[int] = []

    def pipe() -> tuple[int, int]:
        ends = os.pipe()
        made.extend(ends)
        return ends

    yield pipe
    for fd in made:
        with contextlib.suppress(OSError):
            os.close(fd)


def on_loop(loop: Loop, function: Callable[[], Any]) -> Any:
    """Run a function on the loop's thread and return its result."""
    found: list[Any] = []
    done = threading.Event()

    def run() -> None:
        found.append(function())
        done.set()

    loop.call_soon(run)
    assert done.wait(PATIENCE), "a call was not made"
    return found[0]


def hold_up(loop: Loop, until: threading.Event) -> None:
    """Keep the loop's thread busy."""

    def wait() -> None:
        until.wait(PATIENCE)

    loop.call_soon(wait)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# Calls


def test_calls_run_on_the_loops_thread_in_order_and_with_their_arguments(loop: Loop) -> None:
    """One after the other."""
    found: list[tuple[Any, bool]] = []
    for number in range(100):
        loop.call_soon(lambda n: found.append((n, loop.is_current())), number)
    on_loop(loop, lambda: None)
    assert found == [(number, True) for number in range(100)]
    assert not loop.is_current()


def test_a_call_made_on_the_loop_runs_after_those_asked_for_before(loop: Loop) -> None:
    """It does not jump the queue, and needs no other event to run."""
    found: list[str] = []
    done = threading.Event()

    def outer() -> None:
        loop.call_soon(found.append, "inner")
        loop.call_soon(done.set)
        found.append("outer")

    loop.call_soon(outer)
    assert done.wait(PATIENCE)
    assert found == ["outer", "inner"]


def test_a_loop_that_keeps_calling_itself_serves_descriptors_and_timers_too(
    loop: Loop, pipes: Callable[[], tuple[int, int]]
) -> None:
    """A call adds one for the next turn, not for this one."""
    read, write = pipes()
    seen, fired = threading.Event(), threading.Event()
    going = [1]

    def again() -> None:
        if going:
            loop.call_soon(again)

    loop.call_soon(again)
    loop.call_soon(loop.watch, read, lambda: (os.read(read, 9), seen.set()))  # type: ignore[func-returns-value]
    loop.call_later(0.001, fired.set)
    os.write(write, b"x")
    found = seen.wait(PATIENCE), fired.wait(PATIENCE)
    going.clear()
    loop.call_soon(loop.unwatch, read)
    assert found == (True, True)


def test_calls_of_many_threads_all_run_and_those_of_one_thread_in_its_order(loop: Loop) -> None:
    """No wake-up is lost: 8 threads, 2000 calls each, every few of which wait until they have run."""
    found: dict[int, list[int]] = {number: [] for number in range(8)}
    stuck: list[int] = []
    before = sys.getswitchinterval()

    def work(number: int) -> None:
        for count in range(2000):
            loop.call_soon(found[number].append, count)
            if count % 50 == number:
                ran = threading.Event()
                loop.call_soon(ran.set)
                if not ran.wait(3):
                    stuck.append(number)
                    return

    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not stuck, "the loop sleeps though calls were made"
    on_loop(loop, lambda: None)
    assert all(calls == list(range(2000)) for calls in found.values())


class Reading:
    """Stands in for `os` in the loop's module, to do something just before the loop reads its wake-ups."""

    def __init__(self) -> None:
        self.before: list[Callable[[], None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def read(self, fd: int, count: int) -> bytes:
        if self.before:
            self.before.pop()()
        return os.read(fd, count)


def test_a_call_of_the_loops_own_thread_needs_no_wake_up(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it cannot fail there, and costs no system call."""
    done = threading.Event()

    def refuse(*_: object) -> int:
        raise OSError(28, "no room")

    def ask() -> None:
        monkeypatch.setattr(loop_module.os, "write", refuse)
        try:
            loop.call_soon(done.set)
        finally:
            monkeypatch.undo()

    on_loop(loop, ask)
    assert done.wait(PATIENCE)


def test_what_a_finalizer_asks_for_just_before_the_loop_sleeps_wakes_it(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector runs in any thread, also between the look at the calls and the sleep."""
    done = threading.Event()
    time_to_wait = loop._time_to_wait

    def interrupted() -> float | None:
        found = time_to_wait()
        if found is None:
            monkeypatch.undo()
            loop.call_soon(done.set)
        return found

    on_loop(loop, lambda: monkeypatch.setattr(loop, "_time_to_wait", interrupted))
    assert done.wait(PATIENCE)


def test_a_call_made_while_the_loop_reads_its_wake_ups_costs_no_later_call_its_wake_up(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one moment in which a wake-up could be read that belongs to a mark set after it was cleared."""
    reading = Reading()
    monkeypatch.setattr(loop_module, "os", reading)
    early, late = threading.Event(), threading.Event()

    def from_another_thread() -> None:
        thread = threading.Thread(target=loop.call_soon, args=(early.set,))
        thread.start()
        thread.join()

    reading.before.append(from_another_thread)
    loop.call_soon(lambda: None)
    assert early.wait(PATIENCE)
    time.sleep(0.05)  # until it sleeps again, which nothing tells
    loop.call_soon(late.set)
    assert late.wait(2), "the loop sleeps though a call was made"


# Timers


def test_timers_fire_in_the_order_they_are_due(loop: Loop) -> None:
    """Whatever the order they were made in, and though all are due at once when the loop comes to them."""
    found: list[float] = []
    delays = [n / 1000 for n in range(1, 51)]
    random.Random(1).shuffle(delays)
    done, hold = threading.Event(), threading.Event()
    hold_up(loop, hold)
    due = {delay: loop.call_later(delay, lambda delay=delay: found.append(delay)).due for delay in delays}  # type: ignore[misc]
    loop.call_later(max(due.values()) - time.monotonic() + 0.01, done.set)
    hold.set()
    assert done.wait(PATIENCE)
    assert found == sorted(delays, key=due.__getitem__)  # between two of them, this thread may not have run for a while


def test_a_timer_does_not_fire_early(loop: Loop) -> None:
    """Nor much later, with nothing else to do."""
    done: list[float] = []
    fired = threading.Event()
    began = time.monotonic()
    loop.call_later(0.1, lambda: (done.append(time.monotonic()), fired.set()))  # type: ignore[func-returns-value]
    assert fired.wait(PATIENCE)
    assert 0.1 <= done[0] - began < 2


def test_a_later_timer_does_not_delay_an_earlier_one_made_after_it(loop: Loop) -> None:
    """The loop that sleeps for the one is woken for the other."""
    fired = threading.Event()
    late = loop.call_later(1000, lambda: None)
    on_loop(loop, lambda: None)
    loop.call_later(0.001, fired.set)
    assert fired.wait(PATIENCE)
    late.cancel()


@pytest.mark.parametrize("delay", [0, -1, -1e9])
def test_a_timer_that_is_due_already_fires_at_once(loop: Loop, delay: float) -> None:
    """Made on the loop's thread or on another."""
    fired = [threading.Event(), threading.Event()]
    loop.call_later(delay, fired[0].set)
    on_loop(loop, lambda: loop.call_later(delay, fired[1].set))
    assert all(event.wait(PATIENCE) for event in fired)


def test_timers_of_years_are_no_error(loop: Loop) -> None:
    """Selectors do not take such waits."""
    for delay in (1e9, 1e300, float("inf")):
        loop.call_later(delay, lambda: None)
    assert on_loop(loop, lambda: 1) == 1


def test_a_cancelled_timer_does_not_fire(loop: Loop) -> None:
    """Whether the loop knows it already or not; others do."""
    found, done, hold = [], threading.Event(), threading.Event()
    hold_up(loop, hold)
    timers = [loop.call_later(0.001 * n, lambda n=n: found.append(n)) for n in range(4)]  # type: ignore[misc]
    timers[1].cancel()
    timers[1].cancel()
    hold.set()
    cancelled = on_loop(loop, lambda: loop.call_later(0.5, lambda: found.append(-1)))
    cancelled.cancel()
    loop.call_later(0.6, done.set)
    assert done.wait(PATIENCE)
    assert sorted(found) == [0, 2, 3]


def test_a_timer_cancelled_by_one_that_fires_before_it_does_not_fire(loop: Loop) -> None:
    """Though both were due."""
    found, done, hold = [], threading.Event(), threading.Event()
    hold_up(loop, hold)
    loop.call_later(0.001, lambda: second.cancel())
    second = loop.call_later(0.002, lambda: found.append("second"))
    loop.call_later(0.003, done.set)
    time.sleep(0.005)  # all are due
    hold.set()
    assert done.wait(PATIENCE)
    assert found == []


def test_cancelled_timers_do_not_stay_until_they_are_due(loop: Loop) -> None:
    """Each start of an isolate makes one, and cancels it: they must not pile up.  The others fire in their order."""
    found: list[int] = []
    for number in range(2000):
        loop.call_later(1000 + number, lambda: None).cancel()
    others = [loop.call_later(0.001 * number, lambda number=number: found.append(number)) for number in range(50)]  # type: ignore[misc]
    for number in range(2000):
        loop.call_later(1000, lambda: None).cancel()
        if number % 100 == 0:
            on_loop(loop, lambda: None)
    assert on_loop(loop, lambda: len(loop._timers)) < 500
    done = threading.Event()
    loop.call_later(0.1, done.set)
    assert done.wait(PATIENCE)
    assert found == list(range(50))
    assert not any(timer.cancelled for timer in others)


# Descriptors


def test_a_watched_descriptor_is_read_while_it_is_readable_and_not_once_unwatched(
    loop: Loop, pipes: Callable[[], tuple[int, int]]
) -> None:
    """Unwatching twice, or what was never watched, is no error."""
    read, write = pipes()
    found, seen = [], threading.Event()

    def on_read() -> None:
        found.append(os.read(read, 1))
        if len(found) == 3:
            loop.unwatch(read)
            loop.unwatch(read)
            seen.set()

    on_loop(loop, lambda: loop.watch(read, on_read))
    os.write(write, b"abcd")
    assert seen.wait(PATIENCE)
    on_loop(loop, lambda: loop.unwatch(-1))
    on_loop(loop, lambda: loop.unwatch(12345))
    assert found == [b"a", b"b", b"c"]


def test_a_descriptor_is_written_while_that_is_wanted(loop: Loop) -> None:
    """And only then; wanting it of what is not watched is no error."""
    import socket

    one, other = socket.socketpair()
    wrote = threading.Event()
    count = [0]

    def on_write() -> None:
        count[0] += 1
        loop.want_write(one.fileno(), False)
        wrote.set()

    with one, other:
        on_loop(loop, lambda: loop.watch(one.fileno(), lambda: None, on_write))
        on_loop(loop, lambda: None)
        assert count == [0]
        on_loop(loop, lambda: loop.want_write(one.fileno(), True))
        assert wrote.wait(PATIENCE)
        on_loop(loop, lambda: loop.want_write(-1, True))
        on_loop(loop, lambda: loop.want_write(12345, True))
        on_loop(loop, lambda: loop.unwatch(one.fileno()))
        assert count == [1]


def test_a_descriptor_unwatched_by_the_handler_of_another_gets_no_call_any_more(
    loop: Loop, pipes: Callable[[], tuple[int, int]]
) -> None:
    """Though both were readable when the loop looked: it may be closed by now, and its number be another file's."""
    ends = [pipes(), pipes()]
    found: list[int] = []

    def handler(mine: int) -> Callable[[], None]:
        def on_read() -> None:
            found.append(mine)
            for read, _ in ends:
                loop.unwatch(read)

        return on_read

    def begin() -> None:
        for read, write in ends:
            os.write(write, b"x")
            loop.watch(read, handler(read))

    on_loop(loop, begin)
    on_loop(loop, lambda: None)
    on_loop(loop, lambda: None)
    assert len(found) == 1


def test_a_descriptor_unwatched_while_it_is_read_is_not_written_any_more(loop: Loop) -> None:
    """Its reader may have met the end, and closed it."""
    import socket

    one, other = socket.socketpair()
    found: list[str] = []

    def on_read() -> None:
        found.append("read")
        loop.unwatch(one.fileno())

    def begin() -> None:
        loop.watch(one.fileno(), on_read, lambda: found.append("written"))
        loop.want_write(one.fileno(), True)

    with one, other:
        other.send(b"x")
        on_loop(loop, begin)
        on_loop(loop, lambda: None)
        on_loop(loop, lambda: None)
        on_loop(loop, lambda: loop.unwatch(one.fileno()))
    assert found == ["read"]


# The end


def failing_at(where: str, loop: Loop | Share, pipes: Callable[[], tuple[int, int]], error: BaseException) -> None:
    """Have something raise on the loop."""

    def fail() -> None:
        raise error

    if where == "call":
        loop.call_soon(fail)
    elif where == "timer":
        loop.call_later(0.001, fail)
    else:
        read, write = pipes()
        os.write(write, b"x")
        loop.call_soon(loop.watch, read, fail)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("where", ["call", "timer", "descriptor"])
def test_what_a_callback_raises_is_told_to_whom_it_belongs_and_the_thread_goes_on(
    error: BaseException, where: str, loop: Loop, pipes: Callable[[], tuple[int, int]]
) -> None:
    """With the very exception; another one's callbacks are made as before."""
    told: list[BaseException] = []
    failing_at(where, loop.share(told.append), pipes, error)
    wait_until(lambda: told)
    assert set(map(id, told)) == {id(error)}
    assert on_loop(loop, lambda: 5) == 5


def test_a_descriptor_whose_callback_always_fails_is_not_watched_any_more(
    loop: Loop, pipes: Callable[[], tuple[int, int]]
) -> None:
    """It is readable all the time, and would keep the thread from everything else."""
    told: list[BaseException] = []
    failing_at("descriptor", loop.share(told.append), pipes, ValueError("x"))
    wait_until(lambda: len(told) == 3)
    for _ in range(5):
        on_loop(loop, lambda: None)
    assert len(told) == 3


def test_who_fails_at_being_told_costs_nobody_else(pipes: Callable[[], tuple[int, int]]) -> None:
    """That, too, is told to whoever is told of what belongs to nobody."""
    told: list[BaseException] = []
    loop, second = Loop(unexpected, told.append), OSError("y")

    def fails(error: BaseException) -> None:
        raise second

    loop.start()
    failing_at("call", loop.share(fails), pipes, ValueError("x"))
    wait_until(lambda: told == [second])
    assert on_loop(loop, lambda: 5) == 5
    loop.stop()


def test_the_thread_ends_if_it_can_wait_for_nothing_any_more() -> None:
    """Somebody has closed its descriptors, for one: that is told, and what it holds is closed."""
    failures, told = list[BaseException](), list[BaseException]()
    before = descriptors()
    loop = Loop(failures.append, told.append)
    loop.start()
    on_loop(loop, loop._poller.close)
    loop.thread.join(PATIENCE)
    assert not loop.thread.is_alive()
    assert [type(error) for error in failures] == [ValueError]
    assert len(told) == 1
    assert descriptors() == before
    loop.stop()


@pytest.mark.parametrize("told_by", ["a call", "the thread"])
def test_the_thread_ends_if_nobody_can_wake_it_and_closes_no_file_that_has_the_number(told_by: str) -> None:
    """Whoever opens something next gets the number that somebody has closed: the next loop, for one."""
    failures, asked = list[BaseException](), threading.Event()
    loop = Loop(failures.append, unexpected)
    loop.start()
    number = loop._wake_write
    busy = threading.Event()
    loop.call_soon(lambda: (asked.set(), busy.wait(PATIENCE)))
    assert asked.wait(PATIENCE)
    os.close(number)
    other = os.open(os.devnull, os.O_RDWR) if told_by == "the thread" else -1
    if told_by == "a call":
        loop._awake = False  # as if it had just begun to wait
        loop.call_soon(lambda: None)
        other = os.open(os.devnull, os.O_RDWR)
    if other != number:
        os.dup2(other, number)
        os.close(other)
    busy.set()
    loop.thread.join(PATIENCE)
    assert not loop.thread.is_alive()
    wait_until(lambda: [type(error) for error in failures] == [OSError])
    os.close(number)  # it is still open
    loop.stop()


def test_stop_closes_what_the_loop_holds() -> None:
    """And may be called twice."""
    before = descriptors()
    loops = [Loop(unexpected, unexpected) for _ in range(5)]
    assert descriptors() > before
    for loop in loops:
        loop.start()
        loop.stop()
        loop.stop()
        assert not loop.thread.is_alive()
    assert descriptors() == before


def test_stop_runs_the_calls_made_before() -> None:
    """All of them."""
    loop, found = Loop(unexpected, unexpected), list[int]()
    loop.start()
    for number in range(1000):
        loop.call_soon(found.append, number)
    loop.stop()
    assert found == list(range(1000))


def test_stop_on_the_loops_own_thread_does_not_wait_for_itself() -> None:
    """The thread ends after the turn."""
    loop = Loop(unexpected, unexpected)
    loop.start()
    loop.call_soon(loop.stop)
    loop.thread.join(PATIENCE)
    assert not loop.thread.is_alive()


def test_a_call_after_the_end_writes_into_no_file_that_has_the_loops_old_number(
    pipes: Callable[[], tuple[int, int]],
) -> None:
    """Numbers of closed descriptors are given out again, to whoever opens something next."""
    loop = Loop(unexpected, unexpected)
    old = loop._wake_write
    loop.start()
    loop.stop()
    read, write = pipes()
    if write != old:
        os.dup2(write, old)
    try:
        loop.call_soon(lambda: None)
        loop.call_later(1, lambda: None)
        os.set_blocking(read, False)
        with pytest.raises(BlockingIOError):
            os.read(read, 10)
    finally:
        if write != old:
            os.close(old)


class Slow:
    """Stands in for `os` in the loop's module: between a caller's decision to write and his write, the loop may end."""

    def __init__(self, loop: Loop) -> None:
        self.closing = threading.Event()
        """The loop's thread has come to its end, and would close what the caller is about to write to."""
        loop._wake_lock = _Told(loop, self.closing)  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, fd: int, data: bytes) -> int:
        os.write(fd, data)
        assert self.closing.wait(PATIENCE)
        return os.write(fd, data)


class _Told:
    """A lock that tells when the loop's thread asks for it."""

    def __init__(self, loop: Loop, asked: threading.Event) -> None:
        self._lock, self._loop, self._asked = loop._wake_lock, loop, asked

    def __enter__(self) -> None:
        if self._loop.is_current():
            self._asked.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_the_loop_does_not_close_what_a_caller_is_about_to_write_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks it to stop is one: it may be awake for something else, see that, and end before he wakes it."""
    loop = Loop(unexpected, unexpected)
    loop.start()
    on_loop(loop, lambda: None)
    monkeypatch.setattr(loop_module, "os", Slow(loop))
    loop.stop()
    assert not loop.thread.is_alive()


def test_a_signal_handler_may_call_within_a_call() -> None:
    """It runs in the thread that it interrupts, perhaps while that holds the lock."""
    loop = Loop(unexpected, unexpected)
    loop.start()
    found = threading.Event()
    with loop._wake_lock:
        loop.call_soon(found.set)
    assert found.wait(PATIENCE)
    loop.stop()


def test_an_idle_loop_takes_no_time(loop: Loop, pipes: Callable[[], tuple[int, int]]) -> None:
    """With timers far away, cancelled ones, and a descriptor on which nothing comes."""
    read, _ = pipes()
    loop.call_later(1000, lambda: None)
    loop.call_later(0.3, lambda: None).cancel()
    on_loop(loop, lambda: loop.watch(read, lambda: None))
    on_loop(loop, lambda: None)
    clock = time.pthread_getcpuclockid(loop.thread.ident or 0)
    before = time.clock_gettime(clock)
    time.sleep(0.5)
    used = time.clock_gettime(clock) - before
    on_loop(loop, lambda: loop.unwatch(read))
    assert used < 0.02


def test_a_timer_that_was_cancelled_holds_nothing(loop: Loop) -> None:
    """It stays in the list until it is due."""

    class Owner:
        def called(self) -> None: ...

        def told(self, error: BaseException) -> None: ...

    owner = Owner()
    gone = weakref.ref(owner)
    loop.call_later(1000, owner.called, owner.told).cancel()
    del owner
    assert gone() is None

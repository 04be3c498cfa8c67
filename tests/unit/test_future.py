"""Rules of `piactors.future`: one outcome, whoever asks for it and however."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
import gc
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest

import piactors
from piactors._future import outcome as future_module
from piactors._host import runtime
from piactors._values import futures as lent_futures
from piactors.errors import PiactorsError
from piactors.future import Future, run_callbacks_with

PATIENCE = 10.0
DEFAULT_RUNNER = future_module._run_callback
"""What runs callbacks before anybody has said who does: at once, where the outcome is set."""


@pytest.fixture
def runner() -> Iterator[threading.Thread]:
    """A thread that runs done-callbacks, in place of whatever does."""
    jobs: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()

    def run() -> None:
        while (job := jobs.get()) is not None:
            with contextlib.suppress(Exception):
                job[0](*job[1:])

    thread = threading.Thread(target=run)
    thread.start()
    before = future_module._run_callback
    run_callbacks_with(lambda *job: jobs.put(job))
    yield thread
    run_callbacks_with(before)
    jobs.put(None)
    thread.join()


@pytest.fixture
def no_runner() -> Iterator[None]:
    """Nobody was said to run done-callbacks, as before there is a runtime."""
    before = future_module._run_callback
    run_callbacks_with(DEFAULT_RUNNER)
    yield
    run_callbacks_with(before)


def settled(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set(value)
    return future


def failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    assert future.fail(error)
    return future


def hooked(hook: Callable[[float | None], Any]) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_get_hook(hook)
    return future


def in_thread(function: Callable[[], Any]) -> Any:
    """Run a function on a thread of its own and return what it returns."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(PATIENCE)


def later(seconds: float, function: Callable[..., Any], *args: Any) -> threading.Timer:
    timer = threading.Timer(seconds, function, args)
    timer.daemon = True
    timer.start()
    return timer


def raised(function: Callable[[], Any]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


# One outcome


def test_a_value_is_set_once_and_can_be_had_many_times() -> None:
    """A second `set` raises, and changes nothing."""
    future = settled(1)
    with pytest.raises(queue.Full):
        future.set(2)
    with pytest.raises(queue.Full):
        future.set_exception((ValueError, ValueError(), None))
    with pytest.raises(queue.Full):
        future.set_get_hook(lambda _: 3)
    assert not future.settle_with(lambda: 4)
    assert not future.fail(ValueError())
    assert not future.cancel()
    assert [future.get(), future.get(timeout=0), future.get(timeout=-1)] == [1, 1, 1]
    assert (future.done(), future.cancelled(), repr(future)) == (True, False, "<piactors.Future done>")


@pytest.mark.usefixtures("no_runner")
def test_exactly_one_of_many_racing_outcomes_wins() -> None:
    """Threads that set, fail, settle and cancel at once; everybody is told the same, callbacks once."""
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    rounds = 150
    futures: list[Future[Any]] = [Future() for _ in range(rounds)]
    called: list[list[Any]] = [[] for _ in range(rounds)]
    wins: list[list[str]] = [[] for _ in range(rounds)]
    barrier = threading.Barrier(8)

    def attempt(future: Future[Any], kind: str) -> bool:
        if kind == "cancel":
            return future.cancel()
        if kind == "produce":
            return future.settle_with(lambda: "produce")
        try:
            if kind == "set":
                future.set("set")
            else:
                future.set_exception((KeyError, KeyError("raise"), None))
        except queue.Full:
            return False
        return True

    def work(kind: str) -> None:
        for number, future in enumerate(futures):
            barrier.wait(PATIENCE)
            if attempt(future, kind):
                wins[number].append(kind)

    try:
        for number, future in enumerate(futures):
            future.add_done_callback(called[number].append)
        threads = [threading.Thread(target=work, args=(kind,)) for kind in ("set", "raise", "produce", "cancel") * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    finally:
        sys.setswitchinterval(switch)
    for future, found, won in zip(futures, called, wins, strict=True):
        assert found == [future]
        assert future.done()
        assert len(set(won)) == 1, "two kinds of outcome have won"
        assert len(won) == 1 or won == ["cancel", "cancel"], "cancel may say so twice, of one cancellation"
        assert future.cancelled() == (won[0] == "cancel")
        if won[0] in ("set", "produce"):
            assert future.get() == won[0]
        else:
            assert isinstance(raised(future.get), KeyError if won[0] == "raise" else concurrent.futures.CancelledError)


def test_all_who_wait_are_woken_by_one_outcome() -> None:
    """From whatever thread."""
    future: Future[int] = Future()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        waits = [pool.submit(future.get, timeout=None if n % 2 else PATIENCE) for n in range(20)]
        future.set(7)
        assert [wait.result(PATIENCE) for wait in waits] == [7] * 20


# Asking


@pytest.mark.parametrize("timeout", [0, 0.01, -1, -1e9])
def test_who_waits_long_enough_gets_a_timeout_and_the_call_goes_on(timeout: float) -> None:
    """It can be asked for again."""
    future: Future[int] = Future()
    began = time.monotonic()
    with pytest.raises(pykka.Timeout):
        future.get(timeout=timeout)
    with pytest.raises(pykka.Timeout):
        future.exception(timeout)
    assert time.monotonic() - began < 5
    assert not future.done()
    future.set(1)
    assert future.get(timeout=timeout) == 1


def test_very_long_timeouts_are_no_error() -> None:
    """Longer than a lock can wait."""
    future: Future[int] = Future()
    for timeout in (1e12, float("inf")):
        other: Future[int] = Future()
        later(0.01, other.set, 1)
        assert other.get(timeout=timeout) == 1
        assert hooked(lambda _: 2).get(timeout=timeout) == 2
    assert repr(future) == "<piactors.Future pending>"


def test_an_exception_is_raised_by_get_and_returned_by_exception() -> None:
    """The very object, with the traceback that it was set with."""
    future: Future[int] = Future()
    try:
        raise LookupError("here")
    except LookupError as error:
        mine = error
        future.set_exception()
    for _ in range(3):
        assert raised(future.get) is mine
        assert future.exception() is mine
    frames = traceback.extract_tb(raised(future.get).__traceback__)
    assert sum(frame.line == 'raise LookupError("here")' for frame in frames) == 1
    assert len(frames) < 10, "the traceback grows with each get"


def test_an_exception_may_be_given_as_exc_info_has_it() -> None:
    """With or without an instance; without any exception that is the error."""
    for info, expected in [
        ((ValueError, ValueError("x"), None), ValueError),
        ((ValueError, None, None), ValueError),
        ((None, None, None), RuntimeError),
        (None, RuntimeError),
    ]:
        future: Future[int] = Future()
        future.set_exception(info)  # type: ignore[arg-type]
        assert type(future.exception()) is expected


@pytest.mark.parametrize(
    "error",
    [ValueError(), SystemExit(3), KeyboardInterrupt(), pykka.Timeout(), concurrent.futures.CancelledError()],
    ids=repr,
)
def test_whatever_the_call_raised_is_its_exception(error: BaseException) -> None:
    """Also where it is one of those that `get` raises itself."""
    made = (producing(error),) if isinstance(error, Exception) else ()  # else an interrupt
    for future in (failed(error), *made):
        assert future.exception() is error
        assert raised(future.get) is error
        assert not future.cancelled()


def producing(error: BaseException) -> Future[Any]:
    def produce() -> None:
        raise error

    future: Future[Any] = Future()
    assert future.settle_with(produce)
    return future


def test_a_timeout_that_the_call_raised_is_the_exception_of_a_derived_future_too() -> None:
    """The source is done, so nobody's waiting was too short."""
    error = pykka.Timeout("of the call")
    assert failed(error).map(str).exception(timeout=1) is error


def test_a_value_has_no_exception() -> None:
    """None says that `get` returns."""
    assert settled(ValueError()).exception() is None
    assert hooked(lambda _: 1).exception() is None


def test_an_interrupt_of_who_waits_is_not_an_exception_of_the_call() -> None:
    """Ctrl-C during `exception` reaches whoever pressed it."""
    future: Future[int] = Future()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt("of the one who waits")

    before = signal.signal(signal.SIGALRM, interrupt)
    rescue = later(2, future.set, 1)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            future.exception()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        rescue.cancel()


def test_a_result_is_made_once_in_the_thread_that_first_asks() -> None:
    """However many ask at once."""
    made: list[int] = []
    barrier = threading.Barrier(6)

    def produce() -> str:
        made.append(threading.get_ident())
        time.sleep(0.05)  # so that the others come while it is being made
        return "made"

    future: Future[str] = Future()
    assert future.settle_with(produce)
    assert future.done()
    assert made == []

    def ask() -> tuple[int, str]:
        barrier.wait(PATIENCE)
        return threading.get_ident(), future.get()

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asked = [task.result(PATIENCE) for task in [pool.submit(ask) for _ in range(6)]]
    assert len(made) == 1
    assert made[0] in {ident for ident, _ in asked}
    assert {value for _, value in asked} == {"made"}


def test_a_result_that_cannot_be_made_is_tried_once_and_raises_the_same_each_time() -> None:
    """As what the call raised."""
    error, count = ValueError("cannot be read"), [0]

    def produce() -> None:
        count[0] += 1
        raise error

    future: Future[Any] = Future()
    future.settle_with(produce)
    assert raised(future.get) is raised(future.get) is future.exception() is error
    assert count == [1]


# Hooks, as in pykka


def test_a_hook_makes_the_value_once_with_the_timeout_that_was_asked_for() -> None:
    """And the future is done from then on."""
    timeouts: list[float | None] = []
    future = hooked(lambda timeout: timeouts.append(timeout) or "made")  # type: ignore[func-returns-value]
    assert not future.done()
    assert future.get(timeout=5) == "made"
    assert future.done()
    assert future.get() == "made"
    assert len(timeouts) == 1
    assert timeouts[0] is not None
    assert 4 < timeouts[0] <= 5


def test_who_asks_while_the_hook_runs_for_another_waits_no_longer_than_it_said() -> None:
    """And the hook runs once for both."""
    go, runs, count = threading.Event(), threading.Event(), [0]

    def hook(_: float | None) -> int:
        count[0] += 1
        runs.set()
        go.wait(PATIENCE)
        return 5

    future = hooked(hook)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(future.get)
        assert runs.wait(PATIENCE)
        with pytest.raises(pykka.Timeout):
            future.get(timeout=0.01)
        go.set()
        assert first.result(PATIENCE) == 5
    assert (future.get(), count) == (5, [1])


@pytest.mark.parametrize("how", ["set", "set_exception", "settle_with", "fail"])
def test_a_future_with_a_hook_takes_no_other_outcome(how: str) -> None:
    """However it is offered, as in pykka since 4.3; saying that it was taken would be wrong."""
    future = hooked(lambda _: "hook")
    if how == "set":
        with pytest.raises(queue.Full):
            future.set("other")
    elif how == "set_exception":
        with pytest.raises(queue.Full):
            future.set_exception((ValueError, ValueError(), None))
    elif how == "settle_with":
        assert not future.settle_with(lambda: "other")
    else:
        assert not future.fail(ValueError())
    assert not future.cancel()
    assert future.get() == "hook"


# Cancelling


@pytest.mark.parametrize("canceller", [None, True])
def test_a_call_that_has_not_begun_can_be_cancelled(canceller: bool | None) -> None:
    """Without a canceller there is no call, so it will never begin either."""
    future: Future[int] = Future()
    asked: list[int] = []
    if canceller:
        future.cancel_with(lambda: asked.append(1) is None)  # type: ignore[func-returns-value]
    assert future.cancel()
    assert future.cancel()
    assert (future.done(), future.cancelled(), repr(future)) == (True, True, "<piactors.Future cancelled>")
    for ask in (future.get, future.exception):
        assert isinstance(raised(ask), concurrent.futures.CancelledError)
    with pytest.raises(queue.Full):
        future.set(1)
    assert len(asked) == bool(canceller)


def test_a_call_that_has_begun_cannot_be_cancelled_and_goes_on() -> None:
    """The canceller says so, each time."""
    future: Future[int] = Future()
    future.cancel_with(lambda: False)
    assert not future.cancel()
    assert not future.cancelled()
    assert not future.done()
    future.set(1)
    assert future.get() == 1
    assert not future.cancel()


def test_a_canceller_is_not_asked_once_there_is_an_outcome() -> None:
    """There is nothing to give up on."""
    future: Future[int] = Future()
    future.cancel_with(lambda: pytest.fail("asked"))
    future.set(1)
    assert not future.cancel()


def test_an_outcome_that_comes_while_the_canceller_is_asked_wins() -> None:
    """Then the call was not cancelled."""
    future: Future[int] = Future()
    future.cancel_with(lambda: future.set(1) is None)  # type: ignore[func-returns-value]
    assert not future.cancel()
    assert future.get() == 1


# Callbacks


def test_callbacks_run_once_in_order_on_the_thread_for_them(runner: threading.Thread) -> None:
    """Those added before the outcome, and those added after it."""
    future: Future[int] = Future()
    found: list[tuple[str, Any, threading.Thread]] = []
    done = threading.Event()
    for name in ("a", "b"):
        future.add_done_callback(lambda f, name=name: found.append((name, f, threading.current_thread())))  # type: ignore[misc]
    assert found == []
    future.set(1)
    future.add_done_callback(lambda f: found.append(("c", f, threading.current_thread())))
    future.add_done_callback(lambda _: done.set())
    assert done.wait(PATIENCE)
    assert found == [(name, future, runner) for name in "abc"]


@pytest.mark.parametrize("how", ["fail", "cancel", "settle_with"])
def test_every_kind_of_outcome_calls_the_callbacks(runner: threading.Thread, how: str) -> None:
    """A result is not made for them."""
    future: Future[int] = Future()
    done = threading.Event()
    future.add_done_callback(lambda f: done.set() if f is future and f.done() else None)
    {
        "fail": lambda: future.fail(ValueError()),
        "cancel": future.cancel,
        "settle_with": lambda: future.settle_with(lambda: pytest.fail("made")),
    }[how]()
    assert done.wait(PATIENCE)


def test_a_callback_may_ask_add_and_settle(runner: threading.Thread) -> None:
    """No lock is held while it runs."""
    future: Future[int] = Future()
    other: Future[int] = Future()

    def callback(found: Future[int]) -> None:
        found.add_done_callback(lambda again: other.set(again.get() + 1))

    future.add_done_callback(callback)
    future.set(1)
    assert other.get(timeout=PATIENCE) == 2


@pytest.mark.usefixtures("no_runner")
def test_a_failing_callback_keeps_no_other_from_running_and_does_not_reach_who_settles() -> None:
    """Where nobody was said to run them, too."""
    future: Future[int] = Future()
    done: list[Any] = []

    def fail(_: Future[int]) -> None:
        raise LookupError("of a callback")

    future.add_done_callback(fail)
    future.add_done_callback(done.append)
    try:
        future.set(1)
    except LookupError as error:
        pytest.fail(f"set() raised {error!r}, and the callbacks after it were called {len(done)} times")
    assert done == [future]


def test_callbacks_of_a_hook_future_run_once_it_has_an_outcome(runner: threading.Thread) -> None:
    """And not before anybody has asked for it."""
    future = hooked(lambda _: 1)
    seen: queue.SimpleQueue[bool] = queue.SimpleQueue()
    future.add_done_callback(lambda f: seen.put(f.done()))
    with pytest.raises(queue.Empty):
        seen.get(timeout=0.05)
    future.get()
    assert seen.get(timeout=PATIENCE) is True
    assert seen.empty()


@pytest.mark.process
def test_the_runtime_has_callbacks_run_by_its_dispatcher_and_not_on_the_io_thread() -> None:
    """A slow or failing callback delays callbacks and nothing else."""
    ref = piactors.spawn("time:sleep")
    found: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
    ref.proxy().call(0.2).add_done_callback(lambda _: found.put(threading.current_thread()))
    thread = found.get(timeout=PATIENCE)
    ref.stop()
    assert thread is not runtime.current().loop.thread
    assert thread.name == "piactors-events"


@pytest.mark.process
def test_a_forked_copy_of_the_host_can_settle_futures_though_the_lock_was_held() -> None:
    """By a thread that does not exist there."""
    runtime.current()
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with future_module._lock:
            held.set()
            go.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(PATIENCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(3)
        future: Future[int] = Future()
        future.set(1)
        os._exit(0 if future.get(timeout=1) == 1 else 1)
    go.set()
    thread.join()
    assert os.waitpid(pid, 0)[1] == 0


# Deriving


def test_map_filter_reduce_and_join_work_on_what_the_sources_come_to() -> None:
    """Lazily, nested, and mixed with futures of pykka."""
    numbers: Future[Any] = Future()
    other = pykka.ThreadingFuture[int]()
    even = numbers.filter(lambda n: n % 2 == 0)
    total = even.map(lambda found: [n * 10 for n in found]).reduce(lambda x, y: x + y)
    joined = total.join(numbers.reduce(max, 0), other, even.join(total))
    assert not joined.done()
    numbers.set([1, 2, 3, 4])
    other.set(9)
    assert even.get() == [2, 4]
    assert total.get() == 60
    assert joined.get() == [60, 4, 9, [[2, 4], 60]]
    assert joined.done()
    assert settled([]).reduce(lambda x, y: x + y, 5).get() == 5
    assert isinstance(joined, Future)


def test_a_derived_function_runs_once() -> None:
    """For its first `get` that succeeds."""
    count = [0]

    def function(value: int) -> int:
        count[0] += 1
        return value + 1

    derived = settled(1).map(function)
    assert count == [0]
    assert [derived.get(), derived.get(), derived.get()] == [2, 2, 2]
    assert count == [1]


def test_a_derived_future_raises_what_its_source_or_its_function_raised() -> None:
    """Also through several."""
    error = KeyError("source")
    assert raised(failed(error).map(str).map(str).get) is error
    assert failed(error).map(str).exception() is error
    with pytest.raises(ZeroDivisionError):
        settled(0).map(lambda n: 1 / n).get()
    with pytest.raises(TypeError):
        settled(5).filter(bool).get()


def test_a_derived_future_is_done_when_all_its_sources_are() -> None:
    """Those further up too."""
    one: Future[Any] = Future()
    two: Future[Any] = Future()
    joined = one.map(str).join(two.map(str).map(str))
    mapped = joined.map(len)
    assert (joined.done(), mapped.done()) == (False, False)
    one.set(1)
    assert (joined.done(), mapped.done()) == (False, False)
    two.fail(ValueError())
    assert (joined.done(), mapped.done()) == (True, True)
    assert repr(mapped) == "<piactors.Future done>"


def test_a_derived_future_is_not_done_while_a_source_of_another_library_is_pending() -> None:
    """`done` says whether `get` returns at once."""
    other = pykka.ThreadingFuture[int]()
    joined = settled(1).join(other)
    with pytest.raises(pykka.Timeout):
        joined.get(timeout=0)
    assert not joined.done()


def test_callbacks_of_a_derived_future_run_when_all_its_sources_are_done(runner: threading.Thread) -> None:
    """Whatever the order, on the thread for callbacks, once."""
    sources: list[Future[int]] = [Future() for _ in range(5)]
    joined = sources[0].map(abs).join(*sources[1:]).map(sum)
    found: queue.SimpleQueue[tuple[Any, threading.Thread]] = queue.SimpleQueue()
    joined.add_done_callback(lambda f: found.put((f.get(), threading.current_thread())))
    for number in (3, 0, 4, 1):
        sources[number].set(number)
    assert found.empty()
    sources[2].set(2)
    assert found.get(timeout=PATIENCE) == (10, runner)
    joined.add_done_callback(lambda f: found.put((f, threading.current_thread())))
    assert found.get(timeout=PATIENCE) == (joined, runner)
    assert found.empty()


def test_callbacks_of_what_was_derived_from_a_hook_future_run_once_that_has_an_outcome(
    runner: threading.Thread,
) -> None:
    """A hook future has no outcome before somebody asks."""
    source = hooked(lambda _: 1)
    derived = source.map(lambda n: n + 1)
    found: queue.SimpleQueue[int] = queue.SimpleQueue()
    derived.add_done_callback(lambda f: found.put(f.get()))
    assert derived.get() == 2
    assert found.get(timeout=PATIENCE) == 2


def test_a_join_waits_no_longer_than_its_timeout_for_all_together() -> None:
    """`get` waits for at most `timeout` seconds."""
    first: Future[int] = Future()
    joined = first.join(*(Future() for _ in range(3)))
    timer = later(1.4, first.set, 1)
    began = time.monotonic()
    with pytest.raises(pykka.Timeout):
        joined.get(timeout=1.5)
    assert time.monotonic() - began < 2.8, "the time began anew with each of them"
    timer.join()


def test_cancelling_a_derived_future_cancels_all_its_sources() -> None:
    """True where none of them will begin."""
    futures: list[Future[int]] = [Future() for _ in range(3)]
    assert futures[0].map(abs).join(futures[1]).cancel()
    assert [future.cancelled() for future in futures] == [True, True, False]
    done = settled(1)
    assert not futures[2].join(done).cancel()
    assert futures[2].cancelled()


def test_a_derived_future_that_was_cancelled_says_so() -> None:
    """As `cancel` has said."""
    source: Future[int] = Future()
    derived = source.map(abs)
    assert derived.cancel()
    assert isinstance(raised(derived.get), concurrent.futures.CancelledError)
    assert derived.cancelled()
    assert repr(derived) == "<piactors.Future cancelled>"


def test_get_all_of_pykka_takes_them() -> None:
    """In order, mixed, with a timeout."""
    pending: Future[int] = Future()
    assert list(pykka.get_all([settled(1), settled(2).map(str), hooked(lambda _: 3)])) == [1, "2", 3]
    with pytest.raises(pykka.Timeout):
        pykka.get_all([settled(1), pending], timeout=0.01)


# Awaiting


def ticking(awaitable: Callable[[], Any], on_tick: Callable[[], object] = lambda: None) -> Any:
    """Await in a loop on which a ticker ticks, and call `on_tick` from it after a few ticks."""

    async def tick() -> None:
        for _ in range(5):
            await asyncio.sleep(0.002)
        on_tick()

    async def main() -> Any:
        ticker = asyncio.create_task(tick())
        try:
            return await asyncio.wait_for(awaitable(), PATIENCE)
        finally:
            await ticker

    return asyncio.run(main())


async def awaited(future: Any) -> Any:
    return await future


def test_awaiting_a_settled_future_gives_its_outcome() -> None:
    """A value, or an exception."""
    error = ValueError()
    assert asyncio.run(awaited(settled(1))) == 1
    assert raised(lambda: asyncio.run(awaited(failed(error)))) is error
    assert asyncio.run(awaited(settled(1).map(str))) == "1"


def test_awaiting_a_pending_future_lets_the_loop_run_until_a_thread_settles_it() -> None:
    """The ticker of the same loop is what brings it about."""
    for settle in (lambda f: f.set("x"), lambda f: f.settle_with(lambda: "x")):
        future: Future[str] = Future()
        assert ticking(lambda f=future: awaited(f), lambda f=future, s=settle: in_thread(lambda: s(f))) == "x"  # type: ignore[misc]
    failing: Future[str] = Future()
    with pytest.raises(KeyError):
        ticking(lambda: awaited(failing), lambda: in_thread(lambda: failing.fail(KeyError())))


def test_awaiting_a_derived_future_lets_the_loop_run() -> None:
    """Until all sources are done."""
    one: Future[int] = Future()
    two: Future[int] = Future()
    derived = one.map(lambda n: n + 1).join(two).map(sum)
    two.set(5)
    assert ticking(lambda: awaited(derived), lambda: one.set(1)) == 7


def test_awaiting_a_derived_future_of_one_of_another_library_does_not_block_the_loop() -> None:
    """What pykka cannot tell is waited for elsewhere than on the loop."""
    other = pykka.ThreadingFuture[str]()
    rescue = later(2, other.set, "only when rescued")

    def settle() -> None:
        with contextlib.suppress(Exception):
            other.set("by the ticker")

    try:
        assert ticking(lambda: awaited(settled(1).join(other)), settle) == [1, "by the ticker"]
    finally:
        rescue.cancel()


def test_awaiting_a_hook_future_does_not_block_the_loop() -> None:
    """The hook waits for something that the loop does."""
    go, threads = threading.Event(), []

    def hook(_: float | None) -> bool:
        threads.append(threading.get_ident())
        return go.wait(3)

    assert ticking(lambda: awaited(hooked(hook)), go.set) is True
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_awaiting_a_hook_future_that_fails_runs_no_hook_on_the_loop() -> None:
    """Not even to raise what it has raised already."""
    threads: list[int] = []

    def hook(_: float | None) -> None:
        threads.append(threading.get_ident())
        raise LookupError("of the hook")

    with pytest.raises(LookupError):
        ticking(lambda: awaited(hooked(hook)))
    assert threading.get_ident() not in threads


def test_awaiting_what_was_derived_from_a_hook_future_does_not_block_the_loop() -> None:
    """Nor does it recurse."""
    go = threading.Event()
    assert ticking(lambda: awaited(hooked(lambda _: go.wait(3)).map(str)), go.set) == "True"


def test_a_waiter_that_is_cancelled_cancels_the_call() -> None:
    """`wait_for` does, when its time is over; a call that has begun goes on."""
    for begun in (False, True):
        future: Future[int] = Future()
        asked: list[int] = []
        future.cancel_with(lambda asked=asked, begun=begun: asked.append(1) is None and not begun)  # type: ignore[misc]

        async def main(future: Future[int] = future) -> None:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(awaited(future), 0.01)

        asyncio.run(main())
        assert asked == [1]
        assert future.cancelled() == (not begun)


def test_awaiting_a_cancelled_future_raises_asyncios_cancelled_error() -> None:
    """Cancelled before, meanwhile, and where it is a source."""
    for when in ("before", "meanwhile"):
        future: Future[int] = Future()

        async def main(future: Future[int] = future) -> bool:
            task = asyncio.create_task(awaited(future))
            await asyncio.sleep(0)
            in_thread(future.cancel)
            await asyncio.wait([task])
            return task.cancelled()

        if when == "before":
            future.cancel()
        assert asyncio.run(main())


def test_awaiting_a_derived_future_of_a_cancelled_one_raises_asyncios_cancelled_error() -> None:
    """As awaiting the source would."""
    source: Future[int] = Future()
    source.cancel()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(awaited(source.map(abs)))


def test_several_may_await_one_future_on_several_loops() -> None:
    """Each in its own thread."""
    future: Future[int] = Future()
    started = threading.Barrier(5)

    async def main() -> list[int]:
        tasks = [asyncio.create_task(awaited(future)) for _ in range(3)]
        await asyncio.sleep(0)
        started.wait(PATIENCE)
        return await asyncio.gather(*tasks)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(asyncio.run, main()) for _ in range(4)]
        started.wait(PATIENCE)
        future.set(3)
        assert [run.result(PATIENCE) for run in runs] == [[3, 3, 3]] * 4


def test_a_thousand_futures_can_be_awaited_at_once() -> None:
    """Without a thread for each."""
    futures: list[Future[int]] = [Future() for _ in range(1000)]
    most = [0]

    def settle() -> None:
        most[0] = threading.active_count()
        for number, future in enumerate(futures):
            future.set(number)

    async def main() -> Any:
        tasks = asyncio.gather(*futures)
        await asyncio.sleep(0)
        thread = threading.Thread(target=settle)
        thread.start()
        return await asyncio.wait_for(tasks, PATIENCE)

    before = threading.active_count()
    began = time.monotonic()
    assert asyncio.run(main()) == list(range(1000))
    assert most[0] <= before + 2
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("order", [1, -1])
def test_a_join_of_a_thousand_futures_can_be_awaited(order: int) -> None:
    """Whether the first or the last is done first."""
    futures: list[Future[int]] = [Future() for _ in range(1000)]
    joined = futures[0].join(*futures[1:])
    began = time.monotonic()

    def settle() -> None:
        for future in futures[::order]:
            future.set(1)

    assert ticking(lambda: awaited(joined), settle) == [1] * 1000
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("no_runner")
def test_an_outcome_after_the_loop_was_closed_harms_nobody() -> None:
    """Whoever waited there is gone; other callbacks run."""
    future: Future[int] = Future()
    called: list[Any] = []
    loop = asyncio.new_event_loop()
    task = loop.create_task(awaited(future))
    loop.run_until_complete(asyncio.sleep(0))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    future.add_done_callback(called.append)
    future.set(1)
    assert called == [future]
    assert future.get() == 1


def test_without_asyncio_it_can_be_awaited_as_a_future_of_pykka() -> None:
    """One bare yield, then the value; `yield from` is the same."""
    for begin in (lambda f: f.__await__(), iter):
        future: Future[int] = Future()
        steps = begin(future)  # type: ignore[operator]
        assert next(steps) is None
        future.set(3)
        with pytest.raises(StopIteration) as stop:
            next(steps)
        assert stop.value.value == 3


# Leaving the process


def test_a_pickled_future_is_itself_where_it_was_made() -> None:
    """Whatever its state, however often, also as a copy."""
    pending: Future[int] = Future()
    for future in (pending, settled(1), failed(ValueError()), settled(1).map(str)):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(future, protocol)) is future
        assert copy.copy(future) is copy.deepcopy(future) is future


def test_a_pickled_future_that_is_gone_or_of_another_process_is_refused() -> None:
    payload = pickle.dumps(Future())
    with pytest.raises(PiactorsError, match="in the arguments of a call"):
        pickle.loads(payload)


def test_a_lent_future_is_one_thing_and_lives_as_long_as_somebody_holds_it() -> None:
    """Its loan holds it, and nothing of it holds the loan: what nobody borrows is gone at once."""
    future: Future[int] = Future()
    loan = lent_futures.lend(future)
    assert lent_futures.lend(future) is loan
    number, alive = loan.number, weakref.ref(future)
    del future
    assert alive() is not None
    del loan
    assert alive() is None
    other: Future[int] = Future()
    assert lent_futures.lend(other).number != number


@pytest.mark.parametrize("way", ["get", "exception"])
def test_an_error_does_not_hold_its_future(way: str) -> None:
    """Else each call that fails would leave a circle of references to the collector."""
    future: Future[int] = Future()
    future.fail(ValueError("one"))
    alive = weakref.ref(future)
    gc.disable()
    try:
        if way == "exception":
            error = future.exception()
        else:
            with pytest.raises(ValueError) as caught:
                future.get()
            error = caught.value
        del future
        assert isinstance(error, ValueError)
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_a_result_is_made_belongs_to_its_thread(error: type[BaseException]) -> None:
    """The result is made once more by the next one who asks, and whoever waits for the first one is the next."""
    begun, go_on = threading.Event(), threading.Event()
    tries: list[int] = []

    def produce() -> str:
        tries.append(1)
        if len(tries) == 1:
            begun.set()
            go_on.wait(PATIENCE)
            raise error
        return "made"

    future: Future[str] = Future()
    future.settle_with(produce)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(raised, future.get)
        assert begun.wait(PATIENCE)
        second = pool.submit(future.get)
        go_on.set()
        assert type(first.result(PATIENCE)) is error
        assert second.result(PATIENCE) == "made"
    assert future.get() == "made"
    assert future.exception() is None
    assert len(tries) == 2

"""What users hand in runs on threads of piactors: whatever it raises is logged, and the threads go on."""

from __future__ import annotations

import concurrent.futures
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest

import piactors
from piactors import ChildSpec, IsolationLimits, Supervisor, events
from piactors._host import runtime
from tests.support import wait_until


class Odd(BaseException):
    """An exception of the user's own that is no Exception."""


ENDS = [KeyboardInterrupt, GeneratorExit, Odd, ValueError]


class Actor(piactors.ProcessActor):
    def say(self, text: str) -> str:
        print(text)
        logging.getLogger("actor").warning(text)
        return text

    def crash(self) -> None:
        raise SystemExit(3)

    def grow(self) -> int:
        self.kept = bytearray(64 << 20)
        return len(self.kept)


class Raises:
    """Whatever it is called with, it raises; it notes that."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error
        self.called = threading.Event()

    def __call__(self, *_: Any) -> Any:
        self.called.set()
        raise self.error("on purpose")


def in_done_callback(raises: Raises) -> None:
    ref = Actor.start()
    ref.proxy().say("x").add_done_callback(raises)


def in_subscriber(raises: Raises) -> None:
    unsubscribe = events.subscribe(raises, events.IsolateStarted)
    Actor.start()
    assert raises.called.wait(10)
    unsubscribe()


def in_subscriber_of_output(raises: Raises) -> None:
    unsubscribe = events.subscribe(raises, events.OutputReceived)
    Actor.start().proxy().say("x").get(timeout=20)
    assert raises.called.wait(10)
    unsubscribe()


def in_watch(raises: Raises) -> None:
    ref = Actor.start()
    piactors.watch(ref, raises)
    ref.stop()


def in_output_callable(raises: Raises) -> None:
    Actor.with_options(output=raises).start().proxy().say("x").get(timeout=20)


def in_log_handler_of_output(raises: Raises) -> None:
    with handled("piactors.output", raises):
        Actor.start().proxy().say("x").get(timeout=20)
        assert raises.called.wait(10)


def in_log_handler_of_records(raises: Raises) -> None:
    with handled("actor", raises):
        Actor.start().proxy().say("x").get(timeout=20)
        assert raises.called.wait(10)


def in_log_handler_of_piactors(raises: Raises) -> None:
    """Where its threads for isolates, supervisors and children in threads tell of a crash."""
    with handled("piactors", raises):
        Actor.start().proxy().crash().exception(timeout=20)
        assert raises.called.wait(10)


def in_log_handler_of_a_supervisor(raises: Raises) -> None:
    with handled("piactors", raises):
        tree = Supervisor.start(children=[ChildSpec("a", Threaded)], max_restarts=0)
        tree.child("a").tell("crash")
        assert tree.wait_for_exit(10) is not None
        assert raises.called.wait(10)


def in_restart_on(raises: Raises) -> None:
    tree = Supervisor.start(children=[ChildSpec("a", Actor, restart="transient", restart_on=raises)])
    tree.child("a").proxy().crash().exception(timeout=20)
    assert raises.called.wait(10)
    assert tree.child("a").proxy().say("back").get(timeout=20) == "back"
    tree.stop()


def in_on_soft_memory(raises: Raises) -> None:
    limits = IsolationLimits(soft_memory="48 MiB", on_soft_memory=raises)
    ref = Actor.with_options(limits=limits).start()
    assert ref.proxy().grow().get(timeout=20)
    assert raises.called.wait(20)


def in_heartbeat_action(raises: Raises) -> None:
    ref = Actor.with_options(heartbeat=piactors.Heartbeat(every=0.1, action=raises)).start()
    assert ref.pid is not None
    os.kill(ref.pid, signal.SIGSTOP)
    assert raises.called.wait(20)
    ref._isolate.terminate()


def in_executor(raises: Raises) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        unsubscribe = events.subscribe(raises, events.IsolateStarted, run=pool)
        Actor.start()
        assert raises.called.wait(10)
        unsubscribe()


class Threaded(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        raise ValueError(message)


class handled:
    """Adds a log handler that calls something for each record."""

    def __init__(self, name: str, call: Callable[[Any], Any]) -> None:
        self.logger = logging.getLogger(name)
        self.handler = logging.Handler()
        self.handler.emit = call  # type: ignore[method-assign]
        self.level = self.logger.level

    def __enter__(self) -> None:
        self.logger.setLevel(logging.INFO)
        self.logger.addHandler(self.handler)

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self.handler)
        self.logger.setLevel(self.level)


PLACES = [
    in_done_callback,
    in_subscriber,
    in_subscriber_of_output,
    in_watch,
    in_output_callable,
    in_log_handler_of_output,
    in_log_handler_of_records,
    in_log_handler_of_piactors,
    in_log_handler_of_a_supervisor,
    in_restart_on,
    in_on_soft_memory,
    in_heartbeat_action,
    in_executor,
]


def all_goes_on() -> None:
    """Callbacks, events, watches, records and output come as before."""
    done, ended, exited, spoken, logged = (threading.Event() for _ in range(5))
    unsubscribe = events.subscribe(lambda event: exited.set(), events.IsolateExited)
    with handled("actor", lambda record: logged.set()):
        ref = Actor.with_options(output=lambda event: spoken.set()).start()
        piactors.watch(ref, lambda down: ended.set())
        ref.proxy().say("still here").add_done_callback(lambda future: done.set())
        for what in (done, spoken, logged):
            assert what.wait(10)
        ref.stop()
        for what in (ended, exited):
            assert what.wait(10)
    unsubscribe()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_whatever_a_callback_raises_is_logged_and_all_goes_on(
    place: Callable[[Raises], None], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each place that runs what a user has handed in, with SystemExit, and with another one in turn."""
    for error in (SystemExit, ENDS[PLACES.index(place) % len(ENDS)]):
        caplog.clear()
        raises = Raises(error)
        place(raises)
        assert raises.called.wait(10)
        told = runtime.current().dispatcher.drain(10)
        assert told
        if "log_handler" in place.__name__:
            assert error.__name__ in caplog.text + capfd.readouterr().err
        else:
            wait_until(lambda name=error.__name__: name in caplog.text)  # type: ignore[misc]
    all_goes_on()


# Callbacks that take long


def test_a_callback_that_takes_long_is_told_of_while_it_runs(caplog: pytest.LogCaptureFixture) -> None:
    """By name and with its stack, once, however often it does so; others are told of each."""
    release = threading.Event()

    def dawdles(future: Any) -> None:
        release.wait(20)

    proxy = Actor.start().proxy()
    proxy.say("x").add_done_callback(dawdles)
    wait_until(lambda: "dawdles" in caplog.text)
    assert "a callback has been running for" in caplog.text
    assert "release.wait(20)" in caplog.text
    release.set()
    release.clear()
    caplog.clear()
    proxy.say("x").add_done_callback(dawdles)
    time.sleep(1.3)  # longer than it would take
    release.set()
    assert "dawdles" not in caplog.text


@pytest.mark.parametrize("way", ["output", "watch", "event"])
def test_callbacks_of_each_kind_are_told_of(way: str, caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()

    def lingers(_: Any) -> None:
        release.wait(20)

    lingers.__qualname__ = f"lingers_in_{way}"
    code = lingers.__code__.replace(co_name=f"lingers_in_{way}")  # another function for each way
    lingers.__code__ = code
    unsubscribe: Callable[[], None] = lambda: None  # noqa: E731
    if way == "event":
        unsubscribe = events.subscribe(lingers, events.IsolateStarted)
    ref = Actor.with_options(output=lingers if way == "output" else "log").start()
    try:
        if way == "watch":
            piactors.watch(ref, lingers)
            ref.stop(block=False)
        else:
            ref.proxy().say("x")
        wait_until(lambda: f"lingers_in_{way}" in caplog.text)
    finally:
        release.set()
        unsubscribe()


def test_many_quick_callbacks_are_told_of_by_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """However long they take together."""
    proxy, left = Actor.start().proxy(), threading.Semaphore(0)

    def quick(_: Any) -> None:
        time.sleep(0.01)
        left.release()

    for _ in range(150):
        proxy.say("x").add_done_callback(quick)
    for _ in range(150):
        assert left.acquire(timeout=20)
    assert "a callback has been running for" not in caplog.text


# Executors


@pytest.fixture
def pool() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        yield pool


def post(number: int) -> None:
    event = events.IsolateStarted(name="posted", pid=None, generation=number, time=0.0)
    for callback in events.bus.wanted_by(event):
        callback(event)


def test_an_executor_runs_a_subscriber_in_order_and_one_at_a_time(pool: Any) -> None:
    """However many threads it has."""
    seen: list[int] = []
    running, most, over = [0], [0], threading.Event()

    def tell(event: events.Event) -> None:
        if event.name == "posted":
            running[0] += 1
            most[0] = max(most[0], running[0])
            time.sleep(0.0005)
            seen.append(event.generation)
            running[0] -= 1
            if event.generation == 499:
                over.set()

    unsubscribe = events.subscribe(tell, events.IsolateStarted, run=pool)
    for number in range(500):
        post(number)
    assert over.wait(20)
    unsubscribe()
    assert (seen, most) == (list(range(500)), [1])


def test_a_subscriber_with_an_executor_delays_nobody(pool: Any) -> None:
    release, told = threading.Event(), threading.Event()
    ends = [
        events.subscribe(lambda event: release.wait(20), events.IsolateStarted, run=pool),
        events.subscribe(lambda event: told.set(), events.IsolateStarted),
    ]
    try:
        Actor.start()
        assert told.wait(10)
    finally:
        release.set()
        for end in ends:
            end()


def test_an_executor_that_takes_no_more_ends_the_subscription(caplog: pytest.LogCaptureFixture) -> None:
    """Which is logged once."""
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.shutdown()
    calls: list[events.Event] = []
    events.subscribe(calls.append, events.IsolateStarted, run=pool)
    for number in range(3):
        post(number)
    assert not calls
    assert caplog.text.count("takes no more work") == 1


def test_an_executor_that_lacks_a_thread_goes_on_with_the_next_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lack costs no event, and no order."""
    lacking, calls, start = [True], [], threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if lacking and thread.name.startswith("lacking"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool = concurrent.futures.ThreadPoolExecutor(2, "lacking")
    end = events.subscribe(lambda event: calls.append(event.generation), events.IsolateStarted, run=pool)
    for number in range(3):
        post(number)
    lacking.clear()
    for number in range(3, 400):
        post(number)
    wait_until(lambda: len(calls) == 400)
    end()
    pool.shutdown()
    assert calls == list(range(400))


class Inline:
    """An executor of the user's own making."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        fn(*args, **kwargs)


def test_whatever_has_submit_is_an_executor() -> None:
    calls: list[int] = []
    end = events.subscribe(lambda event: calls.append(event.generation), events.IsolateStarted, run=Inline())
    for number in range(300):
        post(number)
    end()
    assert calls == list(range(300))


@pytest.mark.parametrize("bad", [5, "pool", object(), concurrent.futures.ThreadPoolExecutor, threading.Thread])
def test_what_is_no_executor_is_refused_at_once(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"subscribe: run=.* is not an executor: an object with a method submit"):
        events.subscribe(print, run=bad)


def test_output_that_a_slow_executor_does_not_take_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """What is over the bound is dropped, counted, and told of once it catches up."""
    release, seen = threading.Event(), []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:

        def tell(event: events.Event) -> None:
            release.wait(20)
            seen.append(event)

        end = events.subscribe(tell, events.OutputReceived, run=pool)
        line = events.OutputReceived(name="a", pid=1, generation=1, time=0.0, stream="stdout", line="x")
        for _ in range(15_000):
            for callback in events.bus.wanted_by(line):
                callback(line)
        release.set()
        wait_until(lambda: "dropped" in caplog.text)
        end()
    found = [record.args for record in caplog.records if "dropped" in record.getMessage()]
    assert len(seen) + found[0][0] == 15_000  # type: ignore[index,operator]

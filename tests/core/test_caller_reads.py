"""Callers that read their answers themselves, against real processes: all get on, in order, and nobody hangs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import psutil
import pykka
import pytest

import piactors
from piactors import IsolateCrashed, IsolationOptions, ProcessActor, Recycle
from tests.support import HostScripts, wait_until

REPO = Path(__file__).resolve().parents[2]
LASTS = IsolationOptions(restart="permanent", max_restarts=None)
LONG = 30.0


class Echo(ProcessActor):
    """Gives back what it gets, at once or later."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def give(self, value: Any) -> Any:
        return value

    def note(self, value: int) -> int:
        self.seen.append(value)
        return value

    def noted(self) -> list[int]:
        return self.seen

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def hold(self, begun: str, until: str) -> str:
        Path(begun).touch()
        while not os.path.exists(until):
            time.sleep(0.002)
        return until

    def tell_myself(self, count: int) -> int:
        for number in range(count):
            self.actor_ref.proxy().note.defer(number)
        return count

    def ask_myself(self, value: int) -> Any:
        return self.actor_ref.proxy().give(value)

    def tell_later(self, seconds: float, value: int) -> None:
        """Tell this actor something from a background thread, when no call runs."""

        def later() -> None:
            time.sleep(seconds)
            self.actor_ref.proxy().note.defer(value)

        threading.Thread(target=later, daemon=True).start()

    def ask_later(self, seconds: float, file: str) -> None:
        """Ask this actor something from a background thread, and write the answer."""

        def later() -> None:
            time.sleep(seconds)
            answer = self.actor_ref.proxy().give(7).get(timeout=20)
            Path(file + ".new").write_text(str(answer))
            os.rename(file + ".new", file)

        threading.Thread(target=later, daemon=True).start()


class Threads:
    """Runs functions in threads and raises what they raised."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def start(self, function: Callable[..., object], *args: Any) -> None:
        def run() -> None:
            try:
                function(*args)
            except BaseException as error:
                self._errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self, timeout: float = LONG) -> None:
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if self._errors:
            raise self._errors[0]
        assert not any(thread.is_alive() for thread in self._threads), "threads hang"


@pytest.fixture
def threads() -> Threads:
    """Threads, which the test joins."""
    return Threads()


@pytest.fixture
def echo() -> Any:
    """A proxy of an actor."""
    return Echo.start().proxy()


def blocked(file: Path) -> dict[str, str]:
    """Arguments for `hold`."""
    return {"begun": f"{file}.begun", "until": f"{file}.until"}


# Progress


@pytest.mark.parametrize("isolates", [1, 8])
def test_all_of_eight_threads_make_progress(isolates: int, threads: Threads) -> None:
    """On one isolate or on eight, each makes 500 calls and gets its own answers."""
    proxies = [Echo.start().proxy() for _ in range(isolates)]

    def work(number: int) -> None:
        proxy = proxies[number % isolates]
        for call in range(500):
            assert proxy.give((number, call)).get(timeout=LONG) == (number, call)

    for number in range(8):
        threads.start(work, number)
    threads.join(50)


@pytest.mark.alone
@pytest.mark.parametrize("isolates", [1, 8])
def test_no_thread_is_starved(isolates: int, threads: Threads) -> None:
    """In the same time, no thread makes ten times as many calls as another."""
    proxies = [Echo.start().proxy() for _ in range(isolates)]
    counts = [0] * 8
    gate = threading.Barrier(8)

    def work(number: int) -> None:
        proxy = proxies[number % isolates]
        proxy.give(0).get(timeout=LONG)
        gate.wait(LONG)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            proxy.give(number).get(timeout=LONG)
            counts[number] += 1

    for number in range(8):
        threads.start(work, number)
    threads.join()
    assert min(counts) * 10 >= max(counts), counts


def test_awaits_and_callbacks_get_on_beside_threads_that_block(echo: Any, threads: Threads) -> None:
    """The three ways to wait for an isolate's answers do not shut each other out."""

    def block() -> None:
        for number in range(300):
            assert echo.give(number).get(timeout=LONG) == number

    def callbacks() -> None:
        done = threading.Event()
        left = [200]

        def next_one(future: Any) -> None:
            future.get(timeout=0)
            left[0] -= 1
            if left[0]:
                echo.give(1).add_done_callback(next_one)
            else:
                done.set()

        echo.give(1).add_done_callback(next_one)
        assert done.wait(LONG)

    async def awaits() -> None:
        for number in range(300):
            assert await echo.give(number) == number

    for _ in range(3):
        threads.start(block)
    threads.start(callbacks)
    threads.start(lambda: asyncio.run(awaits()))
    threads.join(50)


def test_a_burst_keeps_its_order(echo: Any) -> None:
    """100,000 calls that follow each other without waiting are run in the order in which they were made."""
    count = 100_000
    futures = [echo.note(number) for number in range(count)]
    assert [future.get(timeout=50) for future in futures[-10:]] == list(range(count - 10, count))
    assert all(future.get(timeout=0) == number for number, future in enumerate(futures))
    assert echo.noted().get(timeout=LONG) == list(range(count))


def test_a_burst_of_large_calls_leaves_a_full_socket(echo: Any, tmp_path: Path, threads: Threads) -> None:
    """Sent while the isolate does not read, by threads, some of them closely after each other."""
    held = blocked(tmp_path / "a")
    first = echo.hold(**held)
    wait_until(Path(held["begun"]).exists)
    futures: list[Any] = []

    def work() -> None:
        for number in range(300):
            futures.append(echo.give(b"x" * (number * 97 % 9000)))

    for _ in range(3):
        threads.start(work)
    threads.join()
    Path(held["until"]).touch()
    assert first.get(timeout=LONG)
    assert sum(len(future.get(timeout=LONG)) for future in futures) == 3 * sum(n * 97 % 9000 for n in range(300))


@pytest.mark.parametrize("way", ["done", "get"])
def test_polling_makes_progress(echo: Any, way: str) -> None:
    """Who looks again and again with `done()` or `get(timeout=0)` sees the answer, also right after a blocking call."""
    for number in range(50):
        echo.give(0).get(timeout=LONG)
        future = echo.give(number)
        end = time.monotonic() + LONG
        while True:
            assert time.monotonic() < end, "no progress"
            if way == "done":
                if future.done():
                    break
            else:
                with contextlib.suppress(pykka.Timeout):
                    future.get(timeout=0)
                    break
            time.sleep(0)
        assert future.get(timeout=0) == number


def test_an_answer_that_nobody_waits_for_arrives(echo: Any) -> None:
    """A callback that was added before, between or after blocking calls is called soon."""
    for _ in range(30):
        called = threading.Event()
        future = echo.sleep(0.001)
        future.add_done_callback(lambda _, called=called: called.set())
        assert echo.give(1).get(timeout=LONG) == 1
        late = echo.sleep(0.001)
        assert called.wait(LONG)
        again = threading.Event()
        late.add_done_callback(lambda _, again=again: again.set())
        assert again.wait(LONG)


# Giving up


def test_a_call_whose_get_ran_out_arrives_at_another_get(echo: Any, tmp_path: Path, threads: Threads) -> None:
    """`get(timeout=...)` takes about that time, and the call goes on."""
    held = blocked(tmp_path / "a")
    future = echo.hold(**held)
    wait_until(Path(held["begun"]).exists)
    began = time.monotonic()
    with pytest.raises(pykka.Timeout):
        future.get(timeout=0.1)
    assert 0.09 < time.monotonic() - began < 5
    threads.start(lambda: future.get(timeout=LONG))
    Path(held["until"]).touch()
    assert future.get(timeout=LONG) == held["until"]
    threads.join()


def test_a_cancel_ends_a_waiting_get_at_once(echo: Any, tmp_path: Path, threads: Threads) -> None:
    """From another thread, of a call that has not begun; the thread that waits may be the one that reads."""
    held = blocked(tmp_path / "a")
    first = echo.hold(**held)
    wait_until(Path(held["begun"]).exists)
    second = echo.note(5)
    waiting = threading.Event()
    ended: list[float] = []

    def wait() -> None:
        waiting.set()
        with pytest.raises(CancelledError):
            second.get(timeout=LONG)
        ended.append(time.monotonic())

    threads.start(wait)
    assert waiting.wait(LONG)
    time.sleep(0.02)  # that it waits cannot be seen; too early a cancel tests less
    cancelled = time.monotonic()
    assert second.cancel()
    threads.join(10)
    assert ended[0] - cancelled < LONG / 2
    Path(held["until"]).touch()
    assert first.get(timeout=LONG) == held["until"]
    assert echo.noted().get(timeout=LONG) == []


# The end of a process


def test_a_kill_is_seen_by_all_who_wait(tmp_path: Path, threads: Threads) -> None:
    """The call that had begun fails; the others go to the next generation."""
    echo = piactors.spawn(Echo, options=LASTS).proxy()
    for round_ in range(5):
        held = blocked(tmp_path / str(round_))
        outcomes: list[Any] = []

        def wait(future: Any, outcomes: list[Any] = outcomes) -> None:
            try:
                outcomes.append(future.get(timeout=LONG))
            except IsolateCrashed as error:
                outcomes.append(type(error))

        first = echo.hold(**held)
        wait_until(Path(held["begun"]).exists)
        threads.start(wait, first)
        for number in range(3):
            threads.start(wait, echo.give(number))
        os.kill(echo.actor_ref.pid, signal.SIGKILL)
        threads.join()
        assert sorted(map(str, outcomes)) == sorted(map(str, [IsolateCrashed, 0, 1, 2]))


def test_callers_get_their_answers_while_processes_are_swapped(threads: Threads) -> None:
    """An isolate that is renewed every 20 calls answers each call of four threads once."""
    ref = piactors.spawn(Echo, options=IsolationOptions(restart="permanent", recycle=Recycle(after_calls=20)))
    echo = ref.proxy()

    pids = set()

    def work(number: int) -> None:
        call = 0
        while len(pids) < 4:
            call += 1
            assert echo.give((number, call)).get(timeout=LONG) == (number, call)
            pids.add(ref.pid)

    for number in range(4):
        threads.start(work, number)
    threads.join(50)


# Requests of the actor


def test_an_actor_asks_and_tells_itself_during_a_call(echo: Any) -> None:
    """What it asks of the host is no answer, so the reading caller leaves it to the loop."""
    for number in range(20):
        assert echo.ask_myself(number).get(timeout=LONG).get(timeout=LONG) == number
    assert echo.tell_myself(50).get(timeout=LONG) == 50
    assert echo.noted().get(timeout=LONG) == list(range(50))


@pytest.mark.parametrize("seconds", [0.0, 0.004, 0.008, 0.015, 0.05])
def test_an_actor_asks_itself_after_a_call(echo: Any, seconds: float, tmp_path: Path) -> None:
    """From a background thread, while nobody calls: it is handled soon, and not only with the next call."""
    for round_ in range(5):
        file = tmp_path / f"answer{round_}"
        echo.ask_later(seconds, str(file)).get(timeout=LONG)
        began = time.monotonic()
        wait_until(file.exists)
        assert file.read_text() == "7"
        assert time.monotonic() - began < seconds + 5


def test_an_actor_tells_itself_after_a_call(echo: Any) -> None:
    """The message is there soon, though nobody reads after the call."""
    echo.tell_later(0.003, 5).get(timeout=LONG)
    wait_until(lambda: echo.noted().get(timeout=LONG) == [5])


# Odd callers


def test_a_signal_handler_may_call_the_isolate_that_its_thread_waits_for(host_script: HostScripts) -> None:
    """Its own turn is within that of the thread, whose answer it may meet."""
    script = host_script(
        """
        import os, signal, sys, threading, time
        import piactors
        from concurrent.futures import CancelledError
        class Echo:
            def give(self, value): return value
            def sleep(self, seconds): time.sleep(seconds); return seconds
            def wait_for(self, path):
                while not os.path.exists(path): time.sleep(0.005)
        echo = piactors.spawn(Echo).proxy()
        echo.give(0).get(timeout=20)
        seen = []
        def handler(*_):
            seen.append(echo.give(len(seen)).get(timeout=20))
        signal.signal(signal.SIGUSR1, handler)
        for round in range(20):
            future = echo.sleep(0.03)
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            assert future.get(timeout=20) == 0.03
            deadline = time.monotonic() + 20
            while len(seen) <= round and time.monotonic() < deadline:
                time.sleep(0.001)
        assert seen == list(range(20)), seen
        other = piactors.spawn(Echo).proxy()
        other.give(0).get(timeout=20)
        signal.signal(signal.SIGUSR1, lambda *_: seen.append(other.give(1).get(timeout=20)))
        for _ in range(10):
            future = echo.sleep(0.03)
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            assert future.get(timeout=20) == 0.03
        hold, victim = echo.wait_for("let go"), echo.give(1)
        signal.signal(signal.SIGUSR1, lambda *_: victim.cancel())
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        try:
            victim.get(timeout=20)
        except CancelledError:
            open("let go", "w").close()
        else:
            raise AssertionError
        assert echo.give(9).get(timeout=20) == 9
        echo.actor_ref.stop()
        other.actor_ref.stop()
        print("fine")
        """,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    out, err = script.communicate(timeout=50)
    assert out.strip() == "fine", err


def test_a_fork_of_the_host_is_told_and_may_have_isolates_of_its_own(host_script: HostScripts) -> None:
    """Its parent's isolate is not its own; one that it starts is; and the parent goes on."""
    script = host_script(
        """
        import os, sys
        import piactors, pykka
        class Echo:
            def give(self, value): return value
        echo = piactors.spawn(Echo).proxy()
        assert echo.give(1).get(timeout=20) == 1
        pid = os.fork()
        if not pid:
            code = 1
            try:
                try:
                    echo.give(2).get(timeout=5)
                except pykka.ActorDeadError:
                    own = piactors.spawn(Echo).proxy()
                    code = 0 if all(own.give(n).get(timeout=20) == n for n in range(50)) else 2
                    own.actor_ref.stop()
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                code = 3
            os._exit(code)
        for number in range(200):
            assert echo.give(number).get(timeout=20) == number
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert echo.give(3).get(timeout=20) == 3
        echo.actor_ref.stop()
        print("fine")
        """,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    out, err = script.communicate(timeout=50)
    assert out.strip() == "fine", err


@pytest.mark.parametrize("without", ["epoll", "eventfd", "epoll,eventfd"])
def test_the_portable_ways_work(without: str, host_script: HostScripts) -> None:
    """Without epoll nobody but the loop reads; without eventfd a pipe wakes."""
    script = host_script(
        """
        import threading, time
        import piactors
        from concurrent.futures import CancelledError
        class Echo:
            def give(self, value): return value
            def sleep(self, seconds): time.sleep(seconds); return seconds
        echo = piactors.spawn(Echo).proxy()
        good = []
        def work(number):
            good.append(all(echo.give((number, n)).get(timeout=20) == (number, n) for n in range(200)))
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join(30)
        assert good == [True] * 4
        first, second = echo.sleep(0.3), echo.give(1)
        threading.Timer(0.05, second.cancel).start()
        began = time.monotonic()
        try:
            second.get(timeout=20)
        except CancelledError:
            assert time.monotonic() - began < 0.25
        else:
            raise AssertionError
        assert first.get(timeout=20) == 0.3
        futures = [echo.give(n) for n in range(5000)]
        assert [future.get(timeout=20) for future in futures] == list(range(5000))
        echo.actor_ref.stop()
        print("fine")
        """,
        env={**os.environ, "PYTHONPATH": str(REPO), "PIACTORS_PORTABLE": without},
    )
    out, err = script.communicate(timeout=50)
    assert out.strip() == "fine", err


@pytest.mark.alone
def test_nobody_works_while_nothing_is_to_do(echo: Any) -> None:
    """After blocking calls and a burst, neither host nor isolate uses CPU time."""
    for number in range(200):
        echo.give(number).get(timeout=LONG)
    futures = [echo.give(number) for number in range(500)]
    assert futures[-1].get(timeout=LONG) == 499
    processes = [psutil.Process(), psutil.Process(echo.actor_ref.pid)]

    def used() -> list[float]:
        return [sum(process.cpu_times()[:2]) for process in processes]

    time.sleep(0.2)  # what follows the last call is over; that is what is tested, so there is nothing to look at
    before = used()
    time.sleep(1)
    assert [now - then for now, then in zip(used(), before, strict=True)] < [0.02, 0.02]

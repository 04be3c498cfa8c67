"""A generation that has served its time is replaced between two calls: in order, with nothing lost."""

from __future__ import annotations

import collections
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

from piactors import IsolateCrashed, IsolationLimits, IsolationOptions, ProcessIsolator, Recycle
from piactors._codec import encode
from piactors._isolate.data_sync import DataSync
from piactors.events import Event, IsolateExited, IsolateRecycled, IsolateRestarting, IsolateStarted
from tests import inside
from tests.children.policed import Policed, StopsTwice
from tests.policies.conftest import Seen
from tests.support import pid_gone, wait_until
from tests.tiers import sizes

LONGEST_PAUSE = 5.0
"""Seconds without any call that begins; 0.05 on a quiet machine, and more than all where nothing takes over."""


def crashes(seen: Seen) -> list[Event]:
    """Return what would be a restart or an end in failure."""
    bad = [event for event in seen.of(IsolateExited) if not event.reason.is_normal]
    return [*bad, *seen.of(IsolateRestarting)]


def check_chain(seen: Seen, first: int) -> int:
    """See that each recycling goes on where the last one ended, and return how many there were."""
    pid: int | None = first
    recycled = seen.of(IsolateRecycled)
    for number, event in enumerate(recycled, 1):
        assert (event.generation, event.pid) == (number, pid)
        assert event.new_pid not in (None, pid)
        pid = event.new_pid
    return len(recycled)


def send_from_threads(ref: Any, threads: int, calls: int, window: int = 500) -> tuple[float, float]:
    """Have each thread send its calls, up to `window` at once; return seconds in all, and the longest pause in which
    none began.
    """
    found: list[Any] = []

    def run(sender: int) -> None:
        proxy, waiting, times = ref.proxy(), collections.deque[Any](), list[float]()
        try:
            for number in range(calls):
                waiting.append(proxy.in_order(sender, number))
                if len(waiting) == window:
                    times.append(waiting.popleft().get(timeout=30))
            found.extend([*times, *pykka.get_all(waiting, timeout=30)])
        except BaseException as error:
            found.append(error)

    began = time.monotonic()
    workers = [threading.Thread(target=run, args=(sender,)) for sender in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [error for error in found if not isinstance(error, float)] == []
    found.sort()
    return time.monotonic() - began, max(later - earlier for earlier, later in itertools.pairwise(found))


def check_log(log: Path, threads: int, calls: int) -> None:
    """See that each sender's calls have run once each, in order."""
    ran: dict[str, list[int]] = {}
    for line in log.read_text().splitlines():
        sender, number = line.split()
        if sender.isdigit():
            ran.setdefault(sender, []).append(int(number))
    assert ran == {str(sender): list(range(calls)) for sender in range(threads)}


@sizes("total", 30_000, soak=[50_000])
@pytest.mark.parametrize("restart", ["temporary", "permanent"])
def test_50000_calls_through_many_generations(restart: Any, total: int, seen: Seen, tmp_path: Path) -> None:
    log = tmp_path / "log"
    ref = Policed.with_options(recycle=Recycle(after_calls=500), restart=restart, max_restarts=0).start(str(log))
    first = ref.pid
    assert first is not None
    seconds, pause = send_from_threads(ref, 4, total // 4)
    print(f"{total} calls in {seconds:.1f} s, longest pause {1000 * pause:.0f} ms, {ref.generation} generations")
    assert ref.stop(timeout=20)
    assert pause < LONGEST_PAUSE
    assert all(event.warm for event in seen.of(IsolateRecycled)), "one had to wait for the start of the next"
    check_log(log, 4, total // 4)
    assert ref.wait_for_exit(20).kind == "shutdown"  # type: ignore[union-attr]
    assert check_chain(seen, first) == ref.generation - 1
    assert 3 <= ref.generation <= total // 500 + 1
    started = {event.pid for event in seen.of(IsolateStarted)}
    assert len(started) == ref.generation
    wait_until(lambda: started <= {event.pid for event in seen.of(IsolateExited)})
    assert crashes(seen) == []
    assert all(event.reason == "after_calls" for event in seen.of(IsolateRecycled))
    words = log.read_text().split()
    assert words.count("stop") == words.count("stopped")
    # One more may have been on the point of taking over; it stops as well where it was ready.
    assert ref.generation <= words.count("stop") <= words.count("start") <= ref.generation + 1


@pytest.mark.parametrize(
    ("recycle", "reason"),
    [
        (Recycle(after_calls=10), "after_calls"),
        (Recycle(after_seconds=0.3), "after_seconds"),
        (Recycle(above_memory="60 MiB"), "above_memory"),
        (Recycle(after_calls=10, after_seconds=600, above_memory="8 GiB"), "after_calls"),
    ],
)
def test_each_of_its_causes(recycle: Recycle, reason: str, seen: Seen) -> None:
    ref = Policed.with_options(recycle=recycle).start()
    pid = ref.pid
    if reason == "above_memory":
        ref.proxy().grow(64 << 20).get(timeout=20)
    number = 0
    while ref.generation == 1:
        number += 1
        assert ref.ask(number, timeout=20) == number
    (event,) = seen.wait(IsolateRecycled)
    assert (event.reason, event.pid, event.generation, event.warm) == (reason, pid, 1, True)
    assert event.new_pid != pid
    assert ref.ask(0, timeout=20) == 0
    assert number >= 10 or reason != "after_calls"


def test_it_goes_on_with_after_seconds_and_memory(seen: Seen) -> None:
    """The new generation is held to the same."""
    ref = Policed.with_options(recycle=Recycle(after_seconds=0.1)).start()
    seen.wait(IsolateRecycled, 4)
    ref.stop()
    ref = Policed.with_options(recycle=Recycle(above_memory="60 MiB")).start()
    for count in (5, 6):
        ref.proxy().grow(64 << 20).get(timeout=20)
        seen.wait(IsolateRecycled, count, timeout=20)
    assert ref.ask(1, timeout=20) == 1


def test_hooks_run_in_each_generation_and_data_is_there(tmp_path: Path, seen: Seen) -> None:
    log = tmp_path / "log"
    ref = Policed.with_options(recycle=Recycle(after_calls=3)).start(str(log))
    for number in range(5):
        ref.set_data("key", number)
        generation = ref.generation
        for _ in range(3):
            assert ref.proxy().data("key").get(timeout=20) == number
        wait_until(lambda before=generation: ref.generation > before)  # type: ignore[misc]
        assert ref.proxy().data("key").get(timeout=20) == number
        assert ref.get_data("key") == number
    ref.stop()
    lines: dict[str, list[str]] = {}
    for what, pid in (line.split() for line in log.read_text().splitlines()):
        lines.setdefault(pid, []).append(what)
    pids = [str(event.pid) for event in seen.of(IsolateStarted)]
    assert list(lines) == pids
    assert len(pids) >= 6
    assert all(what == ["start", "stop", "stopped"] for what in lines.values())


def test_data_that_is_set_meanwhile_arrives() -> None:
    """What one thread sets again and again is, in the end, what every generation would read."""
    ref = Policed.with_options(recycle=Recycle(after_calls=1)).start()
    over = threading.Event()
    last = {}

    def keep_setting(key: str) -> None:
        for number in itertools.count():
            ref.set_data(key, number)
            ref.set_data(f"{key}-{number % 50}", number)
            last[key] = number
            if over.is_set():
                return

    threads = [threading.Thread(target=keep_setting, args=(key,)) for key in "ab"]
    for thread in threads:
        thread.start()
    while ref.generation < 30:
        assert ref.ask(1, timeout=20) == 1
    over.set()
    for thread in threads:
        thread.join()
    assert [ref.proxy().data(key).get(timeout=20) for key in "ab"] == [last["a"], last["b"]]


def test_what_is_set_in_the_moment_of_a_takeover_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last look at what the newcomer lacks; the one before it is told, and runs no more calls."""
    ref = Policed.start()
    sync = DataSync.sync

    def sync_and_set(self: DataSync, body: Any, then: Callable[[], None]) -> None:
        def late() -> None:
            ref._isolate.data["late"] = encode.with_definitions("value", foreign=False, whole="it")
            then()

        sync(self, body, late)

    monkeypatch.setattr(DataSync, "sync", sync_and_set)
    ref.recycle().get(timeout=20)
    wait_until(lambda: ref.proxy().data("late").get(timeout=20) == "value")


def test_what_a_process_has_been_told_it_is_not_told_again() -> None:
    """It may have put something else there since, and goes on if what was to replace it does not start."""
    ref = Policed.start()
    ref.set_data("key", 1)
    life = inside.life(ref)
    told: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DataSync, "_tell", lambda self, body, values, taken: told.extend(values))
        inside.on_the_loop(ref, life.current.tell_rest)
        assert ref.proxy().data("key").get(timeout=20) == 1
        assert ref.recycle().get(timeout=20) == 2
    assert told == []


def test_a_long_call_is_waited_for_and_others_queue_in_order(tmp_path: Path, seen: Seen) -> None:
    log = tmp_path / "log"
    ref = Policed.with_options(recycle=Recycle(after_calls=1)).start(str(log))
    proxy = ref.proxy()
    first, long = proxy.work(0), proxy.nap_for(1, 0.6)
    behind = [proxy.work(number) for number in range(2, 60)]
    for number in range(60, 70):
        ref.tell(number)
    assert first.get(timeout=20) == 0
    assert long.get(timeout=20) == 1
    assert pykka.get_all(behind, timeout=20) == list(range(2, 60))
    assert ref.ask(70, timeout=20) == 70
    assert [int(line) for line in log.read_text().splitlines() if line.isdigit()] == list(range(71))
    assert seen.wait(IsolateRecycled)
    assert crashes(seen) == []


@pytest.mark.parametrize("slow", ["", "0.05"])
def test_tells_and_calls_stay_in_order_where_each_is_followed_by_a_recycling(slow: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    if slow:
        (tmp_path / "slow").write_text(slow)
    ref = Policed.with_options(recycle=Recycle(after_calls=1), while_restarting="fail").start(str(log), str(tmp_path))
    number = 0
    while ref.generation < 15:
        for _ in range(20):
            ref.tell(number)
            number += 1
        assert ref.ask(number, timeout=20) == number
        number += 1
    ref.stop()
    assert [int(line) for line in log.read_text().splitlines() if line.isdigit()] == list(range(number))


def test_concurrency(seen: Seen) -> None:
    ref = Policed.with_options(recycle=Recycle(after_calls=50), concurrency=3).start()
    proxy = ref.proxy()
    while ref.generation < 4:
        calls = [proxy.nap(0.002) if number % 7 == 0 else proxy.echo(0.002) for number in range(1000)]
        assert pykka.get_all(calls, timeout=40) == [0.002] * 1000
    assert len(seen.of(IsolateRecycled)) >= 3
    assert crashes(seen) == []


def test_requests_of_the_actor_itself_are_answered_by_the_right_generation() -> None:
    """A future that an actor returns, of a call to itself, is that very call's, whatever other generations ask."""
    ref = Policed.with_options(recycle=Recycle(after_calls=2)).start()
    outer = []
    for number in range(6):
        outer.append(ref.proxy().ask_myself(number))
        before = ref.generation
        ref.proxy().work(0).get(timeout=20)
        wait_until(lambda before=before: ref.generation > before)  # type: ignore[misc]
    assert [future.get(timeout=20).get(timeout=20) for future in outer] == list(range(6))


def test_a_stop_of_its_own_in_a_call_ends_it_as_ever(seen: Seen) -> None:
    for _ in range(5):
        ref = Policed.with_options(recycle=Recycle(after_calls=1)).start()
        calls = [ref.proxy().work(1), ref.proxy().stop_yourself()]
        assert pykka.get_all(calls, timeout=20) == [1, "stopping"]
        reason = ref.wait_for_exit(20)
        assert reason is not None
        assert reason.is_normal
        assert not ref.is_alive()
    assert crashes(seen) == []


def test_a_stop_of_its_own_in_on_stop_concerns_the_old_generation_alone() -> None:
    ref = StopsTwice.with_options(recycle=Recycle(after_calls=1)).start()
    for number in range(3):
        pid = ref.pid
        assert pid is not None
        assert ref.ask(number, timeout=20) == number
        wait_until(lambda number=number: ref.generation == number + 2)  # type: ignore[misc]
        wait_until(lambda pid=pid: pid_gone(pid))  # type: ignore[misc]
    assert ref.is_alive()
    assert ref.ask(9, timeout=20) == 9


def test_a_slow_on_stop_does_not_let_processes_pile_up(tmp_path: Path) -> None:
    (tmp_path / "slow").write_text("0.4")
    ref = Policed.with_options(recycle=Recycle(after_calls=1)).start(os.devnull, str(tmp_path))
    end, most, pids = time.monotonic() + 1.0, 0, set()
    while time.monotonic() < end:
        pids.add(ref.proxy().pid().get(timeout=20))
        most = max(most, sum(not pid_gone(pid) for pid in pids))
    print(f"at most {most} processes at once")
    assert most <= 8


def test_limits_hold_in_each_generation(seen: Seen) -> None:
    limits = IsolationLimits(max_memory="400 MiB", max_open_files=200, mechanisms=["monitor", "rlimit"])
    ref = Policed.with_options(recycle=Recycle(after_calls=5), limits=limits, restart="permanent").start()
    while ref.generation < 4:
        assert ref.ask(1, timeout=20) == 1
    assert ref.enforcement()["max_memory"].mechanism
    grown = ref.proxy().grow(700 << 20)
    error = grown.exception(timeout=20)
    if error is None:  # the monitor looks now and then, and a recycling may have come first
        assert any(event.reason.kind == "limit" for event in seen.of(IsolateExited)) or ref.generation > 4
    else:
        assert isinstance(error, (IsolateCrashed, MemoryError))
    assert ref.ask(2, timeout=20) == 2


def test_an_isolator_is_recycled(seen: Seen) -> None:
    with ProcessIsolator(IsolationOptions(recycle=Recycle(after_calls=20))) as isolator:
        while isolator.ref.generation < 4:
            calls = [isolator.invoke_method("math:sqrt", number * number) for number in range(50)]
            assert pykka.get_all(calls, timeout=20) == list(range(50))
    assert len(seen.of(IsolateRecycled)) >= 3
    assert crashes(seen) == []


@pytest.mark.parametrize("method", ["launcher", "spawn"])
def test_fresh_interpreters_and_forks_are_recycled(method: Any, seen: Seen) -> None:
    ref = Policed.with_options(recycle=Recycle(after_calls=100), start_method=method).start()
    seconds, pause = send_from_threads(ref, 2, 1500, 100)
    while ref.generation < 3:
        assert ref.ask(1, timeout=20) == 1
    print(f"{method}: longest pause {1000 * pause:.0f} ms, {ref.generation} generations in {seconds:.1f} s")
    assert crashes(seen) == []


def test_without_the_memory_for_two_the_old_one_ends_first(cold: Callable[[], Any], seen: Seen, tmp_path: Path) -> None:
    cold()
    log = tmp_path / "log"
    ref = Policed.with_options(recycle=Recycle(after_calls=50), while_restarting="fail").start(str(log))
    first = ref.pid
    assert first is not None
    _, pause = send_from_threads(ref, 4, 500, 50)
    print(f"cold: longest pause {1000 * pause:.0f} ms, {ref.generation} generations")
    assert ref.stop(timeout=20)
    check_log(log, 4, 500)
    assert check_chain(seen, first) == ref.generation - 1 >= 3
    assert not any(event.warm for event in seen.of(IsolateRecycled))
    assert crashes(seen) == []
    states = [line.split()[0] for line in log.read_text().splitlines() if not line[0].isdigit()]
    assert states == ["start", "stop", "stopped"] * ref.generation

"""A process that stands by takes over from one that has ended: at once, with what waits, by the rules of restarts."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pykka
import pytest

from piactors import (
    Backoff,
    ChildSpec,
    IsolateCrashed,
    IsolationLimits,
    IsolationOptions,
    ProcessIsolator,
    Recycle,
    Supervisor,
    spawn,
)
from piactors._host import runtime
from piactors._rules import replacement
from piactors.events import (
    IsolateExited,
    IsolateRecycled,
    IsolateRestarting,
    IsolateStarted,
    IsolateStartFailed,
    LimitBreached,
    RestartsExceeded,
)
from tests import inside
from tests.children.policed import Policed, SlowStarter
from tests.policies.conftest import Seen
from tests.support import HostScripts, pid_gone, wait_until

pytestmark = pytest.mark.timeout(60, method="signal")
REPO = Path(__file__).resolve().parent.parent.parent
PERMANENT: dict[str, Any] = {"restart": "permanent", "standby": True}


def newcomer(ref: Any) -> Any:
    return inside.standby(ref)


def pid_beside(ref: Any) -> int:
    """Return the pid of what stands by, ready or not, or 0."""
    found = newcomer(ref)
    return 0 if found is None or found.pid is None else int(found.pid)


def ready_beside(ref: Any, besides: int = 0) -> int:
    """Wait until something else than `besides` stands by and is ready, and return its pid."""

    def look() -> int:
        found = newcomer(ref)
        return found.pid if found is not None and found.is_ready and found.pid != besides else 0

    return wait_until(look, 20)


def both(ref: Any) -> list[int]:
    """Return the pid of the generation, and that of what stands by and is ready.

    A start may be reported before the news of its pid; that of the second process comes after that of the first.
    """
    beside = ready_beside(ref)
    return [ref.pid, beside]


def kill(pid: int | None) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def lines_of(log: Path) -> dict[int, list[str]]:
    """Return what each process has written of its start and stop."""
    found: dict[int, list[str]] = {}
    for line in log.read_text().splitlines():
        if not line.lstrip("-").isdigit():
            what, pid = line.split()
            found.setdefault(int(pid), []).append(what)
    return found


@pytest.fixture
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first pause after a standby's end be short; those of isolates that are started after this."""
    monkeypatch.setattr(inside.FIRST_PAUSE, 0.05)


# The handover


def test_it_takes_over_after_a_crash_as_any_restart_and_another_one_stands_by(tmp_path: Path, seen: Seen) -> None:
    log = tmp_path / "log"
    ref = Policed.with_options(max_restarts=3, **PERMANENT).start(str(log))
    pids = both(ref)[:1]
    for number in range(3):
        beside = ready_beside(ref)
        pids.append(beside)
        crash, after = ref.proxy().crash(), [ref.proxy().work(10 * number + n) for n in range(5)]
        assert isinstance(crash.exception(timeout=20), IsolateCrashed)
        assert pykka.get_all(after, timeout=20) == [10 * number + n for n in range(5)]
        assert ref.pid == beside
    assert ref.state == "running"
    started, exited = seen.wait(IsolateStarted, 4), seen.of(IsolateExited)
    assert [event.pid for event in started][1:] == pids[1:]
    assert [event.pid for event in exited] == pids[:3]
    numbers = [event.generation for event in started]
    assert numbers == sorted(set(numbers))
    assert ref.generation == numbers[-1]
    assert len(seen.of(IsolateRestarting)) == 3
    ready_beside(ref)
    assert seen.of(IsolateStartFailed) == []
    assert lines_of(log)[pids[3]] == ["start"]  # type: ignore[index]


def test_by_default_nothing_stands_by() -> None:
    ref = Policed.with_options(restart="permanent").start()
    assert ref.ask(1, timeout=20) == 1
    assert newcomer(ref) is None


def test_what_it_saves(tmp_path: Path) -> None:
    """From the kill to the reply of the next generation, of an actor that takes half a second to start."""
    (tmp_path / "start").write_text("0.5")
    took = {}
    for stands_by in (False, True):
        ref = SlowStarter.with_options(restart="permanent", standby=stands_by).start(os.devnull, str(tmp_path))
        if stands_by:
            ready_beside(ref)
        pid, began = wait_until(lambda ref=ref: ref.pid), time.monotonic()  # type: ignore[misc]
        kill(pid)
        wait_until(lambda ref=ref, pid=pid: ref.pid != pid)  # type: ignore[misc]
        assert ref.proxy().pid().get(timeout=20) != pid
        took[stands_by] = time.monotonic() - began
        ref.terminate()
    print(f"without {1000 * took[False]:.0f} ms, with a standby {1000 * took[True]:.1f} ms")
    assert took[False] >= 0.5
    assert took[True] < took[False]


@pytest.mark.parametrize("method", ["launcher", "spawn"])
def test_each_way_to_start_and_code_by_name(method: Any) -> None:
    options = IsolationOptions(start_method=method, **PERMANENT)
    with ProcessIsolator(options) as isolator:
        beside = ready_beside(isolator.ref)
        kill(isolator.pid)
        assert isolator.invoke_method("math:sqrt", 9).get(timeout=20) == 3
        wait_until(lambda: isolator.pid == beside)


def test_its_own_stop_lets_the_standby_take_over(seen: Seen) -> None:
    ref = Policed.with_options(**PERMANENT).start()
    beside = ready_beside(ref)
    assert ref.proxy().stop_yourself().get(timeout=20) == "stopping"
    wait_until(lambda: ref.pid == beside)
    assert ref.ask(1, timeout=20) == 1
    assert seen.wait(IsolateExited)[0].reason.kind == "normal"
    ready_beside(ref)


def test_a_transient_one_that_ends_normally_takes_its_standby_along() -> None:
    ref = Policed.with_options(restart="transient", standby=True).start()
    beside = ready_beside(ref)
    ref.proxy().stop_yourself().get(timeout=20)
    assert ref.wait_for_exit(20).kind == "normal"  # type: ignore[union-attr]
    assert pid_gone(beside)


def test_backoff_is_waited_for(seen: Seen) -> None:
    backoff = Backoff(initial=0.4, jitter=0.0)
    ref = Policed.with_options(backoff=backoff, **PERMANENT).start()
    beside = ready_beside(ref)
    kill(ref.pid)
    assert ref.proxy().pid().get(timeout=20) in (beside, None)
    exited, started = seen.wait(IsolateExited)[0], seen.wait(IsolateStarted, 2)[1]
    assert started.pid == beside
    assert started.time - exited.time >= 0.35
    assert seen.of(IsolateRestarting)[0].delay == 0.4


def test_a_crash_loop_ends_with_its_budget(seen: Seen) -> None:
    ref = Policed.with_options(max_restarts=5, **PERMANENT).start()
    pids = set()
    for _ in range(6):
        pids |= {ref.pid, pid_beside(ref)}
        ref.proxy().crash().exception(timeout=20)
    assert ref.wait_for_exit(20) is not None
    assert not ref.is_alive()
    assert len(seen.wait(RestartsExceeded)) == 1
    assert len(seen.of(IsolateRestarting)) == 5
    assert newcomer(ref) is None
    assert [pid for pid in pids if pid and not pid_gone(pid)] == []


def test_50_crashes_in_a_row_lose_no_waiting_call(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ref = Policed.with_options(max_restarts=None, **PERMANENT).start(str(log))
    proxy, calls, crashes, generations = ref.proxy(), [], [], [ref.generation]
    for number in range(50):
        crashes.append(proxy.crash())
        calls += [proxy.work(4 * number + n) for n in range(4)]
        if number % 3 == 0:
            calls[-1].get(timeout=20)
            generations.append(ref.generation)
    assert {type(crash.exception(timeout=20)) for crash in crashes} == {IsolateCrashed}
    assert pykka.get_all(calls, timeout=20) == list(range(200))
    assert [int(line) for line in log.read_text().splitlines() if line.isdigit()] == list(range(200))
    assert generations == sorted(set(generations))


def test_data_set_after_its_start_is_there() -> None:
    ref = Policed.with_options(**PERMANENT).start()
    ref.set_data("early", 1)
    for number in range(3):
        beside = ready_beside(ref)
        ref.set_data("late", number)
        kill(ref.pid)
        wait_until(lambda beside=beside: ref.pid == beside)  # type: ignore[misc]
        assert [ref.proxy().data(key).get(timeout=20) for key in ("early", "late")] == [1, number]


def test_data_is_there_for_the_first_call_whatever_lets_it_take_over() -> None:
    """What was set before a call was sent is read by that call, also where many values have to arrive first."""
    for recycle in (None, Recycle(after_calls=40)):
        ref = Policed.with_options(recycle=recycle, max_restarts=None, **PERMANENT).start()
        for number in range(15):
            ready_beside(ref)
            before = ref.generation
            crash = ref.proxy().crash() if recycle is None else None
            for n in range(20):
                ref.set_data(f"key-{n}", (number, n))
            calls = [ref.proxy().data(f"key-{n}") for n in range(20)] * 2
            assert pykka.get_all(calls, timeout=20) == [(number, n) for n in range(20)] * 2
            if crash is None:
                for _ in range(20):
                    ref.ask(0, timeout=20)
                wait_until(lambda ref=ref, before=before: ref.generation > before)  # type: ignore[misc]
        ref.terminate()


def test_usage_and_description_are_those_of_the_generation() -> None:
    ref = Policed.with_options(**PERMANENT).start()
    ready_beside(ref)
    assert ref.resource_usage().pid == ref.pid
    kill(ref.pid)
    assert ref.proxy().work(1).get(timeout=20) == 1
    assert ref.resource_usage().pid == ref.pid


# One that is not ready


def test_one_that_still_starts_is_waited_for(tmp_path: Path, seen: Seen) -> None:
    ref = Policed.with_options(**PERMANENT).start(os.devnull, str(tmp_path))
    ready = ready_beside(ref)
    (tmp_path / "hang").touch()
    kill(ref.pid)
    wait_until(lambda: ref.pid == ready)
    starting = wait_until(lambda: pid_beside(ref))
    kill(ref.pid)
    call = ref.proxy().pid()
    wait_until(lambda: ref.pid == starting)
    assert ref.state == "restarting"
    assert newcomer(ref) is None
    (tmp_path / "hang").unlink()
    assert call.get(timeout=20) == starting
    assert [event.pid for event in seen.wait(IsolateStarted, 3)][1:] == [ready, starting]


def test_the_rest_of_the_start_timeout_holds_for_it(tmp_path: Path, seen: Seen) -> None:
    options: dict[str, Any] = {"start_timeout": 1.0, "max_restarts": 1, **PERMANENT}
    ref = Policed.with_options(**options).start(os.devnull, str(tmp_path))
    pid, first = both(ref)
    (tmp_path / "hang").touch()
    kill(pid)
    wait_until(lambda: ref.pid == first)
    second = wait_until(lambda: pid_beside(ref))
    kill(first)
    reason = ref.wait_for_exit(20)
    assert reason is not None
    assert pid_gone(second)
    assert not ref.is_alive()


@pytest.mark.usefixtures("short_pause")
def test_where_it_does_not_start_a_restart_starts_one_as_ever(
    tmp_path: Path, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    ref = Policed.with_options(max_restarts=1, **PERMANENT).start(os.devnull, str(tmp_path))
    (tmp_path / "fail").touch()
    kill(wait_until(lambda: pid_beside(ref)))
    wait_until(lambda: caplog.text.count("its standby") >= 3)
    assert seen.of(IsolateStartFailed) == []
    pid = ref.pid
    (tmp_path / "fail").unlink()
    kill(pid)
    wait_until(lambda: ref.pid != pid)
    assert ref.ask(1, timeout=20) == 1
    assert len(seen.wait(IsolateRestarting)) == 1
    ready_beside(ref)


def test_the_pauses_grow(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (replacement.FIRST_PAUSE, replacement.LONGEST_PAUSE) == (1.0, 30.0)
    monkeypatch.setattr(replacement, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(replacement, "LONGEST_PAUSE", 0.2)
    ref = Policed.with_options(**PERMANENT).start(os.devnull, str(tmp_path))
    (tmp_path / "fail").touch()
    kill(wait_until(lambda: pid_beside(ref)))

    def failures() -> list[float]:
        return [float(record.args[2]) for record in caplog.records if "its standby" in record.msg]  # type: ignore[index,misc]

    wait_until(lambda: len(failures()) >= 6)
    assert failures()[:6] == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.2, 0.2])
    assert ref.ask(1, timeout=20) == 1
    assert ref.generation == 1


# Deaths


@pytest.mark.usefixtures("short_pause")
def test_a_kill_of_the_standby_is_no_failure_of_the_isolate(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    ref = Policed.with_options(max_restarts=0, **PERMANENT).start()
    pid, beside = both(ref)[0], 0
    for number in range(3):
        beside = ready_beside(ref, besides=beside)
        kill(beside)
        wait_until(lambda beside=beside: pid_beside(ref) != beside)  # type: ignore[misc]
        assert ref.ask(number, timeout=20) == number
    assert (ref.pid, ref.generation) == (pid, 1)
    assert [event.generation for event in seen.of(IsolateStarted)] == [1]
    assert seen.of(IsolateExited) == seen.of(IsolateStartFailed) == seen.of(IsolateRestarting) == []  # type: ignore[comparison-overlap]
    assert "its standby" in caplog.text


@pytest.mark.parametrize("first", ["generation", "standby"])
def test_both_at_once(first: str, seen: Seen) -> None:
    """Nothing waits for the pause of the standby; at most the handover to what is dying counts as one more restart."""
    ref = Policed.with_options(max_restarts=2, **PERMANENT).start()
    pids = both(ref)
    for pid in pids if first == "generation" else reversed(pids):
        kill(pid)
    assert ref.proxy().work(1).exception(timeout=20) is None or ref.ask(1, timeout=20) == 1
    assert ref.pid not in pids
    assert 1 <= len(seen.wait(IsolateRestarting)) <= 2
    ready_beside(ref)


def test_one_that_is_known_to_have_ended_does_not_take_over(seen: Seen) -> None:
    """Whichever news comes first, of two that have ended when their launcher looks: one restart is counted."""
    for turn in range(4):
        ref = Policed.with_options(max_restarts=1, **PERMANENT).start()
        pids = both(ref)
        launcher = psutil.Process(pids[0]).ppid()
        beside = newcomer(ref)
        os.kill(launcher, signal.SIGSTOP)
        try:
            wait_until(lambda launcher=launcher: psutil.Process(launcher).status() == psutil.STATUS_STOPPED)  # type: ignore[misc]
            for pid in pids if turn % 2 else reversed(pids):
                kill(pid)
            wait_until(lambda pids=pids: pid_gone(pids[0]))  # type: ignore[misc]
            wait_until(lambda beside=beside: not beside.lives())  # type: ignore[misc]
        finally:
            os.kill(launcher, signal.SIGCONT)
        wait_until(lambda ref=ref, pids=pids: ref.pid not in (None, *pids))  # type: ignore[misc]
        assert ref.ask(1, timeout=20) == 1
        assert len(seen.wait(IsolateRestarting, name=ref.name)) == 1


def test_a_lost_launcher_costs_no_restart() -> None:
    ref = Policed.with_options(max_restarts=0, **PERMANENT).start()
    pids = both(ref)
    for launcher in runtime.current().launcher_pids():
        kill(launcher)
    wait_until(lambda: ref.pid not in (None, *pids))
    assert ref.ask(1, timeout=20) == 1
    assert all(pid_gone(pid) for pid in pids if pid)
    ready_beside(ref)


def test_kills_of_any_of_its_processes_lose_nothing_that_had_not_begun(tmp_path: Path, seen: Seen) -> None:
    log, dice, over = tmp_path / "log", random.Random(5), threading.Event()
    options: dict[str, Any] = {"recycle": Recycle(after_calls=40), "max_restarts": None, **PERMANENT}
    ref = Policed.with_options(**options).start(str(log))

    def kill_at_random() -> None:
        while not over.wait(dice.uniform(0.005, 0.06)):
            kill(dice.choice([ref.pid, pid_beside(ref)]))

    killer = threading.Thread(target=kill_at_random)
    killer.start()
    calls, end = [ref.proxy().work(0)], time.monotonic() + 1.5
    try:
        while time.monotonic() < end:
            calls += [ref.proxy().work(len(calls) + number) for number in range(40)]
            calls[-1].exception(timeout=20)
    finally:
        over.set()
        killer.join()
    errors = [call.exception(timeout=20) for call in calls]
    assert {type(error) for error in errors} <= {type(None), IsolateCrashed}
    ran = [int(line) for line in log.read_text().splitlines() if line.isdigit()]
    assert ran == sorted(set(ran))
    assert {number for number, error in enumerate(errors) if error is None} <= set(ran)
    seen.wait(IsolateExited, sum(error is not None for error in errors))
    assert ref.stop(timeout=20)
    assert [event.pid for event in seen.of(IsolateStarted) if event.pid and not pid_gone(event.pid)] == []


# Recycling


def test_recycling_takes_the_standby_even_without_memory_for_another_one(
    cold: Callable[[], Any], seen: Seen, tmp_path: Path
) -> None:
    cold()
    log = tmp_path / "log"
    options: dict[str, Any] = {"recycle": Recycle(after_calls=5), "restart": "temporary", "standby": True}
    ref = Policed.with_options(**options).start(str(log))
    pids = both(ref)[:1]
    for number in range(3):
        pids.append(ready_beside(ref))
        before = ref.generation
        calls = [ref.proxy().work(5 * number + n) for n in range(5)]
        assert pykka.get_all(calls, timeout=20) == [5 * number + n for n in range(5)]
        wait_until(lambda before=before: ref.generation > before)  # type: ignore[misc]
    recycled = seen.wait(IsolateRecycled, 3)
    assert [(event.pid, event.new_pid, event.warm) for event in recycled] == [
        (pids[n], pids[n + 1], True) for n in range(3)
    ]
    assert [event.pid for event in seen.of(IsolateStarted)][1:] == pids[1:]
    assert seen.of(IsolateRestarting) == []
    ready_beside(ref)
    assert ref.stop(timeout=20)
    assert all(what == ["start", "stop", "stopped"] for what in lines_of(log).values())


def test_a_crash_in_a_recycling_goes_on_with_what_was_to_take_over(seen: Seen, tmp_path: Path) -> None:
    ref = Policed.with_options(recycle=Recycle(after_calls=1), concurrency=2, **PERMANENT).start()
    beside, begun = ready_beside(ref), tmp_path / "begun"
    held = ref.proxy().hold(str(begun), str(tmp_path / "never"))
    wait_until(begun.exists)
    assert ref.ask(0, timeout=20) == 0
    wait_until(lambda: inside.drains(ref))
    kill(ref.pid)
    assert isinstance(held.exception(timeout=20), IsolateCrashed)
    wait_until(lambda: ref.pid == beside)
    assert seen.of(IsolateRecycled) == []
    assert len(seen.wait(IsolateRestarting)) == 1


# Ends


@pytest.mark.parametrize("how", ["stop", "shut_down", "exit of its own"])
def test_it_goes_with_its_isolate_and_runs_on_stop(how: str, tmp_path: Path, seen: Seen) -> None:
    log = tmp_path / "log"
    (tmp_path / "slow").write_text("0.2")
    ref = Policed.with_options(restart="transient", standby=True).start(str(log), str(tmp_path))
    pids = both(ref)
    if how == "stop":
        assert ref.stop(timeout=20)
    elif how == "shut_down":
        ref._isolate.shut_down()
    else:
        ref.proxy().stop_yourself()
    assert ref.wait_for_exit(20) is not None
    assert all(pid_gone(pid) for pid in pids if pid)
    assert lines_of(log) == {pid: ["start", "stop", "stopped"] for pid in pids}
    assert len(seen.wait(IsolateExited)) == len(seen.of(IsolateStarted)) == 1


def test_stop_lets_what_waits_run_first() -> None:
    ref = Policed.with_options(**PERMANENT).start()
    ready_beside(ref)
    calls = [ref.proxy().nap(0.05) for _ in range(5)]
    assert ref.stop(timeout=20)
    assert pykka.get_all(calls, timeout=1) == [0.05] * 5


@pytest.mark.parametrize("how", ["stop", "shut_down", "terminate", "kill"])
def test_an_end_while_it_starts(how: str, tmp_path: Path) -> None:
    ref = Policed.with_options(max_restarts=0, **PERMANENT).start(os.devnull, str(tmp_path))
    first = ready_beside(ref)
    (tmp_path / "hang").touch()
    kill(first)  # the next one hangs in its start
    beside = wait_until(lambda: pid_beside(ref) not in (0, first) and pid_beside(ref), 20)
    ends: dict[str, Callable[[], Any]] = {
        "stop": lambda: ref.stop(block=False),
        "shut_down": ref._isolate.shut_down,
        "terminate": ref._isolate.terminate,
        "kill": lambda: kill(ref.pid),
    }
    ends[how]()
    assert ref.wait_for_exit(20) is not None
    assert pid_gone(beside)


@pytest.mark.parametrize("how", ["stop", "terminate"])
def test_an_end_while_a_restart_waits_for_it(how: str, tmp_path: Path) -> None:
    ref = Policed.with_options(**PERMANENT).start(os.devnull, str(tmp_path))
    first = ready_beside(ref)
    (tmp_path / "hang").touch()
    kill(ref.pid)
    wait_until(lambda: ref.pid == first)
    beside = wait_until(lambda: pid_beside(ref))
    kill(first)
    wait_until(lambda: ref.pid == beside)
    call = ref.proxy().work(1)
    assert ref.stop(timeout=20) if how == "stop" else ref.terminate(timeout=20) is not None
    assert isinstance(call.exception(timeout=20), pykka.ActorDeadError)
    assert pid_gone(beside)


def test_an_end_while_it_waits_for_the_backoff() -> None:
    ref = Policed.with_options(backoff=Backoff(initial=30.0), **PERMANENT).start()
    beside = ready_beside(ref)
    kill(ref.pid)
    wait_until(lambda: ref.state == "restarting")
    assert ref.stop(timeout=20)
    assert pid_gone(beside)


@pytest.mark.parametrize("how", ["stop", "terminate"])
def test_one_that_hangs_in_on_stop_is_killed(how: str, tmp_path: Path) -> None:
    (tmp_path / "slow").write_text("60")
    ref = Policed.with_options(shutdown_timeout=0.4, **PERMANENT).start(os.devnull, str(tmp_path))
    pids, began = both(ref), time.monotonic()
    assert ref.stop(timeout=30) if how == "stop" else ref.terminate(timeout=30) is not None
    assert all(pid_gone(pid) for pid in pids if pid)
    assert time.monotonic() - began < 15


def test_an_end_at_any_moment_gives_every_call_one_outcome(tmp_path: Path, seen: Seen) -> None:
    dice = random.Random(11)
    ends: list[Callable[[Any], Any]] = [
        lambda ref: ref.stop(block=False),
        lambda ref: ref._isolate.shut_down(),
        lambda ref: ref._isolate.terminate(),
    ]
    for end in ends * 3:
        ref = Policed.with_options(max_restarts=None, **PERMANENT).start()
        pids = set()
        time.sleep(dice.uniform(0, 0.02))  # anywhere in the start of the standby
        calls = [ref.proxy().work(number) for number in range(10)]
        pids |= {ref.pid, pid_beside(ref)}
        kill(ref.pid)
        time.sleep(dice.uniform(0, 0.03))  # anywhere in the handover
        pids |= {ref.pid, pid_beside(ref)}
        with contextlib.suppress(pykka.ActorDeadError):
            end(ref)
        for call in calls:
            assert isinstance(call.exception(timeout=20), (type(None), IsolateCrashed, pykka.ActorDeadError))
        assert ref.wait_for_exit(20) is not None
        assert newcomer(ref) is None
        assert [pid for pid in pids if pid and not pid_gone(pid)] == []


HOST = """
    import os, sys
    sys.path.insert(0, {repo!r})
    from tests import inside
    from tests.children.policed import Policed
    if __name__ == "__main__":
        ref = Policed.with_options(restart="permanent", standby=True).start({log!r}, {folder!r})
        while not getattr(inside.standby(ref), "is_ready", False) or not inside.standby(ref).pid:
            ref.proxy().echo(1).get(timeout=20)
        print(ref.pid, inside.standby(ref).pid, flush=True)
        sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["killed", "returns"])
def test_the_end_of_the_host_leaves_nothing(how: str, host_script: HostScripts, tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "slow").write_text("30" if how == "killed" else "0.1")
    host = host_script(HOST.format(repo=str(REPO), log=str(log), folder=str(tmp_path)))
    assert host.stdout is not None
    assert host.stdin is not None
    pids = [int(word) for word in host.stdout.readline().split()]
    assert len(pids) == 2
    if how == "killed":
        host.kill()
        wait_until(lambda: all(pid_gone(pid) for pid in pids))
        return
    host.stdin.write("\n")
    host.stdin.flush()
    assert host.wait(20) == 0
    assert all(pid_gone(pid) for pid in pids)
    assert lines_of(log) == {pid: ["start", "stop", "stopped"] for pid in pids}


# Limits


def test_it_has_the_limits_of_a_generation(tmp_path: Path, seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    limits = IsolationLimits(max_memory="200 MiB", max_open_files=150)
    ref = SlowStarter.with_options(limits=limits, **PERMANENT).start(os.devnull, str(tmp_path))
    pid, beside = both(ref)
    assert psutil.Process(beside).rlimit(psutil.RLIMIT_NOFILE)[0] == 150
    (tmp_path / "grow").write_text(str(600 << 20))
    kill(beside)
    (breach, *_) = seen.wait(LimitBreached, timeout=20)
    assert breach.generation > 1
    wait_until(lambda: "its standby" in caplog.text)
    assert (ref.ask(1, timeout=20), ref.pid) == (1, pid)
    assert seen.of(IsolateExited) == []


# In supervisors


def child(id: str, *args: str, **fields: Any) -> ChildSpec:
    return ChildSpec(id, Policed, args=args, options=IsolationOptions(standby=True), **fields)


@pytest.mark.parametrize(
    ("strategy", "restarted"), [("one_for_one", "b"), ("one_for_all", "abc"), ("rest_for_one", "bc")]
)
def test_each_strategy_hands_over_what_it_restarts(strategy: Any, restarted: str, seen: Seen, tmp_path: Path) -> None:
    log = tmp_path / "log"
    children = [child(id, str(log)) for id in "abc"]
    with Supervisor.start(children=children, strategy=strategy, max_restarts=3, within=60.0) as tree:
        refs = {id: tree.child(id) for id in "abc"}
        expected = {id: ready_beside(ref) if id in restarted else ref.pid for id, ref in refs.items()}
        behind = [refs["b"].proxy().crash(), *(ref.proxy().work(n) for n, ref in enumerate(refs.values()))]
        assert isinstance(behind[0].exception(timeout=20), IsolateCrashed)
        assert pykka.get_all(behind[1:], timeout=20) == [0, 1, 2]
        wait_until(lambda: {id: ref.pid for id, ref in refs.items()} == expected)
        wait_until(lambda: sum(info.restarts for info in tree.which_children()) == len(restarted))
        for ref in refs.values():
            ready_beside(ref)
        assert len(seen.wait(IsolateRestarting, len(restarted))) == len(restarted)
    assert [pid for pid in lines_of(log) if not pid_gone(pid)] == []


def test_its_restarts_are_charged_and_the_tree_ends_with_all_that_stood_by(tmp_path: Path, seen: Seen) -> None:
    """The one that has used up its restarts has a standby with an `on_stop` to run; the tree waits for that."""
    log = tmp_path / "log"
    (tmp_path / "slow").write_text("0.3")
    spec = child("a", str(log), str(tmp_path))
    tree = Supervisor.start(children=[spec, child("b", str(log))], max_restarts=2, within=60.0)
    ref = tree.child("a")
    ready_beside(tree.child("b"))
    for number in range(3):
        ready_beside(ref)
        before = ref.generation
        ref.proxy().crash().exception(timeout=20)
        if number < 2:
            wait_until(lambda before=before: ref.generation > before)  # type: ignore[misc]
    assert tree.wait_for_exit(20) is not None
    assert len(seen.wait(RestartsExceeded)) == 1
    found = lines_of(log)
    assert [pid for pid in found if not pid_gone(pid)] == []
    assert sum(what == ["start", "stop", "stopped"] for what in found.values()) == 3  # of `a` one, of `b` both


def test_a_tree_that_is_stopped_while_a_child_waits_for_its_backoff(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "slow").write_text("0.3")
    spec = child("a", str(log), str(tmp_path), backoff=Backoff(initial=30.0))
    with Supervisor.start(children=[spec]) as tree:
        ready_beside(tree.child("a"))
        kill(tree.child("a").pid)
        wait_until(lambda: tree.child("a").state == "restarting")
    assert [pid for pid in lines_of(log) if not pid_gone(pid)] == []
    assert list(lines_of(log).values())[1] == ["start", "stop", "stopped"]


def test_terminate_and_restart_child(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Supervisor.start(children=[child("a", str(log))]) as tree:
        ref = tree.child("a")
        numbers = []
        for number in range(3):
            ready_beside(ref)
            numbers.append(ref.generation)
            tree.terminate_child("a")
            assert [pid for pid in lines_of(log) if not pid_gone(pid)] == []
            tree.restart_child("a")
            assert ref.ask(number, timeout=20) == number
        assert numbers == sorted(set(numbers))
        ready_beside(ref)
    assert all(what == ["start", "stop", "stopped"] for what in lines_of(log).values())


@pytest.mark.parametrize("shutdown", ["kill", 0.3])
def test_a_sibling_that_does_not_stop_in_time_is_killed_and_its_standby_takes_over(
    shutdown: Any, tmp_path: Path
) -> None:
    (tmp_path / "slow").write_text("60")
    children = [child("a"), child("b", os.devnull, str(tmp_path), shutdown=shutdown)]
    with Supervisor.start(children=children, strategy="one_for_all") as tree:
        beside = ready_beside(tree.child("b"))
        kill(tree.child("a").pid)
        wait_until(lambda: tree.child("b").pid == beside and tree.child("b").state == "running")


class Below(Supervisor):
    """Ends with the first death below it."""

    def children(self) -> list[ChildSpec]:
        """Return the child, declared anew at each start."""
        return [child("leaf")]


def test_what_a_restarted_supervisor_declares_anew_is_not_run_by_an_old_standby() -> None:
    with Supervisor.start(children=[ChildSpec("below", Below)], max_restarts=3) as tree:
        leaf = tree.child("below").child("leaf")
        for _ in range(30):  # more than the supervisor below allows
            if tree.child("below").generation > 1:
                break
            ready_beside(leaf)
            before = leaf.generation
            kill(leaf.pid)
            wait_until(lambda before=before: leaf.generation > before)  # type: ignore[misc]
        assert tree.child("below").generation == 2
        assert leaf.proxy().work(1).get(timeout=20) == 1
        ready_beside(leaf)
        assert newcomer(leaf).spec is inside.spec(leaf)


# Where it cannot be of use


def test_it_is_refused_where_nothing_could_take_over() -> None:
    options = IsolationOptions(standby=True)
    expected = r"IsolationOptions.standby: True is not allowed with restart='temporary' and without recycle"
    for start in (
        lambda: Policed.with_options(standby=True).start(),
        lambda: ProcessIsolator(options),
        lambda: spawn("math:sqrt", options=options),
    ):
        with pytest.raises(ValueError, match=expected):
            start()
    with pytest.raises(ValueError, match=r"standby of child 'a': True is not allowed with restart='temporary'"):
        ChildSpec("a", Policed.with_options(standby=True), restart="temporary")


def test_it_is_allowed_where_something_could() -> None:
    """The restart type that counts is the child's own; and a recycling has use for it as well."""
    assert ChildSpec("a", Policed, options=IsolationOptions(standby=True)).restart == "permanent"
    assert ChildSpec("a", Policed.with_options(standby=True), restart="transient").restart == "transient"
    limits = IsolationLimits(soft_memory="1 GiB", on_soft_memory="recycle")
    for fields in ({"recycle": Recycle(after_calls=1)}, {"limits": limits}):
        options = IsolationOptions(standby=True, **fields)  # type: ignore[arg-type]
        assert not ProcessIsolator(options).is_alive
        assert ChildSpec("a", Policed, options=options, restart="temporary").restart == "temporary"

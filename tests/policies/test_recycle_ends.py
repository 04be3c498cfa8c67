"""Ends of all kinds in the middle of a recycling: no future is left unset, no process is left, order is kept."""

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

import pykka
import pytest

import piactors
from piactors import ChildSpec, IsolateCrashed, Recycle, Supervisor
from piactors._rules.bodies import Role
from piactors.events import IsolateExited, IsolateRecycled, IsolateRestarting, IsolateStarted, IsolateStartFailed
from tests import inside
from tests.children.policed import Policed
from tests.policies.conftest import Seen
from tests.support import HostScripts, pid_gone, wait_until

OUTCOMES = (type(None), IsolateCrashed, pykka.ActorDeadError)


def companions(ref: Any) -> list[int]:
    """Return the pids of an isolate's processes besides the one that runs its calls."""
    found = [*inside.in_role(ref, Role.SUCCESSOR), *inside.retiring(ref)]
    return [companion.pid for companion in found if companion.pid]


def kill(pid: int | None) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a recycling that has failed be tried again at once."""
    monkeypatch.setattr(inside.PAUSE_AFTER_FAILURE, 0.01)


def numbers(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().splitlines() if line.isdigit()]


ENDS: dict[str, Callable[[Any], Any]] = {
    "stop": lambda ref: ref.stop(block=False),
    "shut_down": lambda ref: ref._isolate.shut_down(),
    "terminate": lambda ref: ref._isolate.terminate(),
    "kill": lambda ref: kill(ref.pid),
}


@pytest.mark.parametrize("memory", ["warm", "cold"])
@pytest.mark.parametrize("end", list(ENDS))
def test_an_end_at_any_moment_gives_every_call_one_outcome(
    end: str, memory: str, cold: Callable[[], Any], tmp_path: Path, seen: Seen
) -> None:
    if memory == "cold":
        cold()
    (tmp_path / "slow").write_text("0.02")
    dice = random.Random(f"{end} {memory}")
    for round_number in range(5):
        log = tmp_path / f"log-{round_number}"
        ref = Policed.with_options(recycle=Recycle(after_calls=5)).start(str(log), str(tmp_path))
        proxy = ref.proxy()
        calls = [proxy.work(number) for number in range(60)]
        calls[0].get(timeout=20)
        time.sleep(dice.uniform(0, 0.12))  # anywhere in what follows the fifth call
        with contextlib.suppress(pykka.ActorDeadError):
            calls += [proxy.work(number) for number in range(60, 120)]
        with contextlib.suppress(pykka.ActorDeadError):
            ENDS[end](ref)
        if end == "kill" and not ref._isolate.wait_ended(0.15):
            ref.stop(block=False)  # there was no process to kill, in the cold gap
        errors = [call.exception(timeout=20) for call in calls]
        assert all(isinstance(error, OUTCOMES) for error in errors), errors
        if end == "stop":
            assert errors == [None] * len(calls)
        ran = numbers(log)
        assert ran == sorted(set(ran))
        assert {number for number, error in enumerate(errors) if error is None} <= set(ran)
        assert ref.wait_for_exit(20) is not None
        assert companions(ref) == []
        assert [event for event in seen.of(IsolateStarted, ref.name) if event.pid and not pid_gone(event.pid)] == []


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("memory", ["warm", "cold"])
def test_kills_of_any_of_its_processes_lose_nothing_that_had_not_begun(
    memory: str, cold: Callable[[], Any], tmp_path: Path, seen: Seen
) -> None:
    """Old, new and retiring ones are killed at random; it is permanent, so all that had not begun is run, in order."""
    if memory == "cold":
        cold()
    (tmp_path / "slow").write_text("0.05")
    log, dice, over = tmp_path / "log", random.Random(memory), threading.Event()
    options: dict[str, Any] = {"restart": "permanent", "max_restarts": None}
    ref = Policed.with_options(recycle=Recycle(after_calls=20), **options).start(str(log), str(tmp_path))

    def kill_at_random() -> None:
        in_vain, done = 0, 0
        while not over.wait(dice.uniform(0.005, 0.06)):
            before, done = done, len(numbers(log)) if log.exists() else 0
            in_vain = in_vain + 1 if done == before else 0
            if in_vain <= 20:  # on a slow machine no start would ever be complete otherwise
                kill(dice.choice([ref.pid, *companions(ref)]))

    killer = threading.Thread(target=kill_at_random)
    killer.start()
    errors: list[BaseException | None] = []
    calls = [ref.proxy().work(0)]
    end = time.monotonic() + 1.5
    try:
        while time.monotonic() < end:
            calls += [ref.proxy().work(len(calls) + number) for number in range(40)]
            errors.append(calls[-1].exception(timeout=20))
    finally:
        over.set()
        killer.join()
    crashed = [error for call in calls if (error := call.exception(timeout=20)) is not None]
    print(f"{memory}: {len(calls)} calls, {len(crashed)} crashed, {ref.generation} generations")
    assert all(type(error) is IsolateCrashed for error in crashed)
    assert len(crashed) <= len(seen.of(IsolateExited))
    ran = numbers(log)
    assert ran == sorted(set(ran))
    assert set(range(len(calls))) - set(ran) <= {n for n, call in enumerate(calls) if call.exception(timeout=0)}
    assert ref.stop(timeout=20)
    assert companions(ref) == []


@pytest.mark.parametrize("fault", ["fail", "hang", "killed"])
def test_where_the_newcomer_does_not_start_the_old_one_goes_on(
    fault: str, tmp_path: Path, seen: Seen, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a warning, and a later try; no restart is counted, and no call fails."""
    monkeypatch.setattr(inside.PAUSE_AFTER_FAILURE, 0.3)
    options: dict[str, Any] = {"start_timeout": 0.4 if fault == "hang" else 20, "restart": "temporary"}
    ref = Policed.with_options(recycle=Recycle(after_calls=5), **options).start(str(tmp_path / "log"), str(tmp_path))
    pid = ref.pid
    (tmp_path / ("fail" if fault == "fail" else "hang")).touch()
    calls = [ref.proxy().work(number) for number in range(30)]
    if fault == "killed":
        wait_until(lambda: companions(ref))
        kill(companions(ref)[0])
    (failed, *_) = seen.wait(IsolateStartFailed)
    assert (failed.generation, ref.pid, ref.generation) == (2, pid, 1)
    assert pykka.get_all(calls, timeout=20) == list(range(30))
    wait_until(lambda: "is not recycled, generation 1 goes on" in caplog.text)
    for name in ("fail", "hang"):
        (tmp_path / name).unlink(missing_ok=True)
    assert seen.wait(IsolateRecycled)[0].generation == 1
    assert ref.ask(30, timeout=20) == 30
    assert seen.of(IsolateRestarting) == []
    assert numbers(tmp_path / "log") == list(range(31))


@pytest.mark.parametrize("restart", ["temporary", "permanent"])
def test_a_cold_newcomer_that_does_not_start_is_like_a_restart_that_fails(
    restart: Any, cold: Callable[[], Any], tmp_path: Path, seen: Seen
) -> None:
    """There is no old one to go on: its restart type decides, and what waits waits for that."""
    cold()
    ref = Policed.with_options(recycle=Recycle(after_calls=1000), restart=restart).start(os.devnull, str(tmp_path))
    during = ref.proxy().hold(str(tmp_path / "begun"), str(tmp_path / "until"))
    calls = [ref.proxy().work(number) for number in range(20)]
    wait_until((tmp_path / "begun").exists)  # from here on it is waited for; before, it would wait for the next one
    (tmp_path / "fail").touch()
    inside.ask_replacement(ref)
    wait_until(lambda: inside.drains(ref))
    (tmp_path / "until").touch()
    seen.wait(IsolateStartFailed)
    (tmp_path / "fail").unlink()
    assert during.get(timeout=20) == "held"
    if restart == "permanent":
        assert pykka.get_all(calls, timeout=20) == list(range(20))
    else:
        assert {type(call.exception(timeout=20)) for call in calls} == {piactors.ActorDeadError}
        assert ref.wait_for_exit(20) is not None
        assert not ref.is_alive()


@pytest.mark.parametrize("end", ["stop", "shut_down", "terminate"])
def test_an_end_between_two_processes(end: str, cold: Callable[[], Any], tmp_path: Path) -> None:
    """The old one is still stopping, and there is no new one: a stop lets what waits run first, the others do not."""
    cold()
    (tmp_path / "slow").write_text("0.3")
    options: dict[str, Any] = {"shutdown_timeout": 1.0, "start_timeout": 20}
    ref = Policed.with_options(recycle=Recycle(after_calls=1), **options).start(str(tmp_path / "log"), str(tmp_path))
    pid = ref.pid
    assert pid is not None
    if end != "stop":
        (tmp_path / "hang").touch()  # a new one would never start
    assert ref.ask(0, timeout=20) == 0
    wait_until(lambda: ref.pid is None)
    calls = [ref.proxy().work(number) for number in range(1, 6)]
    began = time.monotonic()
    ENDS[end](ref)
    reason = ref.wait_for_exit(20)
    assert reason is not None
    assert time.monotonic() - began < 5
    assert pid_gone(pid)
    errors = [call.exception(timeout=0.5) for call in calls]
    if end == "stop":
        assert errors == [None] * 5
    else:
        assert {type(error) for error in errors} == {piactors.ActorDeadError}
    assert reason.kind == ("killed" if end == "terminate" else "shutdown")


def test_an_end_waits_for_one_that_still_retires(tmp_path: Path) -> None:
    """`stop` returns when all its processes are gone, and terminate does not wait for `on_stop`."""
    for end, seconds in (("stop", "0.3"), ("terminate", "60")):
        (tmp_path / "slow").write_text(seconds)
        ref = Policed.with_options(recycle=Recycle(after_calls=1)).start(os.devnull, str(tmp_path))
        old = ref.pid
        assert old is not None
        assert ref.ask(0, timeout=20) == 0
        wait_until(lambda ref=ref: ref.generation == 2)  # type: ignore[misc]
        (tmp_path / "slow").unlink()
        if end == "stop":
            assert ref.stop(timeout=20)
        else:
            assert ref.terminate(timeout=20) is not None
        assert pid_gone(old)


def test_a_retiree_that_does_not_end_is_killed_after_the_shutdown_time(tmp_path: Path, seen: Seen) -> None:
    (tmp_path / "slow").write_text("60")
    options: dict[str, Any] = {"recycle": Recycle(after_calls=3), "shutdown_timeout": 0.3}
    ref = Policed.with_options(**options).start(os.devnull, str(tmp_path))
    old = ref.pid
    for number in range(3):
        assert ref.ask(number, timeout=20) == number
    (gone, *_) = seen.wait(IsolateExited)
    assert (gone.pid, gone.generation, gone.reason.kind) == (old, 1, "killed")
    assert ref.ask(1, timeout=20) == 1
    assert seen.of(IsolateRestarting) == []
    ref.terminate()


def test_the_new_one_may_die_beside_one_that_still_retires(tmp_path: Path, seen: Seen) -> None:
    """It starts again without waiting for that."""
    (tmp_path / "slow").write_text("60")
    options: dict[str, Any] = {"recycle": Recycle(after_calls=1), "restart": "permanent", "shutdown_timeout": 30}
    ref = Policed.with_options(**options).start(os.devnull, str(tmp_path))
    assert ref.ask(0, timeout=20) == 0
    wait_until(lambda: ref.generation == 2)
    (tmp_path / "slow").unlink()
    began = time.monotonic()
    kill(ref.pid)
    assert ref.proxy().work(1).get(timeout=20) == 1
    print(f"restarted within {time.monotonic() - began:.2f} s")
    assert time.monotonic() - began < 5
    ref.terminate()


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("memory", ["warm", "cold"])
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all"])
def test_children_are_restarted_and_terminated_while_they_are_recycled(
    strategy: Any, memory: str, cold: Callable[[], Any], tmp_path: Path, seen: Seen
) -> None:
    if memory == "cold":
        cold()
    (tmp_path / "slow").write_text("0.02")
    dice, log = random.Random(f"{strategy} {memory}"), tmp_path / "log"
    recycled = Policed.with_options(recycle=Recycle(after_calls=5))
    children = [ChildSpec("one", recycled, args=(str(log), str(tmp_path))), ChildSpec("two", Policed)]
    with Supervisor.start(children=children, strategy=strategy, max_restarts=None) as tree:
        one, two = tree.child("one"), tree.child("two")
        sent = 0
        calls: list[Any] = []
        for _ in range(6):
            calls += [one.proxy().work(sent + number) for number in range(60)]
            sent += 60
            time.sleep(dice.uniform(0, 0.06))  # anywhere in a recycling
            if dice.random() < 0.5 and strategy == "one_for_all":
                wait_until(lambda: two.state == "running" and two.pid)
                before = two.generation
                kill(two.pid)
                wait_until(lambda before=before: two.generation > before)  # type: ignore[misc]
            elif dice.random() < 0.5:
                kill(one.pid)
            calls[-1].exception(timeout=20)
        errors = [call.exception(timeout=20) for call in calls]
        assert all(error is None or type(error) is IsolateCrashed for error in errors)
        ran = numbers(log)
        assert ran == sorted(set(ran))
        late = [one.proxy().work(sent + number) for number in range(60)]
        tree.terminate_child("one")
        assert all(isinstance(call.exception(timeout=20), OUTCOMES) for call in late)
        assert companions(one) == []
        tree.restart_child("one")
        assert one.ask(sent + 60, timeout=20) == sent + 60
    assert seen.of(IsolateRecycled)
    started = [event.pid for event in seen.of(IsolateStarted)]
    assert all(pid_gone(pid) for pid in started if pid is not None)


def test_a_recycling_counts_as_no_restart_of_a_child(seen: Seen) -> None:
    child = ChildSpec("child", Policed.with_options(recycle=Recycle(after_calls=1)), restart="temporary")
    with Supervisor.start(children=[child], max_restarts=0) as tree:
        ref = tree.child("child")
        while ref.generation < 6:
            assert ref.ask(1, timeout=20) == 1
        assert tree.which_children()[0].restarts == 0
    assert seen.of(IsolateRestarting) == []


def test_a_host_that_is_killed_meanwhile_leaves_nothing(host_script: HostScripts, tmp_path: Path) -> None:
    """At random points of recyclings, a retiring one with a slow `on_stop` among what must go."""
    (tmp_path / "slow").write_text("30")
    repo = Path(__file__).resolve().parent.parent.parent
    dice = random.Random(3)
    for _ in range(2):
        host = host_script(
            f"""
            import sys
            sys.path.insert(0, {str(repo)!r})
            from piactors import Recycle
            from tests import inside
            from tests.children.policed import Policed
            if __name__ == "__main__":
                ref = Policed.with_options(recycle=Recycle(after_calls=3)).start("/dev/null", {str(tmp_path)!r})
                while True:
                    print(ref.proxy().pid().get(timeout=20), flush=True)
                    print(*(body.pid or 0 for body in inside.retiring(ref)), flush=True)
            """
        )
        assert host.stdout is not None
        pids = {int(host.stdout.readline())}
        end = time.monotonic() + dice.uniform(0.05, 0.4)
        while time.monotonic() < end:
            pids.update(int(word) for word in host.stdout.readline().split())
        host.kill()
        host.wait()
        pids.update(int(word) for line in host.stdout.read().splitlines()[:-1] for word in line.split())
        wait_until(lambda pids=pids: all(pid_gone(pid) for pid in pids - {0}))  # type: ignore[misc]

"""An isolate that runs no call has to show that it lives; one that runs a call has not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pykka
import pytest

from piactors import ChildSpec, Heartbeat, IsolateCrashed, IsolationOptions, ProcessIsolator, Supervisor
from piactors._host import runtime
from piactors.events import Event, HeartbeatMissed, IsolateExited
from tests.children.policed import Policed
from tests.policies.conftest import Seen
from tests.support import pid_gone, wait_until


def stop_process(ref: Any) -> int:
    """Stop the process of an isolate, and return its pid."""
    pid = ref.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    return int(pid)


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """Keep every CPU busy meanwhile."""
    command = [sys.executable, "-c", "while True: pass"]
    spinners = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    yield
    for spinner in spinners:
        spinner.kill()
        spinner.wait()


@pytest.mark.parametrize("missing", ["", "launcher,pidfd,memfd"])
def test_an_idle_isolate_that_is_stopped_is_ended_and_starts_again(
    missing: str, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.end_current()
    monkeypatch.setenv("PIACTORS_PORTABLE", missing)
    try:
        ref = Policed.with_options(restart="permanent", heartbeat=0.2).start()
        began = time.monotonic()
        pid = stop_process(ref)
        (event,) = seen.wait(HeartbeatMissed)
        print(f"missed after {time.monotonic() - began:.2f} s")
        assert (event.pid, event.generation, event.seconds) == (pid, 1, 0.2)
        assert "control thread" in event.detail
        (gone,) = seen.wait(IsolateExited)
        assert (gone.pid, gone.reason.kind) == (pid, "killed")
        assert "no sign of life" in str(gone.reason.detail)
        assert ref.ask(1, timeout=20) == 1
        assert ref.generation == 2
        assert pid_gone(pid)
        assert [type(event) for event in seen.events].index(HeartbeatMissed) < seen.events.index(gone)
        ref.stop()
    finally:
        runtime.end_current()


def test_a_thread_that_keeps_the_gil_between_calls_is_found(seen: Seen) -> None:
    ref = Policed.with_options(restart="permanent", heartbeat=0.2).start()
    assert ref.proxy().hold_the_gil_soon(0.05).get(timeout=20) is None
    assert seen.wait(HeartbeatMissed)[0].generation == 1
    assert ref.ask(1, timeout=20) == 1
    assert ref.generation == 2


def test_messages_that_it_does_not_begin_go_to_the_next_generation(seen: Seen, tmp_path: Path) -> None:
    """It is stopped, and then told things: no call runs, so the heartbeat is missed."""
    log = tmp_path / "log"
    ref = Policed.with_options(restart="permanent", heartbeat=0.2).start(str(log))
    stop_process(ref)
    calls = [ref.proxy().work(number) for number in range(20)]
    ref.tell(20)
    assert pykka.get_all(calls, timeout=20) == list(range(20))
    assert ref.ask(21, timeout=20) == 21
    assert [int(line) for line in log.read_text().splitlines() if line.isdigit()] == list(range(22))
    assert len(seen.wait(HeartbeatMissed)) == 1


def test_one_that_answers_and_begins_nothing_is_found(seen: Seen) -> None:
    """A hostile isolate: its control thread answers, and no message is read any more."""
    ref = Policed.with_options(restart="permanent", heartbeat=0.15).start()
    assert ref.proxy().read_no_more().get(timeout=20) is None
    waiting = [ref.proxy().work(number) for number in range(5)]
    assert "does not begin message" in seen.wait(HeartbeatMissed)[0].detail
    assert pykka.get_all(waiting, timeout=20) == list(range(5))
    assert ref.generation == 2


@pytest.mark.parametrize("restart", ["temporary", "transient"])
def test_the_restart_type_decides_what_follows(restart: Any, seen: Seen) -> None:
    ref = Policed.with_options(restart=restart, heartbeat=0.1).start()
    stop_process(ref)
    call = ref.proxy().work(1)
    if restart == "temporary":
        assert isinstance(call.exception(timeout=20), pykka.ActorDeadError)
        reason = ref.wait_for_exit(20)
        assert reason is not None
        assert reason.kind == "killed"
    else:
        assert call.get(timeout=20) == 1
    assert len(seen.wait(HeartbeatMissed)) == 1


@pytest.mark.parametrize(("method", "concurrency"), [("nap", 1), ("nap_in_c", 1), ("nap", 3)])
def test_a_long_call_is_no_missed_heartbeat(method: str, concurrency: int, seen: Seen) -> None:
    """Nor are several in a row, nor what waits behind them; also where the GIL is held all the time."""
    ref = Policed.with_options(restart="permanent", heartbeat=0.1, concurrency=concurrency).start()
    calls = [getattr(ref.proxy(), method)(0.35) for _ in range(3)]
    behind = ref.proxy().work(1)
    assert all(call.get(timeout=20) for call in calls)
    assert behind.get(timeout=20) == 1
    assert (seen.of(HeartbeatMissed), ref.generation) == ([], 1)


def test_a_stopped_isolate_that_runs_a_call_is_left_alone_until_it_goes_on(seen: Seen, tmp_path: Path) -> None:
    """While a call runs, `call_timeout` judges it and nothing else."""
    ref = Policed.with_options(restart="permanent", heartbeat=0.1).start()
    call = ref.proxy().hold(str(tmp_path / "begun"), str(tmp_path / "until"))
    wait_until((tmp_path / "begun").exists)
    pid = stop_process(ref)
    time.sleep(0.5)  # several beats, of which there must be no sign
    assert (seen.of(HeartbeatMissed), ref.pid) == ([], pid)
    (tmp_path / "until").touch()
    os.kill(pid, signal.SIGCONT)
    assert call.get(timeout=20) == "held"
    assert (seen.of(HeartbeatMissed), ref.generation) == ([], 1)


def test_a_large_message_on_its_way_is_no_missed_heartbeat(seen: Seen) -> None:
    """As long as bytes of it arrive, it need not begin; one that may be tried again goes through the socket."""
    ref = Policed.with_options(restart="permanent", heartbeat=0.05).start()
    data = b"x" * (200 << 20)
    assert ref.proxy().nap_beside.with_options(retries=1)(data, 0).get(timeout=30) == len(data)
    assert (seen.of(HeartbeatMissed), ref.generation) == ([], 1)


def test_log_only_logs_and_tells_again_after_it_has_recovered(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    ref = Policed.with_options(heartbeat=Heartbeat(0.1, action="log")).start()
    pid = stop_process(ref)
    seen.wait(HeartbeatMissed)
    time.sleep(0.4)  # more beats, which are one miss
    assert len(seen.of(HeartbeatMissed)) == 1
    os.kill(pid, signal.SIGCONT)
    assert ref.ask(1, timeout=20) == 1
    time.sleep(0.25)  # two beats of a healthy isolate: the miss is over
    assert len(seen.of(HeartbeatMissed)) == 1
    stop_process(ref)
    assert len(seen.wait(HeartbeatMissed, 2)) == 2
    os.kill(pid, signal.SIGCONT)
    assert (ref.ask(2, timeout=20), ref.pid, ref.generation) == (2, pid, 1)
    assert "no sign of life for 0.1 s" in caplog.text


def test_a_callable_gets_the_event_and_may_fail(caplog: pytest.LogCaptureFixture, seen: Seen) -> None:
    told: list[Event] = []

    def act(event: Event) -> None:
        told.append(event)
        raise RuntimeError("from the callback")

    ref = Policed.with_options(heartbeat=Heartbeat(0.1, action=act)).start()
    pid = stop_process(ref)
    wait_until(lambda: told)
    assert isinstance(told[0], HeartbeatMissed)
    assert told[0].pid == pid
    wait_until(lambda: "from the callback" in caplog.text)
    os.kill(pid, signal.SIGCONT)
    assert (ref.ask(1, timeout=20), ref.generation) == (1, 1)
    assert seen.of(HeartbeatMissed) == told


def test_a_callable_may_end_the_isolate(seen: Seen) -> None:
    refs: list[Any] = []
    options = {"restart": "permanent", "heartbeat": Heartbeat(0.1, action=lambda event: refs[0].terminate(timeout=20))}
    refs.append(Policed.with_options(**options).start())
    stop_process(refs[0])
    assert refs[0].wait_for_exit(20) is not None
    assert len(seen.of(HeartbeatMissed)) == 1


def test_each_generation_has_its_own_heartbeat(seen: Seen) -> None:
    ref = Policed.with_options(restart="permanent", heartbeat=0.1).start()
    for number in range(3):
        stop_process(ref)
        seen.wait(HeartbeatMissed, number + 1)
        assert ref.ask(number, timeout=20) == number
    crash = ref.proxy().crash()
    assert isinstance(crash.exception(timeout=20), IsolateCrashed)
    assert ref.ask(4, timeout=20) == 4
    assert [event.generation for event in seen.of(HeartbeatMissed)] == [1, 2, 3]


def test_a_child_that_misses_one_is_restarted_by_its_supervisor(seen: Seen) -> None:
    children = [ChildSpec(id, Policed.with_options(heartbeat=0.1)) for id in ("stopped", "sibling")]
    with Supervisor.start(children=children, strategy="one_for_all") as tree:
        stop_process(tree.child("stopped"))
        assert seen.wait(HeartbeatMissed)[0].name == tree.child("stopped").name
        wait_until(lambda: [tree.child(id).generation for id in ("stopped", "sibling")] == [2, 2])
        assert tree.child("stopped").ask(1, timeout=20) == 1
        assert {info.id: info.restarts for info in tree.which_children()}["stopped"] == 1


def test_an_end_in_peace_is_no_missed_heartbeat(seen: Seen, tmp_path: Path) -> None:
    """A slow `on_stop`, and a slow start, take longer than a beat."""
    (tmp_path / "slow").write_text("0.4")
    (tmp_path / "hang").touch()
    log = tmp_path / "log"
    gate = subprocess.Popen(["sh", "-c", f"sleep 0.4; rm {tmp_path}/hang"])
    ref = Policed.with_options(heartbeat=0.05).start(str(log), str(tmp_path))
    gate.wait()
    assert ref.stop(timeout=20)
    assert seen.of(HeartbeatMissed) == []
    assert log.read_text().split()[-2] == "stopped"


@pytest.mark.usefixtures("busy_machine")
def test_a_busy_machine_raises_no_false_alarm(seen: Seen) -> None:
    """All CPUs are taken; four isolates are idle, and one has calls of all lengths."""
    idle = [Policed.with_options(heartbeat=0.5).start() for _ in range(4)]
    ref = Policed.with_options(heartbeat=0.5).start()
    end = time.monotonic() + 2.5
    number = 0
    while time.monotonic() < end:
        number += 1
        assert ref.proxy().nap(0.0 if number % 20 else 0.7).get(timeout=20) is not None
    assert seen.of(HeartbeatMissed) == []
    assert all(other.generation == 1 for other in [*idle, ref])


def test_an_isolator_has_one_too(seen: Seen) -> None:
    with ProcessIsolator(IsolationOptions(heartbeat=0.1, restart="permanent")) as isolator:
        os.kill(int(isolator.pid or 0), signal.SIGSTOP)
        seen.wait(HeartbeatMissed)
        assert isolator.invoke_method("os:getpid").get(timeout=20) == isolator.pid

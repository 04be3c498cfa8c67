"""Once a stop is asked for it ends in bounded time, and everybody is told so."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import piactors
from piactors import CallTimeout, ChildSpec, IsolateCrashed, ProcessIsolator, Recycle, Supervisor
from tests.children.waits import Waiter
from tests.support import pid_gone, wait_until

PATIENCE = 20
MARGIN = 10
"""Seconds that a busy machine may take over the bound."""


def seconds_of(function: Callable[[], Any]) -> tuple[float, Any]:
    began = time.monotonic()
    found = function()
    return time.monotonic() - began, found


WAYS: dict[str, Callable[[piactors.IsolateRef], object]] = {
    "stop": lambda ref: ref.stop(block=False),
    "ask": lambda ref: pykka.ActorRef.stop(ref, block=False),
    "tell": lambda ref: ref.tell(pykka.messages._ActorStop()),
    "stop_all": lambda ref: pykka.ActorRegistry.stop_all(block=False),
    "shut_down": lambda ref: ref._isolate.shut_down(),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_hangs_is_ended_within_the_shutdown_time(way: str, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    ref = Waiter.with_options(name="blur", shutdown_timeout=1.5).start()
    pid = ref.pid
    assert pid is not None
    call = ref.proxy().hang(str(begun))
    behind = [ref.proxy().one() for _ in range(2000)]
    wait_until(begun.exists)
    assert ref.state == "running"
    WAYS[way](ref)
    assert ref.state == "stopping"
    assert "stopping" in repr(ref)
    seconds, reason = seconds_of(lambda: ref.wait_for_exit(PATIENCE))
    assert reason is not None
    assert seconds < 1.5 + MARGIN
    error = call.exception(timeout=PATIENCE)
    assert type(error) is IsolateCrashed
    assert error.reason == reason
    assert reason.kind == "killed"
    assert "shutdown_timeout, 1.5 s" in str(error)
    assert {type(other.exception(timeout=PATIENCE)) for other in behind} == {piactors.ActorDeadError}
    assert ref.state == "stopped"
    assert pid_gone(pid)


def test_an_isolators_exit_and_a_tell_are_bounded_too(tmp_path: Path) -> None:
    isolator = ProcessIsolator(piactors.IsolationOptions(shutdown_timeout=1.5)).start()
    call = isolator.invoke_method("time:sleep", 1000)
    isolator.exit()
    assert isolator.ref.state == "stopping"
    assert isolator.wait_for_exit(PATIENCE) is not None
    assert isinstance(call.exception(timeout=PATIENCE), IsolateCrashed)
    ref = Waiter.with_options(shutdown_timeout=0.3).start()
    ref.tell("hang")
    assert ref.stop(timeout=PATIENCE)


def test_each_call_has_the_whole_shutdown_time(tmp_path: Path) -> None:
    """What was in the mailbox runs first, and together it may take longer."""
    ref = Waiter.with_options(shutdown_timeout=3).start(str(tmp_path / "log"))
    naps = [ref.proxy().nap(0.8) for _ in range(5)]
    assert ref.stop(timeout=PATIENCE)
    assert [nap.get(timeout=0) for nap in naps] == [0.8] * 5
    assert (tmp_path / "log").read_text() == "stopped\n"
    reason = ref.wait_for_exit(0)
    assert reason is not None
    assert reason.kind == "shutdown"


def test_without_a_shutdown_time_a_stop_waits(tmp_path: Path) -> None:
    ref = Waiter.with_options(shutdown_timeout=None).start()
    call = ref.proxy().when_there(str(tmp_path / "go"), 7)
    with pytest.raises(pykka.Timeout):
        ref.stop(timeout=0.3)
    assert ref.state == "stopping"
    (tmp_path / "go").touch()
    assert ref.stop(timeout=PATIENCE)
    assert call.get(timeout=0) == 7


def test_a_stop_that_is_waited_for_too_briefly_says_that_it_goes_on(tmp_path: Path) -> None:
    ref = Waiter.with_options(name="blur", shutdown_timeout=None).start()
    call = ref.proxy().hang()
    wait_until(call.running)
    with pytest.raises(pykka.Timeout) as caught:
        ref.stop(timeout=0.05)
    said = "blur has not stopped within 0.05 seconds; the stop goes on, and terminate() ends it at once"
    assert str(caught.value) == said
    assert ref.terminate(PATIENCE) is not None


@pytest.mark.parametrize(("own", "bound", "error"), [(1000, 0.3, IsolateCrashed), (0.3, 1000, CallTimeout)])
def test_the_shorter_of_call_timeout_and_shutdown_timeout_holds(own: float, bound: float, error: type) -> None:
    ref = Waiter.with_options(call_timeout=own, shutdown_timeout=bound).start()
    call = ref.proxy().hang()
    seconds, stopped = seconds_of(lambda: ref.stop(timeout=PATIENCE))
    assert stopped
    assert seconds < 0.3 + MARGIN
    assert type(call.exception(timeout=0)) is error


def test_a_call_that_would_be_tried_again_fails_as_one_that_had_begun(tmp_path: Path) -> None:
    """Nothing follows in which it could be tried; that it was not begun would be wrong."""
    ref = Waiter.with_options(shutdown_timeout=0.3, restart="permanent").start()
    call = ref.proxy().hang_and_try_again(str(tmp_path / "begun"))
    wait_until((tmp_path / "begun").exists)
    assert ref.stop(timeout=PATIENCE)
    assert isinstance(call.exception(timeout=0), IsolateCrashed)


def test_a_process_that_does_not_hear_of_the_stop_is_ended() -> None:
    """Idle, and stopped by a signal."""
    ref = Waiter.with_options(shutdown_timeout=0.3).start()
    assert ref.pid is not None
    os.kill(ref.pid, signal.SIGSTOP)
    assert ref.stop(timeout=PATIENCE)
    reason = ref.wait_for_exit(0)
    assert reason is not None
    assert "did not begin to stop within shutdown_timeout, 0.3 s" in reason.summary


@pytest.mark.parametrize("restart", ["temporary", "permanent"])
def test_an_actors_own_stop_is_bounded_and_follows_its_restart_type(restart: Any) -> None:
    ref = Waiter.with_options(shutdown_timeout=0.4, restart=restart).start()
    call, behind = ref.proxy().stop_and_hang(), ref.proxy().one()
    wait_until(lambda: ref.state == "stopping")
    error = call.exception(timeout=PATIENCE)
    assert type(error) is IsolateCrashed
    assert "after a stop was asked for" in str(error)
    if restart == "permanent":
        assert behind.get(timeout=PATIENCE) == 1
        assert (ref.generation, ref.state) == (2, "running")
        slow = ref.proxy().nap(0.8)  # the bound was of that generation alone
        assert slow.get(timeout=PATIENCE) == 0.8
    else:
        assert isinstance(behind.exception(timeout=PATIENCE), piactors.ActorDeadError)


def test_it_is_bounded_while_it_is_recycled(tmp_path: Path) -> None:
    """The old process drains while a call hangs in it."""
    ref = Waiter.with_options(shutdown_timeout=0.4, recycle=Recycle(after_calls=1)).start()
    for number in range(5):
        assert ref.ask(number) == number
    call = ref.proxy().hang(str(tmp_path / "begun"))
    wait_until((tmp_path / "begun").exists)
    assert ref.stop(timeout=PATIENCE)
    assert isinstance(call.exception(timeout=0), IsolateCrashed)


def test_it_is_bounded_with_a_standby_and_for_children(tmp_path: Path) -> None:
    options = {"shutdown_timeout": 0.4, "restart": "permanent", "standby": True}
    refs = [Waiter.with_options(**options).start()]
    tree = Supervisor.start(children=[ChildSpec("a", Waiter.with_options(shutdown_timeout=0.4))])
    refs.append(tree.child("a"))
    for number, ref in enumerate(refs):
        begun = tmp_path / f"begun{number}"
        call = ref.proxy().hang(str(begun))
        wait_until(begun.exists)
        assert ref.stop(timeout=PATIENCE)
        assert isinstance(call.exception(timeout=0), IsolateCrashed)
        assert ref.generation == 1
    tree.stop()


def test_a_stop_while_a_restart_is_waited_for_says_stopping_until_it_has_ended() -> None:
    backoff = piactors.Backoff(initial=30, maximum=30, jitter=0)
    ref = Waiter.with_options(restart="permanent", backoff=backoff).start()
    assert isinstance(ref.proxy().crash().exception(timeout=PATIENCE), IsolateCrashed)
    wait_until(lambda: ref.state == "restarting")
    states: list[str] = []
    stopped = threading.Event()

    def look() -> None:
        while not stopped.is_set():
            states.append(ref.state)

    thread = threading.Thread(target=look)
    thread.start()
    assert ref.stop(timeout=PATIENCE)
    stopped.set()
    thread.join()
    assert states == sorted(states, key=["restarting", "stopping", "stopped"].index)

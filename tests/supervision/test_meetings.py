"""Moments in which a supervisor, the program and a process want different things; each is brought about on purpose."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from piactors import CallTimeout, ChildSpec, IsolationOptions, Recycle, StartError, Supervisor, events
from piactors._isolate.isolate import Isolate
from piactors._tree.isolate_runner import IsolateRunner
from piactors._tree.runner import ChildLink
from tests import inside
from tests.children.actors import Fragile
from tests.children.policed import Policed
from tests.support import wait_until

SECONDS = 20.0
ENDS: dict[str, Callable[[Any], Any]] = {"stop": lambda ref: ref.stop(), "terminate": lambda ref: ref.terminate()}


def in_time(step: Callable[[], Any]) -> Any:
    """Return what it returns, and fail if it never does."""
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(step()), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert outcome, "it never returns"
    return outcome[0]


@pytest.mark.parametrize("end", ENDS)
def test_a_child_that_is_stopped_before_its_turn_comes_has_failed_to_start(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Who has its ref may be quicker than the siblings before it; the supervisor does not wait for it for ever."""
    start = IsolateRunner.start

    def stopped_first(runner: IsolateRunner) -> None:
        if runner.ref.name == "b":
            ENDS[end](runner.ref)
        start(runner)

    monkeypatch.setattr(IsolateRunner, "start", stopped_first)

    def begin() -> BaseException:
        with pytest.raises(StartError) as caught:
            Supervisor.start(children=[ChildSpec("a", Fragile), ChildSpec("b", Fragile)])
        return caught.value

    assert "stopped before it started" in str(in_time(begin))


@pytest.mark.parametrize("end", ENDS)
def test_a_child_that_is_stopped_in_the_moment_of_its_restart_stays_down(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Its supervisor has found it held, and it has ended by the time that it is to start."""
    start = Isolate._start_held

    def stopped_first(isolate: Isolate) -> None:
        isolate.stop_requested = True
        isolate.life.feed({"stop": "stop", "terminate": "terminate"}[end])
        assert isolate.ended.is_set()
        start(isolate)

    monkeypatch.setattr(Isolate, "_start_held", stopped_first)
    tree = Supervisor.start(children=[ChildSpec("a", Fragile)])
    os.kill(tree.child("a").pid or 0, signal.SIGKILL)
    wait_until(lambda: tree.which_children()[0].state == "stopped")
    assert in_time(tree.stop)


def test_a_restart_that_begins_while_the_end_is_still_being_reported_is_heard_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The supervisor's thread may be quicker than the I/O thread, which has only just told it."""
    start, exited, restarted = IsolateRunner.start, ChildLink.exited, threading.Event()

    def slow(link: ChildLink, exit: Any) -> None:
        restarted.clear()
        exited(link, exit)
        restarted.wait(1.0)

    def quick(runner: IsolateRunner) -> None:
        start(runner)
        restarted.set()

    monkeypatch.setattr(IsolateRunner, "start", quick)
    monkeypatch.setattr(ChildLink, "exited", slow)
    tree = Supervisor.start(children=[ChildSpec("a", Fragile)])
    ref = tree.child("a")
    os.kill(ref.pid or 0, signal.SIGKILL)
    wait_until(lambda: ref.generation == 2 and ref.state == "running")
    monkeypatch.setattr(ChildLink, "exited", exited)
    assert in_time(tree.stop)


class Changing(Supervisor):
    """Declares its child otherwise as soon as somebody says so."""

    max_restarts = 0
    options: ClassVar[IsolationOptions]

    def children(self) -> list[ChildSpec]:
        """One, as things stand."""
        return [ChildSpec("a", Fragile, options=self.options)]


def test_what_a_restarted_supervisor_declares_holds_for_a_child_that_it_has_kept(tmp_path: Path) -> None:
    """All of it, also what concerns its mailbox and its time limits; its place among launchers stays its own."""
    Changing.options = IsolationOptions()
    with Supervisor.start(children=[ChildSpec("inner", Changing)]) as tree:
        ref = tree.child("inner").child("a")
        before = inside.spec(ref).urn
        Changing.options = IsolationOptions(
            call_timeout=0.2, max_frame=1 << 20, mailbox_capacity=3, concurrency=2, keep_shared=0
        )
        os.kill(ref.pid or 0, signal.SIGKILL)
        wait_until(lambda: ref.generation == 2 and ref.state == "running")
        assert tree.child("inner").child("a") is ref
        delivery = inside.delivery(ref)
        assert (delivery.max_frame, delivery.capacity, delivery.concurrency) == (1 << 20, 3, 2)
        assert inside.spec(ref).urn == inside.spec(ref).order.member == before
        with pytest.raises(ValueError, match="max_frame"):
            ref.proxy().work(bytes(2 << 20)).get(timeout=SECONDS)
        hold = ref.proxy().hold(str(tmp_path / "begun"), str(tmp_path / "never"))
        assert isinstance(hold.exception(timeout=SECONDS), CallTimeout)


def test_all_lives_of_a_ref_report_in_one_order() -> None:
    """What one has written is reported before the next one starts, however often it was started again."""
    with Supervisor.start(children=[ChildSpec("a", Fragile)]) as tree:
        relays = set()
        for _ in range(4):
            relays.add(inside.relay(tree.child("a")))
            tree.terminate_child("a")
            tree.restart_child("a")
    assert len(relays) == 1


def test_a_child_whose_fresh_process_does_not_start_is_restarted_by_its_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was no room for two, so the old one is gone: to the supervisor the child has ended."""
    monkeypatch.setattr(inside.HAS_ROOM_BESIDE, lambda pid: False)
    options = IsolationOptions(recycle=Recycle(after_calls=2))
    spec = ChildSpec("a", Policed, args=(str(tmp_path / "log"), str(tmp_path)), options=options)
    failed: list[events.Event] = []
    unsubscribe = events.subscribe(failed.append, events.IsolateStartFailed)
    try:
        with Supervisor.start(children=[spec], max_restarts=5) as tree:
            ref = tree.child("a")
            (tmp_path / "fail").touch()
            with_two = [ref.proxy().work(number) for number in range(2)]
            assert [call.get(timeout=SECONDS) for call in with_two] == [0, 1]
            wait_until(lambda: failed)
            (tmp_path / "fail").unlink()
            assert ref.proxy().work(2).get(timeout=SECONDS) == 2
            assert tree.which_children()[0].restarts >= 1
    finally:
        unsubscribe()


class Hesitant(Fragile):
    """Takes its time with its last hook, once: until there is a file."""

    def on_stop(self) -> None:
        """Wait for it."""
        self.hold(os.environ["HESITANT"] + ".begun", os.environ["HESITANT"])

    def on_failure(self, kind: Any, error: Any, traceback: Any) -> None:
        """Wait for it."""
        self.on_stop()


def test_a_process_that_stops_gets_no_more_calls(tmp_path: Path) -> None:
    """They wait for the next one: what is not sent can neither be lost nor be taken for running."""
    gate = tmp_path / "gate"
    options = IsolationOptions(restart="permanent", env={"HESITANT": str(gate)}, shutdown_timeout=SECONDS)
    exits: list[events.IsolateExited] = []
    unsubscribe = events.subscribe(exits.append, events.IsolateExited)  # type: ignore[arg-type]
    try:
        ref = Hesitant.with_options(options).start()
        ref.tell("what it cannot write")
        wait_until(Path(f"{gate}.begun").exists)
        call = ref.proxy().work.with_options(call_timeout=0.05)(1)
        assert inside.delivery(ref).mailbox.waiting
        assert ref.generation == 1
        gate.touch()
        assert call.get(timeout=SECONDS) == 1
        assert ref.generation == 2
        wait_until(lambda: exits)
        assert exits[0].reason.kind == "error"
        ref.stop()
    finally:
        unsubscribe()

"""What only real processes show: mailboxes over group restarts, slow starts, shutdown times, the end of the host."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pykka
import pytest

import piactors
from piactors import (
    ActorStarter,
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    IsolateCrashed,
    IsolationOptions,
    PoisonMessage,
    StartError,
    Supervisor,
)
from tests import inside
from tests.children.actors import Fragile, Worker
from tests.children.trees import Moody
from tests.support import pid_gone, wait_until


def fragile(id: str, tmp_path: Path, **fields: Any) -> ChildSpec:
    return ChildSpec(id, Fragile, args=(str(tmp_path / id),), **fields)


def test_targets_of_every_kind_run_in_one_tree(tmp_path: Path) -> None:
    """A class with other options, a name, a plain class and a function can be children."""
    plain = Path(__file__).parent.parent / "children" / "plain.py"
    children = [
        ChildSpec("actor", Worker, kwargs={"greeting": "good day"}),
        ChildSpec("other", Worker.with_options(start_method="spawn")),
        ChildSpec("named", f"{plain}:give"),
        ChildSpec("function", sum),
    ]
    with Supervisor.start(children=children) as tree:
        assert isinstance(children[1].target, ActorStarter)
        assert tree.child("actor").proxy().greet("Ada").get(timeout=10) == "good day, Ada"
        assert tree.child("other").proxy().greet("Ada").get(timeout=10) == "hello, Ada"
        assert tree.child("named").proxy().call(7).get(timeout=10) == 7
        assert tree.child("function").proxy().call([1, 2]).get(timeout=10) == 3
        assert tree.count_children() == piactors.ChildCounts(4, 4, 0, 4)
        pids = [info.ref.pid for info in tree.which_children()]
    assert all(pid_gone(pid) for pid in pids)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_sibling_keeps_its_mailbox_over_a_group_restart(strategy: Any, tmp_path: Path) -> None:
    """The call that runs in a sibling is finished before it stops; what has not begun goes to its next generation."""
    begun, until = tmp_path / "begun", tmp_path / "until"
    children = [fragile("first", tmp_path), fragile("second", tmp_path)]
    with Supervisor.start(children=children, strategy=strategy) as tree:
        first, second = tree.child("first"), tree.child("second")
        running = second.proxy().hold(str(begun), str(until))
        waiting = [second.proxy().work(number) for number in range(50)]
        wait_until(begun.exists)
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: inside.life(second).machine.halting)  # else it could run all of them in its first one
        until.touch()
        assert running.get(timeout=10) is None
        assert [future.get(timeout=10) for future in waiting] == list(range(50))
        wait_until(lambda: (first.generation, second.generation) == (2, 2))
    assert (tmp_path / "second").read_text().split() == [str(number) for number in range(50)]


def test_a_shutdown_fails_every_call_that_has_not_begun(tmp_path: Path) -> None:
    """Those on their way as well as those that wait; the one that runs is finished."""
    begun, until = tmp_path / "begun", tmp_path / "until"
    with Supervisor.start(children=[fragile("child", tmp_path, shutdown=20)]) as tree:
        proxy = tree.child("child").proxy()
        running = proxy.hold(str(begun), str(until))
        waiting = [proxy.work(number) for number in range(3000)]
        wait_until(begun.exists)
        terminator = threading.Thread(target=tree.terminate_child, args=("child",))
        terminator.start()
        assert all(isinstance(call.exception(timeout=10), pykka.ActorDeadError) for call in waiting)
        until.touch()
        assert running.get(timeout=10) is None
        terminator.join()
    assert (tmp_path / "child").read_text() == ""


def test_a_slow_start_does_not_delay_the_restart_of_a_sibling(tmp_path: Path) -> None:
    """Under one_for_one a death beside a start that takes for ever is found and mended meanwhile."""
    gate = tmp_path / "gate"
    children = [fragile("quick", tmp_path), ChildSpec("slow", Moody, args=(str(gate),), shutdown=0.2)]
    gate.touch()
    with Supervisor.start(children=children) as tree:
        quick, slow = tree.child("quick"), tree.child("slow")
        gate.unlink()
        os.kill(slow.pid, signal.SIGKILL)
        wait_until(lambda: slow.generation == 2)
        os.kill(quick.pid, signal.SIGKILL)
        assert quick.proxy().work(1).get(timeout=10) == 1
        assert {info.id: info.state for info in tree.which_children()} == {"quick": "running", "slow": "restarting"}


@pytest.mark.parametrize("shutdown", [0.2, "kill", 0])
def test_a_child_that_hangs_is_killed_after_its_shutdown_time(shutdown: Any, tmp_path: Path) -> None:
    """What does not stop in time is killed, with a reason that says so."""
    begun = tmp_path / "begun"
    tree = Supervisor.start(children=[fragile("child", tmp_path, shutdown=shutdown)])
    ref = tree.child("child")
    call = ref.proxy().hold(str(begun), "/nonexistent/never")
    wait_until(begun.exists)
    tree.terminate_child("child")
    assert isinstance(call.exception(timeout=10), IsolateCrashed)
    (info,) = tree.which_children()
    assert (info.state, info.exit_reason and info.exit_reason.kind) == ("stopped", "killed")
    with pytest.raises(pykka.ActorDeadError):
        ref.ask(1)
    tree.restart_child("child")
    assert ref.ask(1) == 1
    tree.stop()


def test_a_failed_start_stops_what_was_started(tmp_path: Path) -> None:
    """`Supervisor.start` fails with the child's id and what its code raised, and leaves nothing behind."""
    before = pykka.ActorRegistry.get_all()
    children = [fragile("good", tmp_path), ChildSpec("bad", Moody, args=(None,)), fragile("never", tmp_path)]
    with pytest.raises(StartError, match="'bad'") as caught:
        Supervisor.start(children=children)
    assert isinstance(caught.value.__cause__, ValueError)
    assert pykka.ActorRegistry.get_all() == before
    assert not (tmp_path / "never").exists()


def test_terminate_calls_off_a_backoff(tmp_path: Path) -> None:
    """A child that waits is restarting, its calls wait with it, and terminate fails them."""
    backoff = Backoff(initial=100, maximum=100)
    with Supervisor.start(children=[fragile("child", tmp_path, backoff=backoff)]) as tree:
        ref = tree.child("child")
        os.kill(ref.pid, signal.SIGKILL)
        wait_until(lambda: tree.which_children()[0].state == "restarting")
        call = ref.proxy().work(1)
        assert (ref.is_alive(), ref.state, ref.pid) == (True, "restarting", None)
        tree.terminate_child("child")
        assert isinstance(call.exception(timeout=5), pykka.ActorDeadError)
        assert (ref.is_alive(), ref.state, tree.which_children()[0].state) == (False, "stopped", "stopped")


@pytest.mark.parametrize("quarantine", [True, False])
def test_a_poisonous_call_under_quarantine_costs_no_restarts(quarantine: bool, tmp_path: Path) -> None:
    """Its own retries end it; without quarantine they use up the restarts of the tree."""
    children = [fragile("child", tmp_path, quarantine=quarantine)]
    tree = Supervisor.start(children=children, max_restarts=2, within=60)
    calls = [tree.child("child").proxy().die_always(number) for number in range(2)]
    errors = [call.exception(timeout=20) for call in calls]
    assert isinstance(errors[0], PoisonMessage) == quarantine or isinstance(errors[0], (PoisonMessage, IsolateCrashed))
    if quarantine:
        assert all(isinstance(error, PoisonMessage) for error in errors)
        assert tree.child("child").proxy().work(7).get(timeout=10) == 7
    else:
        reason = tree.wait_for_exit(10)
        assert reason is not None
        assert "used up" in str(reason.detail)
    tree.stop()


def test_children_by_the_hundred_come_and_go(tmp_path: Path) -> None:
    """A dynamic supervisor starts and stops many children from many threads, and keeps nothing of them."""
    template = ChildSpec("session", Fragile, restart="transient")
    with DynamicSupervisor.start(template=template, max_children=40) as tree:
        refs: list[Any] = []
        threads = [threading.Thread(target=lambda: refs.extend(tree.start_child() for _ in range(10))) for _ in "1234"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({ref.pid for ref in refs}) == 40
        with pytest.raises(piactors.TooManyChildren):
            tree.start_child()
        for ref in refs[:20]:
            tree.terminate_child(ref)
        assert tree.count_children() == piactors.ChildCounts(20, 20, 0, 20)
        os.kill(refs[30].pid, signal.SIGKILL)
        assert refs[30].proxy().work(1).get(timeout=10) == 1
        pids = [ref.pid for ref in refs[20:]]
    assert all(pid_gone(pid) for pid in pids)


def test_a_tree_that_is_left_stops_in_order_with_the_interpreter(host_script: Any, tmp_path: Path) -> None:
    """Trees stop in reverse order at the end of the main thread, children in reverse order within them."""
    host = host_script(
        f"""
        from piactors import ChildSpec, Supervisor
        from tests.children.witnesses import ProcessWitness, ThreadWitness

        def spec(id, cls):
            return ChildSpec(id, cls, args=({str(tmp_path / "log")!r}, id, []))

        first = Supervisor.start(children=[spec("a", ProcessWitness), spec("b", ThreadWitness)])
        second = Supervisor.start(children=[spec("c", ProcessWitness)])
        raise SystemExit(3)
        """,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert host.wait(timeout=30) == 3, host.stderr.read()
    stops = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("stopped")]
    assert stops == ["stopped c", "stopped b", "stopped a"]


def test_die_on_crash_stops_the_tree_and_the_program(host_script: Any, tmp_path: Path) -> None:
    """The others stop in order, and the program exits with the code of the crash, whatever the restart type says."""
    host = host_script(
        f"""
        import threading
        from piactors import ChildSpec, IsolationOptions, Supervisor
        from tests.children.actors import Fragile
        from tests.children.witnesses import ProcessWitness

        options = IsolationOptions(die_on_crash=True)
        tree = Supervisor.start(children=[
            ChildSpec("vital", Fragile, options=options),
            ChildSpec("a", ProcessWitness, args=({str(tmp_path / "log")!r}, "a", [])),
        ])
        tree.child("vital").proxy().die()
        threading.Event().wait()
        """,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert host.wait(timeout=30) == 128 + signal.SIGKILL, host.stderr.read()
    assert (tmp_path / "log").read_text().splitlines() == ["started a", "stopped a"]


def test_stop_all_stops_a_tree_and_its_children(tmp_path: Path) -> None:
    """pykka's registry knows supervisors and children while they live; `stop_all` lets none be restarted."""
    tree = Supervisor.start(children=[fragile("child", tmp_path), ChildSpec("below", Supervisor)])
    refs = [tree, tree.child("child"), tree.child("below")]
    assert all(ref in pykka.ActorRegistry.get_all() for ref in refs)
    pykka.ActorRegistry.stop_all(timeout=20)
    assert not any(ref.is_alive() for ref in refs)
    assert not any(ref in pykka.ActorRegistry.get_all() for ref in refs)


def test_restarts_leave_nothing_behind(tmp_path: Path) -> None:
    """After a hundred restarts there are as many threads and descriptors as before."""
    with Supervisor.start(children=[fragile("child", tmp_path)], max_restarts=None) as tree:
        ref = tree.child("child")

        def restart() -> None:
            os.kill(ref.pid, signal.SIGKILL)
            assert ref.proxy().work(1).get(timeout=10) == 1

        for _ in range(10):
            restart()
        before = threading.active_count(), len(inside.descriptors())
        for _ in range(90):
            restart()
        wait_until(lambda: threading.active_count() <= before[0] and len(inside.descriptors()) <= before[1])
        assert tree.which_children()[0].restarts == 100


def test_a_start_may_be_stopped(tmp_path: Path) -> None:
    """`terminate_child` of a child whose restart hangs ends that within its shutdown time."""
    gate = tmp_path / "gate"
    gate.touch()
    options = IsolationOptions(start_timeout=60)
    child = ChildSpec("slow", Moody, args=(str(gate),), shutdown=0.2, options=options)
    with Supervisor.start(children=[child]) as tree:
        ref = tree.child("slow")
        gate.unlink()
        os.kill(ref.pid, signal.SIGKILL)
        wait_until(lambda: ref.generation == 2)
        started = time.monotonic()
        tree.terminate_child("slow")
        assert time.monotonic() - started < 20
        assert tree.which_children()[0].state == "stopped"

"""Whoever calls what has ended is told which one it was and why it ended; refs say what is known, and never wait."""

from __future__ import annotations

import pickle
import threading
import time
from pathlib import Path
from typing import Any

import pykka
import pytest

import piactors
from piactors import ActorDeadError, ChildSpec, IsolateCrashed, ProcessIsolator, Supervisor
from tests import inside
from tests.children.waits import Waiter
from tests.support import wait_until

PATIENCE = 20


def error_of(function: Any) -> ActorDeadError:
    with pytest.raises(pykka.ActorDeadError) as caught:
        function()
    assert type(caught.value) is ActorDeadError
    return caught.value


def test_every_way_to_call_what_has_crashed_names_it_and_says_why(tmp_path: Path) -> None:
    ref = Waiter.with_options(name="blur").start()
    proxy = ref.proxy()
    nested = proxy.one
    crash, queued = proxy.crash(), [proxy.one(), proxy.number, ref.ask("x", block=False)]
    assert isinstance(crash.exception(timeout=PATIENCE), IsolateCrashed)
    reason = ref.wait_for_exit(PATIENCE)
    assert reason is not None
    ways = {
        **{f"queued {number}": call.get for number, call in enumerate(queued)},
        "proxy": ref.proxy,
        "method": lambda: nested().get(),
        "attribute": lambda: proxy.number.get(),
        "set": lambda: setattr(proxy, "number", 1),
        "ask": lambda: ref.ask("x"),
        "tell": lambda: ref.tell("x"),
        "defer": lambda: nested.defer(),
        "await later": lambda: ref.ask("x", block=False).get(),
        "IsolateProxy": lambda: piactors.IsolateProxy(actor_ref=ref),
    }
    for way, call in ways.items():
        error = error_of(call)
        assert (error.name, error.reason) == ("blur", reason), way
        assert str(error).startswith("blur has ended"), way
        assert "SIGABRT" in str(error), way
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), copy.name, copy.reason) == (ActorDeadError, str(error), "blur", reason)
    assert ref.stop() is False


@pytest.mark.parametrize("end", ["stop", "terminate", "exit", "shut_down"])
def test_each_kind_of_end_is_told(end: str, tmp_path: Path) -> None:
    isolator = ProcessIsolator(name="blur").start()
    ref = isolator.ref
    call = isolator.invoke_method("time:sleep", 0.3)
    wait_until(call.running)
    behind = isolator.invoke_method("math:factorial", 3)
    {"stop": ref.stop, "terminate": ref.terminate, "exit": isolator.exit, "shut_down": ref._isolate.shut_down}[end]()
    reason = isolator.wait_for_exit(PATIENCE)
    assert reason is not None
    error = error_of(lambda: isolator.invoke_method("math:factorial", 3).get(timeout=PATIENCE))
    assert (error.name, error.reason) == ("blur", reason)
    if end in ("terminate", "shut_down"):
        assert error_of(lambda: behind.get(timeout=PATIENCE)).name == "blur"
    else:
        assert behind.get(timeout=PATIENCE) == 6
    for text in (repr(ref), repr(isolator)):
        assert "blur" in text
        assert "stopped" in text
        assert "generation 1" in text
        assert reason.summary in text


def test_a_ref_that_runs_shows_name_state_pid_and_generation() -> None:
    ref = Waiter.with_options(name="blur", restart="permanent").start()
    isolator = ProcessIsolator(name="other")
    assert "other" in repr(isolator)
    assert "not started" in repr(isolator)
    proxy = ref.proxy()
    for text in (repr(ref), repr(proxy), str(proxy), repr(proxy.one)):
        assert all(part in text for part in ("blur", "Waiter", "running", f"pid {ref.pid}", "generation 1")), text
    assert isinstance(proxy.crash().exception(timeout=PATIENCE), IsolateCrashed)
    assert proxy.one().get(timeout=PATIENCE) == 1
    assert "generation 2" in repr(ref)
    assert str(ref) == f"Waiter ({ref.actor_urn})"  # pykka's: actors call themselves so in their log records


def test_a_repr_never_waits(tmp_path: Path) -> None:
    """Not for a lock that somebody holds, nor for an isolate that hangs."""
    ref = Waiter.start()
    call = ref.proxy().when_there(str(tmp_path / "go"))
    shown: list[str] = []
    with inside.delivery(ref).lock:
        thread = threading.Thread(target=lambda: shown.append(repr(ref)), daemon=True)
        thread.start()
        thread.join(PATIENCE)
    assert "running" in shown[0]
    (tmp_path / "go").touch()
    call.get(timeout=PATIENCE)


def test_while_restarting_fail_and_a_full_stop_name_the_isolate() -> None:
    backoff = piactors.Backoff(initial=30, maximum=30, jitter=0)
    ref = Waiter.with_options(name="blur", restart="permanent", while_restarting="fail", backoff=backoff).start()
    assert isinstance(ref.proxy().crash().exception(timeout=PATIENCE), IsolateCrashed)
    wait_until(lambda: ref.state == "restarting")
    error = error_of(lambda: ref.ask("x"))
    assert (error.name, error.reason) == ("blur", None)
    assert "is restarting" in str(error)


def test_supervisors_and_actors_in_threads_do_so_too() -> None:
    class Thread(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> Any:
            return message

    tree = Supervisor.start(children=[ChildSpec("threads", Thread)], name="top")
    child = tree.child("threads")
    assert child.ask(1) == 1
    assert all(part in repr(child) for part in ("threads", "Thread", "running", "generation 1"))
    assert all(part in repr(tree) for part in ("top", "running", "generation 1"))
    tree.stop()
    error = error_of(lambda: child.ask(1))
    assert error.name == "threads"
    assert error.reason == child.wait_for_exit(PATIENCE)
    for call in (tree.which_children, tree.count_children, lambda: tree.terminate_child("threads")):
        error = error_of(call)
        assert (error.name, error.reason) == ("top", tree.wait_for_exit(PATIENCE))
    assert "stopped" in repr(tree)


def test_a_thread_child_is_stopping_from_the_request_on() -> None:
    go, runs = threading.Event(), threading.Event()

    class Thread(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> Any:
            runs.set()
            return go.wait(PATIENCE)

    tree = Supervisor.start(children=[ChildSpec("threads", Thread)])
    child = tree.child("threads")
    call = child.ask(1, block=False)
    assert runs.wait(PATIENCE)
    with pytest.raises(TimeoutError, match="^threads: no answer within 0 seconds$"):
        call.get(timeout=0)
    with pytest.raises(pykka.Timeout, match="^threads has not stopped within 0 seconds; the stop goes on"):
        child.stop(timeout=0)
    assert child.state == "stopping"
    stopped = child.stop(block=False)
    go.set()
    assert call.get(timeout=PATIENCE)
    assert stopped.get(timeout=PATIENCE)
    wait_until(lambda: child.state == "stopped")
    began = time.monotonic()
    tree.restart_child("threads")
    assert child.state == "running"
    assert time.monotonic() - began < PATIENCE
    tree.stop()

"""Children in threads of the host: what a supervised one does that pykka's own would not."""

from __future__ import annotations

import threading
from typing import Any

import pykka
import pytest

from piactors import ChildSpec, IsolateCrashed, Supervisor, SupervisorRef
from piactors.testing import Lab, wait_until


class Gate:
    """Holds whoever waits at it, and tells that somebody does."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self.reached = threading.Event()

    def wait(self) -> None:
        self.reached.set()
        self._opened.wait()

    def open(self) -> None:
        self._opened.set()


class Odd(pykka.ThreadingActor):
    """Ends in every way."""

    def __init__(self, gate: Gate | None = None) -> None:
        super().__init__()
        self.gate = gate
        self.actor_ref.tell("hello to myself")
        self.seen: list[Any] = []

    def on_receive(self, message: Any) -> Any:
        self.seen.append(message)
        return list(self.seen)

    def leave(self, error: type[BaseException]) -> None:
        raise error

    def hang(self) -> None:
        assert self.gate is not None
        self.gate.wait()


@pytest.fixture
def gate() -> Any:
    """A gate that is opened at the end of the test, for threads that wait for it."""
    gate = Gate()
    yield gate
    gate.open()


def start(gate: Any = None, **fields: Any) -> SupervisorRef:
    return Supervisor.start(children=[ChildSpec("odd", Odd, args=(gate,), **fields), ChildSpec("other", Odd)])


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_base_exception_ends_that_child_and_nothing_else(error: type[BaseException]) -> None:
    """Where pykka would stop all actors, the child is restarted, and the caller learns why."""
    with start() as tree:
        call = tree.child("odd").proxy().leave(error)
        assert isinstance(call.exception(timeout=5), IsolateCrashed)
        wait_until(lambda: tree.child("odd").generation == 2)
        assert tree.child("other").generation == 1
        assert tree.child("other").is_alive()


def test_a_message_that_init_sends_to_itself_arrives() -> None:
    """Its own ref of that time leads to the mailbox that stays."""
    with start() as tree:
        assert tree.child("odd").ask("first", timeout=5) == ["hello to myself", "first"]


def test_terminate_abandons_a_thread_that_hangs(gate: Any) -> None:
    """At once, and no restart follows; what it does later reaches nobody."""
    with start(gate) as tree:
        ref = tree.child("odd")
        call = ref.proxy().hang()
        assert gate.reached.wait(5)
        reason = ref.terminate(timeout=5)
        assert (reason.kind, ref.is_alive(), ref.state) == ("killed", False, "stopped")
        assert isinstance(call.exception(timeout=5), IsolateCrashed)
        assert {child.id: child.state for child in tree.which_children()} == {"odd": "stopped", "other": "running"}
        tree.restart_child("odd")
        gate.open()
        assert ref.ask("new", timeout=5) == ["hello to myself", "new"]


def test_a_thread_child_keeps_data_and_uses_no_process() -> None:
    """The calls of an isolate's ref that mean something work, the others say nothing."""
    with start() as tree:
        ref = tree.child("odd")
        ref.set_data("key", [1])
        tree.terminate_child("odd")
        tree.restart_child("odd")
        assert (ref.get_data("key"), ref.resource_usage(), ref.pid) == ([1], None, None)
        with pytest.raises(KeyError):
            ref.get_data("other")


def test_a_crash_in_a_start_is_a_failed_start(gate: Any) -> None:
    """A child that dies while it starts is started again, once its supervisor knows."""

    class Slow(Odd):
        def on_start(self) -> None:
            if self.actor_ref.generation == 2:
                gate.wait()

    with Lab(patience=0.2) as lab:
        tree = lab.start(children=[ChildSpec("slow", Slow)])
        ref = tree.child("slow")
        lab.crash(ref)
        wait_until(lambda: ref.generation == 2)
        lab.crash(ref)
        wait_until(lambda: ref.state == "running")
        assert ref.generation == 3
        assert tree.which_children()[0].restarts == 2

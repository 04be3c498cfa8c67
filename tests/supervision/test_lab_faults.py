"""Faults on demand in a `Lab`: crashes, starts that fail, poison messages, children that hang while they stop."""

from __future__ import annotations

import threading
from typing import Any

import pykka
import pytest

import piactors
from piactors import (
    Backoff,
    ChildSpec,
    ExitReason,
    IsolateCrashed,
    IsolationOptions,
    PoisonMessage,
    ProcessActor,
    StartError,
    Supervisor,
)
from piactors.testing import InjectedFault, Lab, wait_until
from tests.supervision.lab_actors import Isolated, Threaded, child, generations, hang, lab, states, until

__all__ = ["lab", "until"]

BOTH = pytest.mark.parametrize("target", [Isolated, Threaded])
STEADY = Backoff(initial=10, factor=2, maximum=1000, jitter=0, reset_after=None)


# Crashes


@BOTH
@pytest.mark.parametrize("kind", ["signaled", "limit", "error"])
def test_a_crash_fails_what_had_begun_and_keeps_the_rest(
    lab: Lab, target: Any, kind: Any, until: threading.Event
) -> None:
    """The call that runs gets IsolateCrashed with the reason; those behind it are answered by the next generation."""
    tree = lab.start(children=[child("a", target)])
    ref = tree.child("a")
    running = hang(ref, until)
    rest = [ref.proxy().echo(number) for number in range(3)]
    wait_until(lambda: ref.mailbox_size == 3)
    lab.crash(ref, kind)
    with pytest.raises(IsolateCrashed) as caught:
        running.get(timeout=5)
    assert pykka.get_all(rest, timeout=5) == [0, 1, 2]
    reason = ExitReason(kind=kind, signal=9 if kind == "signaled" else None, detail="as the test says")
    assert (caught.value.name, caught.value.generation, caught.value.reason) == ("a", 1, reason)
    assert (ref.generation, ref.state, ref.is_alive()) == (2, "running", True)
    assert tree.which_children()[0].exit_reason == reason


def test_only_workers_of_a_tree_in_the_lab_can_crash(lab: Lab) -> None:
    """A supervisor, a foreign actor or a ref of another lab is refused."""
    tree = lab.start(children=[ChildSpec("below", Supervisor)])
    stranger = Threaded.start()
    for ref in (tree, tree.child("below"), stranger):
        with pytest.raises(ValueError, match=r"^crash: .* is not a worker of a tree in this lab$"):
            lab.crash(ref)
    stranger.stop()


@BOTH
def test_a_child_dies_of_the_message_that_the_test_names(lab: Lab, target: Any) -> None:
    """They are counted from 1 over all generations, tells like asks, and each death has its kind."""
    tree = lab.start(children=[child("a", target), child("b", target)], max_restarts=None)
    lab.crash_at("a", 2)
    lab.crash_at("a", 4, "limit")
    ref = tree.child("a")
    first = ref.ask(1, block=False)
    ref.tell(2)
    third, fourth, last = (ref.ask(number, block=False) for number in (3, 4, 5))
    assert pykka.get_all([first, third, last], timeout=5) == [1, 3, 5]
    with pytest.raises(IsolateCrashed, match="limit"):
        fourth.get(timeout=5)
    assert generations(tree) == {"a": 3, "b": 1}


@pytest.mark.parametrize("number", [0, -1, 1.0, True, None])
def test_messages_and_starts_are_counted_from_one(lab: Lab, number: Any) -> None:
    """Anything else is refused, and the refusal shows it."""
    for give in (lambda: lab.crash_at("a", number), lambda: lab.fail_start("a", 1, number)):
        with pytest.raises(ValueError, match=rf"={number!r} is not allowed; they are counted from 1"):
            give()


# Starts


@BOTH
def test_a_first_start_that_fails_fails_the_tree(lab: Lab, target: Any) -> None:
    """The error is caused by the fault; siblings before it are stopped again, those after it are never started."""
    log: list[str] = []
    lab.fail_start("c", 1)
    with pytest.raises(StartError, match="its child 'c' did not start") as caught:
        lab.start(children=[child(id, target, log) for id in "abcd"])
    assert isinstance(caught.value.__cause__, InjectedFault)
    assert log == ["start a", "start b", "stop b", "stop a"]
    tree = lab.start(children=[child("c", target)])
    assert states(tree) == {"c": "running"}


def test_a_restart_that_fails_is_tried_again_and_counts(lab: Lab) -> None:
    """Each try costs budget and waits longer than the one before; one too many ends the tree."""
    lab.fail_start("a", 2, 3, 6, 7)
    tree = lab.start(children=[child("a", backoff=STEADY)], max_restarts=3, within=5)
    lab.crash(tree.child("a"))
    for seconds in (10, 20, 40):
        assert states(tree) == {"a": "restarting"}
        lab.advance(seconds)
    assert states(tree) == {"a": "running"}
    assert tree.which_children()[0].restarts == 3
    lab.crash(tree.child("a"))
    assert tree.state == "stopped"


def test_a_child_that_is_added_and_does_not_start_is_no_child(lab: Lab) -> None:
    """`start_child` raises StartError with the cause; the next try is a new one."""
    lab.fail_start("a", 1)
    tree = lab.start()
    with pytest.raises(StartError, match="child 'a' of supervisor") as caught:
        tree.start_child(child("a"))
    assert isinstance(caught.value.__cause__, InjectedFault)
    assert caught.value.reason is not None
    assert caught.value.reason.kind == "start_failed"
    assert tree.which_children() == []
    assert tree.start_child(child("a")).ask(1, timeout=5) == 1


class Slow(ProcessActor):
    """Does not become ready until it may."""

    isolation = IsolationOptions(start_timeout=20)

    def __init__(self, until: threading.Event) -> None:
        super().__init__()
        until.wait(30)


@pytest.mark.parametrize(("options", "seconds"), [(None, 20), (IsolationOptions(start_timeout=7), 7)])
def test_a_start_that_hangs_is_given_up_after_its_time(
    lab: Lab, until: threading.Event, options: Any, seconds: float
) -> None:
    """`start_timeout` of the child's options, else of its class, in virtual time; then StartError."""
    spec = ChildSpec("slow", Slow, args=(until,), options=options)
    with pytest.raises(StartError, match=f"not ready within start_timeout, {seconds} s"):
        lab.finish(lambda: lab.start(children=[spec]))
    assert lab.clock.now() == seconds


def test_classes_functions_and_names_are_hosted_in_memory(lab: Lab) -> None:
    """As an isolate hosts them: attributes and methods of an instance, and `call` of a function."""
    children = [ChildSpec("class", Plain, args=(7,)), ChildSpec("function", sum), ChildSpec("name", "os.path:join")]
    tree = lab.start(children=children)
    plain = tree.child("class").proxy()
    plain.number = 8
    assert plain.add(1).get(timeout=5) == 9
    assert plain.number.get(timeout=5) == 8
    assert tree.child("function").proxy().call([1, 2]).get(timeout=5) == 3
    assert tree.child("name").proxy().call("a", "b").get(timeout=5) == "a/b"
    lab.crash(tree.child("class"))
    assert plain.number.get(timeout=5) == 7


class Plain:
    """Knows nothing of actors."""

    def __init__(self, number: int) -> None:
        self.number = number

    def add(self, more: int) -> int:
        return self.number + more


@BOTH
def test_events_tell_of_starts_and_ends_in_memory(lab: Lab, target: type[pykka.Actor]) -> None:
    """Of each generation, without a pid."""
    seen: list[Any] = []
    unsubscribe = piactors.events.subscribe(seen.append, piactors.events.IsolateStarted, piactors.events.IsolateExited)
    tree = lab.start(children=[child("x", target)])
    lab.crash(tree.child("x"))
    tree.stop()
    wait_until(lambda: len(seen) == 4)
    unsubscribe()
    kinds = [(type(event).__name__, event.name, event.pid, event.generation) for event in seen]
    both = ["IsolateStarted", "IsolateExited"]
    assert kinds == [(kind, "x", None, generation) for generation in (1, 2) for kind in both]
    assert [event.reason.kind for event in seen[1::2]] == ["signaled", "shutdown"]


# Messages that kill


@BOTH
@pytest.mark.parametrize("how", ["idempotent", "ask"])
def test_a_poison_message_ends_with_its_retries_and_costs_a_quarantined_child_nothing(
    lab: Lab, target: Any, how: str
) -> None:
    """It is tried as often as it may be, then fails with PoisonMessage; a tree that allows no restarts runs on."""
    tree = lab.start(children=[child("a", target, quarantine=True), child("b")], max_restarts=0)
    ref, tries = tree.child("a"), 3 if how == "idempotent" else 2
    for number in range(1, tries + 1):
        lab.crash_at("a", number)
    ask = ref.proxy().again(1) if how == "idempotent" else ref.ask(1, retries=1, block=False)
    after = ref.ask("after", block=False)
    with pytest.raises(PoisonMessage) as caught:
        ask.get(timeout=5)
    assert after.get(timeout=5) == "after"
    assert (caught.value.attempts, caught.value.name, caught.value.generation) == (tries, "a", tries)
    assert generations(tree) == {"a": tries + 1, "b": 1}
    lab.crash(ref)
    assert tree.state == "stopped"


def test_a_message_that_is_tried_again_goes_before_what_waits(lab: Lab) -> None:
    """A quarantined retry that succeeds is answered, in its old place, without any wait or cost."""
    tree = lab.start(children=[child("a", quarantine=True, backoff=STEADY)], max_restarts=0)
    lab.crash_at("a", 1)
    ref, order = tree.child("a"), list[Any]()
    futures = [ref.proxy().again("first"), ref.ask("second", block=False)]
    for future in futures:
        future.add_done_callback(lambda done: order.append(done.get()))
    assert pykka.get_all(futures, timeout=5) == ["first", "second"]
    wait_until(lambda: len(order) == 2)
    assert order == ["first", "second"]
    assert (lab.clock.now(), ref.generation) == (0, 2)


@pytest.mark.parametrize("quarantine", [False, True])
def test_a_death_counts_where_no_quarantine_or_no_retry_takes_it(lab: Lab, quarantine: bool) -> None:
    """Without quarantine each try costs a restart; with it, only a call that may not be tried again does."""
    tree = lab.start(children=[child("a", quarantine=quarantine)], max_restarts=1)
    for number in (1, 2):
        lab.crash_at("a", number)
    ref = tree.child("a")
    futures = [ref.ask(1, block=False), ref.ask(2, block=False)] if quarantine else [ref.proxy().again(1)]
    for future in futures:
        with pytest.raises((IsolateCrashed, pykka.ActorDeadError)):
            future.get(timeout=5)
    assert tree.wait_for_exit(5) is not None


# Stops


@BOTH
@pytest.mark.parametrize(("shutdown", "seconds"), [("default", 5), (30, 30), (0, 0), ("kill", 0)])
def test_a_child_that_hangs_is_given_up_after_its_shutdown_time(
    lab: Lab, target: Any, shutdown: Any, seconds: float, until: threading.Event
) -> None:
    """In virtual time; its call fails, and the siblings before it are stopped in order, after it."""
    log: list[str] = []
    tree = lab.start(children=[child("a", log=log), child("b", target, log, shutdown=shutdown)])
    ref = tree.child("b")
    running, behind = hang(ref, until), ref.ask(1, block=False)
    wait_until(lambda: ref.mailbox_size == 1)
    assert lab.finish(tree.stop)
    assert lab.clock.now() == seconds
    assert log == ["start a", "start b", "stop a"]
    with pytest.raises(IsolateCrashed, match="shutdown"):
        running.get(timeout=5)
    with pytest.raises(pykka.ActorDeadError):
        behind.get(timeout=5)
    reason = ref.wait_for_exit(5)
    assert reason is not None
    assert (reason.kind, reason.detail) == (
        "killed",
        f"did not stop within its shutdown time, {seconds} s" if seconds else "stopped with shutdown='kill'",
    )


def test_a_child_without_a_shutdown_time_is_waited_for(lab: Lab, until: threading.Event) -> None:
    """With None no time is too long; it stops once its call is done, and that call is answered."""
    log: list[str] = []
    tree = lab.start(children=[child("a", log=log, shutdown=None)])
    running = hang(tree.child("a"), until)
    stopped = tree.stop(block=False)
    lab.advance(10**6)
    assert tree.is_alive()
    until.set()
    assert running.get(timeout=5) == "done"
    assert stopped.get(timeout=5)
    assert log == ["start a", "stop a"]


def test_children_stop_one_after_the_other_in_reverse_order(lab: Lab, until: threading.Event) -> None:
    """Each has its own shutdown time, so three that hang take the sum of theirs."""
    tree = lab.start(children=[child(id, shutdown=seconds) for id, seconds in (("a", 1), ("b", 10), ("c", 100))])
    over: list[tuple[str, float]] = []
    for id in "abc":
        running = hang(tree.child(id), until)
        running.add_done_callback(lambda _, id=id: over.append((id, lab.clock.now())))
    assert lab.finish(tree.stop)
    wait_until(lambda: len(over) == 3)
    assert over == [("c", 100), ("b", 110), ("a", 111)]


def test_a_supervisor_below_may_have_a_shutdown_time_too(lab: Lab, until: threading.Event) -> None:
    """Its children have theirs, and when its own is over all that is left of it is given up at once."""
    below = ChildSpec("below", Supervisor, kwargs={"children": [child("x", shutdown=500)]}, shutdown=20)
    tree = lab.start(children=[below])
    running = hang(tree.child("below").child("x"), until)
    lab.finish(tree.stop)
    assert lab.clock.now() == 20
    with pytest.raises(IsolateCrashed):
        running.get(timeout=5)


def test_terminate_needs_no_time(lab: Lab, until: threading.Event) -> None:
    """It ends all that is below at once, whatever the shutdown times say."""
    below = ChildSpec("b", Supervisor, kwargs={"children": [child("c")]})
    tree = lab.start(children=[child("a", shutdown=None), below])
    hang(tree.child("a"), until)
    reason = tree.terminate()
    assert reason is not None
    assert (lab.clock.now(), tree.is_alive(), tree.child("a").is_alive()) == (0, False, False)


def test_the_end_of_a_lab_ends_its_trees(until: threading.Event) -> None:
    """Also one with a child that hangs and one that waits; later trees live in the real world again."""
    with Lab(0.05) as lab:
        trees = [lab.start(children=[child("a", backoff=STEADY, shutdown=None)]) for _ in range(2)]
        hang(trees[0].child("a"), until)
        lab.crash(trees[1].child("a"))
    assert [tree.is_alive() for tree in trees] == [False, False]
    with Supervisor.start(children=[child("real", Threaded)]) as tree:
        assert tree.child("real").ask(1, timeout=5) == 1


# What waits meanwhile


@pytest.mark.parametrize("fails", [False, True])
def test_a_call_during_a_wait_is_queued_or_fails_as_the_options_say(lab: Lab, fails: bool) -> None:
    """`while_restarting` of an isolate's options also counts in memory: for what waited, and for what comes."""
    options = IsolationOptions(while_restarting="fail") if fails else None
    tree = lab.start(children=[child("a", options=options, backoff=STEADY)])
    ref = tree.child("a")
    lab.crash(ref)
    assert (ref.state, ref.is_alive()) == ("restarting", True)
    call = ref.proxy().echo(1)
    lab.settle()
    if fails:
        with pytest.raises(pykka.ActorDeadError):
            call.get(timeout=5)
        with pytest.raises(pykka.ActorDeadError):
            ref.tell(2)
    lab.advance(10)
    assert fails or call.get(timeout=5) == 1
    assert ref.ask(3, timeout=5) == 3


def test_events_tell_of_restarts_in_memory(lab: Lab) -> None:
    """A subscriber sees the restarts of threads and of isolates alike."""
    seen: list[Any] = []
    unsubscribe = piactors.events.subscribe(seen.append, piactors.events.IsolateRestarting)
    tree = lab.start(children=[child("a"), child("b", Threaded)])
    for id in "ab":
        lab.crash(tree.child(id))
    wait_until(lambda: len(seen) == 2)
    unsubscribe()
    assert [(event.name, event.attempt, event.delay) for event in seen] == [("a", 1, 0.0), ("b", 1, 0.0)]


class Patient(Isolated):
    isolation = IsolationOptions(shutdown_timeout=60, while_restarting="fail")


@pytest.mark.parametrize(
    "spec",
    [{"target": Patient}, {"target": Patient.with_options()}, {"target": Isolated, "options": Patient.isolation}],
)
def test_options_of_the_class_or_the_spec_count_in_memory(lab: Lab, until: Any, spec: dict[str, Any]) -> None:
    """As in the real world: the default shutdown time is theirs, and so is what a call meets during a restart."""
    tree = lab.start(children=[child("a", backoff=STEADY, **spec)])
    lab.crash(tree.child("a"))
    with pytest.raises(pykka.ActorDeadError):
        tree.child("a").tell(1)
    lab.advance(10)
    hang(tree.child("a"), until)
    lab.finish(tree.stop)
    assert lab.clock.now() == 70

"""Whole trees in a `Lab`: significant children, escalation, refs that last, dynamic supervisors, and what calls say."""

from __future__ import annotations

import threading
from typing import Any

import pykka
import pytest

import piactors
from piactors import (
    Backoff,
    ChildAlreadyPresent,
    ChildAlreadyStarted,
    ChildCounts,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    DynamicSupervisor,
    PiactorsError,
    Supervisor,
    SupervisorRef,
    TooManyChildren,
)
from piactors.testing import Lab
from tests.supervision.lab_actors import Isolated, Threaded, child, generations, hang, lab, states, until

__all__ = ["lab", "until"]

BOTH = pytest.mark.parametrize("target", [Isolated, Threaded])
STEADY = Backoff(initial=10, factor=2, maximum=1000, jitter=0, reset_after=None)


def below(id: str, *children: ChildSpec, **settings: Any) -> ChildSpec:
    return ChildSpec(id, Supervisor, kwargs={"children": children, **settings})


# Significant children


@BOTH
@pytest.mark.parametrize(("how", "ends_after"), [("any_significant", 1), ("all_significant", 2)])
def test_significant_children_end_their_supervisor(lab: Lab, target: Any, how: Any, ends_after: int) -> None:
    """When the first, or the last of them has ended by itself, the rest is stopped; the reason says why."""
    log: list[str] = []
    main = {"restart": "transient", "significant": True}
    children = [child("helper", target, log), child("a", target, log, **main), child("b", target, log, **main)]
    tree = lab.start(children=children, auto_shutdown=how)
    lab.crash(tree.child("a"))
    assert states(tree) == dict.fromkeys(("helper", "a", "b"), "running")
    for number, id in enumerate("ab", 1):
        assert tree.is_alive()
        lab.crash(tree.child(id), "normal")
        if number == ends_after:
            break
        assert states(tree) == {"helper": "running", "a": "stopped", "b": "running"}
    reason = tree.wait_for_exit(5)
    assert reason is not None
    assert reason.kind == "shutdown"
    assert reason.detail == f"significant child {id!r} has ended, and auto_shutdown is {how!r}"
    assert log[-1] == "stop helper"


@pytest.mark.parametrize("how", ["terminate_child", "ref.stop"])
def test_a_significant_child_that_is_stopped_ends_nothing(lab: Lab, how: str) -> None:
    """Only its own end counts, as in OTP."""
    tree = lab.start(
        children=[child("a", restart="temporary", significant=True), child("b")], auto_shutdown="any_significant"
    )
    tree.terminate_child("a") if how == "terminate_child" else tree.child("a").stop()
    assert states(tree) == {"b": "running"}


def test_a_supervisor_that_shuts_itself_down_is_a_normal_end_above(lab: Lab) -> None:
    """A transient supervisor is not restarted then, and may itself be significant, up to the top."""
    main = child("main", restart="transient", significant=True)
    inner = ChildSpec(
        "inner",
        Supervisor,
        kwargs={"children": [main, child("aid")], "auto_shutdown": "any_significant"},
        restart="transient",
        significant=True,
    )
    tree = lab.start(children=[inner, child("other")], auto_shutdown="all_significant")
    aid = tree.child("inner").child("aid")
    lab.crash(tree.child("inner").child("main"), "normal")
    assert tree.wait_for_exit(5) is not None
    assert not aid.is_alive()


# Escalation


@BOTH
def test_deaths_escalate_through_nested_supervisors(lab: Lab, target: Any) -> None:
    """Each level gives up when its restarts are used up and is restarted by the next, until the top gives up."""
    log: list[str] = []
    inner = below("inner", child("x", target, log), max_restarts=0)
    tree = lab.start(children=[child("a", target, log), below("outer", inner, max_restarts=1)], max_restarts=1)
    x = tree.child("outer").child("inner").child("x")
    seen = []
    for _ in range(3):
        lab.crash(x)
        outer = tree.child("outer")
        seen.append((x.generation, outer.child("inner").generation, outer.generation))
    assert seen == [(2, 2, 1), (3, 3, 2), (4, 4, 2)]
    lab.crash(x)
    assert tree.wait_for_exit(5) is not None
    assert log == ["start a", *["start x"] * 4, "stop a"]


def test_refs_of_declared_children_outlive_their_supervisor(lab: Lab) -> None:
    """Before and after it, and during its wait, they are the same; what was sent meanwhile is answered."""
    inner = ChildSpec(
        "inner", Supervisor, kwargs={"children": [child("x"), child("y")], "max_restarts": 0}, backoff=STEADY
    )
    tree = lab.start(children=[inner])
    ref, x, y = tree.child("inner"), tree.child("inner").child("x"), tree.child("inner").child("y")
    lab.crash(x)
    assert states(tree) == {"inner": "restarting"}
    assert (ref.state, ref.is_alive(), y.is_alive()) == ("restarting", True, True)
    waiting = [x.ask(1, block=False), y.ask(2, block=False)]
    with pytest.raises(pykka.ActorDeadError):
        ref.which_children()
    lab.advance(10)
    assert pykka.get_all(waiting, timeout=5) == [1, 2]
    assert tree.child("inner") is ref
    assert [info.ref for info in ref.which_children()] == [x, y]
    assert (ref.state, ref.generation, x.generation, y.generation) == ("running", 2, 2, 2)


@BOTH
def test_children_that_were_added_end_with_their_supervisor(lab: Lab, target: Any) -> None:
    """A restart of the supervisor starts what is declared; refs of others are dead, and their names are free."""
    tree = lab.start(children=[below("inner", child("x", target), max_restarts=0)])
    ref = tree.child("inner")
    added = ref.start_child(child("added", target))
    lab.crash(ref.child("x"))
    assert states(ref) == {"x": "running"}
    assert not added.is_alive()
    with pytest.raises(pykka.ActorDeadError):
        added.ask(1, timeout=5)
    with pytest.raises(ChildNotFound):
        ref.child("added")
    assert ref.start_child(child("added", target)) is not added


def test_a_restarted_supervisor_asks_anew_for_its_children(lab: Lab) -> None:
    """What `children` returns may change from one incarnation to the next; who is still there keeps its ref."""
    wanted = ["a", "b"]

    class Changing(Supervisor):
        max_restarts = 0

        def children(self) -> list[ChildSpec]:
            return [child(id) for id in wanted]

    tree = lab.start(children=[ChildSpec("changing", Changing)])
    ref = tree.child("changing")
    a, b = ref.child("a"), ref.child("b")
    wanted[1] = "c"
    lab.crash(a)
    assert states(ref) == {"a": "running", "c": "running"}
    assert (ref.child("a") is a, a.ask(1, timeout=5)) == (True, 1)
    assert not b.is_alive()
    with pytest.raises(piactors.ChildNotFound):
        ref.child("b")


# Dynamic supervisors


def test_a_template_is_what_children_are_made_of(lab: Lab) -> None:
    """Arguments of `start_child` are added to its own, and each child gets an id of its own."""
    log: list[str] = []
    tree = lab.start(DynamicSupervisor, template=ChildSpec("job", Isolated, args=("x",), restart="transient"))
    refs = [tree.start_child(log), tree.start_child(log=log)]
    assert [ref.name for ref in refs] == ["job-1", "job-2"] == list(states(tree))
    assert [ref.ask(1, timeout=5) for ref in refs] == [1, 1]
    assert log == ["start x", "start x"]
    other = tree.start_child(child("other", Threaded))
    assert tree.child("other") is other
    with pytest.raises(TypeError, match="arguments belong in the ChildSpec"):
        tree.start_child(child("one more"), 1)


def test_without_a_template_a_spec_is_needed(lab: Lab) -> None:
    """The refusal names the supervisor."""
    tree = lab.start(DynamicSupervisor, name="jobs")
    with pytest.raises(TypeError, match="supervisor jobs: start_child needs a ChildSpec"):
        tree.start_child(1)


def test_no_more_children_than_max_children(lab: Lab) -> None:
    """One that waits for its restart counts; one that has ended makes room."""
    tree = lab.start(DynamicSupervisor, template=child("job", backoff=STEADY), max_children=2)
    first, second = tree.start_child(), tree.start_child()
    lab.crash(first)
    with pytest.raises(TooManyChildren, match="child 'job-3': there are 2 children already"):
        tree.start_child()
    tree.terminate_child(second)
    assert tree.start_child().ask(1, timeout=5) == 1
    assert list(states(tree)) == ["job-1", "job-4"]
    lab.advance(10)
    assert first.is_alive()


@pytest.mark.parametrize("how", ["terminate by ref", "terminate by id", "stop", "normal end", "death"])
def test_a_dynamic_child_leaves_nothing_behind(lab: Lab, how: str) -> None:
    """However it ends for good, its name is free, its ref dead, and nothing is kept of it."""
    restart: Any = "temporary" if how == "death" else "transient"
    tree = lab.start(DynamicSupervisor, template=child("job", restart=restart))
    ref = tree.start_child()
    match how:
        case "terminate by ref":
            tree.terminate_child(ref)
        case "terminate by id":
            tree.terminate_child("job-1")
        case "stop":
            ref.stop()
        case "normal end":
            lab.crash(ref, "normal")
        case "death":
            lab.crash(ref)
    assert tree.which_children() == []
    assert tree.count_children() == ChildCounts(specs=0, active=0, supervisors=0, workers=0)
    assert (ref.is_alive(), dict(tree._runner.runners)) == (False, {})
    for gone in (ref, "job-1"):
        with pytest.raises(ChildNotFound):
            tree.terminate_child(gone)
    assert tree.start_child(child("job-1")).is_alive()


def test_dynamic_children_are_restarted_within_the_budget(lab: Lab) -> None:
    """Under the same ref; one death too many ends all of them."""
    tree = lab.start(DynamicSupervisor, template=child("job"), max_restarts=2)
    refs = [tree.start_child() for _ in range(3)]
    for ref in refs[:2]:
        lab.crash(ref)
    assert [ref.generation for ref in refs] == [2, 2, 1]
    lab.crash(refs[2])
    assert not any(ref.is_alive() for ref in (*refs, tree))


def test_dynamic_children_stop_all_at_once(lab: Lab, until: threading.Event) -> None:
    """Three that hang for ten seconds each take ten seconds together."""
    tree = lab.start(DynamicSupervisor, template=child("job", shutdown=10))
    for _ in range(3):
        hang(tree.start_child(), until)
    assert lab.finish(tree.stop)
    assert lab.clock.now() == 10


def test_a_restarted_dynamic_supervisor_is_empty(lab: Lab) -> None:
    """It is the same ref, and none of the earlier children is there."""
    pool = ChildSpec("pool", DynamicSupervisor, kwargs={"template": child("job"), "max_restarts": 0})
    tree = lab.start(children=[pool])
    ref = tree.child("pool")
    jobs = [ref.start_child() for _ in range(2)]
    lab.crash(jobs[0])
    assert tree.child("pool") is ref
    assert (ref.generation, ref.which_children(), [job.is_alive() for job in jobs]) == (2, [], [False, False])
    assert ref.start_child().is_alive()


# What there is to see


def shop(lab: Lab) -> SupervisorRef:
    """Return a tree of all kinds: one runs, one waits, one is stopped, one is a supervisor with a child."""
    children = [
        child("runs"),
        child("waits", Threaded, backoff=STEADY),
        child("stopped"),
        below("below", child("deep"), strategy="rest_for_one"),
    ]
    tree = lab.start(children=children, name="shop")
    lab.crash(tree.child("runs"))
    lab.crash(tree.child("waits"))
    tree.terminate_child("stopped")
    return tree


def test_which_children_tells_of_each_child_in_order(lab: Lab) -> None:
    """Its ref, state and type, how often it was restarted, and why it ended last."""
    tree = shop(lab)
    found = tree.which_children()
    assert [(info.id, info.state, info.type, info.restarts) for info in found] == [
        ("runs", "running", "worker", 1),
        ("waits", "restarting", "worker", 0),
        ("stopped", "stopped", "worker", 0),
        ("below", "running", "supervisor", 0),
    ]
    assert [info.ref for info in found] == [tree.child(info.id) for info in found]
    kinds = [None if info.exit_reason is None else info.exit_reason.kind for info in found]
    assert kinds == ["signaled", "signaled", "shutdown", None]
    assert tree.count_children() == ChildCounts(specs=4, active=2, supervisors=1, workers=3)


def test_render_draws_the_tree(lab: Lab) -> None:
    """One line for each child: id, state, generation, restarts, and of one that does not run why not."""
    tree = shop(lab)
    assert tree.render().splitlines() == [
        "shop  running  one_for_one",
        "├─ runs  running  thread  generation 2  restarts 1",
        "├─ waits  restarting  thread  generation 1  ended by a signal, signal 9 (SIGKILL), as the test says",
        "├─ stopped  stopped  thread  generation 1  stopped as told",
        "└─ below  running  rest_for_one",
        "   └─ deep  running  thread  generation 1",
    ]
    assert tree.render(memory=False) == tree.render()
    tree.stop()
    assert tree.render().startswith("shop  stopped  one_for_one")
    assert len(tree.render().splitlines()) == 1


# Calls


def test_calls_for_a_child_that_is_not_there(lab: Lab) -> None:
    """They name the supervisor, the id, and the children that there are."""
    tree = lab.start(children=[child("a"), child("b")], name="shop")
    text = r"^supervisor shop: there is no child 'c'; the children are: 'a', 'b'$"
    for call in (tree.child, tree.terminate_child, tree.restart_child, tree.delete_child):
        with pytest.raises(ChildNotFound, match=text):
            call("c")
    stranger = lab.start(children=[child("a")]).child("a")
    with pytest.raises(ChildNotFound, match="is not a child of it"):
        tree.terminate_child(stranger)


def test_calls_for_a_child_in_the_wrong_state(lab: Lab) -> None:
    """Each state has its errors, and each names the child and what to do first."""
    tree = shop(lab)
    for call in (tree.restart_child, tree.delete_child):
        with pytest.raises(ChildRunning, match=r"^supervisor shop: child 'runs' is running: call terminate_child"):
            call("runs")
        with pytest.raises(ChildRestarting, match="child 'waits' is being restarted: terminate_child calls that off"):
            call(tree.child("waits"))
    with pytest.raises(ChildAlreadyStarted, match="child 'runs' has been started already and is running"):
        tree.start_child(child("runs"))
    for id in ("waits", "stopped"):
        with pytest.raises(ChildAlreadyPresent, match=f"child {id!r} already exists and does not run"):
            tree.start_child(child(id))
    tree.terminate_child("stopped")
    tree.delete_child("stopped")
    assert "stopped" not in states(tree)
    assert tree.start_child(child("stopped")).is_alive()


def test_a_stopped_child_starts_again_under_its_ref(lab: Lab) -> None:
    """`terminate_child` and `restart_child` by ref: one ref, new generations, restarts not counted."""
    log: list[str] = []
    tree = lab.start(children=[child("a", log=log)], max_restarts=0)
    ref = tree.child("a")
    for number in range(2, 5):
        tree.terminate_child(ref)
        with pytest.raises(pykka.ActorDeadError):
            ref.ask(1, timeout=5)
        assert tree.restart_child(ref) is ref
        assert (ref.ask(number, timeout=5), ref.generation) == (number, number)
    assert tree.which_children()[0].restarts == 0
    assert log == ["start a", *["stop a", "start a"] * 3]


def test_calls_of_a_supervisor_that_has_ended(lab: Lab) -> None:
    """They raise ActorDeadError; a second stop says that it was not alive."""
    tree = lab.start(children=[child("a")])
    assert (tree.stop(), tree.stop(), tree.stop(block=False).get(timeout=5)) == (True, False, False)
    calls = [tree.which_children, tree.count_children, tree.start_child, tree.delete_child]
    arguments: list[tuple[Any, ...]] = [(), (), (child("b"),), ("a",)]
    for call, given in zip(calls, arguments, strict=True):
        with pytest.raises(pykka.ActorDeadError):
            call(*given)  # type: ignore[operator]


def test_a_call_from_the_supervisors_own_thread_is_refused(lab: Lab) -> None:
    """It would wait for itself; looking is allowed there."""
    seen: list[Any] = []

    def wanted(_: Any) -> bool:
        seen.append(tree.count_children().specs)
        try:
            tree.terminate_child("b")
        except PiactorsError as error:
            seen.append(str(error))
        return True

    tree = lab.start(children=[child("a", restart_on=wanted), child("b")])
    lab.crash(tree.child("a"))
    assert seen[0] == 2
    assert "is asked from its own thread" in seen[1]
    assert generations(tree) == {"a": 2, "b": 1}


def test_terminate_starts_nothing_again(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """What it kills is no death that a supervisor below would answer with a restart."""
    log: list[str] = []
    tree = lab.start(children=[below("below", child("x", Threaded, log), max_restarts=None)])
    tree.terminate()
    assert (log, caplog.text) == (["start x"], "")

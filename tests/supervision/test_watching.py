"""`watch` and `link`: on isolates, supervisors, children of supervisors, and actors of pykka alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import piactors
from piactors import ChildSpec, Down, ExitReason, IsolateCrashed, Supervisor, link, watch
from piactors._host import runtime
from tests.children.actors import Fragile
from tests.supervision.lab_actors import Threaded, child, until
from tests.support import wait_until

__all__ = ["until"]


class Plain(pykka.ThreadingActor):
    """An actor that piactors does not run."""

    def on_receive(self, message: Any) -> Any:
        if message == "fail":
            raise ValueError("as the test says")
        return message


def in_tree(target: Any, **fields: Any) -> Any:
    spec = ChildSpec("child", target, **fields)
    return Supervisor.start(children=[spec], max_restarts=None).child("child")


def supervisor() -> Any:
    return Supervisor.start(children=[child("a", Threaded)])


def supervisor_below() -> Any:
    return in_tree(Supervisor, kwargs={"children": [child("a", Threaded)]})


KINDS: dict[str, Callable[[], Any]] = {
    "isolate": Fragile.start,
    "isolate in a tree": lambda: in_tree(Fragile),
    "thread": Plain.start,
    "thread in a tree": lambda: in_tree(Plain),
    "supervisor": supervisor,
    "supervisor below": supervisor_below,
}
ALL = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def trees_end() -> Any:
    """Stop the supervisors of a test before what is below them."""
    yield
    for ref in pykka.ActorRegistry.get_all():
        if isinstance(ref, piactors.SupervisorRef):
            ref.terminate()


def delivered() -> None:
    """Return when all callbacks that are due have run."""
    done = threading.Event()
    runtime.current().dispatcher.submit(done.set)
    assert done.wait(10)


def downs(ref: Any, seen: list[Down]) -> list[Down]:
    """Return what a watch has seen, once there is something and nothing more is on its way."""
    wait_until(lambda: seen)
    delivered()
    return seen


# watch


@ALL
def test_a_watch_tells_of_a_stop_once(kind: str) -> None:
    """One Down, with the ref that is watched and the reason; nothing before the end."""
    ref, seen = KINDS[kind](), list[Down]()
    watch(ref, seen.append)
    delivered()
    assert seen == []
    ref.stop()
    [down] = downs(ref, seen)
    assert down.ref is ref
    assert down.reason.is_normal
    assert not ref.stop()
    delivered()
    assert len(seen) == 1


@ALL
def test_a_watch_on_a_dead_actor_tells_at_once(kind: str) -> None:
    """The same reason as it ended with, and still exactly one Down for each watch."""
    ref, seen = KINDS[kind](), list[Down]()
    ref.stop()
    for number in (1, 2):
        watch(ref, seen.append)
        delivered()
        assert [down.ref for down in seen] == [ref] * number
        assert seen[-1].reason.is_normal


@ALL
def test_a_watch_can_be_ended(kind: str) -> None:
    """The others go on; ending one twice, or after the end, does nothing."""
    ref, seen = KINDS[kind](), list[str]()
    undo = watch(ref, lambda _: seen.append("ended watch"))
    watch(ref, lambda _: seen.append("first"))
    watch(ref, lambda _: seen.append("second"))
    undo()
    undo()
    ref.stop()
    wait_until(lambda: len(seen) == 2)
    delivered()
    undo()
    assert seen == ["first", "second"]


@pytest.mark.parametrize("restart", ["permanent", "temporary"])
def test_a_restart_is_no_end(restart: Any) -> None:
    """An isolate that restarts is not down; with the restart type 'temporary' its death is its end."""
    ref, seen = Fragile.with_options(restart=restart).start(), list[Down]()
    watch(ref, seen.append)
    with pytest.raises(IsolateCrashed):
        ref.proxy().die().get(timeout=20)
    if restart == "permanent":
        assert ref.ask(1, timeout=20) == 1
        delivered()
        assert seen == []
        ref.stop()
    [down] = downs(ref, seen)
    assert down.reason.kind == ("shutdown" if restart == "permanent" else "signaled")
    assert ref.wait_for_exit(10) == down.reason


@pytest.mark.parametrize("target", [Fragile, Plain])
def test_a_restart_by_a_supervisor_is_no_end(target: Any) -> None:
    """Nor is a restart of the supervisor itself; terminate_child is, and restart_child makes a new life."""
    spec = ChildSpec("below", Supervisor, kwargs={"children": [ChildSpec("x", target)], "max_restarts": 1})
    tree, seen = Supervisor.start(children=[spec]), list[Down]()
    below = tree.child("below")
    x = below.child("x")
    for ref in (below, x):
        watch(ref, seen.append)
    for generation in (2, 3):
        kill(x)
        wait_until(lambda: x.generation == generation and x.state == "running")  # noqa: B023
    wait_until(lambda: below.generation == 2 and below.state == "running")
    delivered()
    assert seen == []
    below.terminate_child("x")
    assert [down.ref for down in downs(x, seen)] == [x]
    assert below.restart_child("x") is x
    watch(x, seen.append)
    delivered()
    assert len(seen) == 1
    tree.stop()
    wait_until(lambda: len(seen) == 3)
    assert {down.ref for down in seen} == {x, below}


def kill(ref: Any) -> None:
    if ref.pid is not None:
        os.kill(ref.pid, signal.SIGKILL)
    else:
        ref.tell("fail")


def test_the_reason_of_a_supervisor_that_gave_up() -> None:
    """Its children come before it; it says whose restarts were used up."""
    tree = Supervisor.start(children=[ChildSpec("a", Plain), ChildSpec("b", Plain)], max_restarts=0)
    seen: list[Down] = []
    for ref in (tree, tree.child("a"), tree.child("b")):
        watch(ref, seen.append)
    tree.child("a").tell("fail")
    wait_until(lambda: len(seen) == 3)
    assert [down.ref for down in seen] == [tree.child("a"), tree.child("b"), tree]
    assert [down.reason.kind for down in seen] == ["error", "shutdown", "shutdown"]
    assert "child 'a' has used up its restarts" in seen[-1].reason.summary


@pytest.mark.parametrize("message", ["fail", "stop"])
def test_the_reason_of_a_plain_actor(message: str) -> None:
    """An exception that ends it is in the reason; refs of the same actor share one watch."""
    ref, seen = Plain.start(), list[Down]()
    watch(ref, seen.append)
    watch(pykka.ActorRegistry.get_by_urn(ref.actor_urn), seen.append)  # type: ignore[arg-type]
    ref.tell(message) if message == "fail" else ref.stop()
    wait_until(lambda: len(seen) == 2)
    wanted = ExitReason(kind="error", error="ValueError: as the test says") if message == "fail" else None
    assert [down.reason for down in seen] == [wanted or ExitReason(kind="normal")] * 2


def test_a_plain_actor_works_on_while_it_is_watched() -> None:
    """Its own hooks run as ever, and it can be watched by many."""
    seen: list[Any] = []

    class Hooked(Plain):
        def on_stop(self) -> None:
            seen.append("on_stop")

        def on_failure(self, *args: Any) -> None:
            seen.append(args[0])

    stopped, failed = Hooked.start(), Hooked.start()
    for ref in (stopped, failed):
        for _ in range(3):
            watch(ref, seen.append)
        assert ref.ask(1, timeout=5) == 1
    stopped.stop()
    failed.tell("fail")
    wait_until(lambda: len(seen) == 8)
    assert {"on_stop", ValueError} <= {entry for entry in seen if not isinstance(entry, Down)}


def test_a_callback_that_fails_is_logged_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The other watches of the same end get theirs."""
    ref, seen = Fragile.start(), list[Down]()

    def bad(_: Down) -> None:
        raise ValueError("bad watcher")

    watch(ref, bad)
    watch(ref, seen.append)
    ref.stop()
    assert len(downs(ref, seen)) == 1
    wait_until(lambda: "bad watcher" in caplog.text)


def test_a_callback_may_watch_and_stop_others() -> None:
    """It runs on a thread where that is allowed."""
    first, second, seen = Plain.start(), Fragile.start(), list[Down]()

    def on_end(down: Down) -> None:
        watch(second, seen.append)
        second.stop(block=False)

    watch(first, on_end)
    first.stop()
    assert downs(second, seen)[0].ref is second


@pytest.mark.parametrize("bad", [None, "a", object(), Plain])
def test_what_is_no_ref_cannot_be_watched_or_linked(bad: Any) -> None:
    """A TypeError that shows it; so is a callback that cannot be called."""
    ref = Plain.start()
    with pytest.raises(TypeError, match=r"^watch: .* is not a ref of an actor$"):
        watch(bad, print)
    for pair in ((ref, bad), (bad, ref)):
        with pytest.raises(TypeError, match=r"^link: .* is not a ref of an actor$"):
            link(*pair)
    with pytest.raises(TypeError, match=r"^watch: None cannot be called$"):
        watch(ref, None)  # type: ignore[arg-type]
    ref.stop()


# link


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", ["isolate", "thread", "supervisor"])
def test_linked_actors_end_together(first: str, second: str) -> None:
    """Whichever of them ends, the other is ended, and no restart follows."""
    for ends_first in (0, 1):
        refs = [KINDS[first](), KINDS[second]()]
        link(*refs)
        assert all(ref.is_alive() for ref in refs)
        refs[ends_first].stop()
        wait_until(lambda: not any(ref.is_alive() for ref in refs))  # noqa: B023


def test_a_link_ends_a_permanent_isolate_for_good(tmp_path: Path) -> None:
    """It is terminated, in the middle of what it does."""
    permanent, partner = Fragile.with_options(restart="permanent").start(), Plain.start()
    link(permanent, partner)
    call = permanent.proxy().hold(str(tmp_path / "begun"), str(tmp_path / "never"))
    wait_until((tmp_path / "begun").exists)
    partner.tell("fail")
    reason = permanent.wait_for_exit(10)
    assert reason is not None
    assert (reason.kind, permanent.generation) == ("killed", 1)
    with pytest.raises(IsolateCrashed):
        call.get(timeout=10)


def test_a_restart_does_not_end_what_is_linked() -> None:
    """Only an end for good does."""
    fragile, partner = in_tree(Fragile), Plain.start()
    link(partner, fragile)
    kill(fragile)
    wait_until(lambda: fragile.generation == 2 and fragile.state == "running")
    assert partner.is_alive()
    partner.stop()
    assert fragile.wait_for_exit(10) is not None


@ALL
def test_a_link_to_a_dead_actor_ends_the_other_at_once(kind: str) -> None:
    """In either order."""
    for dead_first in (True, False):
        dead, other = Plain.start(), KINDS[kind]()
        dead.stop()
        link(dead, other) if dead_first else link(other, dead)
        wait_until(lambda: not other.is_alive())  # noqa: B023


@ALL
def test_what_was_unlinked_lives_on(kind: str) -> None:
    """In both directions; to take apart what has ended does nothing."""
    for ends_first in (0, 1):
        refs = [Plain.start(), KINDS[kind]()]
        unlink = link(*refs)
        unlink()
        refs[ends_first].stop()
        delivered()
        assert refs[1 - ends_first].is_alive()
        unlink()


def test_a_ring_of_links_ends_as_a_whole() -> None:
    """The end goes round once."""
    refs = [Plain.start() for _ in range(5)]
    for left, right in zip(refs, [*refs[1:], refs[0]], strict=True):
        link(left, right)
    refs[2].tell("fail")
    wait_until(lambda: not any(ref.is_alive() for ref in refs))

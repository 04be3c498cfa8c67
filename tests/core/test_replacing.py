"""Another process in place of the one that runs, asked for by its ref: the same again, or of other code."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import piactors
from piactors import ActorDeadError, ChildSpec, IsolationOptions, PiactorsError, ProcessActor, Supervisor
from tests.support import wait_until

SECONDS = 20.0


class First(ProcessActor):
    """What runs at first."""

    def __init__(self, name: str = "first") -> None:
        super().__init__()
        self.name = name

    def who(self) -> tuple[int, str]:
        """Return the process and what runs in it."""
        return os.getpid(), self.name

    def nap(self, seconds: float) -> str:
        """Take a while, and say who did."""
        time.sleep(seconds)
        return self.name

    def only_first(self) -> str:
        """Is not there in the other one."""
        return "first"

    def die(self) -> None:
        """End without a word."""
        os._exit(3)


class Second(First):
    """What takes over."""

    def __init__(self, name: str = "second") -> None:
        super().__init__(name)

    @piactors.call_options(call_timeout=30)
    def only_second(self) -> str:
        """Is not there in the first one."""
        return os.environ.get("SECOND", "")


class Broken(ProcessActor):
    """Does not start."""

    def on_start(self) -> None:
        """Raise."""
        raise ValueError("not today")


def who(ref: Any) -> tuple[int, str]:
    found: tuple[int, str] = ref.proxy().who().get(timeout=SECONDS)
    return found


def test_recycle_has_a_fresh_process_take_over() -> None:
    """Its generation is what the future gets; what was set with `set_data` is there."""
    ref = First.start()
    before = who(ref)
    ref.set_data("key", 5)
    assert ref.recycle().get(timeout=SECONDS) == 2
    after = who(ref)
    assert (after[1], ref.generation, ref.get_data("key")) == ("first", 2, 5)
    assert after[0] != before[0]
    ref.stop()


def test_no_message_is_lost_or_runs_twice_while_it_is_replaced_again_and_again() -> None:
    """Calls of several threads, and each has the answer of one of the two."""
    ref, errors, answers = First.start(), list[BaseException](), list[str]()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                answers.append(ref.proxy().nap(0.001).get(timeout=SECONDS))
            except BaseException as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number, target in enumerate([Second, First, Second], 2):
        assert ref.replace(target).get(timeout=SECONDS) == number
    wait_until(lambda: answers[-1:] == ["second"])
    over.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {"first", "second"} == set(answers)
    ref.stop()


def test_other_code_other_arguments_and_another_environment() -> None:
    """Its methods are there, and those of the one before are not; the options of its methods' calls hold."""
    ref = First.start()
    assert ref.proxy().only_first().get(timeout=SECONDS) == "first"
    options = IsolationOptions(env={"SECOND": "yes"})
    assert ref.replace(Second, "changed", options=options).get(timeout=SECONDS) == 2
    assert who(ref)[1] == "changed"
    assert ref.proxy().only_second().get(timeout=SECONDS) == "yes"
    ref.stop()


def test_a_restart_runs_what_has_taken_over() -> None:
    """Also the arguments."""
    ref = First.with_options(restart="permanent").start()
    ref.replace(Second, "other").get(timeout=SECONDS)
    with pytest.raises(piactors.IsolateCrashed):
        ref.proxy().die().get(timeout=SECONDS)
    assert who(ref)[1] == "other"
    assert ref.generation == 3
    ref.stop()


def test_one_that_does_not_start_changes_nothing() -> None:
    """The future tells why, and the old process goes on, with what waits for it."""
    ref = First.start()
    before = who(ref)
    future = ref.replace(Broken)
    waiting = [ref.proxy().who() for _ in range(5)]
    with pytest.raises(PiactorsError, match="is not replaced: the new process does not start") as caught:
        future.get(timeout=SECONDS)
    assert isinstance(caught.value.__cause__, piactors.StartError)
    assert {call.get(timeout=SECONDS) for call in waiting} == {before}
    assert who(ref) == before
    ref.stop()


def test_the_call_that_runs_may_finish_and_what_comes_after_it_is_for_the_new_one() -> None:
    """In between nothing runs."""
    ref = First.start()
    running = ref.proxy().nap(0.3)
    wait_until(running.running)
    future = ref.replace(Second)
    behind = ref.proxy().nap(0)
    assert running.get(timeout=SECONDS) == "first"
    assert future.get(timeout=SECONDS) == 2
    assert behind.get(timeout=SECONDS) in ("first", "second")
    assert who(ref)[1] == "second"
    ref.stop()


def test_of_two_requests_the_later_one_is_what_runs_in_the_end() -> None:
    """Each future has an outcome."""
    ref = First.start()
    futures = [ref.replace(Second, str(number)) for number in range(4)]
    outcomes = []
    for future in futures:
        try:
            outcomes.append(future.get(timeout=SECONDS))
        except PiactorsError:
            outcomes.append(0)
    assert outcomes[-1] == ref.generation
    assert who(ref)[1] == "3"
    ref.stop()


def test_an_isolate_that_has_ended_or_ends_is_not_replaced() -> None:
    """The future says so."""
    ref = First.start()
    napping = ref.proxy().nap(0.2)
    stopped = ref.stop(block=False)
    future = ref.recycle()
    with pytest.raises(PiactorsError):
        future.get(timeout=SECONDS)
    assert napping.get(timeout=SECONDS) == "first"
    assert stopped.get(timeout=SECONDS)
    with pytest.raises(ActorDeadError):
        ref.recycle().get(timeout=SECONDS)


@pytest.mark.parametrize("field", [{"concurrency": 2}, {"mailbox_capacity": 5}, {"restart": "permanent"}])
def test_options_of_the_isolate_itself_cannot_change(field: dict[str, Any]) -> None:
    """The error names what was wrong and what is allowed, and nothing has changed."""
    ref = First.start()
    with pytest.raises(
        ValueError, match=f"{next(iter(field))} cannot change while the isolate lives.*can change is cwd"
    ):
        ref.replace(Second, options=IsolationOptions(**field))
    assert who(ref)[1] == "first"
    ref.stop()


def test_code_that_was_called_by_name_stays_so(tmp_path: Path) -> None:
    """What the host hands over is trusted more, and cannot take the place of what is not."""
    (tmp_path / "plugin.py").write_text("class Plugin:\n    def version(self): return 1\n")
    (tmp_path / "newer.py").write_text("class Plugin:\n    def version(self): return 2\n")
    ref = piactors.spawn(f"{tmp_path}/plugin.py:Plugin")
    assert ref.proxy().version().get(timeout=SECONDS) == 1
    assert ref.replace(f"{tmp_path}/newer.py:Plugin").get(timeout=SECONDS) == 2
    assert ref.proxy().version().get(timeout=SECONDS) == 2
    with pytest.raises(ValueError, match="was given as a name"):
        ref.replace(First)
    ref.stop()


class Family(Supervisor):
    """One child that may die."""

    def children(self) -> list[ChildSpec]:
        """See `Supervisor`."""
        return [ChildSpec("child", First), ChildSpec("other", First, args=("other",))]


def test_a_child_is_replaced_and_restarted_as_it_is_declared_by_then() -> None:
    """It keeps its ref; its siblings notice nothing; its supervisor starts it again as it is now."""
    with Family.start() as tree:
        child, other = tree.child("child"), who(tree.child("other"))
        assert tree.replace_child(ChildSpec("child", Second, args=("new",))).get(timeout=SECONDS) == 2
        assert tree.child("child") is child
        assert who(child)[1] == "new"
        with pytest.raises(piactors.IsolateCrashed):
            child.proxy().die().get(timeout=SECONDS)
        assert who(child)[1] == "new"
        assert who(tree.child("other")) == other
        tree.terminate_child("child")
        tree.replace_child(ChildSpec("child", First, args=("third",))).get(timeout=SECONDS)
        assert who(tree.restart_child("child"))[1] == "third"


def test_the_rule_for_restarts_is_that_of_the_new_declaration() -> None:
    """A permanent child becomes a temporary one."""
    with Family.start() as tree:
        child = tree.child("child")
        tree.replace_child(ChildSpec("child", Second, restart="temporary")).get(timeout=SECONDS)
        with pytest.raises(piactors.IsolateCrashed):
            child.proxy().die().get(timeout=SECONDS)
        assert child.wait_for_exit(SECONDS) is not None
        wait_until(lambda: [info.id for info in tree.which_children()] == ["other"])


def test_what_cannot_be_replaced_is_refused() -> None:
    """Nothing has changed then."""
    with Family.start() as tree:
        with pytest.raises(piactors.ChildNotFound, match="the children are: 'child', 'other'"):
            tree.replace_child(ChildSpec("nobody", First))
        with pytest.raises(ValueError, match="concurrency cannot change"):
            tree.replace_child(ChildSpec("child", First.with_options(concurrency=4)))
        assert who(tree.child("child"))[1] == "first"

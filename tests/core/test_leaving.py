"""Isolated code that leaves: coroutines, tasks and callbacks that exit, and what they do to their loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from piactors import IsolateCrashed, RemoteError
from tests.children.leaving import Leaver
from tests.support import wait_until

ENDS = ("raises", "coroutine", "at_once", "awaited_task", "task_and_wait", "callback", "executor")
"""Ways to leave of a call, the first one without a coroutine."""
GOES_ON = {
    "stops_loop": "went on",
    "closes_loop": "Cannot close a running event loop",
    "cancels_itself": "enough",
    "raises_cancelled": "cancelled",
    "cancels_all": "cancelled",
    "sets_policy": "set",
}
"""What isolated code may do to the loop, and what comes of that call."""


def exit_of(how: str, name: str, concurrency: int = 1) -> tuple[str, int | None, str]:
    ref = Leaver.with_options(concurrency=concurrency).start()
    with pytest.raises(IsolateCrashed) as caught:
        getattr(ref.proxy(), how)(name).get(timeout=30)
    reason = caught.value.reason
    return reason.kind, reason.exitcode, (reason.error or "").strip().rpartition("\n")[2]


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt"])
def test_a_coroutine_that_leaves_ends_the_isolate_as_a_method_does(name: str, concurrency: int) -> None:
    found = {how: exit_of(how, name, concurrency) for how in ENDS}
    assert set(found.values()) == {found["raises"]}, found
    assert found["raises"][2].startswith(name)
    assert found["raises"][1] == (3 if name == "SystemExit" else 1)


def test_a_coroutine_that_raises_another_base_exception_ends_the_isolate() -> None:
    assert exit_of("coroutine", "GeneratorExit") == exit_of("raises", "GeneratorExit")


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_task_that_leaves_between_calls_ends_the_isolate(concurrency: int) -> None:
    ref = Leaver.with_options(concurrency=concurrency).start()
    assert ref.proxy().task("SystemExit").get(timeout=30) == "left"
    reason = ref.wait_for_exit(30)
    assert reason is not None
    assert (reason.kind, reason.exitcode) == ("exited", 3)


def test_calls_that_wait_on_the_loop_fail_and_those_in_threads_are_answered() -> None:
    ref = Leaver.with_options(concurrency=4).start()
    proxy = ref.proxy()
    waiting, briefly = [proxy.waits(), proxy.waits()], proxy.waits_briefly()
    wait_until(lambda: proxy.begun.get(timeout=30) == 3)
    for future in (proxy.coroutine("SystemExit"), *waiting):
        with pytest.raises(IsolateCrashed, match="exit code 3"):
            future.get(timeout=30)
    assert briefly.get(timeout=30) == "done"


def test_the_hooks_run_and_tasks_are_cancelled_when_a_coroutine_leaves(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    ref = Leaver.with_options(restart="permanent").start(str(marks))
    assert ref.proxy().tidy_task().get(timeout=30) == "left"
    with pytest.raises(IsolateCrashed):
        ref.proxy().coroutine("SystemExit").get(timeout=30)
    assert ref.proxy().is_fine().get(timeout=30) == "fine"  # of the next generation
    assert marks.read_text().split() == ["on_stop", "cancelled"]


def test_what_isolated_code_does_to_its_loop_leaves_no_call_without_an_outcome() -> None:
    proxy = Leaver.start().proxy()
    pid = proxy.pid().get(timeout=30)
    for how, expected in GOES_ON.items():
        assert expected in outcome(getattr(proxy, how)()), how
        assert (how, proxy.is_fine().get(timeout=30)) == (how, "fine")
    assert proxy.pid().get(timeout=30) == pid


@pytest.mark.parametrize("how", ["closes_loop_by_force", "breaks_loop"])
def test_a_loop_that_is_closed_or_broken_fails_its_calls_and_is_replaced(how: str) -> None:
    proxy = Leaver.start().proxy()
    pid = proxy.pid().get(timeout=30)
    assert "the event loop of this isolate was closed" in outcome(getattr(proxy, how)())
    assert proxy.is_fine().get(timeout=30) == "fine"
    assert proxy.pid().get(timeout=30) == pid


def test_a_coroutine_that_cannot_be_begun_fails_its_call() -> None:
    proxy = Leaver.start().proxy()
    assert outcome(proxy.sets_factory()) == "set"
    assert "no tasks of this factory" in outcome(proxy.is_fine())
    assert proxy.pid().get(timeout=30)


def test_a_cancelled_coroutine_is_no_cancelled_future() -> None:
    future = Leaver.start().proxy().cancels_itself()
    with pytest.raises(RemoteError, match="enough") as caught:
        future.get(timeout=30)
    assert caught.value.type_name == "asyncio.CancelledError"
    assert not future.cancelled()


def test_a_thread_that_leaves_ends_itself_alone() -> None:
    proxy = Leaver.with_options(output="discard").start().proxy()
    pid = proxy.pid().get(timeout=30)
    assert proxy.in_thread("SystemExit").get(timeout=30) == "only the thread"
    assert proxy.pid().get(timeout=30) == pid


def outcome(future: Any) -> str:
    try:
        return str(future.get(timeout=30))
    except Exception as error:
        return str(error)

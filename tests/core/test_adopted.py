"""What an isolate adopts is reaped; what its code has started is left to that code."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from piactors import IsolationLimits, IsolationOptions
from tests.children.orphaning import Parent, zombies
from tests.support import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt its descendants")


@pytest.fixture
def parent(way: IsolationOptions) -> Any:
    return Parent.with_options(way).start()


def test_no_zombie_stays_of_what_was_left_behind(parent: Any) -> None:
    proxy = parent.proxy()
    for _ in range(50):
        proxy.leave_orphans().get(timeout=20)
    wait_until(lambda: not zombies(parent.pid))


def test_orphans_of_a_child_that_lives_on_are_reaped_too(parent: Any) -> None:
    proxy = parent.proxy()
    proxy.keep_shell().get(timeout=20)
    for _ in range(3):
        some = wait_until(lambda: zombies(parent.pid))
        wait_until(lambda: not some & zombies(parent.pid))  # noqa: B023
    assert proxy.end_shell().get(timeout=20) == -9
    wait_until(lambda: not zombies(parent.pid))


def test_orphans_do_not_count_for_a_limit_of_processes() -> None:
    options = IsolationOptions(limits=IsolationLimits(max_processes=20))
    ref = Parent.with_options(options).start()
    for _ in range(60):
        ref.proxy().leave_orphans("true &").get(timeout=20)
    assert ref.generation == 1


@pytest.mark.parametrize("begin", ["begin", "begin_in_thread"])
def test_own_children_are_left_to_who_started_them(parent: Any, begin: str) -> None:
    proxy = parent.proxy()
    proxy.leave_orphans().get(timeout=20)
    getattr(proxy, begin)(3).get(timeout=30)
    for _ in range(20):
        proxy.leave_orphans().get(timeout=20)
    assert set(proxy.codes().get(timeout=30)) == {3}
    wait_until(lambda: not zombies(parent.pid))


def test_codes_are_right_while_many_threads_run_programs_beside_orphans(parent: Any) -> None:
    assert parent.proxy().run_in_threads(4, 25).get(timeout=50) == []
    wait_until(lambda: not zombies(parent.pid))


def test_what_is_started_and_waited_for_below_python_is_left_alone(parent: Any) -> None:
    assert parent.proxy().run_below_python(30).get(timeout=30) == []
    assert parent.proxy().wait_below_python().get(timeout=30) == 6
    wait_until(lambda: not zombies(parent.pid))


def test_asyncio_gets_the_codes_of_its_programs(parent: Any) -> None:
    assert parent.proxy().run_with_asyncio(10).get(timeout=30) == [4] * 10
    wait_until(lambda: not zombies(parent.pid))


def test_who_waits_for_any_child_gets_its_own(parent: Any) -> None:
    assert parent.proxy().wait_for_any().get(timeout=30) == [1, 2, 3]
    wait_until(lambda: not zombies(parent.pid))


def test_a_fork_adopts_nothing_and_the_isolate_still_does(parent: Any) -> None:
    proxy = parent.proxy()
    assert proxy.ignore_sigchld().get(timeout=20) == set()
    proxy.begin(0).get(timeout=30)
    assert set(proxy.codes().get(timeout=30)) == {0}
    proxy.leave_orphans().get(timeout=20)
    wait_until(lambda: not zombies(parent.pid))

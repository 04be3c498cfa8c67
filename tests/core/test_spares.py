"""The launcher's spare: made for the next start, like an isolate in all but its work."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from piactors import IsolateRef
from piactors._host import runtime
from tests.children.actors import Worker
from tests.orphans.support import state_of
from tests.support import wait_until

PRELOAD = ["colorsys"]
"""A launcher of these tests' own."""


@pytest.fixture
def first() -> Iterator[IsolateRef]:
    ref = started()
    yield ref
    ref.stop()


def started() -> IsolateRef:
    return Worker.with_options(preload=PRELOAD, env={"SPARE": "taken"}).start()


def launcher(ref: IsolateRef) -> psutil.Process:
    found = psutil.Process(ref.pid).parent()
    assert found is not None
    assert found.pid in runtime.current().launcher_pids()
    return found


def spares(*refs: IsolateRef) -> set[int]:
    """Return the children of the launcher that are none of these isolates."""
    return {child.pid for child in launcher(refs[0]).children()} - {ref.pid for ref in refs}


def test_the_next_isolate_is_the_spare(first: IsolateRef) -> None:
    wait_until(lambda: len(spares(first)) == 1)
    (spare,) = spares(first)
    second = started()
    assert second.pid == spare
    assert second.proxy().greet("you").get(timeout=10) == "hello, you"
    wait_until(lambda: len(spares(first, second)) == 1)
    second.stop()
    assert len(spares(first)) == 1


def test_a_spare_that_was_killed_costs_a_fork(first: IsolateRef) -> None:
    wait_until(lambda: len(spares(first)) == 1)
    (spare,) = spares(first)
    os.kill(spare, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(spare))
    second = started()
    assert second.pid != spare
    wait_until(lambda: len(spares(first, second)) == 1)
    second.stop()


def test_a_spare_holds_no_descriptor_of_an_isolate(first: IsolateRef) -> None:
    wait_until(lambda: len(spares(first)) == 1)
    second = started()
    wait_until(lambda: len(spares(first, second)) == 1)
    (spare,) = spares(first, second)
    isolates = ends(first.pid or 0) | ends(second.pid or 0)
    assert isolates
    wait_until(lambda: not ends(spare) & isolates)  # it is known as soon as it is forked, and closes what it has then
    second.stop()


def ends(pid: int) -> set[str]:
    """Return the sockets and pipes that a process holds, and does not close in this very moment."""
    folder, found = f"/proc/{pid}/fd", set()
    for fd in filter(lambda name: int(name) > 2, os.listdir(folder)):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"{folder}/{fd}"))
    return {name for name in found if name.startswith(("socket:", "pipe:"))}


def test_a_spare_that_was_stopped_costs_a_fork(first: IsolateRef) -> None:
    wait_until(lambda: len(spares(first)) == 1)
    (spare,) = spares(first)
    os.kill(spare, signal.SIGSTOP)
    wait_until(lambda: all(state_of(thread.id) == "T" for thread in psutil.Process(spare).threads()))
    second = started()
    assert second.pid != spare
    assert second.proxy().greet("you").get(timeout=10) == "hello, you"
    wait_until(lambda: not psutil.pid_exists(spare))
    second.stop()

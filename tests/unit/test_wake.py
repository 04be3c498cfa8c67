"""Rules of `piactors._platform.wake`: a thread waits for a descriptor and for other threads at once."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from piactors._platform import wake


@pytest.fixture(params=["eventfd", "pipe"])
def waker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> wake.Waker:
    """One of each kind."""
    if request.param == "pipe":
        monkeypatch.setenv("PIACTORS_PORTABLE", "eventfd")
    return wake.Waker()


def from_another_thread(function: object) -> None:
    thread = threading.Thread(target=function)  # type: ignore[arg-type]
    thread.start()
    thread.join()


def test_it_waits_no_longer_than_the_timeout(waker: wake.Waker) -> None:
    """And says that nothing came."""
    began = time.monotonic()
    assert not waker.wait(0.05)
    assert 0.05 <= time.monotonic() - began < 5
    assert not waker.ready()


def test_a_wake_before_the_wait_is_not_lost(waker: wake.Waker) -> None:
    """Until it is drained, however often it came."""
    for _ in range(3):
        from_another_thread(waker.wake)
    assert waker.wait(None)
    assert waker.wait(None)
    waker.drain()
    assert not waker.ready()


def test_a_wake_ends_a_wait(waker: wake.Waker) -> None:
    """Of another thread."""
    timer = threading.Timer(0.02, waker.wake)
    timer.start()
    assert waker.wait(20)
    timer.join()


def test_it_waits_for_the_descriptor_that_was_named_last(waker: wake.Waker) -> None:
    """And for no other."""
    (one, to_one), (two, to_two) = socket.socketpair(), socket.socketpair()
    with one, to_one, two, to_two:
        waker.watch(one.fileno())
        to_one.send(b"x")
        assert waker.wait(20)
        waker.watch(two.fileno())
        assert not waker.ready()
        to_two.send(b"x")
        assert waker.ready()


def test_many_wakes_do_not_block(waker: wake.Waker) -> None:
    """Also where nobody looks for a long time."""
    from_another_thread(lambda: [waker.wake() for _ in range(100_000)])
    assert waker.ready()
    waker.drain()
    assert not waker.ready()


def test_the_end_of_a_wait_within_a_wait_ends_that_one_too(waker: wake.Waker) -> None:
    """What the inner one took may have been meant for the outer one."""
    waker.begin()
    waker.looks = False
    waker.begin()
    waker.end()
    assert waker.ready()
    waker.drain()
    waker.end()
    assert not waker.ready()


@pytest.mark.process
def test_each_thread_has_its_own_and_a_fork_has_none_of_them() -> None:
    """The same for the same thread."""
    mine = wake.mine()
    assert wake.mine() is mine
    others: list[wake.Waker] = []
    from_another_thread(lambda: others.append(wake.mine()))
    assert others[0] is not mine
    pid = os.fork()
    if not pid:
        os._exit(0 if wake.mine() is not mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_it_closes_its_descriptors(waker: wake.Waker) -> None:
    """When nobody holds it any more."""
    before = len(os.listdir("/proc/self/fd"))
    more = [wake.Waker() for _ in range(10)]
    assert len(os.listdir("/proc/self/fd")) > before
    more.clear()
    assert len(os.listdir("/proc/self/fd")) == before

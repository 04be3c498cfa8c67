"""Rules of `piactors._platform.poller`."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator

import pytest

from piactors._platform.poller import READ, WRITE, EpollPoller, Poller, SelectorPoller, open_poller

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[EpollPoller, SelectorPoller])
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    """One of each kind."""
    made = request.param()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected sockets."""
    one, other = socket.socketpair()
    yield one, other
    one.close()
    other.close()


def test_it_tells_what_is_readable_and_writable(poller: Poller, pair: Pair) -> None:
    """As far as it was asked."""
    one, other = pair
    poller.add(one.fileno())
    assert poller.wait(0) == []
    other.send(b"x")
    assert poller.wait(20) == [(one.fileno(), READ)]
    poller.set(one.fileno(), READ | WRITE)
    assert poller.wait(20) == [(one.fileno(), READ | WRITE)]
    poller.set(one.fileno(), READ)
    assert poller.wait(20) == [(one.fileno(), READ)]
    poller.remove(one.fileno())
    assert poller.wait(0) == []
    poller.remove(one.fileno())


def test_a_hang_up_is_readable(poller: Poller, pair: Pair) -> None:
    """So that the end is read."""
    one, other = pair
    poller.add(one.fileno())
    other.close()
    [(fd, mask)] = poller.wait(20)
    assert fd == one.fileno()
    assert mask & READ


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here")
class TestPausing:
    """What epoll can, and other ways cannot."""

    def test_what_is_paused_is_not_told_but_its_end_is(self, pair: Pair) -> None:
        """Until it is resumed; what came meanwhile is told then."""
        one, other = pair
        poller = EpollPoller()
        poller.add(one.fileno())
        poller.pause(one.fileno())
        other.send(b"x")
        assert poller.wait(0.02) == []
        poller.resume(one.fileno(), READ)
        assert poller.wait(20) == [(one.fileno(), READ)]
        poller.pause(one.fileno())
        other.close()
        [(_, mask)] = poller.wait(20)
        assert mask & READ
        poller.close()

    def test_a_resume_ends_a_wait_of_another_thread(self, pair: Pair) -> None:
        """Where there is something to read."""
        one, other = pair
        poller = EpollPoller()
        poller.add(one.fileno())
        poller.pause(one.fileno())
        other.send(b"x")
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.extend(poller.wait(20)))
        thread.start()
        poller.resume(one.fileno(), READ)
        thread.join(10)
        assert found == [(one.fileno(), READ)]
        poller.close()


def test_a_selector_says_that_it_cannot_pause(pair: Pair) -> None:
    """It may not be changed while it waits."""
    poller = SelectorPoller()
    assert not poller.can_pause
    with pytest.raises(NotImplementedError):
        poller.pause(pair[0].fileno())
    poller.close()


def test_the_best_one_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is taken away."""
    monkeypatch.setenv("PIACTORS_PORTABLE", "epoll")
    without = open_poller()
    assert not without.can_pause
    without.close()

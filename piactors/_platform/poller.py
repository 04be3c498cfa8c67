"""Waiting for many descriptors: epoll; elsewhere whatever `selectors` offers.

With epoll, any thread may pause and resume a descriptor at the cost of one system call each, also
while the poller waits: that is what lets a caller read its own answer.  The fallback cannot, and says so.
"""

from __future__ import annotations

import contextlib
import select
import selectors
from typing import Protocol

from piactors._platform import taken_away

READ = 1
WRITE = 2


class Poller(Protocol):
    """Tells which descriptors are ready.  All of it is for one thread, except `pause` and `resume`."""

    can_pause: bool
    """Whether `pause` and `resume` work, from any thread."""

    def add(self, fd: int, events: int = READ) -> None:
        """Wait for `fd` to become readable, or for other events."""

    def set(self, fd: int, events: int) -> None:
        """Wait for other events of `fd`."""

    def remove(self, fd: int) -> None:
        """Wait for `fd` no longer."""

    def pause(self, fd: int) -> None:
        """Wait for nothing but the end of `fd`, until `resume`."""

    def resume(self, fd: int, events: int) -> None:
        """Wait for `fd` again, as before."""

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return what is ready, as descriptors and events, after at most `timeout` seconds."""

    def close(self) -> None:
        """Let go of the kernel's object."""


class EpollPoller:
    """Polls with epoll(7)."""

    can_pause = True

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, fd: int, events: int = READ) -> None:
        """Wait for `fd` to become readable, or for other events."""
        self._epoll.register(fd, _mask(events))

    def set(self, fd: int, events: int) -> None:
        """Wait for other events of `fd`."""
        self._epoll.modify(fd, _mask(events))

    def remove(self, fd: int) -> None:
        """Wait for `fd` no longer."""
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)

    def pause(self, fd: int) -> None:
        """Wait for nothing but the end of `fd`: the kernel reports a hang-up whatever it is asked."""
        self._epoll.modify(fd, 0)

    def resume(self, fd: int, events: int) -> None:
        """Wait for `fd` again, as before."""
        self._epoll.modify(fd, select.EPOLLIN if events == READ else _mask(events))

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return what is ready, as descriptors and events, after at most `timeout` seconds."""
        found = self._epoll.poll(timeout)
        return [(fd, (READ if mask & _READABLE else 0) | (WRITE if mask & _WRITABLE else 0)) for fd, mask in found]

    def close(self) -> None:
        """Let go of the kernel's object."""
        self._epoll.close()


class SelectorPoller:
    """Polls with the standard library's choice of select, poll, kqueue and the like."""

    can_pause = False

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, fd: int, events: int = READ) -> None:
        """Wait for `fd` to become readable, or for other events."""
        self._selector.register(fd, events)

    def set(self, fd: int, events: int) -> None:
        """Wait for other events of `fd`."""
        self._selector.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Wait for `fd` no longer."""
        with contextlib.suppress(KeyError, ValueError, OSError):
            self._selector.unregister(fd)

    def pause(self, fd: int) -> None:
        """Wait for nothing but the end of `fd`, until `resume`."""
        raise NotImplementedError("a selector must not be changed while another thread waits on it")

    def resume(self, fd: int, events: int) -> None:
        """Wait for `fd` again, as before."""
        raise NotImplementedError("a selector must not be changed while another thread waits on it")

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return what is ready, as descriptors and events, after at most `timeout` seconds."""
        return [(key.fd, mask) for key, mask in self._selector.select(timeout)]

    def close(self) -> None:
        """Let go of the kernel's object."""
        self._selector.close()


def _mask(events: int) -> int:
    return (select.EPOLLIN if events & READ else 0) | (select.EPOLLOUT if events & WRITE else 0)


if hasattr(select, "epoll"):
    _READABLE = ~select.EPOLLOUT
    _WRITABLE = select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP


def open_poller() -> Poller:
    """Return the best poller of this system."""
    if hasattr(select, "epoll") and not taken_away("epoll"):
        return EpollPoller()
    return SelectorPoller()

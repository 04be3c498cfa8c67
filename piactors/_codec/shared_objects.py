"""Shared objects of multiprocessing and multiprocess as arguments: their own reducers, with our way of handing over.

These libraries know how to send a pipe's end, a lock, a queue, a value or a manager's proxy to a process that
is being spawned.  Here the isolate stands in for that process: what they would duplicate for it goes along
with the message.
"""

from __future__ import annotations

import importlib
import itertools
import os
import socket
from collections.abc import Callable
from typing import Any

import attrs

from piactors.pihost.memory import handed
from piactors.pihost.pickles import refusals

_FAMILIES = ("multiprocessing", "multiprocess")
_numbers = itertools.count(1)


@attrs.define(eq=False)
class Lent:
    """A descriptor that goes along with a message; ours until the message is no longer needed."""

    number: int
    fd: int

    def __del__(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


def lent_descriptor(fd: int) -> Lent:
    """Return what hands over a descriptor, which belongs to it from now on."""
    return Lent(next(_numbers), fd)


class Spawning:
    """What the libraries take to be the process that is being spawned; it notes what has to go along."""

    def __init__(self) -> None:
        self.lent: list[Lent] = []
        self.kept: list[Any] = []
        """What was handed over: it has to live as long as the message."""
        self._contexts: list[Any] = []

    def duplicate_for_child(self, fd: int) -> int:
        """Take a descriptor, and return the number under which it goes along."""
        lent = Lent(next(_numbers), os.dup(fd))
        self.lent.append(lent)
        return lent.number

    def DupFd(self, number: int) -> handed.HandedDescriptor:
        """Return what stands for a descriptor in the message."""
        return handed.HandedDescriptor(number)

    def begin(self, family: str) -> None:
        """Be the process that is being spawned, for this thread and one of the libraries, until `end`."""
        context = importlib.import_module(f"{family}.context")
        if context not in self._contexts and context.get_spawning_popen() is None:
            context.set_spawning_popen(self)
            self._contexts.append(context)

    def begin_again(self) -> None:
        """Let go of what a first attempt has taken."""
        self.lent, self.kept = [], []

    @property
    def is_on(self) -> bool:
        """Whether something of these libraries was met."""
        return bool(self._contexts)

    def end(self) -> None:
        """Stop being that process."""
        while self._contexts:
            self._contexts.pop().set_spawning_popen(None)


def way_of(kind: type) -> Callable[[Spawning, Any], Any] | None:
    """Return how a thing of this type is handed over, or None if it is not."""
    if kind is socket.socket:
        return _socket
    family, _, rest = kind.__module__.partition(".")
    if family in _FAMILIES:
        return _WAYS.get(rest.partition(".")[0])
    return _shared_ctype if "_ctypes" in {base.__module__ for base in kind.__mro__} else None


def _as_spawned(spawning: Spawning, obj: Any) -> Any:
    family = type(obj).__module__.partition(".")[0]
    if getattr(obj, "_is_fork_ctx", False):
        raise refusals.Refused(
            f"{obj!r} cannot be sent: it was made for processes that are forked from this one, which is the default of "
            f"{family}; make it with {family}.get_context('spawn')",
            obj,
        )
    return _reduced(spawning, family, obj)


def _reduced(spawning: Spawning, family: str, obj: Any) -> Any:
    """Reduce as the library does for a process that it spawns; what reduces itself is left to that.

    The thing has to live until the isolate has opened it: with its last user here, a semaphore loses its name, and
    its memory goes to the next value.
    """
    spawning.begin(family)
    spawning.kept.append(obj)
    reducers = importlib.import_module(f"{family}.reduction").ForkingPickler._extra_reducers
    reducer = reducers.get(type(obj))
    return NotImplemented if reducer is None else reducer(obj)


def _shared_ctype(spawning: Spawning, obj: Any) -> Any:
    """A value or an array in shared memory is a ctypes object that knows what wraps its memory."""
    family = type(getattr(obj, "_wrapper", None)).__module__.partition(".")[0]
    return _reduced(spawning, family, obj) if family in _FAMILIES else NotImplemented


def _of_heap(spawning: Spawning, obj: Any) -> Any:
    family = type(obj).__module__.partition(".")[0]
    found = _reduced(spawning, family, obj)
    if type(obj).__name__ != "Arena" or found is NotImplemented:
        return found
    _, (size, handle) = found
    return handed.arena, (family, size, handle)


def _of_manager(spawning: Spawning, obj: Any) -> Any:
    family = type(obj).__module__.partition(".")[0]
    found = _reduced(spawning, family, obj)
    if not hasattr(obj, "_authkey"):
        return found
    process = importlib.import_module(f"{family}.process").current_process()
    return handed.of_manager, (family, bytes(process.authkey), *obj.__reduce__()[:2])


def _socket(spawning: Spawning, sock: socket.socket) -> Any:
    handle = spawning.DupFd(spawning.duplicate_for_child(sock.fileno()))
    return handed.rebuilt_socket, (handle, int(sock.family), int(sock.type), sock.proto, sock.gettimeout())


def _memory(spawning: Spawning, memory: Any) -> Any:
    spawning.kept.append(memory)
    cls, args = memory.__reduce__()
    return handed.attached, (cls, list(args))


_WAYS: dict[str, Callable[[Spawning, Any], Any]] = {
    "connection": _as_spawned,
    "heap": _of_heap,
    "managers": _of_manager,
    "queues": _as_spawned,
    "shared_memory": _memory,
    "sharedctypes": _as_spawned,
    "synchronize": _as_spawned,
    "process": _as_spawned,
}
"""By module: what is handed over.  Contexts, exceptions and the like are copied as anything else is."""

"""What crosses a border as a handle because it cannot cross as a copy: the port, and this process's end of it.

A handle is a name that cannot be guessed.  At home it stands for the thing itself; on the other side a stand-in is made
of it, which asks for what is to be done (`post`), and home does it (`perform`).  A new kind of thing that crosses, such
as a callback or a stream, is one more `Kind`; what moves handles and requests does not change.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import attrs

Producer = Callable[[], Any]


class Handle(NamedTuple):
    """What crosses: the kind of the thing, and a token of 128 random bits as text."""

    kind: str
    token: str


class Border(Protocol):
    """One end of the border between two processes."""

    def keep(self, kind: str, thing: Any) -> Handle:
        """Lend a thing of this process: return its handle, the same each time."""

    def resolve(self, handle: Handle) -> Any:
        """Return what a handle stands for here: the thing itself at home, else a stand-in.

        Raises:
            LookupError: if there is no such kind.
        """

    def drop(self, handle: Handle) -> None:
        """Lend a thing no longer: nothing is done to it any more through its handle."""

    def post(self, handle: Handle, operation: str, value: Any, error: BaseException | None) -> None:
        """Ask for something to be done to a thing of the other side.

        Raises:
            PiactorsError: if nobody on the other side listens.
        """

    def perform(self, handle: Handle, operation: str, produce: Producer) -> None:
        """Do what the other side asks for; nothing if the thing is gone, or not lent any more.

        Raises:
            LookupError: if there is no such kind, or it has no such operation.
        """


class Portable(Protocol):
    """A thing that crosses as a handle."""

    def lend(self, border: Border) -> Handle:
        """Return the handle that goes in its place: of itself, or of what it stands for."""


@attrs.frozen
class Kind:
    """One kind of thing that crosses as a handle.

    Attributes:
        stand_in: makes what takes its place on the other side, and can go on from there, or back.
        operations: what the other side may have done to the thing, with a function that returns or raises the argument.
    """

    stand_in: Callable[[Handle], Portable]
    operations: Mapping[str, Callable[[Any, Producer], object]]


Post = Callable[[Handle, str, Any, "BaseException | None"], None]


class ProcessBorder:
    """This process's end of all its borders.

    One table serves all isolates, since definitions of scripts are made once for all of them and may hold handles.
    It holds nothing alive: a thing that nothing else holds is gone, and with it what its handle can do.
    """

    def __init__(self, kinds: Mapping[str, Kind], post: Post) -> None:
        self._kinds = kinds
        self._post = post
        self._things: weakref.WeakValueDictionary[Handle, Any] = weakref.WeakValueDictionary()
        self._handles: weakref.WeakKeyDictionary[Any, Handle] = weakref.WeakKeyDictionary()

    def keep(self, kind: str, thing: Any) -> Handle:
        """Lend a thing of this process: return its handle, the same each time."""
        handle = self._handles.get(thing)
        if handle is None:
            handle = self._handles.setdefault(thing, Handle(kind, os.urandom(16).hex()))
        self._things[handle] = thing
        return handle

    def resolve(self, handle: Handle) -> Any:
        """Return what a handle stands for here: the thing itself at home, else a stand-in."""
        kind = self._kinds[handle.kind]
        thing = self._things.get(handle)
        return kind.stand_in(handle) if thing is None else thing

    def drop(self, handle: Handle) -> None:
        """Lend a thing no longer; if it is lent again, that is under another name."""
        thing = self._things.pop(handle, None)
        if thing is not None:
            self._handles.pop(thing, None)

    def post(self, handle: Handle, operation: str, value: Any, error: BaseException | None) -> None:
        """Ask for something to be done to a thing of the other side."""
        self._post(handle, operation, value, error)

    def perform(self, handle: Handle, operation: str, produce: Producer) -> None:
        """Do what the other side asks for; nothing if the thing is gone, or not lent any more."""
        do = self._kinds[handle.kind].operations[operation]
        thing = self._things.get(handle)
        if thing is not None:
            do(thing, produce)

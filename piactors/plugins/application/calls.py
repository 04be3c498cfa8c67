"""Calls between an application and one of its plugins, in both directions, while they are under way."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol

from piactors.errors import IsolateCrashed
from piactors.plugins.application.origins import CallRecord
from piactors.plugins.inside._piactors_plugin import changes, packing, things

_within: contextvars.ContextVar[tuple[tuple[object, int], ...]] = contextvars.ContextVar("piactors_within", default=())
"""The calls of plugins for which this code does something, the innermost last: whose side, and the number."""


@contextlib.contextmanager
def within(side: object, call: Any) -> Iterator[None]:
    """What runs here meanwhile is done for a call of a plugin."""
    token = _within.set((*_within.get(), (side, call if type(call) is int else 0)))
    try:
        yield
    finally:
        _within.reset(token)


def innermost(side: object) -> int:
    """Return the number of the call of a plugin for which this code does something; 0 if it does so for none."""
    return next((number for one, number in reversed(_within.get()) if one is side), 0)


class SidePort(Protocol):
    """The host's end of the border, as its calls use it."""

    packer: packing.Packer

    def begin(self, record: CallRecord) -> tuple[int, int]:
        """A call begins; return its number and its epoch."""

    def end(self, number: int, epoch: int, lent: list[int], *, lost: bool) -> None:
        """A call has ended."""

    def lent(self, numbers: list[int]) -> None:
        """These numbers are sent."""

    def answer_of(self, record: CallRecord | None, of: tuple[Any, str] | None, value: Any) -> Any:
        """Return the answer that is a value."""

    def failed(self, error: BaseException, record: CallRecord | None = None) -> Any:
        """Return the answer that says that it has failed."""


class HostAnswer:
    """What came of one thing that the plugin has asked for.

    Attributes:
        reply: its answer; None if it has to be awaited first.
        awaited: what is to be awaited; None if nothing.
    """

    def __init__(self, side: SidePort, record: CallRecord | None) -> None:
        self._side, self._record = side, record
        self.reply: Any = None
        self.awaited: Any = None

    def awaits(self, coroutine: Any) -> None:
        """This has to be awaited."""
        self.awaited = coroutine

    def has(self, value: Any, of: tuple[Any, str] | None = None) -> None:
        """This came."""
        try:
            self.reply = self._side.answer_of(self._record, of, value)
        except Exception as error:
            self.fails(error)

    def fails(self, error: BaseException) -> None:
        """This was raised."""
        self.reply = self._side.failed(error, self._record)


class SentCall:
    """One call of a thing of the plugin; as a context, while it runs."""

    def __init__(self, side: SidePort, reach: things.ThingReach, operation: str, args: Any, kwargs: Any) -> None:
        self._side, self.anchor, self.where = side, reach.anchor, reach.anchor.value
        self.record = CallRecord()
        self.reply: tuple[Any, Any, list[int]] = ("", None, [])
        with side.packer.sending() as lent:
            given = [side.packer.packed(one, lent) for one in args]
            named = {name: side.packer.packed(one, lent) for name, one in kwargs.items()}
        self.lent = lent
        self.containers = changes.containers(args, kwargs) if operation == "call" else {}
        """The arguments that the plugin may change in place."""
        self.asked = (self.where, list(reach.path), operation, given, named)
        self._number, self._epoch = side.begin(self.record)

    def send(self, method: Any) -> Any:
        """Send it, and return the future of its answer."""
        side = self._side
        side.lent(self.lent)
        try:
            return method(self._number, self.asked, side.packer.held.dropped(), innermost(side))
        except BaseException:  # it was not sent
            side.packer.lent.drop([one for number in self.lent for one in (number, 1)])
            raise

    def has(self, reply: tuple[Any, Any, list[int]]) -> None:
        """This is its answer: its kind, its node, and the numbers of what is lent with it."""
        self.reply = reply

    @property
    def is_gone(self) -> bool:
        """Whether it has named what the process does not have any more."""
        return bool(self.reply[0] == "gone")

    def named(self, number: Any) -> things.Anchor | None:
        """Return the anchor of what it has named by a number: what is called, or an argument."""
        return self.anchor if number == self.where else self.lent.own.get(number)

    def __enter__(self) -> None:
        """It runs."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        lost = kind is not None and issubclass(kind, IsolateCrashed)
        self._side.end(self._number, self._epoch, [*self.lent, *self.record.lent], lost=lost)

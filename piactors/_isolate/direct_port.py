"""The port to the direct channels of an isolate, and what stands for them where there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from piactors._rules.message import Message

if TYPE_CHECKING:
    from piactors._process.placement import Process


class DirectPort(Protocol):
    """The direct channels through which an isolate is reached; those of most have none."""

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of what comes directly can run in the process."""

    def open(self, request: Any) -> None:
        """Have a process that asks for it reach this isolate directly."""

    def close(self) -> None:
        """Have the process begin nothing more that comes directly."""

    def closed(self, number: int, process: Process) -> None:
        """A process says that a channel has ended."""

    def lost(self, evidence: Any) -> list[Message]:
        """The process is gone: return what stands for what was in each channel."""

    def answered(self, request: Any) -> None:
        """Pass on an answer of the process that does not go directly."""

    def waits(self, request: Any) -> None:
        """Somebody waits long for something that went directly, or wants it cancelled."""

    def waited(self, request: Any) -> None:
        """Nobody does any more."""

    def find(self, call: int) -> Message | None:
        """Return what is known of something that went directly."""

    def give_up(self, message: Message) -> bool:
        """Who sent a message gave up on it: True if it will never begin."""

    def runs(self, call: int) -> bool:
        """Whether the process runs something that came directly."""

    def find_caller(self, call: int, then: Callable[[Any, int], object]) -> bool:
        """Call `then(asker, number)` with the call in which something was asked that went directly."""


class _NoChannels:
    """Nobody sends directly: of an isolate that is not whole."""

    is_quiet = True

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return what does nothing, and finds nothing."""
        return self._nothing

    @staticmethod
    def _nothing(*_: object) -> None:
        """There is none."""

    def lost(self, _: object) -> list[Message]:
        """Return what stands for what was in each."""
        return []


NO_CHANNELS: Any = _NoChannels()

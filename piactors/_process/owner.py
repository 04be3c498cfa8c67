"""Who owns a generation, and what he is told at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from piactors._io.output import Taker
from piactors._rules.mailbox import Evidence
from piactors.exit_reason import Rusage
from piactors.pihost import wire

if TYPE_CHECKING:
    from piactors._process.process import Generation


@attrs.frozen(kw_only=True)
class End:
    """What is known when a process and all that it left are gone."""

    status: int | None
    usage: Rusage | None
    lost: bool
    evidence: Evidence
    stderr_tail: str
    fault: str
    note: str = ""
    """What kept the process from ending, or its end from being told."""


class Owner(Taker, Protocol):
    """Who a generation belongs to; called on the loop's thread, but for `on_answer`."""

    @property
    def answers_anywhere(self) -> bool:
        """Whether `on_answer` may be called by other threads than the loop's."""

    def on_launched(self, generation: Generation) -> None:
        """The process exists."""

    def on_frame(self, frame: wire.Frame) -> None:
        """A frame has come that the generation does not answer itself.

        Raises:
            ProtocolError: where it should not have come.
        """

    def on_answer(self, frame: wire.Frame, again: bool) -> None:
        """An answer to a message has come; `again` where it may have been handled, and was interrupted.

        Called by whoever reads the data channel: the loop, or a caller that waits for an answer.

        Raises:
            ProtocolError: where it should not have come.
        """

    def on_refused(self, text: str, lack: bool) -> None:
        """There will be no process; with `lack`, because there is too little of something just now."""

    def on_end(self, end: End) -> None:
        """The process is gone."""

    def on_fault(self, error: Exception) -> None:
        """What came from the process cannot be; it should be ended."""

    def on_failure(self, error: BaseException) -> None:
        """The host itself has failed at something that concerns the process, on its way or at its end."""

"""One process of an isolate, as policies see it: they look, and may ask for its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from piactors._host.confiner import Plan
from piactors._io.loop import LoopTimer
from piactors._isolate.spec import IsolateSpec
from piactors._process.placement import Process
from piactors._rules.incarnation import IncarnationFacts
from piactors._rules.message import Message
from piactors.exit_reason import Breach, Kind


class IncarnationView(Protocol):
    """What policies and reports may ask of one incarnation of an isolate."""

    number: int
    spec: IsolateSpec
    facts: IncarnationFacts
    plan: Plan | None
    """What enforces its limits, if it has any."""
    process: Process | None
    stop_wanted: bool

    @property
    def pid(self) -> int | None:
        """The pid of its process, or None."""

    @property
    def is_doomed(self) -> bool:
        """Whether it is to be killed."""

    @property
    def is_stopping(self) -> bool:
        """Whether it has said that it stops."""

    def kill(self, kind: Kind, detail: str, breach: Breach | None = None) -> bool:
        """End it at once, for this reason unless there is one already; False if there is.  From any thread."""

    def doom(self, kind: Kind, detail: str, breach: Breach | None = None, *, timed_out: Message | None = None) -> bool:
        """Record why it will be killed, and for which call; False if there is a reason already."""

    def let_run(self) -> None:
        """No longer hold it to its share of the processors."""

    def note_stack(self, stack: str) -> None:
        """Record where it was when its end was decided."""

    def after(self, seconds: float, callback: Callable[[], object]) -> LoopTimer:
        """Have something done on the I/O thread later, unless it has ended by then."""

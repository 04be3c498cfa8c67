"""The error of something that takes no messages, or ended before it began one; and how an isolate is named in texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from piactors._text import shown
from piactors.errors import ActorDeadError

if TYPE_CHECKING:
    from piactors._isolate.spec import IsolateSpec
    from piactors.exit_reason import ExitReason


_MOST_SHOWN = 1000
"""Characters of a summary, which may hold what the isolate has raised."""


class NamedIsolate(Protocol):
    """An isolate, as texts name it; see `_isolate.isolate.Isolate`."""

    @property
    def spec(self) -> IsolateSpec:
        """What it is made of."""

    @property
    def state(self) -> str:
        """What it does."""

    @property
    def shown_state(self) -> str:
        """The same, as users see it."""

    @property
    def pid(self) -> int | None:
        """The pid of the process that runs, or None."""

    @property
    def generation_number(self) -> int:
        """How many processes it has had."""

    @property
    def last_reason(self) -> ExitReason | None:
        """Why the last process has ended."""

    @property
    def final_reason(self) -> ExitReason | None:
        """Why it has ended for good."""


def dead(name: str, text: str, reason: ExitReason | None, *, kind: str = "") -> ActorDeadError:
    """Return the error: who, what became of the message, and why it ended."""
    why = "" if reason is None else f": {reason.summary[:_MOST_SHOWN]}"
    return ActorDeadError(f"{kind}{shown.line(name)} {text}{why}", name=name, reason=reason)


def supervisor(name: str, text: str, reason: ExitReason | None) -> ActorDeadError:
    """Return the error of a supervisor that does not do what it was asked."""
    return dead(name, text, reason, kind="supervisor ")


def takes_nothing(isolate: NamedIsolate) -> ActorDeadError:
    """Return the error of a message to an isolate that takes none any more."""
    reason = reason_of_end(isolate)
    text = "has ended" if reason is not None else "is stopping, and takes no more messages"
    return dead(isolate.spec.name, text, reason)


def not_begun(isolate: NamedIsolate, reason: ExitReason | None = None) -> ActorDeadError:
    """Return the error of a message that was taken and not begun when the isolate ended, or was told to end."""
    reason = reason or reason_of_end(isolate)
    ends = "has ended" if reason is not None else "is shut down"
    return dead(isolate.spec.name, f"{ends}, and has not begun the call", reason)


def restarts(isolate: NamedIsolate) -> ActorDeadError:
    """Return the error of a message to an isolate that restarts, if its options say that messages do not wait then."""
    return dead(isolate.spec.name, "is restarting, and while_restarting is 'fail'", None)


def no_process(isolate: NamedIsolate) -> ActorDeadError:
    """Return the error of a question to an isolate that has no process to answer it."""
    return dead(isolate.spec.name, "has no process that could answer", reason_of_end(isolate))


def reason_of_end(isolate: NamedIsolate) -> ExitReason | None:
    """Return why an isolate has ended, None if it has not (yet)."""
    if isolate.final_reason is not None:
        return isolate.final_reason
    return isolate.last_reason if isolate.state == "stopped" else None


def described(isolate: NamedIsolate) -> str:
    """Return state, pid and generation of an isolate, or why it ended, as they are at this moment; never waits."""
    parts: list[str] = [isolate.shown_state]
    pid, reason = isolate.pid, reason_of_end(isolate)
    if pid is not None:
        parts.append(f"pid {pid}")
    parts.append(f"generation {isolate.generation_number}")
    return ", ".join(parts) + ("" if reason is None else f": {reason.summary[:_MOST_SHOWN]}")

"""What the rules of an isolate ask for.  They are performed in order."""

from __future__ import annotations

import attrs

from piactors._rules.bodies import ProcessEnding, Role
from piactors._text.record import ByAttributes
from piactors.exit_reason import ExitReason, Kind

# Processes


@attrs.frozen(eq=False, repr=False)
class Launch(ByAttributes):
    """Make process `number` of this `version`; report `ready` and `gone`, even if it cannot be made."""

    number: int
    role: Role
    version: int


@attrs.frozen(eq=False, repr=False)
class Assign(ByAttributes):
    """Process `number`, made for something else, has this role from now on."""

    number: int
    role: Role


@attrs.frozen(eq=False, repr=False)
class Sync(ByAttributes):
    """Give process `number` what was set for all of them since it was started; report `synced` once it has it."""

    number: int


@attrs.frozen(eq=False, repr=False)
class Retire(ByAttributes):
    """Ask process `number` to stop in its own time, at most the shutdown time; report `gone`."""

    number: int


@attrs.frozen(eq=False, repr=False)
class Kill(ByAttributes):
    """End process `number` at once, for this reason; report `gone`."""

    number: int
    kind: Kind
    detail: str


@attrs.frozen(eq=False, repr=False)
class Bound(ByAttributes):
    """Kill process `number` unless it ends within the shutdown time."""

    number: int


# Messages


@attrs.frozen(eq=False, repr=False)
class Attach(ByAttributes):
    """Messages go to process `number` from now on, as soon as it may have some; see `Resume`."""

    number: int


@attrs.frozen(eq=False, repr=False)
class Detach(ByAttributes):
    """The process that had the messages has ended: sort what was in flight, and keep what has not begun.

    Attributes:
        reported: whether that is told; not of a start that is made once more, as if it had not been tried.
    """

    reported: bool = True


@attrs.frozen(eq=False, repr=False)
class Shut(ByAttributes):
    """Send nothing more to this process, which is about to end."""


@attrs.frozen(eq=False, repr=False)
class Pause(ByAttributes):
    """Send nothing more, take back what was sent and has not begun; report `drained` once the rest is answered."""


@attrs.frozen(eq=False, repr=False)
class Resume(ByAttributes):
    """Send what waits."""


@attrs.frozen(eq=False, repr=False)
class AskToStop(ByAttributes):
    """Put a stop of this process before all that waits; what was sent and has not begun waits behind it."""


@attrs.frozen(eq=False, repr=False)
class FailWaiting(ByAttributes):
    """Fail what waits and has not begun: it will not run any more.

    Attributes:
        in_flight: whether also what was sent to the process and has not begun there.
        reason: why the process ends, as far as that is known.
    """

    in_flight: bool
    reason: ExitReason | None = None


# Waiting


@attrs.frozen(eq=False, repr=False)
class Wait(ByAttributes):
    """Report `due` after `delay` seconds.

    Attributes:
        attempt: restarts since it last ran stably; 0 if the last try has only lacked something.
    """

    delay: float
    attempt: int = 0


@attrs.frozen(eq=False, repr=False)
class CancelWait(ByAttributes):
    """Report no `due` of the last `Wait`."""


@attrs.frozen(eq=False, repr=False)
class WaitForStandby(ByAttributes):
    """Report `standby_due` after `delay` seconds, in place of what was waited for before."""

    delay: float


@attrs.frozen(eq=False, repr=False)
class ReplaceLater(ByAttributes):
    """Ask for the replacement again after `delay` seconds, unless process `number` has ended by then."""

    number: int
    delay: float
    reason: str


# News


@attrs.frozen(eq=False, repr=False)
class Started(ByAttributes):
    """Process `number` runs the calls, after a start."""

    number: int


@attrs.frozen(eq=False, repr=False)
class Replaced(ByAttributes):
    """Process `new` runs the calls in place of `old`, which was not ended for that if `warm`."""

    old: int
    new: int
    reason: str
    warm: bool


@attrs.frozen(eq=False, repr=False)
class NotReplaced(ByAttributes):
    """A replacement has failed, and the isolate goes on as before, or to its end.

    Attributes:
        version: that it was to change to, or None if it was to be the same again.
        ending: of the process that was to take over; None if something else intervened.
    """

    reason: str
    version: int | None
    ending: ProcessEnding | None


@attrs.frozen(eq=False, repr=False)
class Lacking(ByAttributes):
    """A restart lacks something that the machine or the host should have, and is tried again until it is there."""

    reason: ExitReason


@attrs.frozen(eq=False, repr=False)
class StandbyLost(ByAttributes):
    """The standby has ended by itself; another one is started after `delay` seconds."""

    number: int
    reason: ExitReason
    delay: float


@attrs.frozen(eq=False, repr=False)
class Held(ByAttributes):
    """The isolate has no process, and its supervisor decides what follows."""

    ending: ProcessEnding


@attrs.frozen(eq=False, repr=False)
class Exceeded(ByAttributes):
    """A restart was due, and the budget allows no more."""


@attrs.frozen(eq=False, repr=False)
class Closed(ByAttributes):
    """The isolate has ended for good, and no process of it is there any more.

    Attributes:
        wanted: whether somebody had asked for the end.
    """

    ending: ProcessEnding
    wanted: bool


Action = (
    Launch
    | Assign
    | Sync
    | Retire
    | Kill
    | Bound
    | Attach
    | Detach
    | Shut
    | Pause
    | Resume
    | AskToStop
    | FailWaiting
    | Wait
    | CancelWait
    | WaitForStandby
    | ReplaceLater
    | Started
    | Replaced
    | NotReplaced
    | Lacking
    | StandbyLost
    | Held
    | Exceeded
    | Closed
)

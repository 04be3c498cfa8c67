"""One isolate's life: each input is something that has happened, and what it returns is to be done, in that order.

    new ──begin──> starting ──synced──> running ──stop_begun──> stopping
                      ▲  │                 │                       │
                      │  └───────gone──────┴──────────gone─────────┤
                      │                                            ▼
          due ── waiting <──────── the parent says: again ─── (what follows?)
                                                                │      │
          start_held ── held <── leaving <── it decides later ──┘      └── never ──> closing ──alone──> stopped

`leaving` and `closing` wait for processes that are still there beside the one that has ended.  What a process has to
say of itself (its greeting, its report, why it ends) is not known here, only that it is ready, stops, or is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec

import attrs

from piactors._rules.actions import (
    Action,
    AskToStop,
    Bound,
    CancelWait,
    Closed,
    Detach,
    Exceeded,
    FailWaiting,
    Held,
    Kill,
    Lacking,
    Resume,
    Started,
    Sync,
    Wait,
)
from piactors._rules.bodies import Body, ProcessEnding, Role
from piactors._rules.moment import Moment
from piactors._rules.parent import Later, Parent
from piactors._rules.phases import Phase, Swap, Wish
from piactors._rules.replacement import Replacement, Request, World
from piactors._rules.restart import Again, Exhausted
from piactors.exit_reason import ExitReason, Kind

_FIRST_LACK, _LONGEST_LACK = 0.05, 1.0
"""Seconds until a restart that lacks something is tried again: longer each time."""
MOST_LAUNCHERS_LOST = 5
"""Launchers that may be lost in a row before a start succeeds, until it counts as the isolate's own doing."""
_MOST_LACKS_OF_ITSELF = 100
"""So often in a row a process may say itself that it lacks something: its own limits may be too narrow."""

P = ParamSpec("P")


def _input(
    method: Callable[Concatenate[Lifecycle, P], None],
) -> Callable[Concatenate[Lifecycle, Moment, P], list[Action]]:
    """Make a method an input: it takes the moment first, and returns the actions."""

    def handle(self: Lifecycle, moment: Moment, /, *args: P.args, **kwargs: P.kwargs) -> list[Action]:
        self._moment = moment
        method(self, *args, **kwargs)
        self._look_whether_alone()
        actions, self._actions = self._actions, []
        return actions

    handle.__doc__, handle.__name__ = method.__doc__, method.__name__
    return handle


class Lifecycle(Replacement):
    """The decisions on one isolate, from its first process to its end."""

    def __init__(self, parent: Parent, world: World, *, keeps_standby: bool = False) -> None:
        super().__init__(world, keeps_standby=keeps_standby)
        self.phase = Phase.NEW
        self.wish = Wish.NONE
        self.halting = False
        """Whether the supervisor ends the current process, and nothing but that."""
        self.has_run = self.stays_down = False
        self._parent = parent
        self.ending = ProcessEnding(ExitReason(kind="shutdown", detail="it was not started"), started=False)
        """How the last process has ended."""
        self._between: ExitReason | None = None
        """What ends an isolate that is between two processes."""
        self.lacks = 0

    # Inputs: what users ask for

    @_input
    def begin(self) -> None:
        """Launch the first process."""
        if self.phase is Phase.NEW:
            self._start()

    @_input
    def stop(self) -> None:
        """End once what waits has run; the message that says so to the process is in the mailbox already."""
        if self._is_over(Wish.STOP):
            return
        self._wish(Wish.STOP)
        if self.phase is Phase.STARTING and self.has_run:
            self._kill_current("shutdown", "stopped while it restarted")

    @_input
    def shut_down(self) -> None:
        """End: fail what has not begun, let running calls finish, and kill after the shutdown time."""
        if self._is_over(Wish.END):
            return
        self._do(FailWaiting(in_flight=True))
        self._wish(Wish.END)
        self._bound()

    @_input
    def terminate(self) -> None:
        """End all processes at once."""
        if self._is_over(Wish.END) and self.phase is not Phase.CLOSING:
            return
        self._kill_all("killed", "terminated")
        self._wish(Wish.END)

    @_input
    def own_stop(self, number: int) -> None:
        """The code in a process asks for the end of that process; if that is `current`, its message waits already."""
        body = self.bodies.get(number)
        if body is not None and body.role is not Role.RETIRING:
            body.wants_stop = True
            if body.role is Role.CURRENT:
                self._abort_swap()

    @_input
    def replace(self, reason: str, version: int | None = None) -> None:
        """Have another process take over between two calls, of another version if one is given."""
        if self.phase in (Phase.WAITING, Phase.LEAVING, Phase.HELD, Phase.NEW) and version is not None:
            self.version = version
        elif self._may_be_followed() and (version is not None or self._may_replace()):
            self._request(Request(reason, version))
        else:
            self._not_replaced(Request(reason, version), None)

    # Inputs: what its supervisor asks for

    @_input
    def halt(self) -> None:
        """End this process within the shutdown time; what has not begun waits for the next one."""
        if self.halting or self._is_over() or self.phase in (Phase.LEAVING, Phase.HELD):
            return
        self._halt(None)

    @_input
    def kill(self, detail: str) -> None:
        """End this process at once; what has not begun waits for the next one."""
        if not self._is_over() and self.phase not in (Phase.LEAVING, Phase.HELD):
            self._halt(Kill(0, "killed", detail))

    @_input
    def start_held(self) -> None:
        """Launch the next process."""
        if self.phase is Phase.HELD:
            self._start()

    @_input
    def release(self) -> None:
        """No other process follows, or none was ever launched."""
        if self.phase is Phase.NEW:
            reason = ExitReason(kind="start_failed", detail="its supervisor ended before it was to start")
            self.ending = ProcessEnding(reason, started=False)
        if self.phase in (Phase.HELD, Phase.NEW):
            self._close_without_process()

    @_input
    def fail(self, reason: ExitReason) -> None:
        """The host itself has failed on it: end it for good, whatever has been done of that."""
        if self.phase is Phase.STOPPED:
            return
        current = None if self.current is None else self.bodies[self.current]
        self._kill_all("killed", reason.detail or "")
        self.ending = ProcessEnding(reason, started=self.ending.started if current is None else current.ready)
        self.bodies.clear()
        self._close()

    # Inputs: news

    @_input
    def due(self) -> None:
        """The wait for the next start is over."""
        if self.phase is Phase.WAITING:
            self._start()

    @_input
    def standby_due(self) -> None:
        """The wait for the next standby is over."""
        self._keep_standby()

    @_input
    def ready(self, number: int) -> None:
        """The start of a process is complete."""
        body = self.bodies.get(number)
        if body is None or body.ready or body.doomed:
            return
        body.ready, body.ready_at = True, self._moment.now
        if body.role is Role.CURRENT:
            self._do(Sync(number))
        elif body.role is Role.SUCCESSOR:
            self._successor_ready()

    @_input
    def synced(self, number: int) -> None:
        """A process has all that was set since its start."""
        body = self.bodies.get(number)
        if body is None or not body.ready or body.doomed:
            return
        if body.role is Role.CURRENT and self.phase is Phase.STARTING:
            self._run()
            self._do(Started(number))
            self._go_on()
            self._keep_standby()
        elif body.role is Role.SUCCESSOR and self.swap in (Swap.HANDING_OVER, Swap.COLD):
            if self.current is not None and self.bodies[self.current].doomed:
                return
            self._hand_over(number)
            self._go_on()
            self._keep_standby()

    @_input
    def drained(self) -> None:
        """All that was sent before a `Pause` has been answered."""
        self._drained()

    @_input
    def stop_begun(self, number: int, guess: ExitReason) -> None:
        """The current process has said that it stops, which looks as if its end would be `guess`."""
        if number != self.current or self.phase is not Phase.RUNNING:
            return
        self.phase = Phase.STOPPING
        final = self.wish is not Wish.NONE or not (self.halting or self._parent.wants_restart(guess))
        if final:  # its calls fail, and its ref is let go of: whatever its last hook does, it stays down
            self.stays_down = True
            self._do(FailWaiting(in_flight=False, reason=guess))
            self._dismiss_standby()
        self._abort_swap()
        self._bound()

    @_input
    def doom(self, number: int) -> None:
        """Somebody kills a process: a policy, a limit, or what it has sent has asked for that."""
        if number in self.bodies:
            self.bodies[number].doomed = True

    @_input
    def gone(self, number: int, ending: ProcessEnding) -> None:
        """A process and all that it has started are gone, or it could not be made."""
        body = self.bodies.pop(number, None)
        if body is None:
            return
        if body.role is Role.CURRENT:
            self._current_gone(number, body, ending)
        elif body.role is Role.SUCCESSOR:
            self._successor_gone(body, ending)
        elif body.role is Role.STANDBY:
            self._standby_gone(number, body, ending)
        else:
            self._retired_gone()

    # Rules

    @property
    def is_asked(self) -> bool:
        """Whether a replacement is under way, or waits for the end of another one."""
        return self.swap is not Swap.NONE or self._next is not None

    @property
    def is_final(self) -> bool:
        """Whether no message is taken any more."""
        return self._is_over() or self.stays_down

    def _is_over(self, wish: Wish = Wish.NONE) -> bool:
        """Whether it closes or has stopped; a wish that comes in between is noted, for who hears of the end."""
        if self.phase is Phase.CLOSING:
            self.wish = max(self.wish, wish)
        return self.phase in (Phase.CLOSING, Phase.STOPPED)

    def _may_replace(self) -> bool:
        body = None if self.current is None else self.bodies[self.current]
        calm = self.wish is Wish.NONE and not self.halting
        return self.phase is Phase.RUNNING and calm and body is not None and not (body.doomed or body.wants_stop)

    def _may_be_followed(self) -> bool:
        return self.wish is Wish.NONE and not self.is_final

    def _is_between_for_good(self) -> bool:
        return self.wish is Wish.END or self.halting or self._between is not None

    def _start(self) -> None:
        """Have a process that runs the calls: what stands by, or a new one."""
        self.phase, self.halting = Phase.STARTING, False
        number = self._take_standby(self.version, Role.CURRENT)
        if number is None:
            self._launch(Role.CURRENT, self.version)
            number = self.last_number
        self._attach(number)
        if self.bodies[number].ready:
            self._do(Sync(number))

    def _run(self) -> None:
        self.phase, self.has_run, self.lacks = Phase.RUNNING, True, 0
        self._do(Resume())

    def _wish(self, wish: Wish) -> None:
        """Somebody wants it to end."""
        self.wish = max(self.wish, wish)
        self._abort_swap()
        self._dismiss_standby()
        if self.phase is Phase.WAITING:
            self._do(CancelWait())
        if self.phase in (Phase.WAITING, Phase.LEAVING, Phase.HELD, Phase.NEW):
            self._close_without_process()
        elif self.swap is Swap.COLD and wish is Wish.END:
            self._end_between()

    def _halt(self, kill: Kill | None) -> None:
        self.halting = True
        self._abort_swap()
        current = self.current
        if self.phase is Phase.NEW:
            return
        if self.phase is Phase.WAITING:  # it lacked something: there is no process whose end would be told of
            self._do(CancelWait())
            self._leave(attrs.evolve(self.ending, started=False))
        elif current is None:
            if kill is not None:
                self._between = self._between or ExitReason(kind=kill.kind, detail=kill.detail)
            self._end_between()
        elif kill is not None:
            self._kill(current, attrs.evolve(kill, number=current))
        else:
            self._do(AskToStop())
            self._bound()

    def _end_between(self) -> None:
        """It is between two processes, and is to have none any more: what was to take over is not needed."""
        found = self._in_role(Role.SUCCESSOR)
        if found is not None:
            self._dismiss(*found)
        self._go_on_cold()

    def _bound(self) -> None:
        if self.current is not None:
            self._do(Bound(self.current))

    def _kill_current(self, kind: Kind, detail: str) -> None:
        if self.current is not None:
            self._kill(self.current, Kill(self.current, kind, detail))

    def _kill_all(self, kind: Kind, detail: str) -> None:
        if self.swap is Swap.COLD:
            self._between = self._between or ExitReason(kind=kind, detail=detail)
        for number in self.bodies:
            self._kill(number, Kill(number, kind, detail))

    def _current_gone(self, number: int, body: Body, ending: ProcessEnding) -> None:
        self._do(Detach())
        if self._only_lacks(body, ending):
            self._wait_for_what_lacks(number, ending)
            return
        self._abort_swap()
        self._after_end(ending, self._moment.now - body.ready_at if body.ready else 0.0)

    def _only_lacks(self, body: Body, ending: ProcessEnding) -> bool:
        """Whether a start has come to nothing for a lack alone.  A first one does not wait for that: who asked is told.

        One that its launcher had not made when that was lost has run nothing: it is tried again in any case.
        """
        if self.phase is not Phase.STARTING or self.wish is not Wish.NONE or self.halting or body.doomed:
            return False
        if ending.lost and not ending.made:
            return self.lacks < MOST_LAUNCHERS_LOST
        believed = not ending.by_own_word or self.lacks < _MOST_LACKS_OF_ITSELF
        return self.has_run and ending.lacked and believed

    def _wait_for_what_lacks(self, number: int, ending: ProcessEnding) -> None:
        """The isolate does not answer for that: its restart is charged once, and tried again until it works."""
        if number == self.last_number:
            self.last_number -= 1  # the next one has the number of the one that was not made
        if self.lacks == 0 and ending.lacked:
            self._do(Lacking(ending.reason))
        delay = min(_LONGEST_LACK, _FIRST_LACK * 2.0 ** min(self.lacks, 10))
        self.lacks += 1
        self.phase = Phase.WAITING
        self._do(Wait(delay))

    def _ended_between(self, ending: ProcessEnding | None) -> None:
        reason = self._between or ExitReason(kind="shutdown", detail="stopped while it was replaced")
        between, self._between = self._between, None
        if ending is None or between is not None or self.halting or self.wish is Wish.END:
            ending = ProcessEnding(reason)
        self._after_end(ending, 0.0)

    def _after_end(self, ending: ProcessEnding, ran_for: float) -> None:
        """No process runs the calls any more: what follows?"""
        self.ending = ending
        stays_down = self.wish is not Wish.NONE or self.stays_down
        if stays_down or (self.phase is Phase.STARTING and not self.has_run):
            self._close()
            return
        decision = Later() if self.halting else self._parent.decide(self._moment, ending, ran_for)
        if isinstance(decision, Again):
            self.phase = Phase.WAITING
            self._do(Wait(decision.delay, decision.attempt))
        elif isinstance(decision, Later):
            self._leave(ending)
        else:
            if isinstance(decision, Exhausted):
                self._do(Exceeded())
            self._close()

    def _leave(self, ending: ProcessEnding) -> None:
        self.ending, self.phase = ending, Phase.LEAVING
        if not self.halting:
            self._hold()

    def _hold(self) -> None:
        self.phase = Phase.HELD
        self._do(Held(self.ending))

    def _close_without_process(self) -> None:
        """It ends while no process runs the calls; what had ended by its supervisor's will has its own reason."""
        if self.phase is not Phase.NEW and not self.halting:
            reason = ExitReason(kind="shutdown", detail="stopped while it waited to be restarted")
            self.ending = attrs.evolve(self.ending, reason=reason)
        self._close()

    def _close(self) -> None:
        """No other process follows; it has ended once all are gone."""
        self.phase, self.stays_down, self.swap = Phase.CLOSING, True, Swap.NONE
        for number, body in list(self.bodies.items()):
            if body.role in (Role.STANDBY, Role.SUCCESSOR):
                self._dismiss(number, body)

    def _look_whether_alone(self) -> None:
        """Whatever an input was: go on with what waits for the end of all that is still there."""
        standby = self._in_role(Role.STANDBY)
        if self.phase is Phase.LEAVING and len(self.bodies) == (standby is not None):
            self._hold()
        if self.phase is Phase.CLOSING and not self.bodies:
            self.phase = Phase.STOPPED
            self._do(Closed(self.ending, wanted=self.wish is not Wish.NONE))

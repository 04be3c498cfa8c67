"""What follows what in one isolate's life; `lifecycle` has the inputs that lead here, and a drawing of the phases."""

from __future__ import annotations

import attrs

from piactors._rules.actions import (
    AskToStop,
    Bound,
    CancelWait,
    Closed,
    Detach,
    Exceeded,
    Held,
    Kill,
    Lacking,
    Resume,
    Sync,
    Wait,
)
from piactors._rules.bodies import Body, ProcessEnding, Role
from piactors._rules.parent import Later, Parent
from piactors._rules.phases import Phase, Swap, Wish
from piactors._rules.replacement import Replacement, World
from piactors._rules.restart import Again, Exhausted
from piactors.exit_reason import ExitReason, Kind

_FIRST_LACK, _LONGEST_LACK = 0.05, 1.0
"""Seconds until a restart that lacks something is tried again: longer each time."""
MOST_LAUNCHERS_LOST = 5
"""Launchers that may be lost in a row before a start succeeds, until it counts as the isolate's own doing."""
_MOST_LACKS_OF_ITSELF = 100
"""How often in a row a process itself may say that it lacks something: its own limits may be too narrow."""


class Succession(Replacement):
    """The state of one isolate's life, and the rules by which it changes."""

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
        """How often in a row its restart has lacked something."""
        self._launchers_lost = 0
        """How often in a row the launcher of a start was lost before that was made."""

    @property
    def is_asked(self) -> bool:
        """Whether a replacement is under way, or waits for the end of another one."""
        return self.swap is not Swap.NONE or self._next is not None

    @property
    def is_final(self) -> bool:
        """Whether no message is taken any more."""
        return self._is_over() or self.stays_down

    def abandon(self) -> None:
        """In a forked copy of the host: it has ended, here."""
        self.phase = Phase.STOPPED

    def _is_over(self, wish: Wish = Wish.NONE) -> bool:
        """Whether it closes or has stopped; a wish that comes in between is noted, for those who hear of the end."""
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
        self.phase, self.has_run = Phase.RUNNING, True
        self.lacks = self._launchers_lost = 0
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
        current = self.current
        if self.phase is Phase.NEW or self.phase is Phase.WAITING or current is None:
            self._abort_swap()
        if self.phase is Phase.NEW:
            return
        if self.phase is Phase.WAITING:  # it lacked something: there is no process whose end would be reported
            self._do(CancelWait())
            self._leave(attrs.evolve(self.ending, started=False))
        elif current is None:
            if kill is not None:
                self._between = self._between or ExitReason(kind=kill.kind, detail=kill.detail)
            self._end_between()
        elif kill is not None:  # before what waits could be sent, if it was being replaced
            self._kill(current, attrs.evolve(kill, number=current))
            self._abort_swap()
        else:
            self._do(AskToStop())
            self._abort_swap()
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
        only_lacks = self._only_lacks(body, ending)
        self._do(Detach(reported=not only_lacks))
        if only_lacks:
            self._wait_for_what_lacks(number, ending)
            return
        self._abort_swap()
        self._after_end(ending, self._moment.now - body.ready_at if body.ready else 0.0)

    def _only_lacks(self, body: Body, ending: ProcessEnding) -> bool:
        """Whether a start has failed only for a lack.  A first one does not wait for that: the caller is told.

        One that its launcher had not made when that was lost has run nothing: it is tried again in any case.
        """
        if self.phase is not Phase.STARTING or self.wish is not Wish.NONE or self.halting or body.doomed:
            return False
        if ending.lost and not ending.made:
            return self._launchers_lost < MOST_LAUNCHERS_LOST
        believed = not ending.by_own_word or self.lacks < _MOST_LACKS_OF_ITSELF
        return self.has_run and ending.lacked and believed

    def _wait_for_what_lacks(self, number: int, ending: ProcessEnding) -> None:
        """The isolate is not to blame: its restart is charged once, and tried again until it works."""
        if number == self.last_number:
            self.last_number -= 1  # the next one has the number of the one that was not made
        if self.lacks == 0 and ending.lacked:
            self._do(Lacking(ending.reason))
        times = self.lacks if ending.lacked else self._launchers_lost
        self.lacks += ending.lacked
        self._launchers_lost += ending.lost
        delay = min(_LONGEST_LACK, _FIRST_LACK * 2.0 ** min(times, 10))
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
        """It ends while no process runs the calls; what its supervisor had ended has its own reason."""
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

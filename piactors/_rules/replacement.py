"""One process of an isolate in place of another, between two calls; and one that is kept ready beside it.

    none ──asked──> starting ──ready──> draining ──drained──> handing over ──synced──> none
      │                                                             ▲
      └─asked, no room for two──> cold draining ──drained──> cold ──┘

While it drains, nothing is sent, what has not begun is taken back, and what runs may finish.  The old process then
stops in its own time beside the new one.  Without the memory for two (cold) it goes first, and the calls wait.

A standby is launched whenever the isolate runs and has none.  Whatever would launch a process next has it instead.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from piactors._rules.actions import (
    Action,
    AskToStop,
    Assign,
    Attach,
    Detach,
    Kill,
    Launch,
    NotReplaced,
    Pause,
    Replaced,
    ReplaceLater,
    Resume,
    Retire,
    StandbyLost,
    Sync,
    WaitForStandby,
)
from piactors._rules.bodies import Body, ProcessEnding, Role
from piactors._rules.moment import Moment
from piactors._rules.phases import Swap
from piactors._text.record import ByAttributes

PAUSE_AFTER_FAILURE = 5.0
"""Seconds until a replacement that has failed to start is tried again."""
FIRST_PAUSE = 1.0
"""Seconds until another standby is launched after one that has ended; twice as many after each that follows it."""
LONGEST_PAUSE = 30.0
"""Seconds that no pause exceeds; a standby that was ready for as long no longer counts as a failure."""


_PAUSED = (Swap.DRAINING, Swap.HANDING_OVER, Swap.COLD_DRAINING)


@attrs.frozen(eq=False, repr=False)
class Request(ByAttributes):
    """A replacement that was asked for.

    Attributes:
        version: what it changes to; None for a fresh process of the same.
        number: then the process that is to be replaced: another one is fresh enough.
    """

    reason: str
    version: int | None = None
    number: int | None = None


class World(Protocol):
    """What the rules ask about processes in the middle of a decision."""

    def has_room_beside(self, number: int) -> bool:
        """Whether there is memory for another process beside this one."""

    def lives(self, number: int) -> bool:
        """Whether a process lives, as far as the kernel tells now; the news of its end comes later."""


class Replacement:
    """The processes of one isolate, and what replaces which; `Lifecycle` says when it may."""

    def __init__(self, world: World, *, keeps_standby: bool) -> None:
        self.bodies: dict[int, Body] = {}
        self.last_number = 0
        self.version = 0
        self.swap = Swap.NONE
        self._world = world
        self._keeps_standby = keeps_standby
        self._moment = Moment(0.0)
        self._actions: list[Action] = []
        self._wanted = Request("")
        """The replacement that is under way, or was the last one."""
        self._next: Request | None = None
        """What waits for the end of that one, and of the process that it has replaced: one old process at a time."""
        self._old = 0
        """The process that a cold replacement has ended."""
        self._not_before = 0.0
        self._pause = FIRST_PAUSE
        self._standby_not_before = 0.0

    def keep_standby(self, on: bool) -> None:
        """From the next process on it has a standby, or none; nothing runs the calls now."""
        self._keeps_standby = on

    def count_from(self, number: int) -> None:
        """Go on after the last process of an isolate of the same ref."""
        self.last_number = number

    # What `Lifecycle` decides

    def _may_replace(self) -> bool:
        """Whether the current process runs, and nothing has been decided that ends it."""
        raise NotImplementedError

    def _may_be_followed(self) -> bool:
        """Whether another process may ever follow the current one."""
        raise NotImplementedError

    def _is_between_for_good(self) -> bool:
        """Whether an isolate that is between two processes is to have none any more."""
        raise NotImplementedError

    def _run(self) -> None:
        """The current process has all that it needs: let it run."""
        raise NotImplementedError

    def _ended_between(self, ending: ProcessEnding | None) -> None:
        """It was between two processes, and no other one follows by itself."""
        raise NotImplementedError

    # Processes

    @property
    def current(self) -> int | None:
        """The process that runs the calls, or is to."""
        found = self._in_role(Role.CURRENT)
        return None if found is None else found[0]

    def _in_role(self, role: Role) -> tuple[int, Body] | None:
        return next(((number, body) for number, body in self.bodies.items() if body.role is role), None)

    def _do(self, action: Action) -> None:
        self._actions.append(action)

    def _launch(self, role: Role, version: int) -> None:
        self.last_number += 1
        self.bodies[self.last_number] = Body(role, version)
        self._do(Launch(self.last_number, role, version))

    def _assign(self, number: int, role: Role) -> None:
        self.bodies[number].role = role
        self._do(Assign(number, role))

    def _retire(self, number: int) -> None:
        self._assign(number, Role.RETIRING)
        self._do(Retire(number))

    def _kill(self, number: int, kill: Kill) -> None:
        body = self.bodies[number]
        if not body.doomed:  # the first reason stands
            body.doomed = True
            self._do(kill)

    def _attach(self, number: int) -> None:
        """Messages are for this process from now on; what its own code has asked for goes before them."""
        self._do(Attach(number))
        if self.bodies[number].wants_stop:
            self._do(AskToStop())

    # Replacing

    def _request(self, request: Request) -> None:
        early = request.version is None and self._moment.now < self._not_before
        if self.swap is Swap.NONE and self._may_replace() and self._in_role(Role.RETIRING) is None:
            if not early:
                self._begin(request)
        elif not early and (self._next is None or self._next.version is None):
            self._next = request
        elif request.version is not None:
            self._not_replaced(self._next, None)
            self._next = request

    def _go_on(self) -> None:
        """Something that a request may have waited for is over."""
        ready = self.swap is Swap.NONE and self._in_role(Role.RETIRING) is None and self._may_replace()
        if self._next is not None and ready:
            request, self._next = self._next, None
            if request.version is not None or request.number == self.current:
                self._begin(request)

    def _begin(self, request: Request) -> None:
        current = self.current
        assert current is not None
        self._wanted = request
        if self._take_standby(self._wanted_version, Role.SUCCESSOR):
            self.swap = Swap.STARTING
            self._successor_ready()
        elif self._world.has_room_beside(current):
            self._launch(Role.SUCCESSOR, self._wanted_version)
            self.swap = Swap.STARTING
        else:
            self.swap = Swap.COLD_DRAINING
            self._do(Pause())

    @property
    def _wanted_version(self) -> int:
        return self.version if self._wanted.version is None else self._wanted.version

    def _not_replaced(self, request: Request | None, ending: ProcessEnding | None) -> None:
        if request is not None and (ending is not None or request.version is not None):
            self._do(NotReplaced(request.reason, request.version, ending))

    def _successor_ready(self) -> None:
        found = self._in_role(Role.SUCCESSOR)
        if found is None or not found[1].ready:
            return
        if self.swap is Swap.STARTING:
            self.swap = Swap.DRAINING
            self._do(Pause())
        elif self.swap is Swap.COLD:
            self._do(Sync(found[0]))

    def _drained(self) -> None:
        """All that was sent has been answered."""
        current, successor = self.current, self._in_role(Role.SUCCESSOR)
        if current is None or self.bodies[current].doomed:
            return  # what it is killed for is reported with its end
        if self.swap is Swap.DRAINING and successor is not None:
            self.swap = Swap.HANDING_OVER
            self._do(Sync(successor[0]))
        elif self.swap is Swap.COLD_DRAINING:
            self.swap = Swap.COLD
            self._old = current
            self._retire(current)
            self._do(Detach())

    def _hand_over(self, number: int) -> None:
        warm, old = self.swap is Swap.HANDING_OVER, self.current
        if old is None:
            old = self._old
        else:
            self._retire(old)
        self.version, self.swap = self.bodies[number].version, Swap.NONE
        self._assign(number, Role.CURRENT)
        self._attach(number)
        self._run()
        self._do(Replaced(old, number, self._wanted.reason, warm))

    def _abort_swap(self) -> None:
        """Something ends the current process, or is about to: it will not be replaced between two calls.

        Between two processes (cold) that is decided once the old one is gone.
        """
        self._not_replaced(self._next, None)
        self._next = None
        if self.swap in (Swap.NONE, Swap.COLD):
            return
        paused, self.swap = self.swap in _PAUSED, Swap.NONE
        found = self._in_role(Role.SUCCESSOR)
        if found is not None:
            self._dismiss(*found)
        if self._wanted_version != self.version:
            self._not_replaced(self._wanted, None)
        if paused and self.current is not None:
            self._do(Resume())

    def _dismiss(self, number: int, body: Body) -> None:
        """A process is not needed now: it stands by if it may be useful, else it ends, by its own stop if it can."""
        if self._may_stand_by(number, body):
            self.version = body.version  # what a restart runs is what was to run
            self._assign(number, Role.STANDBY)
        elif body.ready and not body.doomed:
            self._retire(number)
        else:
            self._assign(number, Role.RETIRING)
            self._kill(number, Kill(number, "shutdown", "it is not needed any more"))

    def _may_stand_by(self, number: int, body: Body) -> bool:
        if not self._may_be_followed() or self._in_role(Role.STANDBY) is not None:
            return False
        return (self._keeps_standby or body.version != self.version) and self._is_fit(number, body)

    def _successor_gone(self, body: Body, ending: ProcessEnding) -> None:
        swap, self.swap = self.swap, Swap.NONE
        self._not_replaced(self._wanted, ending)
        if swap is Swap.COLD:
            self._ended_between(ending)
            return
        if swap in _PAUSED:
            self._do(Resume())
        self._not_before = self._moment.now + PAUSE_AFTER_FAILURE
        current, again = self.current, self._wanted
        if self._next is not None and self._next.version is None:  # it waits for that long, too
            again, self._next = self._next, None
        if current is not None and again.version is None:
            self._do(ReplaceLater(current, PAUSE_AFTER_FAILURE, again.reason))
        self._go_on()
        self._keep_standby()

    def _retired_gone(self) -> None:
        if self.swap is Swap.COLD:
            self._go_on_cold()
        else:
            self._go_on()

    def _go_on_cold(self) -> None:
        """Between two processes: launch the next one, unless it is all over, once nothing of the old one is there."""
        if self._in_role(Role.RETIRING) is not None or self._in_role(Role.SUCCESSOR) is not None:
            return
        if self._is_between_for_good():
            self.swap = Swap.NONE
            self._ended_between(None)
        else:
            self._launch(Role.SUCCESSOR, self._wanted_version)

    # Standing by

    def _keep_standby(self) -> None:
        """The isolate runs: have a process beside it, or after the pause that a failure asks for."""
        calm = self.swap is Swap.NONE and self._may_replace()
        if not (self._keeps_standby and calm) or self._in_role(Role.STANDBY) is not None:
            return
        delay = self._standby_not_before - self._moment.now
        if delay > 0:
            self._do(WaitForStandby(delay))
        else:
            self._launch(Role.STANDBY, self.version)

    def _is_fit(self, number: int, body: Body) -> bool:
        """Whether it lives, as far as is known, and nothing has been decided that ends it."""
        return not body.doomed and self._world.lives(number)

    def _take_standby(self, version: int, role: Role) -> int | None:
        """Have what stands by in this role; None if nothing does that could take over."""
        found = self._in_role(Role.STANDBY)
        if found is None:
            return None
        number, body = found
        if not self._is_fit(number, body):
            return None
        if body.version != version:
            self._dismiss_standby()
            return None
        self._pause = FIRST_PAUSE
        self._assign(number, role)
        return number

    def _dismiss_standby(self) -> None:
        found = self._in_role(Role.STANDBY)
        if found is None:
            return
        number, body = found
        if body.ready and not body.doomed:
            self._retire(number)
        else:
            self._assign(number, Role.RETIRING)
            self._kill(number, Kill(number, "shutdown", "it is not needed any more"))

    def _standby_gone(self, number: int, body: Body, ending: ProcessEnding) -> None:
        now = self._moment.now
        if body.ready and now - body.ready_at >= LONGEST_PAUSE:
            self._pause = FIRST_PAUSE
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        self._standby_not_before = now + pause
        if self._may_be_followed():
            self._do(StandbyLost(number, ending.reason, pause))
        self._keep_standby()

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

from piactors._rules.actions import (
    Action,
    FailWaiting,
    Kill,
    Shut,
    Started,
    Sync,
)
from piactors._rules.bodies import ProcessEnding, Role
from piactors._rules.moment import Moment
from piactors._rules.phases import Phase, Swap, Wish
from piactors._rules.replacement import Request
from piactors._rules.succession import Succession
from piactors.exit_reason import ExitReason

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


class Lifecycle(Succession):
    """The decisions on one isolate, from its first process to its end."""

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
            self._request(Request(reason, version, self.current))
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
        """The host itself has failed on it: end it for good, however much of that has been done."""
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
            if body.stop_begun is not None:
                self._do(Shut())
            self._run()
            self._do(Started(number))
            if body.stop_begun is not None:
                self._begin_to_stop(body.stop_begun)
                return
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
        """The current process has said that it stops, and its end will probably be `guess`."""
        body = self.bodies.get(number)
        if body is None or body.role is not Role.CURRENT:
            return
        if self.phase is Phase.STARTING and body.ready:
            body.stop_begun = guess  # what it lacks has still to reach it
        elif self.phase is Phase.RUNNING:
            self._begin_to_stop(guess)

    def _begin_to_stop(self, guess: ExitReason) -> None:
        self.phase = Phase.STOPPING
        self._do(Shut())
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

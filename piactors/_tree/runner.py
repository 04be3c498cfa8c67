"""What an engine asks of one child, and how the child's news gets back to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pykka

from piactors._isolate.parent import MakeError
from piactors._rules.exit import Exit
from piactors._rules.supervisor.machine import Input
from piactors._rules.supervisor.rules import ChildRule
from piactors.exit_reason import ExitReason
from piactors.future import Future


class Runner(Protocol):
    """Runs one child, whatever it is; it keeps its ref over all restarts.

    None of its methods except `await_end` blocks.  Their outcomes are reported to `link`.
    """

    link: ChildLink

    @property
    def ref(self) -> pykka.ActorRef[Any]:
        """The child's ref: the same before and after a restart."""

    def start(self) -> None:
        """Begin to start it, anew or in place of what has ended; report `started` or `start_failed`."""

    def stop(self, keep: bool) -> None:
        """Begin to stop it within its shutdown time, even if it is starting; report `exited`.

        With `keep`, what waits for it goes on waiting, until `start` or `release`.
        """

    def release(self) -> None:
        """It stays down: fail what waits for it."""

    def await_end(self) -> None:
        """After `release`, at the end of the supervisor: wait until what stood by for its restart is gone as well.

        The one method that may block, by the shutdown time.
        """

    def kill(self) -> None:
        """End it at once; report `exited`."""

    def take_over(self, other: Runner) -> bool:
        """Run from the next start on what `other` was made for; False if that is of another kind."""

    def swap_for(self, other: Runner) -> Callable[[], Future[int]]:
        """Return what has another process take over, of what `other` was made for; its future gets the generation.

        Raises:
            TypeError, ValueError: if it cannot.
        """

    def abandon(self) -> None:
        """This process is a forked copy of the host: be dead here, and touch nothing of the parent's."""

    def describe(self, memory: bool) -> str:
        """Return what a view shows of it besides its name and state; with `memory` also how much it uses."""


class Faults(Protocol):
    """Lets a child fail on purpose, in a test."""

    def before_start(self) -> None:
        """A start begins; what this raises fails it."""

    def before_message(self) -> ExitReason | None:
        """A message is about to be handled; with a reason the child dies of it instead."""


class ChildLink:
    """A child's way to its supervisor.  A declared child outlives the engine: the next one takes the link over."""

    def __init__(self, rule: ChildRule, quarantine: bool = False, asks: bool = False) -> None:
        self.rule = rule
        self.asks = asks
        """Whether a function of the user decides on restarts: only the supervisor's own thread calls it."""
        self.quarantine = quarantine
        self.post: Callable[[Input], object] | None = None
        """Gives the supervisor an input; None while none runs."""
        self.error: MakeError | None = None
        """Makes the error of the last start that failed."""

    def report_to(self, post: Callable[[Input], object]) -> None:
        """Report to this supervisor from now on; what was reported to an earlier one no longer counts."""
        self.post, self.error = post, None

    def redeclare(self, rule: ChildRule, quarantine: bool, *, asks: bool) -> None:
        """Go by another rule from now on."""
        self.rule, self.quarantine, self.asks = rule, quarantine, asks

    def wants_restart(self, reason: ExitReason) -> bool:
        """Whether the child may start again after such an exit; the budget is a separate question."""
        return self.rule.restart != "temporary" if self.asks else self.rule.wants_restart(reason)

    def started(self) -> None:
        """The child is ready."""
        if self.post is not None:
            self.post(lambda machine, at: machine.started(at, self.rule.id))

    def start_failed(self, reason: ExitReason, error: MakeError) -> None:
        """The child did not become ready."""
        self.error = error
        if self.post is not None:
            self.post(lambda machine, at: machine.start_failed(at, self.rule.id, reason))

    def exited(self, exit: Exit) -> None:
        """The child ran, and has ended."""
        if self.post is not None:
            self.post(lambda machine, at: machine.exited(at, self.rule.id, exit))

    def terminated(self) -> None:
        """Somebody stops the child through its ref: no restart may follow."""
        if self.post is not None:
            self.post(lambda machine, at: machine.stopped_by_ref(at, self.rule.id))

"""A child that is a supervisor, and the tree at the top: one engine after the other, under one ref."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import attrs
import pykka

from piactors._io import background
from piactors._isolate import dead
from piactors._isolate.deathwatch import DeathWatch
from piactors._isolate.parent import made
from piactors._rules.exit import Exit
from piactors._rules.supervisor.child import Child
from piactors._rules.supervisor.rules import ChildRule
from piactors._text import shown
from piactors._tree.clock import Clock
from piactors._tree.engine import Engine, start_error
from piactors._tree.runner import ChildLink, Runner
from piactors._tree.settings import settings_of
from piactors.child_spec import ChildSpec
from piactors.errors import ActorDeadError, ChildNotFound, StartError
from piactors.exit_reason import ExitReason
from piactors.future import Future


class TreeBackend(Protocol):
    """Where trees live: in the real world, or in a test."""

    @property
    def clock(self) -> Clock:
        """The time that they live by."""

    def runner(self, spec: ChildSpec, link: ChildLink) -> Runner:
        """Return what runs a child."""

    def engine_made(self, engine: Engine) -> None:
        """A supervisor begins to work."""


_ref_of: list[Callable[[TreeRunner], pykka.ActorRef[Any]]] = []


def make_refs_with(make: Callable[[TreeRunner], pykka.ActorRef[Any]]) -> None:
    """Say what makes the ref of a supervisor: its class is above this room."""
    _ref_of[:] = [make]


class TreeRunner:
    """Runs a supervisor; it keeps the runners of declared children, and so their refs, over its restarts.

    Args:
        make: makes the instance of `Supervisor`, anew for each incarnation.
        shutdown: seconds that a stop may take, 0 for none, or None.
    """

    def __init__(
        self, link: ChildLink, name: str, backend: TreeBackend, make: Callable[[], Any], shutdown: float | None
    ) -> None:
        self.link = link
        self.name = name
        self.backend = backend
        self.runners: dict[str, Runner] = {}
        self.engine: Engine | None = None
        first = make()
        self.settings = settings_of(first)
        self.supervisor_class: Any = type(first)
        self.generation = 0
        self.exhausted = False
        """Whether its last incarnation ended because restarts had been used up."""
        self.ends = DeathWatch()
        self.over = threading.Event()
        self.stopped = threading.Event()
        self.stopped.set()
        self._stoppers: list[Future[bool]] = []
        self._make = make
        self._shutdown = shutdown
        self._wanted = False
        self._stop_asked: bool | None = None
        self._timer: Any = None
        # Its own thread and those that stop it; a signal handler may come while its thread has it.
        self._lock = threading.RLock()
        self._lives = self._is_up = False
        self.begun = False
        """Whether its thread has come to life once."""
        self._incarnation = 0
        self._last_reason = ExitReason(kind="shutdown")
        self.name = self.settings.name or name
        self.ref = _ref_of[0](self)

    # For the supervisor above

    def start(self) -> None:
        """Begin to start it, anew or in place of what has ended; report `started` or `start_failed`."""
        self._begin_life()
        thread = self._thread_for(self._live, self._incarnation)
        if self.generation > 1:
            background.start(self.backend.clock, thread, self._never_starts)
            return
        try:
            thread.start()
        except BaseException:
            self._lives = False
            raise

    def _never_starts(self, error: BaseException) -> None:
        self._lives = False
        self.link.start_failed(ExitReason(kind="start_failed", detail=str(error)), made(error))

    def start_wholly(self, enter: Callable[[], bool]) -> None:
        """Start a tree in one step, so that the caller may be interrupted: all of it happens on its own thread.

        Args:
            enter: is called there first, and returns whether the tree is still wanted.
        """
        self._thread_for(self._live_wholly, enter).start()

    def _thread_for(self, target: Callable[..., None], *args: Any) -> threading.Thread:
        return threading.Thread(target=target, args=args, name=f"piactors-supervisor-{self.name}", daemon=True)

    def _live_wholly(self, enter: Callable[[], bool]) -> None:
        self.begun = True
        wanted = enter()
        self._begin_life()
        incarnation = self._incarnation
        if not wanted:
            self.kill()
        self._live(incarnation)

    def _begin_life(self) -> None:
        self._wanted = False
        self._stop_asked = None
        self._answer_stoppers()
        if self.stopped.is_set():
            self.stopped.clear()
            self.over.clear()
            self.ends.begin_again()
            pykka.ActorRegistry.register(self.ref)
        self.generation += 1
        self._lives, self._is_up = True, False

    def stop(self, keep: bool) -> None:
        """Begin to stop it within its shutdown time, even if it is starting; report `exited`."""
        self._begin_stop(keep)
        if self._shutdown == 0:
            self.kill()
        elif self._shutdown is not None:
            self._timer = self.backend.clock.call_later(self._shutdown, self.kill)

    def release(self, *, wait: bool = False) -> None:
        """It stays down: fail what waits for it; with `wait`, only once what stood by is gone, as `await_end` waits."""
        if self.stopped.is_set() and self.over.is_set():
            return
        for runner in list(self.runners.values()):
            runner.release()
        self.take_no_more()
        if wait:
            self.await_end()
        self.ends.tell(self._last_reason)
        self.over.set()
        self._answer_stoppers()

    def await_end(self) -> None:
        """After `release`, at the end of the supervisor: wait until what stood by for its restart is gone as well."""
        for runner in list(self.runners.values()):
            runner.await_end()

    def kill(self) -> None:
        """End it at once; report `exited`."""
        with self._lock:
            self._stop_asked = False
            engine = self.engine
            hangs, self._incarnation = engine is None and self._lives, self._incarnation + (engine is None)
            self._lives = self._lives and not hangs
        if engine is not None:
            engine.kill()
        elif hangs:
            error = StartError(f"supervisor {shown.line(self.name)} was killed before it knew its children")
            reason = ExitReason(kind="start_failed", detail=str(error))
            self.link.start_failed(reason, made(error))

    def swap_for(self, other: Runner) -> Callable[[], Future[int]]:
        """Return what has another process take over, of what `other` was made for; its future gets the generation."""
        raise TypeError(f"replace_child: {self.name!r} is a supervisor; what can be replaced is a child in a process")

    def take_over(self, other: Runner) -> bool:
        """Run from the next start on what `other` was made for; False if that is of another kind."""
        if not isinstance(other, TreeRunner):
            return False
        self._make, self._shutdown = other._make, other._shutdown
        return True

    def describe(self, memory: bool) -> str:
        """Return what a view shows of it besides its name and state; with `memory` also how much it uses."""
        return self.settings.strategy

    @property
    def state(self) -> str:
        """``starting``, ``running``, ``restarting``, ``stopping`` or ``stopped``."""
        if self.stopped.is_set():
            return "stopped"
        if not self._lives:
            return "stopping" if self._wanted else "restarting"
        if self._stop_asked is not None:
            return "stopping"
        if self._is_up:
            return "running"
        return "starting" if self.generation == 1 else "restarting"

    def why_not(self) -> ActorDeadError:
        """Return the error that says why it does not run."""
        if self.stopped.is_set() and self.ends.reason is not None:
            return dead.supervisor(self.name, "has ended", self.ends.reason)
        return dead.supervisor(self.name, f"does not run: it is {self.state}", None)

    # For its ref

    def stop_wanted(self, future: Future[bool] | None = None) -> None:
        """Somebody stops the supervisor through its ref; `future` gets True when it has ended.

        If the supervisor above is being restarted at that moment, that starts this one again, like all its children.
        """
        if future is not None:
            self._stoppers.append(future)
        self._wanted = True
        if self._lives:
            self._begin_stop(keep=False)
        else:
            self.link.terminated()
        if self.over.is_set():  # it ended in this very moment
            self._answer_stoppers()

    @property
    def is_wanted_to_stop(self) -> bool:
        """Whether somebody has told it to stop since it was started last."""
        return self._wanted

    def _answer_stoppers(self) -> None:
        stoppers, self._stoppers = self._stoppers, []
        for future in stoppers:
            future.settle_with(lambda: True)

    def take_no_more(self) -> None:
        """Appear dead to those who look."""
        if not self.stopped.is_set():
            self.stopped.set()
            pykka.ActorRegistry.unregister(self.ref)

    def children(self) -> list[Child]:
        """Return the children, as the decisions know them after all news that has come so far.

        Raises:
            ActorDeadError: if the supervisor does not run.
        """
        engine = self.engine
        if engine is None or not engine.sync() or engine.machine.ended is not None:
            raise self.why_not()
        return [child for child in list(engine.machine.children.values()) if child.announced]

    def make_child(self, spec: ChildSpec, *, listed: bool) -> Runner:
        """Return what is to run a new child."""
        rule = spec.to_rule(listed=listed)
        link = ChildLink(rule, spec.quarantine, callable(spec.restart_on))
        runner = self.backend.runner(spec, link)
        link.redeclare(spec.to_rule(listed=listed, runner=runner), spec.quarantine, asks=link.asks)
        return runner

    def note_reason(self, reason: ExitReason) -> None:
        """This is why it has not started, or has ended."""
        self._last_reason = reason

    def redeclare(self, spec: ChildSpec) -> tuple[ChildRule, Callable[[], Future[int]]]:
        """Return the rule of a child that is to run something else, and what has that begin.

        Raises:
            ChildNotFound: if there is no such child.
            TypeError, ValueError: if it is not a child in a process, or cannot become this one.
        """
        there = self.runners.get(spec.id)
        if there is None:
            names = ", ".join(map(repr, list(self.runners)[:20])) or "none"
            raise ChildNotFound(f"there is no child {spec.id!r}; the children are: {names}")
        other = self.make_child(spec, listed=not self.settings.dynamic)
        swap = there.swap_for(other)
        rule = spec.to_rule(listed=not self.settings.dynamic, runner=there)

        def begin() -> Future[int]:
            there.link.redeclare(rule, spec.quarantine, asks=callable(spec.restart_on))
            return swap()

        return rule, begin

    def abandon(self) -> None:
        """This process is a forked copy of the host, where none of the threads exists: be dead here."""
        self.engine, self._lives = None, False
        for runner in self.runners.values():
            runner.abandon()
        self.take_no_more()
        self.over.set()

    # One incarnation, on a thread of its own

    def _live(self, incarnation: int) -> None:
        try:
            settings = settings_of(self._make()) if self.generation > 1 else self.settings
        except BaseException as error:
            self._not_made(error, incarnation)
            return
        with self._lock:
            if incarnation != self._incarnation:
                return  # it was given up meanwhile
            self.settings = settings
            self._forget_others()
            self.engine = engine = self._new_engine()
            asked = self._stop_asked
        try:
            rules = [self._declare(spec).link.rule for spec in self.settings.children]
        except BaseException as error:
            self.engine = None
            self._not_made(error, incarnation)
            return
        if asked is not None:
            engine.stop(asked)
        self.backend.engine_made(engine)
        engine.run(rules)

    def _not_made(self, error: BaseException, incarnation: int) -> None:
        with self._lock:
            if incarnation != self._incarnation:
                return
            self._lives = False
        reason = ExitReason(kind="start_failed", detail=str(error))
        self.link.start_failed(reason, made(error))

    def _new_engine(self) -> Engine:
        return Engine(
            self.name,
            self.settings.tree_rule(),
            self.backend.clock,
            self.runners,
            self._started,
            self._engine_ended,
        )

    def _declare(self, spec: ChildSpec) -> Runner:
        """Make the runner of a declared child, or have the one that there is run what is declared now."""
        there, runner = self.runners.get(spec.id), self.make_child(spec, listed=True)
        if there is not None and there.take_over(runner):
            there.link.redeclare(spec.to_rule(runner=there), spec.quarantine, asks=callable(spec.restart_on))
            return there
        if there is not None:
            there.release()
        self.runners[spec.id] = runner
        return runner

    def _begin_stop(self, keep: bool) -> None:
        with self._lock:
            self._stop_asked = keep
            engine = self.engine
        if engine is not None:
            engine.stop(keep)

    def _started(self) -> None:
        self._is_up = True
        self.link.started()

    def _forget_others(self) -> list[Runner]:
        """End those that are not declared (any more), and return them: children added at run time, too."""
        declared = {spec.id for spec in self.settings.children}
        others = [self.runners.pop(id) for id in list(self.runners) if id not in declared]
        for runner in others:
            runner.release()
        return others

    def _engine_ended(self, reason: ExitReason, failed: str | None) -> None:
        with self._lock:
            self.exhausted = self.engine is not None and self.engine.exhausted
            self.engine = None
            self._lives = False
        if self._timer is not None:
            self._timer.cancel()
        runner = None if failed is None else self.runners.get(failed)
        for other in self._forget_others():
            other.await_end()
        self._last_reason = reason
        if failed is not None:
            text = f"supervisor {shown.line(self.name)}: its child {failed!r}"
            self.link.start_failed(reason, partial(start_error, text, reason, runner))
        elif not self._is_up:
            if self._wanted:
                self.link.terminated()
            text = f"supervisor {shown.line(self.name)} did not start: it was stopped meanwhile"
            self.link.start_failed(attrs.evolve(reason, kind="start_failed"), partial(StartError, text, reason))
        else:
            self.link.exited(Exit(reason, wanted=self._wanted))

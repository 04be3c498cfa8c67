"""Where trees live: the real backend, and how a test puts others in their place."""

from __future__ import annotations

import attrs

from piactors import spawning
from piactors._spawn import start
from piactors._spawn.starter import ActorStarter
from piactors._tree.clock import Clock, RealClock
from piactors._tree.engine import Engine
from piactors._tree.isolate_runner import IsolateRunner
from piactors._tree.runner import ChildLink, Runner
from piactors._tree.thread_runner import ThreadRunner
from piactors._tree.tree_runner import TreeBackend, TreeRunner
from piactors.actor import ProcessActor
from piactors.child_spec import ChildSpec
from piactors.options import IsolationOptions
from piactors.ref import IsolateRef


class RealTreeBackend:
    """Processes, threads and the clock of this machine."""

    def __init__(self) -> None:
        self.clock: Clock = RealClock()

    def runner(self, spec: ChildSpec, link: ChildLink) -> Runner:
        """Return what runs a child."""
        if spec.is_supervisor:
            return tree_runner(spec, link, self)
        if spec.is_thread:
            return thread_runner(spec, link, self.clock, IsolationOptions())
        return IsolateRunner(link, _prepare(spec, link), kill=_seconds(spec, None) == 0)

    def engine_made(self, engine: Engine) -> None:
        """A supervisor begins to work."""


def tree_runner(spec: ChildSpec, link: ChildLink, backend: TreeBackend) -> TreeRunner:
    """Return what runs a child that is a supervisor."""
    return TreeRunner(link, spec.id, backend, lambda: spec.target(*spec.args, **spec.kwargs), _seconds(spec, None))


def thread_runner(spec: ChildSpec, link: ChildLink, clock: Clock, options: IsolationOptions) -> ThreadRunner:
    """Return what runs a child in a thread; of the options, it takes those that mean something there."""
    return ThreadRunner(
        link,
        clock,
        spec.target.actor_class if isinstance(spec.target, ActorStarter) else spec.target,
        spec.args,
        dict(spec.kwargs),
        _seconds(spec, options.shutdown_timeout),
        queues=options.while_restarting == "queue",
    )


def _seconds(spec: ChildSpec, usual: float | None) -> float | None:
    """How long a child may take to stop: 0 for a kill at once, None for any time."""
    if spec.shutdown == "default":
        return usual
    return 0.0 if spec.shutdown == "kill" else spec.shutdown


def _prepare(spec: ChildSpec, link: ChildLink) -> IsolateRef:
    target = spec.target.actor_class if isinstance(spec.target, ActorStarter) else spec.target
    is_actor = isinstance(target, type) and issubclass(target, ProcessActor)
    prepare = start.prepare_actor if is_actor else spawning.prepare_target
    return prepare(target, _named(spec.isolation, spec), spec.args, dict(spec.kwargs), link)


def _named(options: IsolationOptions, spec: ChildSpec) -> IsolationOptions:
    seconds = _seconds(spec, options.shutdown_timeout)
    return attrs.evolve(options, name=options.name or spec.id, shutdown_timeout=seconds)


_current: list[TreeBackend] = [RealTreeBackend()]


def current() -> TreeBackend:
    """Return where a tree that is started now will live."""
    return _current[-1]


def enter(backend: TreeBackend) -> None:
    """Let trees that are started from now on live there."""
    _current.append(backend)


def leave(backend: TreeBackend) -> None:
    """Undo `enter`."""
    _current.remove(backend)

"""A kit for tests of supervision trees: virtual time, isolates in memory, and faults on demand.

In a `Lab` time stands still until a test moves it, so backoff, intensity and shutdown times take no
real time; a `ProcessActor` runs in a thread of the test instead of a process; and children crash or
fail to start when the test says so.

Example:
    ::

        def test_the_cache_comes_back_after_its_backoff():
            with Lab() as lab:
                tree = lab.start(children=[ChildSpec("cache", Cache, backoff=Backoff(initial=10, jitter=0))])
                lab.crash(tree.child("cache"))
                assert tree.which_children()[0].state == "restarting"
                lab.advance(10)
                assert tree.which_children()[0].state == "running"
"""

from __future__ import annotations

import heapq
import itertools
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs
import pykka
from pykka._introspection import get_attr_directly
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

from piactors import events
from piactors._spawn.starter import ActorStarter
from piactors._tree import backend
from piactors._tree.engine import Engine
from piactors._tree.runner import ChildLink, Runner
from piactors._tree.thread_runner import ThreadRunner
from piactors.actor import ProcessActor
from piactors.child_spec import ChildSpec
from piactors.exit_reason import ExitReason, Kind
from piactors.pihost.serve import targets
from piactors.supervisor import Supervisor
from piactors.supervisor_ref import SupervisorRef

__all__ = ["InjectedFault", "Lab", "VirtualClock", "wait_until"]

T = TypeVar("T")

_LOOK_AGAIN = 0.02


def wait_until(predicate: Callable[[], T], timeout: float = 5.0) -> T:
    """Return what `predicate` returns once that is true; it is asked again at every event of piactors.

    What comes without an event is noticed a little later.

    Raises:
        AssertionError: if it is still false after `timeout` seconds of real time.
    """
    happened = threading.Event()
    unsubscribe = events.subscribe(lambda _: happened.set())
    deadline = time.monotonic() + timeout
    try:
        while not (found := predicate()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout:g} seconds: {getattr(predicate, '__qualname__', predicate)}")
            happened.wait(_LOOK_AGAIN)
            happened.clear()
    finally:
        unsubscribe()
    return found


class InjectedFault(Exception):
    """Raised by a start that a test wanted to fail."""


@attrs.define
class _Timer:
    due: float
    callback: Callable[[], object] | None

    def cancel(self) -> None:
        """Cancel the call."""
        self.callback = None


class VirtualClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()  # supervisors set timers on their own threads while the test moves the clock

    def now(self) -> float:
        """Return the seconds that the clock has been moved so far."""
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], object]) -> _Timer:
        """Have `callback()` called when the clock has been moved by that many seconds."""
        with self._lock:
            timer = _Timer(self._now + seconds, callback)
            heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def next_due(self) -> float | None:
        """Return when the next call is due, or None."""
        with self._lock:
            while self._timers and self._timers[0][2].callback is None:
                heapq.heappop(self._timers)
            return self._timers[0][0] if self._timers else None

    def move_to(self, now: float) -> None:
        """Move the clock, and make the calls that are due by then."""
        self._now = max(self._now, now)
        while (due := self.next_due()) is not None and due <= self._now:
            with self._lock:
                timer = heapq.heappop(self._timers)[2]
            if timer.callback is not None:
                timer.callback()


class _Plan:
    """The faults that a test wants of one child."""

    def __init__(self) -> None:
        self.starts = 0
        self.messages = 0
        self.failing_starts: set[int] = set()
        self.crashes: dict[int, ExitReason] = {}

    def before_start(self) -> None:
        self.starts += 1
        if self.starts in self.failing_starts:
            raise InjectedFault(f"start {self.starts} fails, as the test says")

    def before_message(self) -> ExitReason | None:
        self.messages += 1
        return self.crashes.get(self.messages)


class _Function:
    """A function as the object that an isolate would host."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        return self._function(*args, **kwargs)


class _Hosting(pykka.ThreadingActor):
    """Hosts a class or function, by itself or by name, as an isolate would; here it is imported into the test."""

    def __init__(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        found = targets.resolve(target) if isinstance(target, str) else target
        self.hosted: Any = found(*args, **kwargs) if isinstance(found, type) else _Function(found)

    def _handle_receive(self, message: Any) -> Any:
        if isinstance(message, (ProxyCall, ProxyGetAttr)):
            found = get_attr_directly(self.hosted, message.attr_path)
            return found(*message.args, **message.kwargs) if isinstance(message, ProxyCall) else found
        if isinstance(message, ProxySetAttr):
            parent = get_attr_directly(self.hosted, message.attr_path[:-1])
            return setattr(parent, message.attr_path[-1], message.value)
        return super()._handle_receive(message)


def _is_actor(target: Any) -> bool:
    return isinstance(target, ActorStarter) or (isinstance(target, type) and issubclass(target, pykka.Actor))


class Lab:
    """Where trees live during a test; use it in a ``with`` statement.

    Trees started in it run all their workers in threads; targets by name are imported into the test.  At its end the
    trees are killed.  What only processes have is not there: arguments and results are the objects themselves, and
    `get(timeout=)` takes real time.

    Args:
        patience: Real seconds that `settle` waits for children that are busy, default 1.0; a handler that hangs on
            purpose is left alone after that.
    """

    def __init__(self, patience: float = 1.0) -> None:
        self.clock = VirtualClock()
        self._patience = patience
        self._plans: dict[str, _Plan] = {}
        self._engines: list[Engine] = []
        self._trees: list[SupervisorRef] = []

    def __enter__(self) -> Self:
        backend.enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        backend.leave(self)
        for tree in reversed(self._trees):
            tree.terminate()

    def start(self, supervisor: type[Supervisor] = Supervisor, /, *args: Any, **kwargs: Any) -> SupervisorRef:
        """Start a tree as ``supervisor.start(*args, **kwargs)`` does, and return its ref.

        Trees that the code under test starts itself live in the lab as well, but only these are killed at its end.
        """
        tree = supervisor.start(*args, **kwargs)
        self._trees.append(tree)
        return tree

    # Faults

    def crash(self, ref: pykka.ActorRef[Any], kind: Kind = "signaled") -> None:
        """Let a child die now, in the middle of what it does, and wait until its supervisor knows.

        Args:
            kind: the kind of its `ExitReason`; "signaled" stands for SIGKILL.
        """
        runner = next((runner for runner in self._runners() if runner.ref is ref), None)
        if not isinstance(runner, ThreadRunner):
            raise ValueError(f"crash: {ref!r} is not a worker of a tree in this lab")
        runner.crash(_reason(kind))
        self.settle()

    def crash_at(self, id: str, message: int, kind: Kind = "signaled") -> None:
        """Let the child `id` die of a message instead of handling it.

        Args:
            message: which one, counted from 1 over all its generations; stops do not count.
        """
        self._plan(id).crashes[_counted(message, "message")] = _reason(kind)

    def fail_start(self, id: str, *starts: int) -> None:
        """Let the child `id` fail to start.

        Args:
            starts: which starts, counted from 1 over all its generations.
        """
        self._plan(id).failing_starts.update(_counted(start, "start") for start in starts)

    def _plan(self, id: str) -> _Plan:
        return self._plans.setdefault(id, _Plan())

    # Time

    def settle(self) -> None:
        """Wait (in real time) until all that was asked for is done, as far as no virtual time has to pass for it."""
        deadline = time.monotonic() + self._patience
        while self._is_busy() and time.monotonic() < deadline:
            time.sleep(0.0005)

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything that is due meanwhile happen, in order."""
        end = self.clock.now() + seconds
        self.settle()
        while (due := self.clock.next_due()) is not None and due <= end:
            self.clock.move_to(due)
            self.settle()
        self.clock.move_to(end)

    def finish(self, call: Callable[[], T]) -> T:
        """Return what a call returns that needs time to pass, such as ``tree.stop`` with a child that hangs."""
        outcome: list[T] = []
        errors: list[BaseException] = []

        def make() -> None:
            try:
                outcome.append(call())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=make, daemon=True)
        thread.start()
        while thread.is_alive():
            self.settle()
            thread.join(_LOOK_AGAIN)
            due = self.clock.next_due()
            if thread.is_alive() and due is not None:
                self.clock.move_to(due)
        if errors:
            raise errors[0]
        return outcome[0]

    def _is_busy(self) -> bool:
        if any(engine.is_busy() for engine in self._engines):
            return True
        return any(runner.is_busy() for runner in self._runners() if isinstance(runner, ThreadRunner))

    def _runners(self) -> list[Runner]:
        return [runner for engine in self._engines for runner in list(engine.runners.values())]

    # What trees ask of where they live (see `piactors._tree.tree_runner.TreeBackend`)

    def runner(self, spec: ChildSpec, link: ChildLink) -> Runner:
        """Return what runs a child."""
        if spec.is_supervisor:
            return backend.tree_runner(spec, link, self)
        options = spec.isolation
        if spec.is_isolate and not _is_actor(spec.target):
            args = (spec.target, spec.args, dict(spec.kwargs))
            spec = attrs.evolve(spec, target=_Hosting, args=args, kwargs={}, options=None)
        target = spec.target.actor_class if isinstance(spec.target, ActorStarter) else spec.target
        runner = backend.thread_runner(spec, link, self.clock, options)
        is_isolate = issubclass(target, (ProcessActor, _Hosting))
        runner.hold_to(self._plan(spec.id), options.start_timeout if is_isolate else None)
        return runner

    def engine_made(self, engine: Engine) -> None:
        """Know a supervisor that begins to work."""
        self._engines = [other for other in self._engines if not other.is_over()] + [engine]


def _reason(kind: Kind) -> ExitReason:
    return ExitReason(kind=kind, signal=int(signal.SIGKILL) if kind == "signaled" else None, detail="as the test says")


def _counted(number: int, what: str) -> int:
    if type(number) is not int or number < 1:
        raise ValueError(f"{what}={number!r} is not allowed; they are counted from 1")
    return number

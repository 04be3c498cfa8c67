"""What happens to isolates, as events that a program can subscribe to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

import attrs

from piactors.exit_reason import ExitReason


@attrs.frozen(kw_only=True)
class Event:
    """Base of all events.

    Attributes:
        name: the isolate's name.
        pid: of the process it is about, or None where there is none.
        generation: which generation of the isolate.
        time: seconds since the epoch, by the wall clock.
    """

    name: str
    pid: int | None
    generation: int
    time: float


@attrs.frozen(kw_only=True)
class IsolateStarted(Event):
    """A generation is ready: its `__init__` and `on_start` have returned."""


@attrs.frozen(kw_only=True)
class IsolateStartFailed(Event):
    """A generation did not become ready."""

    reason: ExitReason


@attrs.frozen(kw_only=True)
class IsolateExited(Event):
    """A generation has ended, and everything that it had started is gone too."""

    reason: ExitReason


@attrs.frozen(kw_only=True)
class IsolateRestarting(Event):
    """The next generation starts after `delay` seconds; `attempt` counts from 1 since it last ran stably."""

    attempt: int
    delay: float


@attrs.frozen(kw_only=True)
class RestartsExceeded(Event):
    """The isolate has used up its restarts, and stays down."""

    max_restarts: int
    within: float


@attrs.frozen(kw_only=True)
class OutputReceived(Event):
    """The isolate has written a line, which comes without its newline."""

    stream: Literal["stdout", "stderr"]
    line: str


@attrs.frozen(kw_only=True)
class LimitBreached(Event):
    """A limit is broken.

    Attributes:
        limit: its name, as in `IsolationLimits`.
        hard: whether the generation is ended for it; False also where the kernel only refused what went beyond.
        allowed, observed: in the limit's unit: bytes, seconds or tasks.
        culprit_pid, culprit: pid and command line of the process of the tree that used most, as last sampled.
    """

    limit: str
    hard: bool
    allowed: float
    observed: float
    culprit_pid: int
    culprit: str


@attrs.frozen(kw_only=True)
class CallTimedOut(Event):
    """A call has run longer than its `call_timeout`, and the generation is ended for it.

    Attributes:
        call: what was called, such as ``resize``.
        call_timeout: seconds that it was allowed to run.
        stack: the Python stacks of all threads, as far as they could be had.
    """

    call: str
    call_timeout: float
    stack: str


@attrs.frozen(kw_only=True)
class HeartbeatMissed(Event):
    """The isolate runs no call, and has not shown that it lives.

    Attributes:
        seconds: between two beats, as the options say.
        detail: what was missing, in one line.
    """

    seconds: float
    detail: str


@attrs.frozen(kw_only=True)
class IsolateRecycled(Event):
    """A fresh generation has taken over between two calls; `pid` and `generation` are those of the old one.

    Attributes:
        reason: ``after_calls``, ``after_seconds``, ``above_memory`` or ``soft_memory``.
        new_pid: the process that has taken over.
        warm: whether it was ready before the old one was told to stop.
    """

    reason: str
    new_pid: int | None
    warm: bool


Callback = Callable[[Event], None]


class EventBus:
    """Keeps the subscriptions.  It runs nothing: a dispatcher asks it who wants an event."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may come while its thread has it
        self._subscriptions: dict[object, tuple[Callback, tuple[type[Event], ...]]] = {}
        self._wanted: dict[type[Event], bool] = {}
        """What `is_wanted` has found since the subscriptions changed."""

    def subscribe(self, callback: Callback, *types: type[Event]) -> Callable[[], None]:
        """Have `callback` called with each event of the given types (all, where none is given).

        Callbacks run one after the other, in order, on one thread that piactors keeps for them.  An
        exception of a callback is logged.  Returns a function that ends the subscription.

        Raises:
            TypeError: where `callback` cannot be called, or a type is no event class.
        """
        if not callable(callback):
            raise TypeError(f"subscribe: {callback!r} cannot be called")
        for cls in types:
            if not (isinstance(cls, type) and issubclass(cls, Event)):
                raise TypeError(f"subscribe: {cls!r} is no event class; use those of piactors.events")
        key = object()
        with self._lock:
            self._subscriptions[key] = (callback, types or (Event,))
            self._wanted = {}
        return lambda: self._unsubscribe(key)

    def _unsubscribe(self, key: object) -> None:
        with self._lock:
            self._subscriptions.pop(key, None)
            self._wanted = {}

    def _all(self) -> list[tuple[Callback, tuple[type[Event], ...]]]:
        with self._lock:
            return list(self._subscriptions.values())

    def wanted_by(self, event: Event) -> list[Callback]:
        """Return the callbacks that want `event`, in the order they subscribed."""
        return [callback for callback, types in self._all() if isinstance(event, types)]

    def is_wanted(self, cls: type[Event]) -> bool:
        """Whether any callback wants events of this class."""
        known = self._wanted
        found = known.get(cls)
        if found is None:
            found = known[cls] = any(issubclass(cls, types) for _, types in self._all())
        return found


bus = EventBus()
"""The events of all isolates of this process."""

subscribe = bus.subscribe

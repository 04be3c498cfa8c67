"""What happens to isolates, as events that a program can subscribe to."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias

import attrs

from piactors._text.logs import logger
from piactors._text.record import ByAttributes
from piactors.exit_reason import ExitReason


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Event(ByAttributes):
    """Base of all events.

    Attributes:
        name: the isolate's name.
        pid: of the process it is about, or None if there is none.
        generation: which generation of the isolate.
        time: seconds since the epoch, by the wall clock.
    """

    name: str
    pid: int | None
    generation: int
    time: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class IsolateStarted(Event):
    """A generation is ready: its `__init__` and `on_start` have returned."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class IsolateStartFailed(Event):
    """A generation did not become ready."""

    reason: ExitReason


@attrs.frozen(kw_only=True, eq=False, repr=False)
class IsolateExited(Event):
    """A generation has ended, and everything that it had started is gone too."""

    reason: ExitReason


@attrs.frozen(kw_only=True, eq=False, repr=False)
class IsolateRestarting(Event):
    """The next generation starts after `delay` seconds; `attempt` counts from 1 since it last ran stably."""

    attempt: int
    delay: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RestartsExceeded(Event):
    """The isolate has used up its restarts, and stays down."""

    max_restarts: int
    within: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OutputReceived(Event):
    """The isolate has written a line, which comes without its newline."""

    stream: Literal["stdout", "stderr"]
    line: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LimitBreached(Event):
    """A limit is broken.

    Attributes:
        limit: its name, as in `IsolationLimits`.
        hard: whether the generation is ended for it; False also if the kernel only refused the excess.
        allowed, observed: in the limit's unit: bytes, seconds or tasks.
        culprit_pid, culprit: pid and command line of the process of the tree that used most, as last sampled.
    """

    limit: str
    hard: bool
    allowed: float
    observed: float
    culprit_pid: int
    culprit: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CallTimedOut(Event):
    """A call has run longer than its `call_timeout`, and the generation is ended for it.

    Attributes:
        call: what was called, such as ``resize``.
        call_timeout: seconds that it was allowed to run.
        stack: the Python stacks of all threads, as far as available.
    """

    call: str
    call_timeout: float
    stack: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HeartbeatMissed(Event):
    """The isolate runs no call, and has not shown that it lives.

    Attributes:
        seconds: between two beats, as the options say.
        detail: what was missing, in one line.
    """

    seconds: float
    detail: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class IsolateRecycled(Event):
    """A fresh generation has taken over between two calls; `pid` and `generation` are those of the old one.

    Attributes:
        reason: ``after_calls``, ``after_seconds``, ``above_memory`` or ``soft_memory``; ``asked for`` (`recycle`),
            ``replaced`` (`replace`) or ``declared anew`` (`replace_child`).
        new_pid: the process that has taken over.
        warm: whether it was ready before the old one was told to stop.
    """

    reason: str
    new_pid: int | None
    warm: bool


Callback = Callable[[Event], None]


class Executor(Protocol):
    """What runs the callbacks of a subscriber elsewhere; those of `concurrent.futures` do."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> object:
        """Have ``fn(*args, **kwargs)`` called, now or later."""


class EventBus:
    """Keeps the subscriptions.  It runs nothing: a dispatcher asks it who wants an event."""

    def __init__(self) -> None:
        # Subscribers come and go on any thread; a signal handler may come while its thread has it.
        self._lock = threading.RLock()
        self._subscriptions: dict[object, tuple[Callback, tuple[type[Event], ...]]] = {}
        self._wanted: dict[type[Event], bool] = {}
        """What `is_wanted` has found since the subscriptions changed."""

    def subscribe(self, callback: Callback, *types: type[Event], run: Executor | None = None) -> Callable[[], None]:
        """Have `callback` called with each event of the given types (all, if none is given).

        Callbacks run one after the other, in order, on one thread that piactors keeps for all of them: one that takes
        long delays the others (and is logged after a second).  Whatever a callback raises is logged.

        Args:
            callback: gets each event.
            types: classes of events; default: all.
            run: an executor that runs this subscriber's callbacks, such as a
                ``concurrent.futures.ThreadPoolExecutor``: one after the other and in order, however many threads it
                has.  One that takes no more work (it is shut down) ends the subscription, which is logged.  More
                than 10,000 lines of output that wait are dropped and counted.  Default None: the thread for callbacks.

        Returns:
            A function that ends the subscription.

        Raises:
            TypeError: if `callback` cannot be called, a type is not an event class, or `run` is not an executor.
        """
        if not callable(callback):
            raise TypeError(f"subscribe: {callback!r} cannot be called")
        for cls in types:
            if not (isinstance(cls, type) and issubclass(cls, Event)):
                raise TypeError(f"subscribe: {cls!r} is not an event class; use those of piactors.events")
        if run is not None and (isinstance(run, type) or not callable(getattr(run, "submit", None))):
            raise TypeError(f"subscribe: run={run!r} is not an executor: an object with a method submit(fn, *args)")
        key = object()
        called = callback if run is None else InTurn(callback, run, lambda: self._unsubscribe(key))
        with self._lock:
            self._subscriptions[key] = (called, types or (Event,))
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


class InTurn:
    """Has an executor call a subscriber, with one event after the other.

    Args:
        give_up: ends the subscription.
    """

    def __init__(self, callback: Callback, run: Executor, give_up: Callable[[], None]) -> None:
        self._callback = callback
        self._run = run
        self._give_up = give_up
        self._lock = threading.Lock()  # events come from the dispatcher, and an executor's thread takes them
        self._waiting: deque[Event] = deque()
        self._lines = self._dropped = 0
        self._is_submitted = False
        self._is_served = False
        self._is_over = False

    def __call__(self, event: Event) -> None:
        """Queue an event."""
        of_output = isinstance(event, OutputReceived)
        with self._lock:
            if self._is_over:
                return
            if of_output and self._lines >= _MOST_LINES:
                self._dropped += 1
                return
            self._lines += of_output
            self._waiting.append(event)
            submits, self._is_submitted = not self._is_submitted, True
        if submits:
            self._submit()

    def _submit(self) -> None:
        try:
            self._run.submit(self._serve)
        except BaseException as error:
            # A thread may be lacking for a moment: what waits goes along with the next event then.
            lack = isinstance(error, MemoryError) or str(error) == "can't start new thread"
            with self._lock:
                self._is_submitted, self._is_over = False, not lack
                if self._is_over:
                    self._waiting.clear()
            if lack:
                return
            self._give_up()
            text = "the executor of a subscriber of events takes no more work, which ends the subscription of %r"
            logger.error(text, self._callback, exc_info=True)

    def _serve(self) -> None:
        """Call the subscriber with what waits; others want the executor's threads, too."""
        with self._lock:
            if self._is_served:  # an executor may have kept what it had no thread for, and was asked again
                return
            self._is_served = True
        for _ in range(_EVENTS_AT_ONCE):
            with self._lock:
                dropped, self._dropped = (self._dropped, 0) if not self._lines else (0, self._dropped)
                if not self._waiting:
                    self._is_submitted = self._is_served = False
                    event = None
                else:
                    event = self._waiting.popleft()
                    self._lines -= isinstance(event, OutputReceived)
            if dropped:
                logger.warning("a subscriber is slower than the output: dropped %d lines of output", dropped)
            if event is None:
                return
            try:
                self._callback(event)
            except BaseException:
                logger.error("a subscriber of %s has failed: %r", type(event).__name__, self._callback, exc_info=True)
        with self._lock:
            self._is_served = False
        self._submit()


_MOST_LINES = 10_000
_EVENTS_AT_ONCE = 100

bus = EventBus()
"""The events of all isolates of this process."""

subscribe = bus.subscribe


# Watching calls


CallOutcome: TypeAlias = Literal["returned", "raised", "failed", "cancelled"]
"""What became of a call: a result, an exception of its handler, no answer at all, or its caller gave it up."""


@attrs.frozen(eq=False, repr=False)
class CallInfo(ByAttributes):
    """One call, as an instrument sees it.

    Attributes:
        isolate: the isolate's name.
        call: what is called: a method, a function, an attribute, or "a message".
    """

    isolate: str
    call: str


class Instrument(Protocol):
    """Something that watches all calls from this process to its isolates; if none is installed, that costs nothing.

    Its methods come on the thread that sends a call or takes its answer, so they must be quick; what they raise is
    logged, and nothing else happens.  Ends, restarts and limits are told by `subscribe`, in order.
    """

    def call_sent(self, call: CallInfo) -> None:
        """A call is about to be sent."""

    def call_settled(self, call: CallInfo, outcome: CallOutcome, seconds: float) -> None:
        """It has an outcome, so many seconds after it was sent; a result has not been decoded yet."""


instruments: list[Instrument] = []
"""Those that are installed; nobody changes this list but `instrument`."""


def instrument(new: Instrument) -> Callable[[], None]:
    """Have an instrument see all calls that are sent from now on; returns what removes it again."""
    for method in ("call_sent", "call_settled"):
        if not callable(getattr(new, method, None)):
            raise TypeError(f"instrument: {new!r} has no method {method}; see piactors.events.Instrument")
    instruments.append(new)

    def remove() -> None:
        if new in instruments:
            instruments.remove(new)

    return remove

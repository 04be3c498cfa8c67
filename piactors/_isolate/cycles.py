"""Calls of isolates that wait for each other in a circle: found when one comes that cannot begin, and told at once.

Each isolate says in its page which request each of its threads waits for; what has become of that request, its host
knows.  What decides is in `piactors._rules.waits`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

from piactors._isolate.delivery import Delivery
from piactors._rules.message import Message
from piactors._rules.waits import Goal, Waits
from piactors.errors import DeadlockError
from piactors.pihost.wire import direct

_SOON, _LATEST = 0.001, 1.0
"""Seconds until a look that has found nothing is repeated, while calls wait that cannot begin: the first time, and at
most.  An isolate may be about to wait, and says so only then."""
_DEEPEST = 64
"""Calls that may run in the middle of each other, besides the first."""


class CycleWatch:
    """Looks for circles that keep one isolate from beginning what waits for it; on its I/O thread.

    Args:
        delivery: its messages.
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._is_due = False
        self._pause = _SOON

    def look(self) -> None:
        """A message has come: look whether it can ever begin, if it has to wait; from any thread."""
        delivery = self._delivery
        process = delivery.process
        if process is None or delivery.on_cycle == "wait" or not self._has_waiting():
            return
        if not self._is_due or all(thread.request for thread in process.threads(delivery.concurrency)):
            delivery.loop.call_soon(self._look_now)

    def _look_now(self) -> None:
        self._pause = _SOON
        self._look()

    def _look(self) -> None:
        while self._has_waiting() and break_circle(self._delivery):
            pass
        if not self._is_due and self._has_waiting():
            self._is_due = True
            self._delivery.loop.call_later(self._pause, self._look_again)

    def _look_again(self) -> None:
        self._is_due = False
        self._pause = min(2 * self._pause, _LATEST)
        self._look()

    def _has_waiting(self) -> bool:
        """Whether messages wait that no slot is free for."""
        delivery = self._delivery
        free = delivery.concurrency - (not delivery.direct.is_quiet)  # what comes directly is in no mailbox
        return delivery.process is not None and len(delivery.mailbox) > free


class Running(NamedTuple):
    """What a thread of an isolate runs, and waits for; with None for nothing.

    Attributes:
        reads: whether it could run another call meanwhile.
    """

    message: Message | None
    ask: Any
    reads: bool


def break_circle(delivery: Delivery) -> bool:
    """See to it that a circle that keeps an isolate busy does not last; False if there is none, or it is seen to.

    It is the chain of one call if only its last ask has not begun.  That may run in the middle of the call that it
    comes from, if this actor is to be entered again.  Otherwise the youngest ask of the circle fails.
    """
    found = _Found(delivery)
    circle = found.waits.circle(id(delivery))
    asks = [found.asks[ask] for _, ask in circle]
    unbegun = [ask for ask in asks if found.waits.goals[id(ask)].call is None]
    if not unbegun:
        return False
    # It is told from a call on that came from elsewhere, wherever it was found: what waits for that is the last one.
    firsts = [place for place in range(len(asks)) if asks[place - 1] in unbegun]
    first = min(firsts, key=lambda place: asks[place].stamp)
    circle = circle[first:] + circle[:first]
    if len(unbegun) == 1 and unbegun[0].goal is not None:
        there, message = unbegun[0].goal
        running = found.running.get(id(there))
        if there.mailbox.nests(message):
            return False
        if running is not None and _may_enter(there, message, running) and there.nest(message, running.ask.number):
            return True
    youngest = max(unbegun, key=lambda ask: ask.stamp)
    names = tuple(found.names[call] for call, _ in circle)
    return bool(youngest.break_off(_error(names), found.targets[id(youngest)]))


def _may_enter(there: Delivery, message: Message, running: Running) -> bool:
    """Whether a message may run in the middle of what an actor runs and waits for."""
    if there.concurrency > 1 or not running.reads or running.message is None or there.mailbox.depth() >= _DEEPEST:
        return False
    methods = (message.path, running.message.path)
    return there.on_cycle == "reenter" or any(map(there.is_reentrant, methods))


def _error(cycle: tuple[str, ...]) -> DeadlockError:
    if len(cycle) == 1:
        text = f"{cycle[0]} asks its own actor and waits for the answer, which waits for it"
    else:
        text = f"calls wait for each other in a circle: {' waits for '.join((*cycle, cycle[0]))}"
    return DeadlockError(text, cycle=cycle)


class _Found:
    """Who waits for whom now, as far as it can be reached from one isolate."""

    def __init__(self, first: Delivery) -> None:
        self.names: dict[Hashable, str] = {}
        self.asks: dict[Hashable, Any] = {}
        self.targets: dict[Hashable, Any] = {}
        """By ask: the message that was to answer it, and whose that is: a moment later it may be another one."""
        self.running: dict[Hashable, Running] = {}
        slots: dict[Any, list[int | None]] = {}
        waits: dict[Any, int] = {}
        goals: dict[Any, Goal] = {}
        todo = [first]
        while todo:
            delivery = todo.pop()
            if id(delivery) in slots:
                continue
            slots[id(delivery)] = here = []
            for running in _running(delivery):
                message, ask, _ = running
                here.append(None if message is None else id(message))
                if message is None or ask is None:
                    continue
                self.running[id(delivery)] = running
                self.names[id(message)] = f"{delivery.name}.{'.'.join(message.path) or 'on_receive'}"
                self.asks[id(ask)], waits[id(message)] = ask, id(ask)
                goal = ask.goal
                if goal is not None:
                    self.targets[id(ask)] = goal
                    goals[id(ask)] = Goal(id(goal[0]), _begun(*goal))
                    todo.append(goal[0])
        self.waits = Waits(slots, waits, goals)


def _running(delivery: Delivery) -> Iterable[Running]:
    """Return what each thread of an isolate does."""
    process = delivery.process
    if process is None:
        return
    for thread in process.threads(delivery.concurrency):
        message = delivery.call_of(thread.seq)
        if message is None and direct.is_direct(thread.seq) and thread.request:
            message = Message("call", b"", path=("?",), seq=thread.seq)  # of which nobody has told
        yield Running(message, delivery.asks.get(thread.request) if thread.request else None, thread.reads)


def _begun(delivery: Delivery, message: Message) -> int | None:
    """Return the identity of a message that has begun."""
    process = delivery.process
    begun = (
        process is not None
        and message.seq
        and any(thread.seq == message.seq for thread in process.threads(delivery.concurrency))
    )
    return id(message) if begun and delivery.call_of(message.seq) is message else None

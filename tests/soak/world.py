"""One round's world: the isolates that there are, and the calls that were made, for the ledger."""

from __future__ import annotations

import concurrent.futures
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pykka
from pykka.messages import ProxyCall

import piactors
from piactors import IsolateRef, IsolationOptions, ProcessIsolator, SupervisorRef
from tests.soak import chains, ledger
from tests.soak.ledger import Call, Facts, Outcome
from tests.soak.watch import Watch

BEHAVIOUR = str(Path(__file__).with_name("behaviour.py"))
numbers = itertools.count(1)
"""Numbers of calls, throughout the program."""
_names = itertools.count(1)


@attrs.define(eq=False)
class Held:
    """An isolate of this round, and what is known of it."""

    facts: Facts
    options: IsolationOptions
    ref: IsolateRef[Any]
    journal: Path
    style: str
    """"actor", "plain" (hosted by name) or "isolator"."""
    isolator: ProcessIsolator | None = None
    in_tree: bool = False
    pid_stopped: int | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.facts.name


@attrs.define(eq=False)
class Tree:
    """A supervision tree of this round."""

    ref: SupervisorRef
    members: list[Held] = attrs.field(factory=list)
    dynamic: SupervisorRef | None = None
    stopped: bool = False


@attrs.define(eq=False)
class World:
    """What all threads of a round share."""

    folder: Path
    watch: Watch
    kinds: frozenset[str]
    token: str
    over: threading.Event = attrs.field(factory=threading.Event)
    """No more operations."""
    ended: threading.Event = attrs.field(factory=threading.Event)
    """All isolates have ended."""
    lock: Any = attrs.field(factory=threading.Lock)
    held: list[Held] = attrs.field(factory=list)
    """All isolates of this round, the ended ones too."""
    open: list[Held] = attrs.field(factory=list)
    """Those to be used."""
    trees: list[Tree] = attrs.field(factory=list)
    calls: dict[int, Call] = attrs.field(factory=dict)
    futures: dict[int, Any] = attrs.field(factory=dict)
    """Of the calls whose outcome has not been seen."""
    events: list[chains.Told] = attrs.field(factory=list)
    faults: list[ledger.Fault] = attrs.field(factory=list)
    names: Any = _names

    def has(self, *kinds: str) -> bool:
        """Whether all these kinds are wanted."""
        return all(kind in self.kinds for kind in kinds)

    def add(self, held: Held) -> None:
        """Know an isolate from here on."""
        with self.lock:
            self.held.append(held)
            self.open.append(held)

    def let_go(self, held: Held) -> None:
        """Use an isolate no more."""
        with self.lock:
            if held in self.open:
                self.open.remove(held)

    def any(self, dice: Random, wanted: Callable[[Held], bool] = lambda _: True) -> Held | None:
        """Return one of the isolates, or None."""
        with self.lock:
            found = [held for held in self.open if wanted(held)]
        return dice.choice(found) if found else None

    def let_go_of_dead(self) -> None:
        """Use those no more that have ended by themselves."""
        with self.lock:
            self.open = [held for held in self.open if held.in_tree or held.ref.is_alive()]

    def fault(self, rule: str, isolate: str, text: str) -> None:
        """Report a fault that was seen as it happened."""
        self.faults.append(ledger.Fault(rule, isolate, None, text))

    def saw(self, event: piactors.events.Event) -> None:
        """Take an event; a subscriber."""
        reason = getattr(event, "reason", None)
        kind, detail = (reason.kind, reason.detail or "") if isinstance(reason, piactors.ExitReason) else ("", "")
        name = type(event).__name__
        delay = getattr(event, "delay", 0.0)
        self.events.append(chains.Told(name, event.name, event.pid, event.generation, event.time, kind, detail, delay))


@attrs.frozen
class Order:
    """What a call asks for: a method with its arguments, and how to tell that the answer is right."""

    method: str
    args: tuple[Any, ...] = ()
    right: Callable[[int, Any], bool] = lambda number, value: value == number
    raises: frozenset[str] = frozenset()
    small: bool = True
    retries: int = 0
    call_timeout: float | None = None
    actors_only: bool = False


def own_timeout(held: Held, order: Order, given: float | None) -> float | None:
    """Return how long a call may run."""
    return given or order.call_timeout or held.options.call_timeout


class Caller:
    """One sender: a thread, or an event loop."""

    def __init__(self, world: World, name: str, seed: str) -> None:
        self.world = world
        self.name = name
        self.dice = Random(seed)

    def _record(self, held: Held, order: Order, way: str, retries: int, call_timeout: float | None) -> Call:
        call = Call(
            next(numbers),
            held.name,
            self.name,
            way,
            order.method,
            sent=time.monotonic(),
            has_future=way != "tell",
            retries=retries or order.retries,
            call_timeout=own_timeout(held, order, call_timeout),
            raises=order.raises,
            small=order.small,
        )
        self.world.calls[call.number] = call
        self.world.watch.note(f"{way} {order.method} {call.number}", held.name)
        return call

    def ask(self, held: Held, order: Order) -> tuple[Call, Any]:
        """Send a call in one of the ways that there are, and return its future, or None where it was refused."""
        options: dict[str, Any] = {}
        if held.style == "actor" and self.world.has("retries") and self.dice.random() < 0.05:
            options["retries"] = self.dice.randint(1, 2)
        ways = {"actor": ("proxy", "call", "ask", "message"), "plain": ("proxy", "call"), "isolator": ("invoke",)}
        way = self.dice.choice(ways[held.style])
        call = self._record(held, order, way, options.get("retries", 0), None)
        with self.world.watch.bounded(f"send {call.number}", 30.0, held.name):
            try:
                future = self._send(held, order, call, way, options)
            except pykka.ActorDeadError as error:  # of `proxy()`, as with pykka
                call.has_future = False
                call.outcomes.append(attrs.evolve(outcome_of(call, error), kind="refused"))
                return call, None
        self.world.futures[call.number] = future
        future.add_done_callback(lambda done: self._called_back(call, order, done))
        return call, future

    def _send(self, held: Held, order: Order, call: Call, way: str, options: dict[str, Any]) -> Any:
        number, method, args = call.number, order.method, order.args
        if way == "invoke":
            assert held.isolator is not None
            return held.isolator.invoke_method(f"{BEHAVIOUR}:run", str(held.journal), method, number, *args)
        if way == "message":
            call.retries = options.get("retries", 0)  # a message does not say which method it calls
            return held.ref.ask(self._message(call, order), block=False, call_timeout=order.call_timeout, **options)
        if way == "ask":
            return held.ref.ask(ProxyCall(attr_path=(method,), args=(number, *args), kwargs={}), block=False, **options)
        call.retries = order.retries
        if way == "call":
            return held.ref.call(method, number, *args)
        return getattr(held.ref.proxy(), method)(number, *args)

    @staticmethod
    def _message(call: Call, order: Order) -> dict[str, Any]:
        return {"method": order.method, "number": call.number, "args": order.args}

    def ask_and_wait(self, held: Held, order: Order, timeout: float) -> None:
        """Send a message and wait for the answer, for so long."""
        call = self._record(held, order, "blocking ask", 0, None)
        call.retries = 0
        with self.world.watch.bounded(f"blocking ask {call.number}", timeout, held.name):
            try:
                value = held.ref.ask(self._message(call, order), timeout=timeout, call_timeout=order.call_timeout)
            except piactors.Timeout:
                call.outcomes.append(Outcome("gave_up", at=time.monotonic()))
            except BaseException as error:
                call.outcomes.append(outcome_of(call, error))
            else:
                call.outcomes.append(Outcome("value", right=order.right(call.number, value), at=time.monotonic()))

    def tell(self, held: Held, order: Order) -> None:
        """Send a message that nobody waits for."""
        call = self._record(held, order, "tell", 0, None)
        message: Any = self._message(call, order)
        call.retries = 0
        if self.dice.random() < 0.5:
            message = ProxyCall(attr_path=(order.method,), args=(call.number, *order.args), kwargs={})
            call.retries = order.retries
        with self.world.watch.bounded(f"tell {call.number}", 30.0, held.name):
            try:
                held.ref.tell(message, call_timeout=order.call_timeout)
            except Exception as error:
                call.outcomes.append(attrs.evolve(outcome_of(call, error), kind="refused"))

    def _called_back(self, call: Call, order: Order, future: Any) -> None:
        call.callbacks += 1
        see(self.world, call, order, future)


def see(world: World, call: Call, order: Order, future: Any) -> None:
    """Write down the outcome of a call, as whoever calls this sees it; waits for it where there is none."""
    call.outcomes.append(seen(call, order, future))
    if call.callbacks:
        world.futures.pop(call.number, None)


def seen(call: Call, order: Order, future: Any) -> Outcome:
    """Return the outcome of a future that has one."""
    try:
        value = future.get(timeout=0)
    except BaseException as error:
        return outcome_of(call, error)
    return Outcome("value", right=order.right(call.number, value), at=time.monotonic(), text=shortened(value))


def shortened(value: Any) -> str:
    """Return a value's text, not all of a large one."""
    return f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else repr(value)[:100]


def outcome_of(call: Call, error: BaseException) -> Outcome:
    """Return the outcome that an exception is."""
    name, text, now = type(error).__name__, str(error), time.monotonic()
    if isinstance(error, concurrent.futures.CancelledError):
        return Outcome("cancelled", at=now)
    if isinstance(error, piactors.IsolateCrashed):
        attempts = error.attempts if isinstance(error, piactors.PoisonMessage) else 0
        return Outcome(
            "error",
            name,
            generation=error.generation,
            pid=error.pid,
            reason=error.reason.kind,
            attempts=attempts,
            at=now,
            text=error.reason.summary,
        )
    if isinstance(error, pykka.ActorDeadError):
        name = "ActorDeadError"
    right = name not in call.raises or text == f"planned {call.number}"
    return Outcome("error", name, right=right, at=now, text=text)

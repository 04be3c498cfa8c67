"""What the threads of a round do at random: small operations, each with its kind, its weight and its bound."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable
from typing import Any

import attrs
import pykka

import piactors
from tests.soak import drawing, orders
from tests.soak.ledger import Call
from tests.soak.world import Caller, Held, Tree, see

MOST_OPEN = 8
"""Isolates that are open for use at a time."""
MOST_TREES = 2
WAIT = 20.0
"""Seconds that a wait may take that must not take any: for an isolate that ends, a tree that answers."""


@attrs.frozen
class Operation:
    """One thing to do.

    Attributes:
        kind: what `--without` calls it.
        weight: how often it is chosen, among the others.
        bound: seconds that it takes at most; the watchdog allows some more.
        run: does it.
    """

    kind: str
    weight: float
    bound: float
    run: Callable[[Caller], object]


def call(caller: Caller) -> None:
    """Send one call and do one of many things with its future."""
    held = caller.world.any(caller.dice)
    if held is None:
        return
    order = orders.draw(caller.world, caller.dice, held)
    made, future = caller.ask(held, order)
    if future is None:
        return
    what = caller.dice.random()
    if what < 0.3:
        with contextlib.suppress(Exception, concurrent.futures.CancelledError):
            future.get(timeout=caller.dice.choice([0.001, 0.05, 0.5]))
        if future.done():
            see(caller.world, made, order, future)
    elif what < 0.4 and caller.world.has("cancel"):
        made.cancelled_by_us = True
        future.cancel()
    elif what < 0.45 and caller.world.has("cancel"):
        made.cancelled_by_us = True
        with contextlib.suppress(Exception, concurrent.futures.CancelledError):
            future.get_or_cancel(caller.dice.choice([0.0, 0.001, 0.02]))


def burst(caller: Caller) -> None:
    """Send many calls to one isolate, and give up on some."""
    held = caller.world.any(caller.dice)
    if held is None:
        return
    sent = _sent(caller, held, caller.dice.randint(2, 40))
    if caller.world.has("cancel") and caller.dice.random() < 0.3:
        for made, future in caller.dice.sample(sent, len(sent) // 2):
            made.cancelled_by_us = True
            future.cancel()
    elif caller.dice.random() < 0.5:
        concurrent.futures.wait([future for _, future in sent], timeout=1.0)


def _sent(caller: Caller, held: Held, count: int) -> list[tuple[Call, Any]]:
    """Send random calls, and return those that were taken, with their futures."""
    sent = [caller.ask(held, orders.draw(caller.world, caller.dice, held)) for _ in range(count)]
    return [(made, future) for made, future in sent if future is not None]


def blocking(caller: Caller) -> None:
    """Ask and wait, for a short time."""
    held = caller.world.any(caller.dice, lambda held: held.style == "actor")
    if held is not None:
        order = orders.draw(caller.world, caller.dice, held)
        caller.ask_and_wait(held, order, caller.dice.choice([0.001, 0.1, 1.0]))


def tell(caller: Caller) -> None:
    """Tell something, now and then many things."""
    held = caller.world.any(caller.dice, lambda held: held.style == "actor")
    for _ in range(caller.dice.choice([1, 1, 1, 20])):
        if held is not None:
            caller.tell(held, orders.draw(caller.world, caller.dice, held))


def usage(caller: Caller) -> None:
    """Ask what it uses, and all else that a ref tells."""
    held = caller.world.any(caller.dice)
    if held is not None:
        held.ref.resource_usage()
        if caller.dice.random() < 0.2:
            held.ref.usage_history()
        held.ref.enforcement()
        repr((held.ref, held.ref.state, held.ref.generation, held.ref.mailbox_size, held.ref.is_alive()))


def data(caller: Caller) -> None:
    """Set a value, and read one."""
    held = caller.world.any(caller.dice, lambda held: held.options.mailbox_capacity is None)
    if held is not None:
        held.ref.set_data("key", caller.dice.random())
        with contextlib.suppress(KeyError, pykka.ActorDeadError, piactors.Timeout):
            held.ref.get_data("key")


def subscribe(caller: Caller) -> None:
    """Subscribe to events for a moment."""
    seen: list[Any] = []
    unsubscribe = piactors.events.subscribe(seen.append, *caller.dice.choice([(), (piactors.events.OutputReceived,)]))
    call(caller)
    unsubscribe()


def watch(caller: Caller) -> None:
    """Watch an isolate that is supervised by itself."""
    held = caller.world.any(caller.dice, lambda held: not held.in_tree)
    if held is None:
        return
    told = held.facts.watches
    place = len(told)
    told.append(0)

    def count(down: piactors.Down) -> None:
        told[place] += 1

    piactors.watch(held.ref, count)


def link(caller: Caller) -> None:
    """Let two isolates end together."""
    one, other = (caller.world.any(caller.dice, lambda held: not held.in_tree) for _ in range(2))
    if one is not None and other is not None and one is not other:
        for held in (one, other):
            held.facts.stop_asked = True
            held.facts.drains = False
        piactors.link(one.ref, other.ref)


def start(caller: Caller) -> None:
    """Start an isolate, unless there are many."""
    caller.world.let_go_of_dead()
    if len(caller.world.open) < MOST_OPEN:
        drawing.start_isolate(caller.world, caller.dice)


def stop(caller: Caller) -> None:
    """Stop an isolate in one of the ways that there are."""
    held = caller.world.any(caller.dice, lambda held: not held.in_tree)
    if held is not None:
        stop_one(caller, held)


def stop_one(caller: Caller, held: Held) -> None:
    """Stop an isolate that stands alone."""
    caller.world.let_go(held)
    how = caller.dice.choice(["stop", "stop and wait", "terminate", "exit"])
    held.facts.drains = how != "terminate" and not held.facts.stop_asked
    held.facts.stop_asked = True
    with caller.world.watch.bounded(f"{how}", WAIT, held.name):
        if how == "terminate":
            held.ref.terminate(timeout=None)
        elif how == "exit" and held.isolator is not None:
            held.isolator.exit("by chance")
        else:
            future = held.ref.stop(block=False)
            if how == "stop and wait":
                with contextlib.suppress(pykka.ActorDeadError, piactors.Timeout):
                    future.get(timeout=5.0)


def start_tree(caller: Caller) -> None:
    """Start a tree, unless there are many."""
    if sum(not tree.stopped for tree in caller.world.trees) < MOST_TREES:
        drawing.start_tree(caller.world, caller.dice)


def tree_of(caller: Caller) -> Tree | None:
    """Return a tree that nobody has stopped."""
    found = [tree for tree in caller.world.trees if not tree.stopped]
    return caller.dice.choice(found) if found else None


def change_tree(caller: Caller) -> None:
    """Terminate, restart, add or delete a child of a tree."""
    tree = tree_of(caller)
    if tree is None:
        return
    if tree.dynamic is not None and caller.dice.random() < 0.3:
        drawing.start_dynamic_child(caller.world, caller.dice, tree)
        return
    if not tree.members:
        return
    child = caller.dice.choice(tree.members).name
    what = caller.dice.choice(["terminate_child", "restart_child", "restart_child", "count_children", "which_children"])
    refused = (
        piactors.ChildNotFound,
        piactors.ChildRunning,
        piactors.ChildRestarting,
        piactors.ActorDeadError,
        piactors.StartError,
    )
    with caller.world.watch.bounded(f"{what} {child}", WAIT, child), contextlib.suppress(*refused):
        getattr(tree.ref, what)(*([child] if what.endswith("_child") else []))


def stop_tree(caller: Caller) -> None:
    """Stop a tree."""
    tree = tree_of(caller)
    if tree is not None:
        stop_this_tree(caller, tree)


def stop_this_tree(caller: Caller, tree: Tree) -> None:
    """Stop a tree, its children before it."""
    tree.stopped = True
    for held in tree.members:
        caller.world.let_go(held)
    with caller.world.watch.bounded(f"stop tree {tree.ref.name}", 2 * WAIT), contextlib.suppress(pykka.ActorDeadError):
        tree.ref.stop()


OPERATIONS = (
    Operation("calls", 40, 5, call),
    Operation("calls", 6, 40, burst),
    Operation("calls", 5, 5, blocking),
    Operation("tells", 8, 30, tell),
    Operation("usage", 2, 5, usage),
    Operation("data", 1, 70, data),
    Operation("events", 1, 5, subscribe),
    Operation("watch", 1, 5, watch),
    Operation("watch", 0.2, 5, link),
    Operation("start_stop", 4, 50, start),
    Operation("start_stop", 1, 30, stop),
    Operation("trees", 0.5, 100, start_tree),
    Operation("trees", 1.5, 50, change_tree),
    Operation("trees", 0.15, 60, stop_tree),
)


async def call_async(caller: Caller) -> None:
    """Await calls: alone, in bulk, with a time-out, cancelled."""
    held = caller.world.any(caller.dice, lambda held: held.options.overflow != "block" or not held.facts.capacity)
    if held is None:
        return
    sent = _sent(caller, held, caller.dice.choice([1, 1, 1, 10]))
    how = caller.dice.choice(["wait_for", "gather", "leave", "wait"])
    futures = [future for _, future in sent]
    if how == "leave" or not futures:
        return
    if how == "wait":
        await asyncio.wait(futures, timeout=caller.dice.choice([0.01, 0.3]))
        return
    for made, _ in sent:
        made.cancelled_by_us = True  # a time-out cancels what it waits for
    with contextlib.suppress(Exception, asyncio.CancelledError):
        if how == "wait_for":
            await asyncio.wait_for(futures[0], caller.dice.choice([0.0, 0.005, 0.3]))
        else:
            both = asyncio.gather(*futures, return_exceptions=True)
            await asyncio.wait_for(both, caller.dice.choice([0.01, 0.5]))


async def start_and_stop_async(caller: Caller) -> None:
    """Start an isolator for a moment, from the event loop."""
    if len(caller.world.open) >= MOST_OPEN:
        return
    with contextlib.suppress(piactors.StartError):
        async with piactors.ProcessIsolator(piactors.IsolationOptions(shutdown_timeout=1.0)) as isolator:
            await asyncio.wait([isolator.invoke_method("math:factorial", 5)], timeout=5)


ASYNC_OPERATIONS: tuple[tuple[str, float, Any], ...] = (
    ("asyncio", 10, call_async),
    ("start_stop", 0.3, start_and_stop_async),
)

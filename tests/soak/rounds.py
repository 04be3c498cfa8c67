"""One round: start isolates, let threads, an event loop and a saboteur loose on them, stop all, and judge."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pykka

import piactors
from piactors import events
from piactors._host import runtime
from tests.soak import chains, drawing, ledger, operations
from tests.soak.ledger import Fault
from tests.soak.sabotage import SABOTAGE
from tests.soak.watch import Watch
from tests.soak.world import Caller, Held, World

SENDERS = 3
FIRST = 4
"""Isolates at the begin of a round."""
LET_FINISH = 0.3
"""In how many of the rounds all calls are let finish before the isolates are stopped."""
FINISH_SECONDS = 90.0
"""Seconds by which they have, on a loaded machine."""
END_SECONDS = 60.0
"""Seconds by which everything has ended once it was told to."""
SETTLE_SECONDS = 30.0
"""Seconds by which all futures have their outcomes, and callbacks and events have come, once all have ended."""
LIFE = (
    events.IsolateStarted,
    events.IsolateStartFailed,
    events.IsolateExited,
    events.IsolateRestarting,
    events.RestartsExceeded,
    events.IsolateRecycled,
    events.CallTimedOut,
    events.LimitBreached,
    events.HeartbeatMissed,
)


@attrs.frozen
class Result:
    """What came of a round."""

    faults: list[Fault]
    calls: int
    isolates: int
    generations: int
    outcomes: dict[str, int]
    stories: dict[str, list[str]]
    seconds: dict[str, float] = attrs.field(factory=dict)
    """How long each phase took."""
    slowest: str = ""
    """The operation that took longest while all was let loose."""


class Phases:
    """Measures how long the parts of a round take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def over(self, name: str) -> None:
        """A part is over."""
        now = time.monotonic()
        self.seconds[name], self._last = round(now - self._last, 1), now


def run(watch: Watch, kinds: frozenset[str], token: str, seed: str, seconds: float) -> Result:
    """Run one round of about so many seconds.

    Args:
        kinds: of the operations and features that are mixed.
        token: what marks the processes of this program.
        seed: for all that is chosen at random.
    """
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    world = World(folder, watch, kinds, token)
    unsubscribe = events.subscribe(world.saw, *LIFE)
    phases = Phases()
    try:
        loop = _live(world, seed, seconds)
        phases.over("live")
        slowest = watch.slowest()
        end = Caller(world, "end", f"{seed}-end")
        if end.dice.random() < LET_FINISH:
            _let_finish(world)
            phases.over("finish")
        _end(world, end)
        world.ended.set()
        phases.over("end")
        _settle(world)
        loop.join()
        phases.over("settle")
        return attrs.evolve(_judged(world), seconds=phases.seconds, slowest=slowest)
    finally:
        unsubscribe()
        shutil.rmtree(folder)


def _live(world: World, seed: str, seconds: float) -> threading.Thread:
    """Let all loose for so long; returns the thread of the event loop, which goes on until the callbacks have come."""
    first = Caller(world, "first", f"{seed}-first")
    for _ in range(FIRST):
        drawing.start_isolate(world, first.dice)
    threads = [
        threading.Thread(target=_send, args=(Caller(world, f"sender{n}", f"{seed}-{n}"), operations.OPERATIONS, 0.002))
        for n in range(SENDERS)
    ]
    threads.append(threading.Thread(target=_send, args=(Caller(world, "saboteur", f"{seed}-s"), SABOTAGE, 0.15)))
    threads.append(threading.Thread(target=asyncio.run, args=(_send_async(Caller(world, "loop", f"{seed}-loop")),)))
    for thread, name in zip(threads, [*(f"sender{n}" for n in range(SENDERS)), "saboteur", "loop"], strict=True):
        thread.name = name
        thread.start()
    _wait_for(world, seconds, lambda: False)
    world.over.set()
    for thread in threads[:-1]:
        thread.join()
    return threads[-1]


def _wait_for(world: World, seconds: float, done: Callable[[], bool]) -> bool:
    """Wait for so long, or until it is done; time in which the host is stopped does not count."""
    until = time.monotonic() + seconds
    paused = world.watch.paused
    while not done():
        if time.monotonic() > until + world.watch.paused - paused:
            return False
        time.sleep(0.02)
    return True


def _send(caller: Caller, table: tuple[operations.Operation, ...], pause: float) -> None:
    chosen = [operation for operation in table if operation.kind in caller.world.kinds]
    weights = [operation.weight for operation in chosen]
    while chosen and not caller.world.over.is_set():
        operation = caller.dice.choices(chosen, weights)[0]
        with caller.world.watch.bounded(operation.run.__name__, operation.bound):
            _guarded(caller, operation.run)
        caller.world.over.wait(caller.dice.expovariate(1 / pause))


def _guarded(caller: Caller, run: Callable[[Caller], object]) -> None:
    """Run an operation; an exception that it lets through is none that this operation may raise."""
    try:
        run(caller)
    except Exception as error:
        caller.world.fault("operation", "-", f"{run.__name__} raised {error!r}\n{''.join(traceback.format_exc())}")


async def _send_async(caller: Caller) -> None:
    """Await calls until the round is over, and then for the callbacks of this loop."""
    chosen = [entry for entry in operations.ASYNC_OPERATIONS if entry[0] in caller.world.kinds]
    while chosen and not caller.world.over.is_set():
        _, _, operation = caller.dice.choices(chosen, [weight for _, weight, _ in chosen])[0]
        with caller.world.watch.bounded(operation.__name__, 40):
            try:
                await operation(caller)
            except Exception as error:
                caller.world.fault("operation", "-", f"{operation.__name__} raised {error!r}")
        await asyncio.sleep(caller.dice.expovariate(1 / 0.004))
    while not caller.world.ended.is_set():
        await asyncio.sleep(0.02)
    own = [call for call in list(caller.world.calls.values()) if call.sender == caller.name and call.has_future]
    until = time.monotonic() + SETTLE_SECONDS
    while any(not call.callbacks for call in own) and time.monotonic() < until + caller.world.watch.paused:
        await asyncio.sleep(0.02)


def _let_finish(world: World) -> None:
    """See that all calls come to an end by themselves: none lasts long, and what hangs has a `call_timeout`."""
    with world.watch.bounded("let all calls finish", FINISH_SECONDS + 10):
        if _wait_for(world, FINISH_SECONDS, lambda: all(future.done() for future in list(world.futures.values()))):
            return
    for number, future in list(world.futures.items()):
        if not future.done():
            call = world.calls[number]
            held = next(held for held in world.held if held.name == call.isolate)
            text = f"{call.way} {call.method} has no outcome after {FINISH_SECONDS:g} s of quiet; {held.ref!r}"
            text = f"{text}, {held.ref.mailbox_size} messages wait; {_inside(held.ref)}"
            world.faults.append(Fault("stuck", call.isolate, number, text))


def _inside(ref: Any) -> str:
    """Return what is known of an isolate that is stuck, for whoever has to find out why."""
    isolate = getattr(ref, "_isolate", None)
    if isolate is None:
        return "an isolator"
    machine, body, generation = isolate.life.machine, isolate.life.current, isolate.process
    pid = None if generation is None else generation.pid
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if pid else "-"
    except OSError:
        state = "gone"
    over = generation is not None and generation.is_over
    facts = None if body is None else (body.facts, body.stop_wanted)
    return (
        f"process {pid} is in state {state}, {'over' if over else 'not over'}; {facts}; {machine.phase}, "
        f"{machine.wish!r}, "
        f"halting {machine.halting}, {machine.swap}, {machine.bodies}; {isolate.delivery.mailbox.in_flight} in flight"
    )


def _end(world: World, caller: Caller) -> None:
    """Stop everything that runs, and see that it has ended."""
    for tree in world.trees:
        if not tree.stopped:
            operations.stop_this_tree(caller, tree)
    for held in list(world.open):
        if not held.in_tree:
            if not held.facts.stop_asked and held.ref.wait_for_exit(0) is not None:
                world.let_go(held)
                continue
            operations.stop_one(caller, held)
    for held in world.held:
        with world.watch.bounded("wait for the end", END_SECONDS, held.name):
            reason = held.ref.wait_for_exit(END_SECONDS)
        if reason is None:
            world.fault("does not end", held.name, f"{held.ref!r} after {END_SECONDS:g} s")
            _put_down(held)


def _put_down(held: Held) -> None:
    if held.ref.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(held.ref.pid, signal.SIGKILL)


def _settle(world: World) -> None:
    """See that all futures have their outcomes, and that what was to be told has been told."""
    with world.watch.bounded("settle", 4 * SETTLE_SECONDS):
        _wait_for(world, SETTLE_SECONDS, lambda: all(future.done() for future in list(world.futures.values())))
        _wait_for(
            world,
            SETTLE_SECONDS,
            lambda: (
                not any(
                    call.has_future and call.way != "blocking ask" and not call.callbacks
                    for call in world.calls.values()
                )
            ),
        )
        # What an isolate had written before is passed on first, for a second at the most.
        if not runtime.current().dispatcher.drain(SETTLE_SECONDS):
            world.fault("callbacks", "-", f"not all has been told within {SETTLE_SECONDS:g} s")


def _judged(world: World) -> Result:
    runs = {held.name: ledger.parse(held.journal.read_text()) for held in world.held}
    facts = {held.name: held.facts for held in world.held}
    begun = {run.number for lines in runs.values() for run in lines}
    for call in world.calls.values():
        if call.method == "stop_myself" and call.number in begun:
            facts[call.isolate].stops_itself = True
        if call.method in ("leave", "leave_asleep") and call.number in begun:
            facts[call.isolate].leaves = True
    told = chains.by_name(world.events)
    pids, ends = chains.processes(told), chains.endings(told)
    for name, kind in chains.last_exits(told).items():
        if name in facts:
            facts[name].last_exit = kind
    faults = [
        *world.faults,
        *ledger.judge(world.calls, facts, runs, pids, ends),
        *chains.judge(told, facts),
        *_fresh_one(world),
    ]
    outcomes: dict[str, int] = {}
    for call in world.calls.values():
        kind = call.outcomes[0].shown.split(" ", 2) if call.outcomes else ["told"]
        name = kind[1] if kind[0] == "error" else kind[0]
        outcomes[name] = outcomes.get(name, 0) + 1
    stories = {fault.isolate: world.watch.story_of(fault.isolate) for fault in faults}
    return Result(
        faults, len(world.calls), len(world.held), sum(len(found) for found in pids.values()), outcomes, stories
    )


def _fresh_one(world: World) -> list[Fault]:
    """After all that, an isolate starts and answers."""
    try:
        with world.watch.bounded("a fresh isolate", 60), piactors.ProcessIsolator() as isolator:
            found: Any = isolator.invoke_method("math:factorial", 5).get(timeout=30)
    except (piactors.PiactorsError, pykka.Timeout) as error:
        return [Fault("a fresh isolate", "-", None, repr(error))]
    return [] if found == 120 else [Fault("a fresh isolate", "-", None, f"answers {found!r}")]

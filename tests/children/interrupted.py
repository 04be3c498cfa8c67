"""A program whose operations are interrupted, one instruction after the other; what does not work then is printed.

``python -m tests.children.interrupted OPERATIONS FIRST STEP SECONDS [handler | signals]``: at every STEP-th
instruction from FIRST on, for at most SECONDS each; OPERATIONS are names with commas.  With ``handler`` a signal
handler is called there that uses the same isolates; with ``signals`` real ones come, at any moment.  STEP may be
``random``: the next instruction is then some way on, and FIRST is the seed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import pykka

import piactors
from piactors import ChildSpec, ProcessActor, ProcessIsolator, Supervisor, events
from piactors._host import runtime
from tests.interrupting import Injector

PATIENCE = 8.0
LARGE = b"x" * 300_000
MORE_THAN_THERE_ARE = 1_000_000_000


class Worker(ProcessActor):
    """What runs in the isolates."""

    def hello(self, value: int = 0) -> int:
        return value

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def size(self, data: bytes) -> int:
        return len(data)

    def large(self) -> bytes:
        return LARGE

    def run(self, function: Any, *args: Any) -> Any:
        return function(*args)

    def through(self, ref: Any, tag: int) -> Any:
        return ref.proxy().note(tag).get(timeout=PATIENCE)

    def note(self, tag: int) -> int:
        self.noted: Counter[int] = getattr(self, "noted", Counter())
        self.noted[tag] += 1
        return tag

    def more_than_once(self) -> list[int]:
        return [tag for tag, count in getattr(self, "noted", {}).items() if count > 1]


class Other:
    """Another thread that calls meanwhile; each of its calls has to come to its outcome."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.go, self.done = threading.Event(), threading.Event()
        self.failed: list[str] = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            self.go.wait()
            self.go.clear()
            try:
                for number in range(4):
                    one, two = (ref.call("hello", number) for ref in (self.world.a, self.world.b))
                    slow = self.world.b.call("sleep", 0.001)
                    found = [future.get(timeout=PATIENCE) for future in (one, two, slow)]
                    if found != [number, number, 0.001]:
                        self.failed.append(f"the other thread got {found}")
            except BaseException as error:
                self.failed.append(f"the other thread's call: {type(error).__name__}: {error}")
            self.done.set()


class World:
    """Two isolates and another thread, beside what an operation makes for itself."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Make all of it anew."""
        self.lasting: Any = ()
        self.seen: Counter[int] = Counter()
        self.tags = itertools.count()
        self.a = Worker.start()
        self.b = Worker.start()
        self.bounded = Worker.with_options(mailbox_capacity=2).start()
        self.lasting = (self.a, self.b, self.bounded)
        self.other = Other(self)
        self.generations = [ref.generation for ref in self.lasting]
        self.victim: Any = None

    def problems(self) -> list[str]:
        """What does not work."""
        found = []
        if not self.other.done.wait(PATIENCE):
            found.append("the other thread hangs")
            return found
        found += self.other.failed
        self.other.failed.clear()
        for name, ref in zip(("a", "b", "bounded"), self.lasting, strict=True):
            for where in ("main", "thread"):
                said = in_thread(lambda ref=ref: ref.call("hello", 7).get(timeout=PATIENCE), main=where == "main")
                if said != 7:
                    found.append(f"a call of {name} in {where}: {said!r}")
        if [ref.generation for ref in self.lasting] != self.generations:
            found.append(f"generations {[ref.generation for ref in self.lasting]}")
        deadline = time.monotonic() + PATIENCE
        while left := sum(ref.mailbox_size for ref in self.lasting):  # what was told may not have been answered
            if time.monotonic() > deadline:
                found.append(f"{left} messages stay in a mailbox")
                break
            time.sleep(0.001)
        twice = [tag for tag, count in self.seen.items() if count > 1] + self.b.call("more_than_once").get(
            timeout=PATIENCE
        )
        if twice:
            found.append(f"these ran more than once: {twice}")
        found += self.leftovers()
        return found

    def see(self, tag: int) -> int:
        """What isolates call back."""
        self.seen[tag] += 1
        return tag

    def leftovers(self) -> list[str]:
        """Stop what the operation has started; what cannot be stopped."""
        found = []
        for tree in list(runtime.current()._trees):
            tree.shut_down()
            if not tree.wait_ended(PATIENCE):
                found.append("a tree does not end")
        for ref in pykka.ActorRegistry.get_all():
            if ref not in self.lasting:
                try:
                    ref.stop(timeout=PATIENCE)
                except BaseException as error:
                    found.append(f"stop: {type(error).__name__}: {error}")
        deadline = time.monotonic() + PATIENCE
        while len(runtime.current()._alive) > len(self.lasting):
            if time.monotonic() > deadline:
                states = [(m.spec.name, m.state, m.process) for m in runtime.current()._alive.values()]
                found.append(f"isolates stay: {states}")
                break
            time.sleep(0.002)
        return found


def in_thread(function: Callable[[], Any], *, main: bool) -> Any:
    """Return what a function returns or raises, here or in another thread."""
    box: list[Any] = []

    def run() -> None:
        try:
            box.append(function())
        except BaseException as error:
            box.append(error)

    if main:
        run()
    else:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(2 * PATIENCE)
    return box[0] if box else "(hangs)"


class Operation:
    """What is interrupted: `prepare` before, `run`, and what has to be so `after`."""

    def prepare(self, world: World) -> None: ...

    def run(self, world: World) -> Any: ...

    def after(self, world: World, result: Any) -> list[str]:
        return []


OPERATIONS: dict[str, Callable[[], Operation]] = {}


def simple(name: str) -> Callable[[Callable[[World], Any]], Any]:
    def put(function: Callable[[World], Any]) -> Any:
        OPERATIONS[name] = type(name, (Operation,), {"run": lambda self, world: function(world)})
        return function

    return put


@simple("ask")
def _(world: World) -> Any:
    return world.a.ask({"command": "nothing"}, timeout=PATIENCE)


@simple("call")
def _(world: World) -> Any:
    return world.a.proxy().hello(3).get(timeout=PATIENCE)


@simple("calls")
def _(world: World) -> Any:
    return pykka.get_all([world.a.call("hello", n) for n in range(5)] + [world.b.call("hello", 9)], timeout=PATIENCE)


@simple("bounded")
def _(world: World) -> Any:
    return [f.get(timeout=PATIENCE) for f in [world.bounded.call("sleep", 0.001) for n in range(5)]]


@simple("tell")
def _(world: World) -> Any:
    world.a.tell({"command": "nothing"})
    return world.b.tell({"command": "nothing"})


@simple("callback")
def _(world: World) -> Any:
    return world.a.call("run", piactors.by_ref(world.see), next(world.tags)).get(timeout=PATIENCE)


@simple("callback_in_caller")
def _(world: World) -> Any:
    handle = piactors.by_ref(world.see, run="caller")
    return world.a.call("run", handle, next(world.tags)).get(timeout=PATIENCE)


@simple("routed")
def _(world: World) -> Any:
    return world.a.call("through", world.b, next(world.tags)).get(timeout=PATIENCE)


@simple("lent_future")
def _(world: World) -> Any:
    return world.a.call("run", _get, world.b.call("sleep", 0.001)).get(timeout=PATIENCE)


def _get(future: Any) -> Any:
    return future.get(timeout=PATIENCE)


@simple("usage")
def _(world: World) -> Any:
    return world.a.resource_usage(), world.b.resource_usage()


@simple("data")
def _(world: World) -> Any:
    world.a.set_data("key", [1])
    return world.a.get_data("key")


@simple("send_large")
def _(world: World) -> Any:
    return world.a.call("size", LARGE).get(timeout=PATIENCE)


@simple("await")
def _(world: World) -> Any:
    async def main() -> Any:
        return await asyncio.gather(world.a.call("sleep", 0.001), world.b.call("hello"))

    return asyncio.run(main())


@simple("wait")
def _(world: World) -> Any:
    done, _ = concurrent.futures.wait([world.a.call("sleep", 0.001), world.b.call("hello")], timeout=PATIENCE)
    return [future.result(timeout=PATIENCE) for future in done]


@simple("map")
def _(world: World) -> Any:
    method = world.a.proxy().hello
    return [*method.map(range(20)), *method.map([[1], "x"], ordered=False)]


@simple("map_dropped")
def _(world: World) -> Any:
    return next(world.a.proxy().hello.map(range(100)))


@simple("amap")
def _(world: World) -> Any:
    async def main() -> Any:
        return [value async for value in world.a.proxy().hello.amap(range(20))]

    return asyncio.run(main())


@simple("start")
def _(world: World) -> Any:
    return Worker.start()


@simple("spawn")
def _(world: World) -> Any:
    return piactors.spawn(Spawned, 5).proxy().get().get(timeout=PATIENCE)


class Spawned:
    """What is spawned."""

    def __init__(self, value: int) -> None:
        self.value = value

    def get(self) -> int:
        return self.value


@simple("isolator")
def _(world: World) -> Any:
    with ProcessIsolator() as isolator:
        return isolator.invoke_method("os:getpid").get(timeout=PATIENCE)


@simple("isolator_async")
def _(world: World) -> Any:
    async def main() -> Any:
        async with ProcessIsolator() as isolator:
            return await isolator.invoke_method("os:getpid")

    return asyncio.run(main())


@simple("tree")
def _(world: World) -> Any:
    with Supervisor.start(children=[ChildSpec("one", Worker)]) as tree:
        tree.child("one").call("hello").get(timeout=PATIENCE)
        return tree.which_children()


class _Large(Operation):
    """The answer is decoded by several."""

    def prepare(self, world: World) -> None:
        self.future = world.a.call("large")
        time.sleep(0.005)

    def run(self, world: World) -> Any:
        return self.future.get(timeout=PATIENCE)

    def after(self, world: World, result: Any) -> list[str]:
        again = [in_thread(lambda: self.future.get(timeout=PATIENCE), main=main) for main in (True, False)]
        return [f"the future has {type(found).__name__} {found!r:.50}" for found in again if found != LARGE]


OPERATIONS["get_large"] = _Large


class _Cancel(Operation):
    """One that waits is cancelled, and one that runs."""

    def prepare(self, world: World) -> None:
        self.running = world.a.call("sleep", 0.002)
        self.waiting = world.a.call("hello", 4)
        self.waiter = threading.Thread(target=self.wait, daemon=True)
        self.waiter.start()

    def wait(self) -> None:
        in_thread(lambda: self.waiting.get(timeout=PATIENCE), main=True)

    def run(self, world: World) -> Any:
        return self.waiting.cancel(), self.running.cancel()

    def after(self, world: World, result: Any) -> list[str]:
        found = []
        self.waiter.join(PATIENCE / 2)
        if self.waiter.is_alive():
            found.append("who waited for the cancelled call hangs")
        said = in_thread(lambda: self.waiting.get(timeout=PATIENCE / 4), main=True)
        if not (said == 4 or isinstance(said, concurrent.futures.CancelledError)):
            found.append(f"the cancelled one: {said!r}")
        said = in_thread(lambda: self.running.get(timeout=PATIENCE / 4), main=True)
        if not (said == 0.002 or isinstance(said, concurrent.futures.CancelledError)):
            found.append(f"the running one: {said!r}")
        return found


OPERATIONS["cancel"] = _Cancel


class _Callback(Operation):
    """A callback is called once, unless its adding was interrupted."""

    def prepare(self, world: World) -> None:
        self.called: list[Any] = []
        self.event = threading.Event()

    def run(self, world: World) -> Any:
        future = world.a.call("hello", 5)
        future.add_done_callback(lambda _: (self.called.append(1), self.event.set()))
        mapped = future.map(lambda value: value + 1)
        return mapped.get(timeout=PATIENCE)

    def after(self, world: World, result: Any) -> list[str]:
        if isinstance(result, BaseException):
            return []
        return [] if self.event.wait(PATIENCE) else ["a callback was not called"]


OPERATIONS["callback"] = _Callback


class _OfOne(Operation):
    """What is done to an isolate that is there for it alone."""

    def prepare(self, world: World) -> None:
        self.ref = Worker.start()
        self.running = self.ref.call("sleep", 0.002)

    def run(self, world: World) -> Any:
        return self.act()

    def act(self) -> Any: ...

    def after(self, world: World, result: Any) -> list[str]:
        found = []
        said = in_thread(lambda: self.running.get(timeout=PATIENCE), main=True)
        if isinstance(said, pykka.Timeout):
            found.append(f"its call: {said!r}")
        said = in_thread(lambda: self.ref.stop(timeout=PATIENCE), main=False)
        if type(said) is not bool:
            found.append(f"its stop: {said!r}")
        if self.ref.is_alive() or self.ref.wait_for_exit(PATIENCE) is None:
            found.append("it does not end")
        return found


OPERATIONS["stop"] = type("Stop", (_OfOne,), {"act": lambda self: self.ref.stop(timeout=PATIENCE)})
OPERATIONS["terminate"] = type("Terminate", (_OfOne,), {"act": lambda self: self.ref.terminate(timeout=PATIENCE)})


class _OfTree(Operation):
    """What is done to a tree that is there for it alone."""

    def prepare(self, world: World) -> None:
        self.tree = Supervisor.start(children=[ChildSpec("one", Worker), ChildSpec("two", Worker)])

    def run(self, world: World) -> Any:
        return self.act()

    def act(self) -> Any: ...

    def after(self, world: World, result: Any) -> list[str]:
        said = in_thread(lambda: self.tree.stop(timeout=PATIENCE), main=False)
        return [] if type(said) is bool else [f"the stop of the tree: {said!r}"]


def _restart(self: Any) -> Any:
    self.tree.terminate_child("one")
    return self.tree.restart_child("one")


OPERATIONS["tree_restart"] = type("Restart", (_OfTree,), {"act": _restart})
_CHILD = ChildSpec("three", Worker)
OPERATIONS["tree_child"] = type("Child", (_OfTree,), {"act": lambda self: self.tree.start_child(_CHILD)})
OPERATIONS["tree_stop"] = type("TreeStop", (_OfTree,), {"act": lambda self: self.tree.stop(timeout=PATIENCE)})
OPERATIONS["tree_end"] = type("TreeEnd", (_OfTree,), {"act": lambda self: self.tree.terminate(timeout=PATIENCE)})


@simple("subscribe")
def _(world: World) -> Any:
    undo = events.subscribe(print)
    call_off = piactors.watch(world.a, print)
    call_off()
    return undo()


def handler(world: World, problems: list[str]) -> None:
    """What a signal handler may do: all of it works, or is refused at once."""
    future: Any = None

    def call() -> Any:
        nonlocal future
        future = world.a.call("hello", 1)
        return future.get(timeout=PATIENCE)

    for what, act in (
        ("call", call),
        ("tell", lambda: world.a.tell({"n": 1})),
        ("b", lambda: world.b.call("hello", 1).get(timeout=PATIENCE)),
        ("cancel", lambda: future.cancel() if future is not None else None),
        ("usage", lambda: world.a.resource_usage()),
        ("stop", lambda: world.victim.stop(block=False) if world.victim is not None else None),
    ):
        began = time.monotonic()
        try:
            act()
        except RuntimeError as error:
            if "signal handler" not in str(error):
                problems.append(f"{what} in the handler: {error!r}")
        except BaseException as error:
            problems.append(f"{what} in the handler: {error!r}")
        if time.monotonic() - began > PATIENCE / 2:
            problems.append(f"{what} in the handler took {time.monotonic() - began:.1f} s")


def sweep(world: World, name: str, first: int, step: str, seconds: float, how: str) -> tuple[int, list[str]]:
    """Interrupt an operation at every `step`-th instruction; how many there were, and what did not work."""
    failures: list[str] = []
    end = time.monotonic() + seconds
    chance = random.Random(f"{first} {name}")
    at, missed = (chance.randrange(1, 40) if step == "random" else first), 0
    while time.monotonic() < end and len(failures) < 40:
        found = once(world, name, at, how)
        if found is None:
            missed += 1
            if missed == 3:
                break
            continue
        missed = 0
        failures += found
        if found:
            world.renew()
        at += chance.randrange(1, 2 * at) if step == "random" else int(step)
    return at, failures


class Signals:
    """Sends SIGINT to this process after a while, once; as `Injector`."""

    where = ""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, function: Callable[[], Any]) -> Any:
        """Run a function; return what it returns, or the KeyboardInterrupt."""
        self.where = f"after {self.seconds:.6f} s"
        stopped = threading.Event()
        thread = threading.Thread(target=self.send, args=(stopped,))
        result: Any = None
        try:
            try:
                thread.start()
                result = function()
            finally:
                stopped.set()
                thread.join()
        except KeyboardInterrupt as error:
            result = error
        return result

    def send(self, stopped: threading.Event) -> None:
        if not stopped.wait(self.seconds):
            os.kill(os.getpid(), signal.SIGINT)


def once(world: World, name: str, at: int, how: str = "") -> list[str] | None:
    """Interrupt it once; None where it had ended before."""
    one = OPERATIONS[name]()
    one.prepare(world)
    world.victim = getattr(one, "ref", None)
    problems: list[str] = []
    injector: Any = Injector(at, lambda: handler(world, problems)) if how == "handler" else Injector(at)
    if how == "signals":
        injector = Signals(random.random() * 0.004)
    world.other.done.clear()
    world.other.go.set()
    watchdog = threading.Timer(4 * PATIENCE, hangs, (name, at, injector))
    watchdog.daemon = True
    watchdog.start()
    try:
        result = injector.run(lambda: one.run(world))
    except BaseException as error:
        result = error
        if not isinstance(error, KeyboardInterrupt):
            problems.append(f"raised {type(error).__name__}: {error}")
            if os.environ.get("SHOW"):
                traceback.print_exc()
    problems += one.after(world, result)
    problems += world.problems()
    watchdog.cancel()
    if not injector.where:
        return (problems and [f"{name} NOT INTERRUPTED: {problem}" for problem in problems]) or None
    return [f"{name} {at} {injector.where}: {problem}" for problem in problems]


def hangs(name: str, at: int, injector: Injector) -> None:
    """The program hangs: say where, and end it."""
    import faulthandler

    tell(name, at, [f"{name} {at} {injector.where}: it hangs"])
    faulthandler.dump_traceback(all_threads=True)
    os._exit(3)


def main() -> None:
    names, first, step, seconds = sys.argv[1].split(","), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    how = sys.argv[5] if len(sys.argv) > 5 else ""
    world = World()
    for name in names:
        for _ in range(2):  # what is loaded or made the first time only
            once(world, name, MORE_THAN_THERE_ARE)
        points, failures = sweep(world, name, first, step, seconds, how)
        tell(name, points, failures)
    print("end", flush=True)


def tell(name: str, points: int, failures: list[str]) -> None:
    print(json.dumps({"operation": name, "points": points, "failures": failures}), flush=True)


if __name__ == "__main__":
    main()

"""Actors for the tests of what goes by reference: they use what they are given, and give what they are asked for."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from typing import Any

import pykka

import piactors
from piactors import ProcessActor


class Store(ProcessActor):
    """Something that others use."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Any] = {}
        self.seen: list[Any] = []
        self.size = 0

    def set(self, key: str, value: Any) -> None:
        self.values[key] = value
        self.size = len(self.values)

    def get(self, key: str) -> Any:
        return self.values[key]

    def add(self, value: Any) -> int:
        self.seen.append(value)
        return len(self.seen)

    def all(self) -> list[Any]:
        return self.seen

    def me(self) -> Any:
        return self.actor_ref

    def raise_with(self, thing: Any) -> None:
        raise LookupError("with", thing)

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @piactors.idempotent
    def die_once(self, path: str) -> str:
        if os.path.exists(path):
            return "survived"
        with open(path, "w"):
            self.die()
        return ""

    def on_receive(self, message: Any) -> Any:
        self.seen.append(message)
        return ("received", message)


class User(ProcessActor):
    """Uses what it is given."""

    def __init__(self, *given: Any) -> None:
        super().__init__()
        self.given = given
        self.kept: Any = None

    def watches(self, ref: Any) -> None:
        self.downs: list[Any] = []
        self.unwatch = piactors.watch(ref, self.downs.append)

    def watched(self) -> list[Any]:
        return [(type(down).__name__, down.ref.name, down.reason.kind) for down in self.downs]

    def watches_no_longer(self) -> None:
        self.unwatch()

    def tell_until_it_raises(self, ref: Any, begun: Any) -> str:
        begun()
        try:
            while True:
                ref.tell("again")
        except piactors.ActorDeadError as error:
            return str(error)

    def keep(self, thing: Any) -> None:
        self.kept = thing
        gc.collect()

    def collect(self) -> None:
        gc.collect()

    def back(self, thing: Any) -> Any:
        return thing

    def kept_back(self) -> Any:
        return self.kept

    def given_back(self) -> Any:
        return self.given

    def fail_with(self, thing: Any) -> None:
        raise LookupError("with", thing)

    def call(self, ref: Any, name: str, *args: Any) -> Any:
        return getattr((ref or self.kept or self.given[0]).proxy(), name)(*args).get(timeout=20)

    def calls(self, ref: Any, name: str, values: list[Any]) -> list[Any]:
        method = getattr(ref.proxy(), name)
        return [future.get(timeout=20) for future in [method(value) for value in values]]

    def defers(self, ref: Any, name: str, values: list[Any]) -> None:
        method = getattr(ref.proxy(), name)
        for value in values:
            method.defer(value)

    def attribute(self, ref: Any, name: str) -> Any:
        return getattr(ref.proxy(), name).get(timeout=20)

    def set_attribute(self, ref: Any, name: str, value: Any) -> None:
        setattr(ref.proxy(), name, value)

    def ask(self, ref: Any, message: Any) -> Any:
        return ref.ask(message, timeout=20)

    def tell(self, ref: Any, message: Any) -> None:
        ref.tell(message)

    def stop_it(self, ref: Any) -> Any:
        return ref.stop(timeout=20)

    def about(self, ref: Any) -> Any:
        return ref.is_alive(), ref.name, ref.state, ref.generation, ref.actor_urn, isinstance(ref, pykka.ActorRef)

    def are_one(self, first: Any, second: Any) -> Any:
        return first == second, hash(first) == hash(second), first is second

    def is_mine(self, ref: Any) -> Any:
        return ref is self.actor_ref

    def run(self, function: Any, *args: Any) -> Any:
        return function(*args)

    def run_kept(self, *args: Any) -> Any:
        return self.kept(*args)

    def run_given(self, *args: Any) -> Any:
        return self.given[0](*args)

    def method(self, thing: Any, name: str, *args: Any) -> Any:
        return getattr(thing, name)(*args)

    def in_thread(self, function: Any, *args: Any) -> Any:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(function(*args)))
        thread.start()
        thread.join()
        return found[0]

    async def in_coroutine(self, function: Any, *args: Any) -> Any:
        await asyncio.sleep(0)
        return await function.future(*args)

    def wait_for(self, future: Any, timeout: float = 20) -> Any:
        return future.get(timeout=timeout)

    def wait_for_all(self, futures: list[Any]) -> Any:
        return pykka.get_all(futures, timeout=20)

    async def awaited(self, future: Any) -> Any:
        return await future

    def settle(self, future: Any, value: Any) -> None:
        future.set(value)

    def lend(self, thing: Any = None) -> Any:
        return piactors.by_ref(Counter() if thing is None else thing)

    def lend_function(self) -> Any:
        return piactors.by_ref(lambda value: ("here", value, os.getpid()))

    def own_future(self) -> Any:
        self.mine: Any = piactors.Future()
        return self.mine

    def settle_own(self, value: Any) -> None:
        self.mine.set(value)

    def tell_myself(self, thing: Any) -> None:
        self.actor_ref.tell({"keep": thing})

    def ask_myself(self, thing: Any) -> Any:
        return self.actor_ref.proxy().back(thing)

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def on_receive(self, message: Any) -> Any:
        self.kept = message["keep"]
        return self.kept


class Counter:
    """An object that is lent."""

    step = 2

    def __init__(self) -> None:
        self.count = 0

    def up(self, by: int = 1) -> int:
        self.count += by
        return self.count

    def fail(self) -> None:
        raise ValueError("no")

    def pid(self) -> int:
        return os.getpid()


class Threaded(pykka.ThreadingActor):
    """An actor in a thread of the host."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 3

    def double(self, value: int) -> int:
        return 2 * value

    def raise_it(self) -> None:
        raise LookupError("from a thread")

    def on_receive(self, message: Any) -> Any:
        return ("thread", message)

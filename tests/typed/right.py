"""Right programs: mypy --strict and pyright find nothing here and know these types, and each function runs."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import as_completed
from typing import Any, Protocol, Unpack, assert_type, cast

import pykka
from pykka.typing import ActorMemberMixin, proxy_field, proxy_method

from piactors import (
    ActorStarter,
    Backoff,
    CallProxy,
    ChildSpec,
    DynamicSupervisor,
    ExitReason,
    Future,
    IsolateProxy,
    IsolateRef,
    IsolationLimits,
    IsolationOptions,
    ProcessActor,
    ProcessIsolator,
    Recycle,
    Supervisor,
    SupervisorRef,
    spawn,
)
from piactors.option_fields import OptionFields
from tests.typed.actors import Bare, Box, Calc, Loud, Passing, Plain, Thread, double, nothing, slowly

PATIENCE = 30.0


# Constructors


def constructors() -> None:
    ref = Calc.start(1, scale=2.0)
    assert_type(ref, IsolateRef[Calc])
    assert_type(Calc.begun(1), IsolateRef[Calc])
    assert_type(Loud.start("Ada"), IsolateRef[Loud])
    assert_type(Bare.start(), IsolateRef[Bare])
    assert_type(Passing.start(1, 2, 3), IsolateRef[Passing])
    assert_type(Box[int].start(1), IsolateRef[Box[int]])
    Box.start("content").stop()
    base: IsolateRef[Calc] = Loud.start("Ada")
    anything: IsolateRef = base
    pykka_ref: pykka.ActorRef[Any] = base
    assert pykka_ref.is_alive()
    assert anything.call("add", 1).get(timeout=PATIENCE) == 111
    refs: list[IsolateRef[Calc]] = [ref, Loud.start("Grace")]
    assert [one.call(Calc.add, 1).get(timeout=PATIENCE) for one in refs] == [2, 111]


def by_variable() -> None:
    kind: type[Calc] = Calc
    assert_type(kind.start(1), IsolateRef[Calc])
    assert_type(kind.with_options(name="by variable").start(1), IsolateRef[Calc])
    actors: list[type[ProcessActor]] = [Bare, Passing]
    for actor in actors:
        assert_type(actor.start(), IsolateRef[ProcessActor])
    starters: list[ActorStarter[ProcessActor]] = [Bare.with_options(), Calc.with_options()]
    print(len(starters))
    start: Callable[[int], IsolateRef[Calc]] = Calc.start
    start(1).stop()


def with_options(**fields: Unpack[OptionFields]) -> None:
    starter = Calc.with_options(restart="permanent", max_restarts=3, limits=IsolationLimits(max_memory="200 MiB"))
    assert_type(starter.start(1, scale=0.5), IsolateRef[Calc])
    Calc.with_options(IsolationOptions(name="named"), max_frame="16 MiB", call_timeout=None).start(base=1).stop()
    Calc.with_options(**fields).start(1).stop()
    IsolationOptions(**fields)
    Box[int].with_options(**fields).start(1).stop()
    Passing.with_options(**fields).start(1, 2).stop()
    IsolationOptions(
        restart="transient",
        backoff=Backoff(initial=1),
        call_timeout=3,
        heartbeat=5,
        recycle=Recycle(after_calls=10),
        sys_path=["a"],
        env={"A": "b"},
        inherit_env=["A", "B_*"],
        accept=[dict],
        log_level="DEBUG",
        max_frame="1 MiB",
        keep_shared=0,
        output=print,
        trust="data",
        limits=IsolationLimits(max_cpu=0.5, affinity="0", max_file_size="1 GiB", nice=5),
    )


# Calls


def calls() -> None:
    ref = Calc.start(1)
    assert_type(ref.call(Calc.add, 1), Future[int])
    total: int = ref.call(Calc.add, k=1).get(timeout=PATIENCE)
    assert total == 2
    assert_type(ref.call(Calc.later, 3), Future[str])
    assert ref.call(Calc.later, 3).get(timeout=PATIENCE) == "3"
    assert ref.call(Calc.several, 1, 2, 3, last=4, more=5).get(timeout=PATIENCE) == [1, 2, 3, 4, 5]
    assert ref.call(Calc.untyped, 1).get(timeout=PATIENCE) == 1
    assert_type(ref.call(Calc.sure, 1), Future[int])
    assert_type(ref.call(Calc.surer, 1), Future[int])
    assert_type(ref.call(Calc.timed, 1), Future[int])
    assert_type(ref.call("add", 1), Future[Any])
    assert ref.call("helper", 5).get(timeout=PATIENCE) == 5
    loud = Loud.start("Ada")
    assert loud.call(Calc.add, 1).get(timeout=PATIENCE) == 111
    assert loud.call(Loud.add, 1, more=1).get(timeout=PATIENCE) == 112
    box = Box[int].start(1)
    assert_type(box.call(Box[int].swap, 2), Future[int])
    assert box.call(Box.swap, 3).get(timeout=PATIENCE) == 2
    results = pykka.get_all([ref.call(Calc.add, n) for n in range(3)], timeout=PATIENCE)
    assert list(results) == [1, 2, 3]
    future: Future[int] | None = None
    for number in range(2):
        future = ref.call(Calc.add, number)
    assert future is not None


async def awaited() -> None:
    ref = await Calc.start_async(1)
    number: int = await ref.call(Calc.add, 1)
    text: str = await ref.call(Calc.later, 1)
    both = await asyncio.gather(ref.call(Calc.add, 1), ref.call(Calc.later, 2))
    assert (number, text, list(both)) == (2, "1", [2, "2"])
    async with ProcessIsolator() as isolator:
        assert await isolator.invoke_method(double, 7) == 14
        assert await asyncio.gather(*[isolator.invoke_method("math:factorial", n) for n in range(3)]) == [1, 1, 2]
        assert await isolator.invoke_method(slowly, 7) == "7"


# Proxies


class CalcCalls(Protocol):
    """What a proxy of a Calc offers, for a checker."""

    add: CallProxy[[int], int]
    later: CallProxy[[int], str]

    @property
    def base(self) -> Future[int]: ...

    def sure(self, k: int) -> Future[int]: ...


class CalcProxy(ActorMemberMixin, pykka.ActorProxy[Calc]):
    """The same in pykka's way."""

    base = proxy_field(0)
    add = proxy_method(Calc.add)


def proxies() -> None:
    ref = Calc.start(1)
    proxy = ref.proxy()
    assert_type(proxy, IsolateProxy[Calc])
    assert proxy.add(1).get(timeout=PATIENCE) == 2
    assert proxy.base.get(timeout=PATIENCE) == 1
    assert proxy.names.get(timeout=PATIENCE) == ["started"]
    assert proxy.doubled.get() == 2
    proxy.base = 5
    proxy.add.defer(1)
    assert proxy.add.with_options(call_timeout=20, retries=1)(1).get(timeout=PATIENCE) == 6
    assert getattr(proxy, "later")(2).get(timeout=PATIENCE) == "2"  # noqa: B009
    number: int = proxy.add(1).get(timeout=PATIENCE)
    plain: pykka.ActorProxy[Any] = proxy
    bare: IsolateProxy = proxy
    method: CallProxy = bare.add
    assert method(1).get() == number == plain.add(1).get()
    again: pykka.ActorRef[Any] = proxy.actor_ref
    assert again is ref


def declared_proxies() -> None:
    declared = cast("CalcCalls", Calc.start(1).proxy())
    assert_type(declared.add(1), Future[int])
    assert_type(declared.base, Future[int])
    assert declared.add.with_options(call_timeout=20)(1).get(timeout=PATIENCE) == 2
    declared.later.defer(1)
    assert declared.sure(2).get(timeout=PATIENCE) == 2
    in_pykkas_way = cast("CalcProxy", Calc.start(1).proxy())
    total: int = in_pykkas_way.add(1).get(timeout=PATIENCE)
    assert total == 2
    in_pykkas_way.stop().get(timeout=PATIENCE)


# Messages and the end


def messages() -> None:
    ref = Calc.start(1)
    assert ref.ask("echo", timeout=PATIENCE) == "echo"
    assert_type(ref.ask("echo", block=False), Future[Any])
    assert ref.ask("echo", block=True, timeout=PATIENCE, retries=1, call_timeout=20) == "echo"
    ref.tell("nobody answers", retries=1)
    ref.set_data("key", 1)
    blocks: bool = time.monotonic() > 0
    print(ref.ask("echo", block=blocks, timeout=PATIENCE))
    if ref.stop():
        print("it was alive")
    stopped: bool = ref.stop(block=True, timeout=PATIENCE)
    assert_type(ref.stop(block=False), Future[bool])
    reason: ExitReason | None = ref.wait_for_exit(PATIENCE)
    assert not stopped
    assert reason is not None
    pykka.ActorRegistry.stop_all()


# Functions and other classes


def isolators() -> None:
    with ProcessIsolator(IsolationOptions(restart="permanent"), name="isolator") as isolator:
        assert_type(isolator.invoke_method(double, 1), Future[int])
        assert_type(isolator.invoke_method(double, x=1), Future[int])
        assert_type(isolator.invoke_method(slowly, 1), Future[str])
        assert_type(isolator.invoke_method(nothing), Future[str])
        for done in as_completed([isolator.submit(double, 1)]):
            assert_type(done.result(), int)
        assert_type(isolator.invoke_method("math:factorial", 5), Future[Any])
        assert isolator.invoke_method(functools.partial(double, 2)).get(timeout=PATIENCE) == 4
        assert isolator.invoke_method(max, 1, 2).get(timeout=PATIENCE) == 2
        assert isolator.invoke_method(time.sleep, 0).get(timeout=PATIENCE) is None
        assert isolator.invoke_method(os.getpid).get(timeout=PATIENCE) == isolator.pid
        assert isolator.invoke_method(lambda a, b: a + b, 1, 2).get(timeout=PATIENCE) == 3
        assert isolator.invoke_method(sorted, [2, 1], reverse=True).get(timeout=PATIENCE) == [2, 1]
        assert_type(isolator.ref, IsolateRef[Any])
        function: Callable[..., Any] = double
        isolator.invoke_method(function, 1).get(timeout=PATIENCE)


def spawned() -> None:
    ref = spawn(Plain, 2)
    assert_type(ref, IsolateRef[Plain])
    assert ref.call(Plain.shout, "a").get(timeout=PATIENCE) == "AA"
    assert_type(spawn(Plain, size=2, options=IsolationOptions(name="plain")), IsolateRef[Plain])
    kind: type[Plain] = Plain
    assert_type(spawn(kind, 2), IsolateRef[Plain])
    assert_type(spawn("collections:Counter", "abca"), IsolateRef[Any])
    spawn("collections:Counter", options=IsolationOptions(restart="transient")).stop()
    assert spawn(dict, a=1).call("get", "a").get(timeout=PATIENCE) == 1
    assert spawn(double).proxy().call(2).get(timeout=PATIENCE) == 4
    assert spawn(double, options=IsolationOptions()).call("call", 2).get(timeout=PATIENCE) == 4
    spawn(nothing).stop()
    spawn(lambda x: x).stop()
    target: Any = "math:factorial"
    spawn(target).stop()


# Trees


class Shop(Supervisor):
    strategy = "rest_for_one"
    max_restarts = 2

    def __init__(self, database: str, *, size: int = 1) -> None:
        super().__init__()
        self.database = database
        self.size = size

    def children(self) -> list[ChildSpec]:
        return [
            ChildSpec("calc", Calc, args=(1,), kwargs={"scale": 2.0}, restart="permanent", shutdown="kill"),
            ChildSpec("loud", Loud.with_options(name="loud"), args=[self.database], quarantine=True, max_restarts=2),
            ChildSpec("thread", Thread, args=(self.database,), restart="transient", restart_on={"signaled", "limit"}),
            ChildSpec("named", "collections:Counter", options=IsolationOptions(), backoff=Backoff(), shutdown=2.5),
            ChildSpec("function", double, max_restarts="shared", on_exhausted="stop", restart_on=was_killed),
            ChildSpec("below", Supervisor, kwargs={"children": [ChildSpec("bare", Bare)]}, shutdown=None),
        ]

    @classmethod
    def opened(cls, database: str) -> SupervisorRef:
        return cls.start(database)


def was_killed(reason: ExitReason) -> bool:
    return reason.kind == "killed"


def trees() -> None:
    Shop.check("shop.db", size=2)
    with Shop.start("shop.db") as tree:
        assert_type(tree, SupervisorRef)
        calc: IsolateRef[Calc] = tree.child("calc")
        assert calc.call(Calc.add, 1).get(timeout=PATIENCE) == 2
        assert tree.child("below").child("bare").proxy().ping().get(timeout=PATIENCE) == "pong"
        assert_type(tree.stop(block=False), Future[bool])
    Shop.opened("shop.db").stop()
    children: Iterable[ChildSpec] = [ChildSpec("bare", Bare)]
    supervisor = Supervisor.start(
        children=children,
        strategy="one_for_all",
        max_restarts=None,
        within=2,
        auto_shutdown="never",
        name="top",
        backoff=Backoff(),
    )
    stopped: bool = supervisor.stop()
    assert stopped
    kind: type[Supervisor] = Shop
    kind.check("shop.db")
    sessions = DynamicSupervisor.start(template=ChildSpec("session", Calc, args=(1,)), max_children=10)
    session: IsolateRef[Calc] = sessions.start_child(scale=2.0)
    sessions.terminate_child(session)
    sessions.stop()


def calls_awaited() -> None:
    asyncio.run(awaited())


PROGRAMS: list[Callable[[], object]] = [
    constructors,
    by_variable,
    with_options,
    calls,
    calls_awaited,
    proxies,
    declared_proxies,
    messages,
    isolators,
    spawned,
    trees,
]

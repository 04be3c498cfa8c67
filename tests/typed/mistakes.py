"""Planted mistakes: each line that has one says which rules of mypy and of pyright must find it, and no other may.

`test_typed.py` compares.  A comment names the rules of mypy and then, after a bar, those of pyright.
"""

from __future__ import annotations

from typing import Any, Unpack, cast

from piactors import (
    CallProxy,
    ChildSpec,
    DynamicSupervisor,
    Future,
    IsolateRef,
    IsolationLimits,
    IsolationOptions,
    ProcessIsolator,
    Supervisor,
    spawn,
)
from piactors.option_fields import OptionFields
from tests.typed.actors import Calc, Other, Plain, double, slowly


class Shop(Supervisor):
    def __init__(self, database: str) -> None:
        super().__init__()
        self.database = database


class CalcCalls:
    """What a proxy of a Calc offers, declared by hand."""

    add: CallProxy[[int], int]
    base: Future[int]


def constructor() -> None:
    Calc.start("wrong type")  # finds: arg-type | reportArgumentType
    Calc.start()  # finds: call-arg | reportCallIssue
    Calc.start(1, 2)  # finds: call-arg | reportCallIssue
    Calc.start(1, scael=2.0)  # finds: call-arg | reportCallIssue
    Calc.start(1, restart="permanent")  # finds: call-arg | reportCallIssue
    Other.start(1)  # finds: call-arg | reportCallIssue
    Calc.with_options(restart="permanent").start("x")  # finds: arg-type | reportArgumentType
    Calc.with_options(IsolationOptions()).start()  # finds: call-arg | reportCallIssue
    ref: IsolateRef[Other] = Calc.start(1)  # finds: assignment | reportAssignmentType
    print(ref)


def calls(ref: IsolateRef[Calc]) -> None:
    ref.call(Calc.ad, 1)  # finds: attr-defined | reportAttributeAccessIssue
    ref.call(Calc.add, "x")  # finds: call-overload | reportCallIssue, reportArgumentType
    ref.call(Calc.add)  # finds: call-overload | reportCallIssue
    ref.call(Calc.add, 1, 2)  # finds: call-overload | reportCallIssue
    ref.call(Calc.add, j=1)  # finds: call-overload | reportCallIssue
    ref.call(Other.add, 1)  # finds: call-overload | reportArgumentType, reportCallIssue
    text: str = ref.call(Calc.add, 1).get(timeout=1)  # finds: assignment | reportAssignmentType
    number: int = ref.call(Calc.later, 1).get(timeout=1)  # finds: assignment | reportAssignmentType
    print(text, number)


async def awaited(ref: IsolateRef[Calc]) -> None:
    text: str = await ref.call(Calc.add, 1)  # finds: call-overload | reportAssignmentType
    number: int = await ref.call(Calc.later, 1)  # finds: call-overload | reportAssignmentType
    print(text, number)


def proxies(ref: IsolateRef[Calc]) -> None:
    """No checker can find these: it would have to turn each method of a class into one that returns a future."""
    p = ref.proxy()
    p.ad(1)
    p.add("x")
    p.add()
    text: str = p.add(1).get(timeout=1)
    print(text)


def declared_proxies(ref: IsolateRef[Calc]) -> None:
    p = cast("CalcCalls", ref.proxy())
    p.ad(1)  # finds: attr-defined | reportAttributeAccessIssue
    p.add("x")  # finds: arg-type | reportArgumentType
    p.add()  # finds: call-arg | reportCallIssue
    p.add.defer("x")  # finds: arg-type | reportArgumentType
    p.add.with_options(call_timeout=2)("x")  # finds: arg-type | reportArgumentType
    p.add.with_options(tries=2)(1)  # finds: call-arg | reportCallIssue
    text: str = p.add(1).get(timeout=1)  # finds: assignment | reportAssignmentType
    base: str = p.base.get()  # finds: assignment | reportAssignmentType
    print(text, base)


def isolators(isolator: ProcessIsolator) -> None:
    isolator.invoke_method(double, "x")  # finds: call-overload | reportCallIssue, reportArgumentType
    isolator.invoke_method(double)  # finds: call-overload | reportCallIssue
    isolator.invoke_method(double, y=1)  # finds: call-overload | reportCallIssue
    isolator.invoke_method(slowly, "x")  # finds: call-overload | reportCallIssue, reportArgumentType
    isolator.invoke_method(3)  # finds: call-overload | reportCallIssue, reportArgumentType
    text: str = isolator.invoke_method(double, 1).get()  # finds: assignment | reportAssignmentType
    number: int = isolator.invoke_method(slowly, 1).get()  # finds: assignment | reportAssignmentType
    print(text, number)


def spawned() -> None:
    spawn(Plain, "x")  # finds: arg-type | reportCallIssue, reportArgumentType
    spawn(Plain, sise=1)  # finds: arg-type | reportCallIssue
    spawn(3)  # finds: call-overload | reportCallIssue, reportArgumentType
    spawn(Plain, 2, options={"restart": "permanent"})  # finds: call-arg | reportCallIssue
    spawn(Plain, 2).call(Plain.shout, 1)  # finds: call-overload | reportCallIssue, reportArgumentType
    number: int = spawn(Plain, 2).call(Plain.shout, "a").get()  # finds: assignment | reportAssignmentType
    print(number)


def options(**fields: Unpack[OptionFields]) -> None:
    Calc.with_options(restrat="permanent")  # finds: call-arg | reportCallIssue
    Calc.with_options(restart="always")  # finds: arg-type | reportArgumentType
    Calc.with_options(call_timeout="1 s")  # finds: arg-type | reportArgumentType
    Calc.with_options({"restart": "permanent"})  # finds: arg-type | reportArgumentType
    IsolationOptions(restart="alway")  # finds: arg-type | reportArgumentType
    IsolationOptions(restrat="permanent")  # finds: call-arg | reportCallIssue
    IsolationOptions(call_timeout="1 s")  # finds: arg-type | reportArgumentType
    IsolationOptions(limits=IsolationLimits(max_cpu="half"))  # finds: arg-type | reportArgumentType
    Calc.with_options(**fields).start("x")  # finds: arg-type | reportArgumentType
    options(overflow="drop")  # finds: arg-type | reportArgumentType


def trees(child: Any) -> None:
    ChildSpec("a", Calc, args=("x",), restart="sometimes")  # finds: arg-type | reportArgumentType
    ChildSpec("a", Calc, shutdown="never")  # finds: arg-type | reportArgumentType
    ChildSpec("a", Calc, on_exhausted="die")  # finds: arg-type | reportArgumentType
    ChildSpec("a", Calc, max_restarts="none")  # finds: arg-type | reportArgumentType
    ChildSpec("a", Calc, restart_on={"limitt"})  # finds: arg-type | reportArgumentType
    ChildSpec("a", Calc, restarts="permanent")  # finds: call-arg | reportCallIssue
    ChildSpec("a", 3)  # finds: arg-type | reportArgumentType
    Supervisor.start(children=[ChildSpec("a", Calc, args=(1,))], strategy="one")  # finds: arg-type | reportArgumentType
    Supervisor.start(children=[Calc])  # finds: list-item | reportArgumentType
    Supervisor.start(children=[], auto_shutdown="all")  # finds: arg-type | reportArgumentType
    Supervisor.start([])  # finds: call-arg | reportCallIssue
    Supervisor.check(children=[], strateyg="one_for_one")  # finds: call-arg | reportCallIssue
    Shop.start(3)  # finds: arg-type | reportArgumentType
    Shop.start()  # finds: call-arg | reportCallIssue
    DynamicSupervisor.start(max_children="1")  # finds: arg-type | reportArgumentType


def messages(ref: IsolateRef[Calc]) -> None:
    answer: int = ref.ask("x", block=False)  # finds: assignment | reportAssignmentType
    stopped: bool = ref.stop(block=False)  # finds: assignment | reportAssignmentType
    ref.ask("x", timeout="1 s")  # finds: call-overload | reportArgumentType
    ref.ask("x", retry=1)  # finds: call-overload | reportCallIssue
    print(answer, stopped)

"""Options among the arguments of a class, and names that nobody takes, are told at once."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import attrs
import pykka
import pytest

import piactors
from piactors import ChildSpec, DynamicSupervisor, IsolationOptions, ProcessIsolator, Supervisor
from tests.children.waits import Bare, Plain, TakesAny, TakesRestart, Waiter, point

OPTIONS = [field.name for field in attrs.fields(IsolationOptions)]


class Mixin:
    """Has an ``__init__`` that an actor may get from it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()


class Mixed(Mixin, piactors.ProcessActor):
    """Takes what its mixin takes."""


class Heir(Waiter):
    """Takes what its base class takes."""


@pytest.mark.parametrize("option", OPTIONS)
def test_no_option_is_swallowed_as_an_argument(option: str) -> None:
    """Whoever is started; nothing is started then."""
    before = pykka.ActorRegistry.get_all()
    ways: dict[str, Callable[[], object]] = {
        f"Bare.with_options({option}='x').start()": lambda: Bare.start(**{option: "x"}),
        f"Waiter.with_options({option}='x').start()": lambda: Waiter.with_options().start(**{option: "x"}),
        f"Heir.with_options({option}='x').start()": lambda: Heir.start(**{option: "x"}),
        f"options=IsolationOptions({option}='x')": lambda: piactors.spawn(Plain, **{option: "x"}),
    }
    for said, start in ways.items():
        with pytest.raises(TypeError) as caught:
            start()
        assert said in str(caught.value)
    with pytest.raises(TypeError, match=f"child 'a'.*{option}='x'"):
        Supervisor.start(children=[ChildSpec("a", Bare, kwargs={option: "x"})])
    assert pykka.ActorRegistry.get_all() == before


def test_a_class_without_an_init_takes_no_arguments() -> None:
    for start in (lambda: Bare.start(1), lambda: Bare.start(anything=1), lambda: Bare.with_options().start(1)):
        with pytest.raises(TypeError, match="Bare takes no arguments, since it has no __init__ of its own"):
            start()
    with DynamicSupervisor.start(template=ChildSpec("a", Bare)) as tree, pytest.raises(TypeError, match="no arguments"):
        tree.start_child(1)


def test_what_a_class_takes_is_its_own_business() -> None:
    assert TakesRestart.start(restart="x").proxy().said.get(timeout=20) == "x"
    assert TakesAny.start(restart="x", limits=1).proxy().said.get(timeout=20) == {"restart": "x", "limits": 1}
    assert Mixed.start(restart="x").is_alive()
    assert Bare.start().is_alive()
    ChildSpec("a", TakesAny, kwargs={"restart": "x"}).check()


def test_an_unknown_field_hints_at_the_one_that_is_meant() -> None:
    tries: dict[str, Callable[[], object]] = {
        "use limits=IsolationLimits(max_memory=...)": lambda: IsolationOptions(max_memory="1 GB"),  # type: ignore[call-arg]
        "did you mean 'restart'?": lambda: IsolationOptions(restrat="permanent"),  # type: ignore[call-arg]
        "use limits=IsolationLimits(max_cpu=...)": lambda: Bare.with_options(max_cpu=1),
        "use options=IsolationOptions(limits=...)": lambda: ChildSpec("a", Bare, limits=1),  # type: ignore[call-arg]
        "did you mean 'significant'?": lambda: ChildSpec("a", Bare, signifcant=1),  # type: ignore[call-arg]
    }
    for said, make in tries.items():
        with pytest.raises(TypeError) as caught:
            make()
        assert said in str(caught.value)
    assert "max_restarts" in inspect.signature(IsolationOptions).parameters
    assert pickle.loads(pickle.dumps(IsolationOptions(name="x"))) == IsolationOptions(name="x")


def test_a_function_may_take_arguments_of_any_name() -> None:
    names = dict.fromkeys(("target", "fn", "self", "args", "kwargs", "options", "name"), 1)
    with ProcessIsolator() as isolator:
        assert isolator.invoke_method(dict, **names).get(timeout=20) == names
        assert isolator.submit("builtins:dict", **names).get(timeout=20) == names
        assert isolator.invoke_method(point, x=3).exception(timeout=20) is not None  # after a call by name: not plain

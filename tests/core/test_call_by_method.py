"""`ref.call(Calc.add, 1)`: a call by the method itself, or by its name."""

from __future__ import annotations

import functools
import os
from typing import Any

import pykka
import pytest

import piactors
from piactors import IsolateCrashed, IsolationOptions, ProcessActor

PATIENCE = 20.0


class Part:
    pykka_traversable = True

    def name(self) -> str:
        return "part"


class Base(ProcessActor):
    def __init__(self, base: int = 1) -> None:
        super().__init__()
        self.base = base
        self.part = Part()

    def add(self, k: int) -> int:
        return self.base + k

    def given(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        return args, kwargs

    def crash(self) -> None:
        os._exit(1)

    @piactors.idempotent(retries=2)
    def crash_until(self, path: str, times: int) -> int:
        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) < times:
            os._exit(1)
        return os.path.getsize(path)


class Derived(Base):
    def add(self, k: int) -> int:
        return super().add(k) + 100


def test_a_call_by_function_or_name_is_a_call(way: IsolationOptions) -> None:
    ref = Base.with_options(way).start(2)
    assert ref.call(Base.add, 1).get(timeout=PATIENCE) == 3
    assert ref.call("add", k=1).get(timeout=PATIENCE) == 3
    assert ref.call("part.name").get(timeout=PATIENCE) == "part"


def test_an_override_is_what_is_called() -> None:
    assert Derived.start().call(Base.add, 1).get(timeout=PATIENCE) == 102


def test_all_names_are_free_for_arguments() -> None:
    given = {"self": 1, "method": 2, "args": 3, "kwargs": 4, "retries": 5, "call_timeout": 6, "path": 7}
    ref = piactors.spawn("builtins:dict", **given)
    assert ref.call("copy").get(timeout=PATIENCE) == given
    del given["self"]  # the method's own
    assert Base.start().call("given", 0, **given).get(timeout=PATIENCE) == ((0,), given)


def test_marks_of_the_method_hold(tmp_path: Any) -> None:
    ref = Base.with_options(restart="permanent").start()
    assert ref.call(Base.crash_until, str(tmp_path / "tries"), 3).get(timeout=PATIENCE) == 3
    assert ref.generation == 3


def test_a_call_fails_as_any_call_does() -> None:
    ref = Base.start()
    with pytest.raises(AttributeError, match="'Base' object has no attribute 'sub'"):
        ref.call("sub", 1).get(timeout=PATIENCE)
    with pytest.raises(TypeError, match="add"):
        ref.call("add").get(timeout=PATIENCE)
    with pytest.raises(IsolateCrashed):
        ref.call(Base.crash).get(timeout=PATIENCE)
    ref.wait_for_exit(PATIENCE)
    with pytest.raises(pykka.ActorDeadError):
        ref.call(Base.add, 1).get(timeout=PATIENCE)


class Nameless:
    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("method", "kind", "text"),
    [
        (3, TypeError, "call: 3 is not a method; pass one of the class, such as Calc.add, or its name"),
        (None, TypeError, "call: None is not a method"),
        (Base, TypeError, r"call: <class '.*Base'> is not a method"),
        (Base.isolation, TypeError, "call: IsolationOptions.* is not a method"),
        (Nameless(), TypeError, "call: .*Nameless object.* is not a method"),
        (functools.partial(Base.add, k=1), TypeError, r"call: functools.partial\(.* is not a method"),
        (lambda self: 1, TypeError, "call: .*lambda.* has no name by which the isolate would know it"),
        (Part().name, TypeError, "call: .* belongs to an object of this process; pass Part.name or 'name'"),
        ("", ValueError, "call: '' is not the name of a method; use one such as 'add' or 'part.add'"),
        ("add()", ValueError, r"call: 'add\(\)' is not the name of a method"),
        ("part..name", ValueError, "call: 'part..name' is not the name of a method"),
    ],
)
def test_what_is_no_method_is_refused_at_once(method: Any, kind: type[Exception], text: str) -> None:
    ref = Base.start()
    with pytest.raises(kind, match=f"^{text}"):
        ref.call(method)
    assert ref.mailbox_size == 0

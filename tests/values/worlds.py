"""Runs random programs in one process and through isolates, and compares what comes out.

The two runs are worlds: modules of the same name, in which the same steps happen.  In the one a call is a call; in
the other it goes through an isolate.
"""

from __future__ import annotations

import contextlib
import copy
import enum
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import piactors
from tests.values.programs import Call, Exec, Program

_ENOUGH = 30.0
_DEEP = 12

Names = dict[str, Any]
Told = tuple[Any, ...]


class Caller(piactors.ProcessActor):
    """Calls in an isolate what it is given."""

    def call(self, target: Callable[..., Any], args: Sequence[Any], kwargs: Names) -> Any:
        return target(*args, **kwargs)


@contextlib.contextmanager
def two_isolates() -> Iterator[list[Any]]:
    """Start two isolates, and give their proxies."""
    refs = [Caller.with_options(restart="permanent", max_restarts=None, call_timeout=_ENOUGH).start() for _ in "ab"]
    try:
        yield [ref.proxy() for ref in refs]
    finally:
        for ref in refs:
            ref.terminate()


def run_direct(program: Program) -> list[Told]:
    """Run a program in this process, and tell what each step gives; the oracle."""
    with _module(program.name) as names:
        return _run(program, names, lambda _, target, args, kwargs: _Direct(target, args, kwargs))


def run_isolated(program: Program, proxies: Sequence[Any]) -> list[Told]:
    """Run a program whose calls go through isolates, and tell what each step gives."""
    with _module(program.name) as names:
        return _run(program, names, lambda where, *call: proxies[where].call(*call))


@contextlib.contextmanager
def _module(name: str) -> Iterator[Names]:
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        yield vars(module)
    finally:
        del sys.modules[name]


def run_alone(program: Program) -> None:
    """Run a program as a failed test prints it, and print both outcomes of each step that differ."""
    with two_isolates() as proxies:
        isolated = run_isolated(program, proxies)
    for number, (here, there) in enumerate(zip(run_direct(program), isolated, strict=True)):
        if here != there:
            print(f"step {number}: {program.steps[number]}\n  in one process: {here}\n  isolated: {there}")


class _Direct:
    """What a call in this process gave, as a future has it; a copy, as of all results."""

    def __init__(self, target: Callable[..., Any], args: Sequence[Any], kwargs: Names) -> None:
        try:
            self._result: Any = copy.deepcopy(target(*args, **kwargs))
            self._error: Exception | None = None
        except Exception as error:
            self._error = error

    def get(self, timeout: float) -> Any:
        if self._error is not None:
            raise self._error
        return self._result


Begin = Callable[[int, Any, list[Any], Names], Any]


def _run(program: Program, names: Names, begin: Begin) -> list[Told]:
    told: list[Any] = [None] * len(program.steps)
    waiting: list[tuple[int, Any]] = []
    for number, step in enumerate(program.steps):
        try:
            if isinstance(step, Exec):
                exec(_compiled(step.source), names)
                told[number] = ("done",)
                continue
            future = _begun(step, names, begin)
        except Exception as error:
            told[number] = tell_error(error)
            continue
        if step.wait:
            told[number] = _settled(future, names, step.keep)
        else:
            waiting.append((number, future))
    for number, future in waiting:
        told[number] = _settled(future, names, None)
    return told


def _begun(step: Call, names: Names, begin: Begin) -> Any:
    target = eval(_compiled(step.target, "eval"), names)
    args: list[Any] = []
    kwargs: Names = {}
    for text in step.args:
        if text.startswith("d="):
            kwargs["d"] = eval(text.removeprefix("d="), names)
        else:
            args.append(eval(_compiled(text, "eval"), names))
    return begin(step.isolate, target, args, kwargs)


def _settled(future: Any, names: Names, keep: str | None) -> Told:
    try:
        result = future.get(timeout=_ENOUGH)
    except Exception as error:
        return tell_error(error)
    if keep is not None:
        names[keep] = result
    return ("gave", tell_value(result, names))


@lru_cache(maxsize=512)
def _compiled(source: str, mode: str = "exec") -> types.CodeType:
    return compile(source, "<program>", mode)


def tell_error(error: Exception) -> Told:
    """Return an exception as plain data."""
    return ("raised", type(error).__name__, getattr(type(error), "VERSION", None), str(error))


def tell_value(value: Any, names: Names, depth: int = 0) -> Any:
    """Return a value as plain data, with the globals of the module that its class or itself is."""
    if depth > _DEEP:
        return "deep"
    if value is None or (isinstance(value, (bool, int, float, str)) and type(value).__module__ == "builtins"):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return (type(value).__name__, *(tell_value(item, names, depth + 1) for item in value))
    if isinstance(value, dict):
        return ("dict", *((str(key), tell_value(item, names, depth + 1)) for key, item in value.items()))
    if isinstance(value, type):
        return ("class", value.__name__, getattr(value, "VERSION", None), _bound_to(value, names))
    if isinstance(value, enum.Enum):
        return ("member", value.name, value is type(value)[value.name], _bound_to(type(value), names))
    if isinstance(value, types.FunctionType):
        return ("function", value.__qualname__, _bound_to(value, names))
    if isinstance(value, types.MethodType):
        return ("method", value.__name__, tell_value(value.__self__, names, depth + 1))
    return _tell_instance(value, names, depth)


def _tell_instance(value: Any, names: Names, depth: int) -> Any:
    cls = type(value)
    same = tuple(sorted(name for name, other in names.items() if type(other) is cls))
    attributes = [(key, tell_value(item, names, depth + 1)) for key, item in sorted(vars(value).items())]
    return ("instance", cls.__name__, getattr(cls, "VERSION", None), _bound_to(cls, names), same, *attributes)


def _bound_to(value: Any, names: Names) -> tuple[str, ...]:
    return tuple(sorted(name for name, other in names.items() if other is value))

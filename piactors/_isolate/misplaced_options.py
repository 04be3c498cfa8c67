"""Options of an isolate that were given as arguments of its class: a newcomer's mistake, reported at once."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Mapping
from typing import Any

import attrs
import pykka

from piactors.options import IsolationOptions

_OPTIONS = frozenset(field.name for field in attrs.fields(IsolationOptions))


def check_actor(actor_class: type[pykka.Actor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """See that an actor's class takes the arguments of `start`, as far as that can be seen here.

    pykka's own ``__init__`` takes anything and uses nothing, so a class without one of its own takes no arguments.

    Raises:
        TypeError: if it does not.
    """
    if not (args or kwargs):
        return
    name = actor_class.__name__
    check_options(actor_class, kwargs, f"{name}.with_options({{}}).start()")
    if _has_no_init(actor_class):
        given = ", ".join([*map(reprlib.repr, args), *kwargs])
        raise TypeError(f"{name} takes no arguments, since it has no __init__ of its own; it was given {given}")


def check_options(target: Any, kwargs: Mapping[str, Any], way: str) -> None:
    """See that no option of an isolate is among the arguments of a class or function, unless that takes it.

    Args:
        way: how options are given here, with ``{}`` for them.

    Raises:
        TypeError: if one is.
    """
    suspects = [name for name in kwargs if name in _OPTIONS]
    if not suspects:
        return
    taken = _parameters(target)
    wrong = [] if taken is None else [name for name in suspects if name not in taken]
    if wrong:
        what = getattr(target, "__qualname__", repr(target))
        options = ", ".join(f"{name}={reprlib.repr(kwargs[name])}" for name in wrong)
        one = "an option of its isolate" if len(wrong) == 1 else "options of its isolate"
        raise TypeError(f"{what} takes no argument {' or '.join(map(repr, wrong))}, {one}: use {way.format(options)}")


def _parameters(target: Any) -> frozenset[str] | None:
    """Return the names that a class or function takes, None if it takes any, or if that cannot be known."""
    if isinstance(target, type) and issubclass(target, pykka.Actor) and _has_no_init(target):
        return frozenset()
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def _has_no_init(actor_class: type[pykka.Actor]) -> bool:
    """Whether an actor's class is made by pykka's ``__init__`` (or ours, which passes all on to that) alone."""
    if actor_class.__new__ is not object.__new__ or type(actor_class).__call__ is not type.__call__:
        return False
    init = next(vars(cls)["__init__"] for cls in actor_class.__mro__ if "__init__" in vars(cls))
    return init is vars(pykka.Actor)["__init__"] or getattr(init, "_piactors_passes_on", False) is True

"""Functions that have the name, the signature and the attributes of others, and do nothing but call these."""

from __future__ import annotations

import functools
import inspect
import types
from typing import Any, Dict, List, Optional, Tuple

from .facts import KINDS, Facts, is_name

_BY_POSITION_ONLY, _REST, _BY_NAME, _MORE = 0, 2, 3, 4
"""Kinds of parameters, as `inspect` numbers them."""
_BODIES = {
    "function": "def {2}({3}):\n    return _piactors_use({0}'call', {1})\n",
    "coroutine function": "async def {2}({3}):\n    return await _piactors_use_async({0}'call', {1})\n",
    "generator function": "def {2}({3}):\n    return (yield from _piactors_driven({0}_piactors_use({0}'call', {1})))\n",
}


class Absent:
    """Stands for a default that is known where the function is: it is left out of the call."""

    def __repr__(self) -> str:
        return "..."


_ABSENT = Absent()


def defined(facts: Facts, first: str, scope: Dict[str, Any]) -> Any:
    """Return a function that is described.

    Args:
        first: a parameter that comes before the others, and is given on to what it uses; "" for none.
        scope: what it uses.
    """
    name = facts["name"] if is_name(facts["name"]) else "function"
    declared, arguments = _signature(facts.get("parameters"), scope)
    declared = ", ".join(one for one in (first, declared) if one)
    source = _BODIES[facts["kind"]].format(first and first + ", ", arguments, name, declared)
    exec(_compiled(source, "<stand-in of {}>".format(name)), scope)
    found: Any = scope.pop(name)  # it would hold itself by its globals
    found.__dict__.update(facts.get("marks", {}))
    found.__doc__ = facts.get("doc") or None
    found.__module__ = "piactors_isolated"
    found.__annotations__ = {name: KINDS[kind] for name, kind in facts.get("annotations", {}).items()}
    if facts.get("shown") is not None:
        found.__signature__ = shown(facts["shown"])
    return found


def shown(parameters: List[List[Any]]) -> Optional[inspect.Signature]:
    """Return a signature that is described; None if there cannot be such a one."""
    kinds = list(inspect._ParameterKind)
    found = []
    for name, kind, has_default, is_simple, default in parameters:
        value = (default if is_simple else _ABSENT) if has_default else inspect.Parameter.empty
        found.append(inspect.Parameter(name, kinds[kind], default=value))
    try:
        return inspect.Signature(found)
    except ValueError:
        return None


@functools.lru_cache(maxsize=1000)
def _compiled(source: str, name: str) -> types.CodeType:
    return compile(source, name, "exec")


def _signature(parameters: Optional[List[List[Any]]], scope: Dict[str, Any]) -> Tuple[str, str]:
    """Return the declaration of parameters, and what a call is made with, as code.

    Args:
        scope: gets the defaults.
    """
    if parameters is None:
        return "*args, **kwargs", "args, kwargs"
    declared: List[str] = []
    by_position, by_name, rest, more = "", "", "", ""
    is_hidden = any(has_default and not is_simple for _, _, has_default, is_simple, _ in parameters)
    for number, (name, kind, has_default, is_simple, default) in enumerate(parameters):
        if kind == _REST:
            declared.append("*" + name)
            rest = name
            continue
        if kind == _MORE:
            declared.append("**" + name)
            more = name
            continue
        if kind == _BY_NAME and not by_name and not rest:
            declared.append("*")
        if has_default:
            scope["_piactors_default_{}".format(number)] = default if is_simple else _ABSENT
        declared.append("{}=_piactors_default_{}".format(name, number) if has_default else name)
        if kind == _BY_NAME:
            by_name += "{!r}: {}, ".format(name, name)
        else:
            by_position += "({!r}, {}), ".format(name, name) if is_hidden else name + ", "
        if kind == _BY_POSITION_ONLY and (number + 1 == len(parameters) or parameters[number + 1][1] != kind):
            declared.append("/")
    if not is_hidden:
        args = "({})".format(by_position) + (" + " + rest if rest else "")
        return ", ".join(declared), "{}, {{{}{}}}".format(args, by_name, "**" + more if more else "")
    scope["_piactors_arguments"] = _without_absent
    pairs = "({})".format(by_position)
    return ", ".join(declared), "*_piactors_arguments({}, {{{}}}, {}, {})".format(
        pairs, by_name, rest or "()", more or "{}"
    )


def _without_absent(
    by_position: Tuple[Tuple[str, Any], ...], by_name: Dict[str, Any], rest: Tuple[Any, ...], more: Dict[str, Any]
) -> Tuple[Tuple[Any, ...], Dict[str, Any]]:
    """Return the arguments of a call from which defaults are left out: what comes after one goes by name.

    Args:
        by_position: names and values.
    """
    args: List[Any] = []
    named: Dict[str, Any] = {}
    is_after = False
    for name, value in by_position:
        if value is _ABSENT:
            is_after = True
        elif is_after:
            named[name] = value
        else:
            args.append(value)
    named.update((name, value) for name, value in by_name.items() if value is not _ABSENT)
    return (*args, *rest), {**named, **more}


def driven(remote: Any) -> Any:
    """Run a generator of another process as if it were here."""
    try:
        value = next(remote)
        while True:
            try:
                sent = yield value
            except GeneratorExit:
                remote.close()
                raise
            except BaseException as error:
                value = remote.throw(error)
            else:
                value = remote.send(sent)
    except StopIteration as end:
        return end.value

"""The public names with their signatures, as text: ``python -m tests.contract.surface`` prints them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import piactors
import piactors.testing
import piactors.usage

_MADE_BY_US = frozenset({"IsolateRef", "SupervisorRef", "IsolateProxy", "CallProxy", "Handle"})
"""What no program makes itself: how it is made is not promised."""
_AT = re.compile(r" at 0x[0-9a-f]+")


def lines() -> list[str]:
    """Return one line for each public name, method and property."""
    found = [line for name in piactors.__all__ for line in _of(name, getattr(piactors, name))]
    for module in (piactors.events, piactors.testing, piactors.usage):
        for name, thing in sorted(vars(module).items()):
            if not name.startswith("_") and getattr(thing, "__module__", "") == module.__name__:
                found += _of(f"{module.__name__.removeprefix('piactors.')}.{name}", thing)
    return sorted(set(found))


def _of(name: str, thing: Any) -> Iterator[str]:
    if inspect.ismodule(thing):
        return
    yield name if name in _MADE_BY_US else f"{name}{_signature(thing)}"
    if not inspect.isclass(thing):
        return
    for attribute in sorted(
        {key for cls in thing.__mro__ if cls.__module__.startswith("piactors") for key in vars(cls)}
    ):
        if attribute.startswith("_"):
            continue
        found = inspect.getattr_static(thing, attribute)
        if isinstance(found, property):
            yield f"{name}.{attribute}: property"
        elif callable(found) or isinstance(found, classmethod | staticmethod):
            yield f"{name}.{attribute}{_signature(getattr(thing, attribute))}"


def _signature(thing: Any) -> str:
    try:
        return _AT.sub("", str(inspect.signature(thing)))
    except (TypeError, ValueError):
        return ""


if __name__ == "__main__":
    print("\n".join(lines()))

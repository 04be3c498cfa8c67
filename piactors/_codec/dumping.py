"""Pickles of values and of the parts of definitions, and what these refer to by key."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

from piactors._codec import places, shared_objects, snapshots
from piactors._codec.pickler import full, within_module
from piactors.pihost.pickles import rebuild


def dumped(
    value: Any, *, foreign: bool, module: Any = None, top: Any = None, own: str = ""
) -> tuple[bytes, dict[str, Any]]:
    """Return a pickle, and what it refers to by key.

    Args:
        module: that of the definition of which `value` is a part.
        top, own: the value and the name of the variable that is pickled.
    """
    buffer = io.BytesIO()
    pickler: Any = (full() if module is None else within_module())(buffer, foreign=foreign)
    if module is not None:
        pickler.module, pickler.shared, pickler.own = module, _shared(module), own
    pickler.top = top
    pickler.dump(value)
    return buffer.getvalue(), pickler.met


def _shared(module: Any) -> dict[int, str]:
    """Return the variables of a module whose values are told apart by identity, by that."""
    if places.is_importable(module) or module not in sys.modules:
        return {}
    tables = _pass.__dict__.get("tables", {})
    found = tables.get(module)
    if found is None:
        names = list(vars(sys.modules[module]).items())  # at once: another thread may add to it
        found = {}
        for name, value in names:
            if snapshots.has_identity(name, value):
                found.setdefault(
                    id(value), name
                )  # of several names of one thing the first has it, the others refer to it
        tables[module] = found
    return found  # type: ignore[no-any-return]


_pass = threading.local()


@contextlib.contextmanager
def one_pass() -> Iterator[None]:
    """While definitions are made for one message, what the variables of a module hold is listed once."""
    before = _pass.__dict__.get("tables")
    _pass.tables = {} if before is None else before
    try:
        yield
    finally:
        if before is None:
            del _pass.tables


def try_to_dump(value: Any) -> None:
    """Raise what keeps an argument from being sent."""
    pickler = full()(io.BytesIO())
    pickler.spawning = shared_objects.Spawning()
    try:
        pickler.dump(value)
    finally:
        pickler.spawning.end()


def dumped_function(function: types.FunctionType, *, foreign: bool) -> tuple[bytes, bytes, dict[str, Any]]:
    """Return what makes a function that has a key, its content, and what they refer to."""
    head = io.BytesIO()
    pickler = full()(head, foreign=foreign)
    place = pickler.place_of(function)
    pickler.dump((rebuild.function, (place, function.__code__, function.__name__, len(function.__closure__ or ()))))
    met = pickler.met
    state = {**pickler.function_state(function), "contents": snapshots.contents(function)}
    data, more = dumped(state, foreign=foreign, module=function.__globals__.get("__name__"))
    return head.getvalue(), data, {**met, **more}

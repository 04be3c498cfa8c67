"""Classes and functions that isolates get by value, and that come back as the host's own.

What stands in ``__main__``, in a notebook or inside a function cannot be imported in an isolate.
Its definition is made with dill and travels under a key (see `piactors.pihost.byvalue`).
"""

from __future__ import annotations

import io
import itertools
import os
import threading
import types
import weakref
from typing import Any

import dill

_lock = threading.Lock()
_counter = itertools.count(1)
_by_key: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_keys: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_definitions: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()


def travels_by_value(obj: Any) -> bool:
    """Whether a class or function cannot be found by its name in another process."""
    qualname = getattr(obj, "__qualname__", "")
    return getattr(obj, "__module__", None) == "__main__" or "<locals>" in qualname or "<lambda>" in qualname


def key_of(obj: Any) -> str:
    """Return the key of a class or function, made the first time."""
    with _lock:
        key = _keys.get(obj)
        if key is None:
            key = f"{os.getpid()}-{next(_counter)}"
            _keys[obj] = key
            _by_key[key] = obj
        return key


def lookup(key: str) -> Any:
    """Return the host's object of a key.

    Raises:
        LookupError: where the host has none (any more).
    """
    with _lock:
        obj = _by_key.get(key)
    if obj is None:
        raise LookupError(f"no class or function of this host has the key {key!r}")
    return obj


def definition_of(obj: Any, *, fresh: bool) -> bytes:
    """Return the definition of `obj` as dill makes it; `fresh` makes it anew, as things are now."""
    if fresh or obj not in _definitions:
        _definitions[obj] = _define(obj)
    return _definitions[obj]


def _define(obj: Any) -> bytes:
    buffer = io.BytesIO()
    pickler = _DefinitionPickler(buffer, 5, recurse=True)
    pickler.dump(obj)
    # In the same stream and with the same memo, so that these are the very objects made above.
    pickler.dump([(key_of(other), other) for other in pickler.met])
    return buffer.getvalue()


class _DefinitionPickler(dill.Pickler):  # type: ignore[misc]
    """dill's pickler, which notes each class and function that it sends by value."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.met: list[Any] = []

    def reducer_override(self, obj: Any) -> Any:
        """Note what travels by value, and leave the rest to dill."""
        if isinstance(obj, (type, types.FunctionType)) and travels_by_value(obj):
            self.met.append(obj)
        return NotImplemented

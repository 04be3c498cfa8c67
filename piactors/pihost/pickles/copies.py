"""Copies of classes and functions that were made here, or that the host has let go of, by way of cloudpickle."""

from __future__ import annotations

import functools
import importlib.util
import io
import os
import pickle
import sys
import types
from typing import Any, Callable, Optional

from . import rebuild

_folder = ""
"""Where the host's cloudpickle lies, for an interpreter that has none of its own."""


@functools.lru_cache(maxsize=None)
def folder() -> str:
    """Return where this interpreter's own cloudpickle lies; nothing if it has none."""
    spec = importlib.util.find_spec("cloudpickle")
    return os.path.dirname(spec.origin) if spec is not None and spec.origin is not None else ""


def use(folder: str) -> None:
    """Say where the host's cloudpickle lies."""
    global _folder
    _folder = folder


def cloudpickle() -> Any:
    """Return cloudpickle: this interpreter's own, else the host's.

    Raises:
        ImportError: if there is neither.
    """
    try:
        import cloudpickle as found
    except ImportError:
        spec = importlib.util.spec_from_file_location(
            "cloudpickle", os.path.join(_folder, "__init__.py"), submodule_search_locations=[_folder]
        )
        if not _folder or spec is None or spec.loader is None:
            raise
        module = importlib.util.module_from_spec(spec)
        sys.modules["cloudpickle"] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            sys.modules.pop("cloudpickle", None)
            raise
        return module
    return found


def dumps(obj: Any, override: Optional[Callable[[Any, Any], Any]] = None) -> bytes:
    """Return a pickle with copies of all that cannot be imported elsewhere; `override` may say otherwise first."""
    base = cloudpickle().CloudPickler

    def reducer_override(self: Any, obj: Any) -> Any:
        found = NotImplemented if override is None else override(self, obj)
        if found is not NotImplemented:
            return found
        if type(obj) is types.CellType:
            return _cell(obj)
        if type(obj) is functools._lru_cache_wrapper:
            return _lru_cache(obj, base.reducer_override(self, obj.__wrapped__))
        found = base.reducer_override(self, obj)
        if type(obj) is types.FunctionType and found is not NotImplemented and obj.__closure__:
            return _with_its_cells(obj, found)
        return found

    buffer = io.BytesIO()
    type("_Copier", (base,), {"reducer_override": reducer_override})(buffer, 5).dump(obj)
    return buffer.getvalue()


def _cell(cell: Any) -> Any:
    try:
        content = cell.cell_contents
    except ValueError:
        return rebuild.cell, ()
    return rebuild.cell, (), (content,), None, None, rebuild.set_cell


def _with_its_cells(function: Any, reduced: Any) -> Any:
    """Have the copy of a closure share its variables with the copies of other closures that do."""
    maker, (code, names, *_), (attributes, slots), *rest = reduced
    slots = {**slots, "__closure__": None}
    return (maker, (code, names, None, None, function.__closure__), (attributes, slots), *rest)


def _lru_cache(cached: Any, reduced: Any) -> Any:
    """Have a local function that keeps its results made around one without a state: it may refer to itself."""
    if reduced is NotImplemented or not hasattr(cached, "cache_parameters"):
        return NotImplemented
    _, (code, names, *_), state, _, _, setter = reduced
    options = cached.cache_parameters()
    count = len(code.co_freevars)
    return (
        rebuild.copied_lru_cache,
        (code, names, count, options),
        (setter, state),
        None,
        None,
        rebuild.set_copied_lru_cache,
    )


def dumps_or_none(obj: Any, override: Callable[[Any, Any], Any]) -> Optional[bytes]:
    """Return the copy of one class or function, or None if it cannot be copied; `override` is asked of all others."""
    try:
        return dumps(obj, lambda pickler, other: NotImplemented if other is obj else override(pickler, other))
    except Exception:
        return None


def loads(data: bytes) -> Any:
    """Return what a copy holds."""
    cloudpickle()
    return pickle.loads(data)  # this package has its own name here

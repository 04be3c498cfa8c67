"""Where a class or function stands, and so how it travels: by its name, beside messages under a key, or within them."""

from __future__ import annotations

import importlib.machinery
import os
import sys
import types
import weakref
from typing import Any, Literal

How = Literal["name", "key", "within"]

_importable: dict[str, tuple[weakref.ref[types.ModuleType], bool]] = {}
_SCRIPTS = frozenset({"__main__", "__mp_main__"})
_NAMES = {found: name for name, found in vars(types).items() if type(found) is type}
_SINGLE = {type(single): single for single in (None, Ellipsis, NotImplemented)}


def is_importable(name: Any) -> bool:
    """Whether another process with the same `sys.path` can import a module of this process by its name."""
    module = sys.modules.get(name) if type(name) is str else None
    if module is None:
        return False
    known = _importable.get(name)
    if known is not None and known[0]() is module:
        return known[1]
    found = name not in _SCRIPTS and _has_source(module, name)
    _importable[name] = (weakref.ref(module), found)
    return found


def _has_source(module: types.ModuleType, name: str) -> bool:
    spec = getattr(module, "__spec__", None)
    parent, _, last = name.rpartition(".")
    if spec is None:  # made by a program; or by its own package, when that was imported
        return bool(parent) and is_importable(parent) and getattr(sys.modules[parent], last, None) is module
    if not isinstance(spec.loader, importlib.machinery.SourceFileLoader) or spec.origin is None:
        return True  # built in, frozen, an extension, in a zip file, a namespace: those that import say so
    if parent:
        folders = getattr(sys.modules.get(parent), "__path__", None)
        return folders is None or (is_importable(parent) and _within(spec.origin, folders))
    return _found_as(name, spec.origin)


def _within(origin: str, folders: Any) -> bool:
    folder = os.path.dirname(origin)
    if os.path.basename(origin) == "__init__.py":
        folder = os.path.dirname(folder)
    return any(os.path.abspath(found) == os.path.abspath(folder) for found in folders)


def _found_as(name: str, origin: str) -> bool:
    """Whether an import by this name leads to this file: it may have been loaded from its path under any name."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            spec = None if find is None else find(name, None)
        except Exception:
            continue
        if spec is not None:
            return spec.origin is None or os.path.abspath(spec.origin) == os.path.abspath(origin)
    return False


def is_found(obj: Any, module: object, qualname: str) -> bool:
    """Whether `module` has this very object under its name."""
    found: Any = sys.modules.get(module) if type(module) is str else None
    try:
        for part in qualname.split("."):
            found = getattr(found, part)
    except AttributeError:
        return False
    return found is obj


def named_otherwise(cls: type) -> tuple[Any, ...] | None:
    """Return how a type of the interpreter is pickled that cannot be found by its own name."""
    if cls in _SINGLE:
        return type, (_SINGLE[cls],)
    if cls in _NAMES and cls.__module__ == "builtins":
        from piactors.pihost.pickles import rebuild

        return rebuild.builtin_type, (_NAMES[cls],)
    return None


def of_class(cls: type) -> How:
    """Return how a class travels."""
    module, qualname = cls.__module__, cls.__qualname__
    if is_importable(module):
        return "name" if is_found(cls, module, qualname) else "within"
    return "key" if "<" not in qualname and module in sys.modules else "within"


def of_function(function: types.FunctionType) -> How:
    """Return how a function travels."""
    module, qualname = function.__module__, function.__qualname__
    if is_importable(module):
        return "name" if is_found(function, module, qualname) else "within"
    if "<" in qualname or module not in sys.modules or place_of(function)[0] == "own":
        return "within"
    return "key"


def of_thing(obj: Any) -> How:
    """Return how something travels that is known by its name in a module and is neither a class nor a function."""
    module: Any = getattr(obj, "__module__", None)
    name: Any = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", "")
    if is_importable(module):
        return "name" if is_found(obj, module, name) else "within"
    return "within" if "<" in name else "key"


def place_of(function: types.FunctionType) -> tuple[str, Any]:
    """Return whose globals a function has: ``module`` or ``import`` and a name, or ``own`` and themselves."""
    names = function.__globals__
    name = names.get("__name__")
    module = sys.modules.get(name) if type(name) is str else None
    if module is None or getattr(module, "__dict__", None) is not names:
        return "own", names
    return ("import" if is_importable(name) else "module"), name


def scripts() -> list[str]:
    """Return the modules of this process that are scripts or notebooks."""
    return [name for name in _SCRIPTS if name in sys.modules]

"""Takes the place of `EntryPoint.load`, in the standard library and in what does the same, for some entry points."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

from piactors.plugins.sources import target_of

_CLASSES = {"importlib.metadata": "EntryPoint", "importlib_metadata": "EntryPoint", "pkg_resources": "EntryPoint"}
_METHODS = ("load", "resolve")


class Interceptor(Protocol):
    """Who loads some entry points in another way."""

    def loads(self, group: str, name: str, value: str) -> tuple[Any] | None:
        """Return what stands for an entry point; None if it is loaded as usual."""


_lock = threading.RLock()
_active: list[Interceptor] = []
_before: dict[tuple[type, str], tuple[Callable[..., Any], Callable[..., Any]]] = {}


def begin(interceptor: Interceptor) -> None:
    """Let it be asked for each entry point that is loaded from now on."""
    with _lock:
        if not _active:
            for name in _CLASSES:
                if name in sys.modules:
                    _take_place(sys.modules[name])
            sys.meta_path.insert(0, _watch)
        _active.append(interceptor)


def end(interceptor: Interceptor) -> bool:
    """It is not asked any more; return whether it was."""
    with _lock:
        if interceptor not in _active:
            return False
        _active.remove(interceptor)
        if not _active:
            sys.meta_path.remove(_watch)
            for (cls, method), (usual, own) in _before.items():
                if cls.__dict__.get(method) is own:  # else somebody else has taken the place since
                    setattr(cls, method, usual)
            _before.clear()
    return True


def _take_place(module: ModuleType) -> None:
    cls: Any = getattr(module, _CLASSES[module.__name__], None)
    for method in _METHODS:
        usual = getattr(cls, "__dict__", {}).get(method)
        if usual is not None and (cls, method) not in _before:
            own = _loading(usual)
            _before[cls, method] = usual, own
            setattr(cls, method, own)


def _loading(usual: Callable[..., Any]) -> Callable[..., Any]:
    def load(self: Any, *args: Any, **kwargs: Any) -> Any:
        for one in list(_active):
            found = one.loads(*_described(self))
            if found is not None:
                return found[0]
        return usual(self, *args, **kwargs)

    load.__name__, load.__doc__ = usual.__name__, usual.__doc__
    return load


def _described(point: Any) -> tuple[str, str, str]:
    """Return group, name and value; that of pkg_resources does not know its group."""
    value = getattr(point, "value", None)
    if value is None:
        attributes = ".".join(getattr(point, "attrs", ()))
        value = f"{point.module_name}:{attributes}" if attributes else point.module_name
    return getattr(point, "group", ""), point.name, target_of(value)


class _LaterImports:
    """Sees to modules that are imported later."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return the usual spec of one of those modules, which takes the place when it has been imported."""
        if name not in _CLASSES:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None and spec.loader is not None:
                self._follow(spec.loader)
                return spec
        return None

    @staticmethod
    def _follow(loader: Any) -> None:
        usual = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            usual(module)
            with _lock:
                if _active:
                    _take_place(module)

        loader.exec_module = exec_module


_watch = _LaterImports()

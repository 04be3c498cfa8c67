"""Files that lie beside a plugin's module: applications ask for them by the module's name, without its code."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from typing import Any


class FilesOnly(importlib.machinery.SourceFileLoader):
    """Finds the files of a module, and runs nothing of it."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Refuse to import it.

        Raises:
            ImportError: always.
        """
        raise ImportError(f"{self.name} runs in an isolate, and is not imported here", name=self.name)


def located(name: str) -> importlib.machinery.ModuleSpec | None:
    """Return where a module lies, without importing it or what it lies in."""
    found, path = None, None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        found = _found(".".join(parts[:count]), path)
        if found is None:
            return None
        path = found.submodule_search_locations
    return found


def _found(name: str, path: Any) -> importlib.machinery.ModuleSpec | None:
    for finder in sys.meta_path:
        try:
            found = finder.find_spec(name, path)
        except (ImportError, AttributeError):
            continue
        if found is not None:
            return found
    return None


def dress(module: types.ModuleType, target: Any) -> None:
    """Let the files beside a plugin be found by the name of its stand-in, which is importable by it."""
    name = target.partition(":")[0] if isinstance(target, str) else ""
    spec = located(name) if name and not name.endswith(".py") else None
    if spec is not None and spec.origin is not None and spec.has_location:
        loader = FilesOnly(module.__name__, spec.origin)
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, loader, origin=spec.origin, is_package=True)
        module.__spec__.submodule_search_locations = list(spec.submodule_search_locations or [])
        module.__loader__, module.__file__ = loader, spec.origin
        module.__path__ = []  # nothing of the plugin can be imported by way of it
    sys.modules[module.__name__] = module


def undress(module: Any) -> None:
    """It is not to be found any more."""
    if isinstance(module, types.ModuleType) and sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]

"""Files that lie beside a plugin's module: applications ask for them by the module's name, without its code."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from typing import Any

from piactors.plugins.locating import located


class FilesOnly(importlib.machinery.SourceFileLoader):
    """Finds the files of a module, and runs nothing of it."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Refuse to import it.

        Raises:
            ImportError: always.
        """
        raise ImportError(f"{self.name} runs in an isolate, and is not imported here", name=self.name)


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

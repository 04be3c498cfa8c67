"""Where a module lies, found without importing it."""

from __future__ import annotations

import importlib.machinery
import sys
from typing import Any


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

"""Modules that are imported when something of them is first used: most programs, and most isolates, need none of it."""

from __future__ import annotations

import importlib
from typing import Any


class LateModule:
    """Stands for a module until something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)  # anew each time: somebody may have replaced it

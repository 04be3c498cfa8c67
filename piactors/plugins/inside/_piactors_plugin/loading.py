"""Imports a plugin by its target."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from typing import Any


class _FromSource(importlib.machinery.SourceFileLoader):
    """Reads the source whatever bytecode there is."""

    def path_stats(self, path: Any) -> Any:
        raise OSError("bytecode is not looked at")


def loaded(target: str) -> Any:
    """Return what a target names."""
    place, _, attribute = target.rpartition(":") if ".py:" in target else (target, "", "")
    if not place.endswith(".py"):
        place, _, attribute = target.partition(":")
    if place.endswith(".py"):
        # Not by its own name: it may be that of a module which others import.
        name = "piactors_plugin_{}".format(os.path.splitext(os.path.basename(place))[0])
        spec: Any = importlib.util.spec_from_file_location(name, place, loader=_FromSource(name, place))
        found = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    else:
        found = importlib.import_module(place)
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part)
    return found

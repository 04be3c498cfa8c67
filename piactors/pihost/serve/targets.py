"""Finding what a target names: ``package.module:qualname`` or ``path/to/file.py:qualname``."""

from __future__ import annotations

import binascii
import importlib
import importlib.util
import os
import sys
import threading
from typing import Any, Tuple

_loading = threading.RLock()
"""Held while a file is loaded, so that another thread never sees half of it."""


class TargetError(Exception):
    """A target names nothing that can be hosted; the text says which part was not found."""

    _pihost_invalid_target = True  # a mark, since an actor's isolate may hold two copies of this class


def split(target: str) -> Tuple[str, str]:
    """Return the module or file of a target, and the name in it."""
    place, colon, qualname = target.rpartition(":")
    if not colon or not place or not qualname:
        raise TargetError("{!r} is not a target; write 'package.module:name' or 'path/to/file.py:name'".format(target))
    if not all(part.isidentifier() for part in qualname.split(".")):
        raise TargetError("{!r} is not a target: {!r} is not the name of a class or function".format(target, qualname))
    return place, qualname


def is_file(place: str) -> bool:
    """Whether a target's place is a file rather than a module."""
    return place.endswith(".py") or os.sep in place or "/" in place


def resolve(target: str) -> Any:
    """Import or load what `target` names, and return it."""
    place, qualname = split(target)
    module = _load_file(place, target) if is_file(place) else _import(place, target)
    found: Any = module
    for part in qualname.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise TargetError("{!r}: {} has no {!r}".format(target, _describe(found, place), part)) from None
    if not callable(found):
        raise TargetError("{!r} is a {}; a target is a class or a function".format(target, type(found).__name__))
    return found


def _describe(found: Any, place: str) -> str:
    if not isinstance(found, type(sys)):
        return repr(found)
    if is_file(place) and found.__name__.startswith("_pihost_file_"):
        return "file {}".format(place)
    return "module {}".format(found.__name__)


def _import(name: str, target: str) -> Any:
    if not all(part.isidentifier() for part in name.split(".")):
        raise TargetError("{!r}: there is no module {!r}".format(target, name))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(missing + "."):
            text = "{!r}: there is no module {!r} on the isolate's sys.path".format(target, missing)
            raise TargetError(text) from None
        raise  # the module is there, and something that it imports is not: that is its own error


def _load_file(path: str, target: str) -> Any:
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise TargetError("{!r}: there is no file {}".format(target, path))
    name = "_pihost_file_{}_{:08x}".format(
        os.path.splitext(os.path.basename(path))[0], binascii.crc32(os.fsencode(path))
    )
    with _loading:
        return sys.modules[name] if name in sys.modules else _load_module(name, path, target)


def _load_module(name: str, path: str, target: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError("{!r}: {} is not a Python file".format(target, path))
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as for a script: what lies beside a file is importable from it
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module

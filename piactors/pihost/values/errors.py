"""Errors of the host that an isolate raises: of piactors' own classes if it is installed here, else of like names."""

from __future__ import annotations

import sys
from typing import Any, Dict

_MODULE = "piactors.errors"


class HostError(Exception):
    """Something that was asked of the host, or of another isolate, has failed there; the class of that is not here."""


_made: Dict[str, type] = {}


def named(name: str, module: str = _MODULE) -> type:
    """Return the class of an error: piactors' own if that is loaded, else one of that name, below `HostError`."""
    found = getattr(sys.modules.get(module), name, None)
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    key = "{}.{}".format(module, name)
    if key not in _made:
        bases: Any = (HostError, TimeoutError) if name.endswith("Timeout") else (HostError,)
        _made[key] = type(name, bases, {"__module__": module})
    return _made[key]


def make(name: str, text: str) -> Any:
    """Return an error of piactors' own."""
    return named(name)(text)


def cancelled() -> BaseException:
    """Return the error of what was cancelled."""
    from concurrent.futures import CancelledError  # which most isolates never need

    return CancelledError()


def remote(module: str, qualname: str, text: str, traceback: str) -> Any:
    """Return the error for an exception whose class is not here, or cannot be made here."""
    if module == _MODULE:
        return make(qualname, text)
    if _MODULE in sys.modules:
        name = qualname if module == "builtins" else "{}.{}".format(module, qualname)
        return sys.modules[_MODULE].RemoteError(name, text, traceback)
    return named(qualname, module)("{}: {}".format(qualname, text) if text else qualname)

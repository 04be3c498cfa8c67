"""What can be seen of a process: module variables, threads, handlers, streams; to be compared with another's."""

from __future__ import annotations

import atexit
import faulthandler
import functools
import gc
import logging
import os
import re
import signal
import sys
import threading
import types
import warnings
import weakref
from typing import Any

_DEPTH = 4
_VARIES = re.compile(r"(?<=task/)\d+|0x[0-9a-f]+|PIACTORS_[0-9a-f]{24}")
_LARGE = 1 << 32
"""Numbers from here on are addresses, identities of threads, times."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), range)
_BY_NAME = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial)
_LEFT_OUT = (
    "_pihost.fork.heap._kept",
    "_pihost.fork.rehearsal.rehearse",
    "logging._startTime",
    "sys.orig_argv",
    "sys.modules",
)
_TOLD_APART = ("tests.children.rehearsed", "tests.children.unrehearsed", __name__)
_DUNDERS = ("__builtins__", "__cached__", "__file__", "__loader__", "__spec__", "__doc__")


def snapshot() -> dict[str, Any]:
    """Return a description of this process, as text by place; two that were made alike have the same."""
    found = dict(_process())
    for name, module in sorted(sys.modules.items()):
        if name in _TOLD_APART or not isinstance(module, types.ModuleType):
            continue
        for variable, value in sorted(vars(module).items()):
            place = f"{name}.{variable}"
            if variable not in _DUNDERS and place not in _LEFT_OUT:
                found[place] = _VARIES.sub("", _described(value, _DEPTH, name))
    return found


def was_rehearsed(module: str) -> bool:
    """Whether this very process has played a start through."""
    return os.getpid() in sys.modules[module].rehearsed


def _process() -> dict[str, str]:
    umask = os.umask(0)
    os.umask(umask)
    return {
        "modules": " ".join(sorted({*sys.modules} - {*_TOLD_APART})),
        "threads": " ".join(sorted(thread.name for thread in threading.enumerate())),
        "handlers of signals": repr([_described(signal.getsignal(n), 1, "") for n in sorted(signal.valid_signals())]),
        "blocked signals": repr(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "faulthandler": repr(faulthandler.is_enabled()),
        "root logger": f"{logging.getLogger().level} {[type(h).__name__ for h in logging.getLogger().handlers]}",
        "name of the next thread": threading.Thread().name,
        "exit functions": repr(atexit._ncallbacks()),
        "collector": f"{gc.isenabled()} {gc.get_threshold()}",
        "filters of warnings": repr(warnings.filters),
        "directory": f"{os.getcwd()} {umask}",
        "descriptors": repr(sorted(os.readlink(f"/proc/self/fd/{fd}").partition(":")[0] for fd in _open())),
        "streams": " ".join(
            f"{stream.fileno()} {stream.encoding} {stream.errors} {stream.line_buffering}"  # type: ignore[attr-defined]
            for stream in (sys.stdin, sys.stdout, sys.stderr)
        ),
    }


def _open() -> list[int]:
    return [fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.lexists(f"/proc/self/fd/{fd}")]


def _described(value: Any, depth: int, module: str) -> str:
    """Return what a value is and holds, without where it lies."""
    kind = type(value).__name__
    if type(value) is int and (value >= _LARGE or value in (os.getpid(), os.getppid())):
        return "a number that differs"
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, type):
        if depth > 1 and value.__module__ == module:
            return f"class {value.__qualname__} {_items(_plain_variables(value), depth - 1, module)}"
        return f"class {value.__qualname__}"
    if isinstance(value, _BY_NAME) or depth == 0:
        return f"{kind} {getattr(value, '__qualname__', getattr(value, '__name__', ''))}"
    if isinstance(value, (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)):
        return f"{kind} of {len(value)}"
    if isinstance(value, (dict, types.MappingProxyType)) or kind == "_Environ":
        return f"{kind} {_items(dict(value), depth - 1, module)}"
    if isinstance(value, (list, tuple)):
        return f"{kind} {[_described(item, depth - 1, module) for item in value]}"
    if isinstance(value, (set, frozenset)):
        return f"{kind} {sorted(_described(item, depth - 1, module) for item in value)}"
    if isinstance(value, threading.local):
        return f"{kind} {_items({name: held for name, held in vars(value).items() if held is not None}, 1, module)}"
    if isinstance(value, threading.Thread):
        return f"{kind} {value.name} {value.daemon} {value.is_alive()}"
    if isinstance(getattr(value, "__dict__", None), dict):
        return f"{kind} {_items(vars(value), depth - 1, module)}"
    return f"{kind} {value!r}"


def _plain_variables(cls: type) -> dict[str, Any]:
    return {name: value for name, value in vars(cls).items() if not name.startswith("__") and not callable(value)}


def _items(values: dict[Any, Any], depth: int, module: str) -> str:
    return str(sorted(f"{_described(key, 0, '')}: {_described(value, depth, module)}" for key, value in values.items()))

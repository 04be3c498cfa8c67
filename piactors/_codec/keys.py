"""The keys under which classes, functions and a few other things of this process are known to isolates."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

_lock = threading.RLock()
"""Held while a thing gets its key: two threads that send it must send the same one.  A signal handler may send, too."""
_counter = itertools.count(1)
_keys: dict[int, tuple[str, Any]] = {}
_by_key: dict[str, Any] = {}
on_forgotten: list[Callable[[str], object]] = []
"""Called with the key of what this process has let go of; called in any thread, at any moment."""


def _found(number: int, obj: Any) -> str | None:
    found = _keys.get(number)
    return found[0] if found is not None and found[1]() is obj else None


def key_of(obj: Any) -> str:
    """Return the key of a class, a function or a thing of this process, made the first time."""
    number = id(obj)
    found = _found(number, obj)
    if found is not None:
        return found
    with _lock:
        found = _found(number, obj)  # another thread may have been here meanwhile
        if found is not None:
            return found
        key = f"{os.getpid()}-{next(_counter)}"

        def forget(_: Any, is_too_late: Callable[[], bool] = sys.is_finalizing) -> None:
            if is_too_late():
                return  # modules are being emptied, those that would be told among them
            _keys.pop(number, None)
            _by_key.pop(key, None)
            tell_of_forgotten(key)

        reference = _reference(obj, forget)
        _keys[number] = (key, reference)
        _by_key[key] = reference
        return key


def tell_of_forgotten(key: str) -> None:
    """Report something that this process has let go of."""
    for callback in on_forgotten:
        callback(key)


def reference_to(obj: Any) -> Callable[[], Any]:
    """Return a weak reference, if there can be one."""
    return _reference(obj, None)


def _reference(obj: Any, forget: Callable[[Any], object] | None) -> Callable[[], Any]:
    try:
        return weakref.ref(obj, forget)
    except TypeError:
        return lambda: obj  # few, and small: context variables


def known(key: str) -> Any:
    """Return what this process has under a key, or None."""
    found = _by_key.get(key)
    return None if found is None else found()


def adopt(key: str, obj: Any) -> Any:
    """Know a copy of what this process had let go of under its former key."""
    with _lock:
        _by_key[key] = _reference(obj, lambda _: _by_key.pop(key, None))
        return obj


def renew_lock_after_fork() -> None:
    """Replace the lock that another thread may have held when this process was forked."""
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held the old one


os.register_at_fork(after_in_child=renew_lock_after_fork)

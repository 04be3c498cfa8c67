"""Names of plugin hosts, each of which one host of a program has: its isolates are told apart by it."""

from __future__ import annotations

import itertools
import threading

_lock = threading.Lock()
_taken: set[str] = set()


def taken(wanted: str) -> str:
    """Return a name that nobody else has from now on: the one that is wanted, or that with a number."""
    if not isinstance(wanted, str) or not wanted or "." in wanted:
        raise ValueError(f"PluginHost: name={wanted!r} is not allowed; use a text without '.'")
    with _lock:
        name = wanted
        for number in itertools.count(2):
            if name not in _taken:
                break
            name = f"{wanted}-{number}"
        _taken.add(name)
        return name


def release(name: str) -> None:
    """Nobody has it any more."""
    with _lock:
        _taken.discard(name)

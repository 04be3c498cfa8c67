"""In which way an argument reaches a plugin: `snapshot`, or lent by `by_ref`; without a way it is as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from piactors._values.lent import ByRef
from piactors.errors import NotPermitted
from piactors.plugins.inside._piactors_plugin import kinds

Ways = Mapping[str, Any]


class SnapshotWay:
    """Copies an argument."""

    def __repr__(self) -> str:
        return "snapshot"


snapshot = SnapshotWay()
"""In ``arguments=``: the argument is copied when its hook is called; what the plugin does to it is done to the copy."""


class Narrowed:
    """What stands for an object of which only some methods are lent."""

    __slots__ = ("_methods", "_value")

    def __init__(self, value: Any, methods: frozenset[str]) -> None:
        self._value, self._methods = value, methods

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._methods:
            allowed = ", ".join(sorted(self._methods))
            raise NotPermitted(f"a {type(self._value).__qualname__} is lent with the methods {allowed}")
        return getattr(self._value, name)


def checked(ways: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return ways, by the names of arguments.

    Raises:
        TypeError: if one is something else.
    """
    for name, way in (ways or {}).items():
        if way is not snapshot and not isinstance(way, ByRef):
            raise TypeError(f"arguments: {name}={way!r} is not allowed; use snapshot, or by_ref(methods=...)")
        if isinstance(way, ByRef) and way.run != "caller":
            raise ValueError(f"arguments: {name}=by_ref(run={way.run!r}) is not allowed; use run='caller'")
    return dict(ways or {})


def taken(value: Any, way: Any) -> Any:
    """Return what is sent in the place of an argument."""
    if way is snapshot:
        return kinds.Copied(value)
    if isinstance(way, ByRef):
        return kinds.AsItIs(value if way.methods is None else Narrowed(value, way.methods))
    return value

"""What pykka's proxies look at in place of an actor that lives in another process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

Described = dict[str, tuple[bool, bool, int, float, int, int, bool]]
"""By dotted path: is it callable, is it traversable, how often may it be retried, its time limit in seconds, and the
window of the streams that it returns, in items and bytes (zeros if it returns none), and is it marked `reentrant`."""


class Known(NamedTuple):
    """What a proxy knows of an attribute."""

    callable: bool
    traversable: bool
    window: tuple[int, int]
    """That of the streams that its calls return; zeros if they return none."""


class RemoteAttributes:
    """Has the public attributes of the remote object, as names; without their values.

    The second look at its names asks the remote object again: pykka looks again when it is asked for
    an attribute that it does not know.
    """

    def __init__(self, identity: object, described: Described, again: Callable[[], Described]) -> None:
        self.__dict__["_identity"] = identity
        self.__dict__["_again"] = again
        self.__dict__["_looked"] = False
        self.__dict__["_described"] = None
        self._fill(described)

    def __dir__(self) -> Iterable[str]:
        if self.__dict__["_looked"]:
            self._fill(self.__dict__["_again"]())
        self.__dict__["_looked"] = True
        return [name for name in self.__dict__ if not name.startswith("_")]

    def _known(self, again: bool = False) -> dict[tuple[str, ...], Known]:
        """Return what there is, as our own proxies know it.

        pykka's proxies look at one attribute after the other, and at all of them for each.

        Args:
            again: whether to ask the remote object once more.
        """
        if again:
            self._fill(self.__dict__["_again"]())
        described: Described = self.__dict__["_described"] or {}
        return {
            tuple(path.split(".")): Known(is_callable and not is_traversable, is_traversable, (items, size))
            for path, (is_callable, is_traversable, _, _, items, size, _) in described.items()
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteAttributes) and self.__dict__["_identity"] is other.__dict__["_identity"]

    def __hash__(self) -> int:
        return hash(id(self.__dict__["_identity"]))

    def _fill(self, described: Described) -> None:
        if described == self.__dict__["_described"]:
            return
        for name in [name for name in self.__dict__ if not name.startswith("_")]:
            del self.__dict__[name]
        self.__dict__["_described"] = described
        for path, (is_callable, is_traversable, *_) in sorted(described.items()):
            *parents, name = path.split(".")
            place: dict[str, object] | None = self.__dict__
            for parent in parents:
                found = place.get(parent) if place is not None else None
                place = found.__dict__ if isinstance(found, _Branch) else None
            if place is not None:
                place[name] = _Branch() if is_traversable else _Method() if is_callable else _Value()


class _Value:
    """An attribute that a proxy reads."""


class _Method:
    """An attribute that a proxy calls."""

    def __call__(self) -> None:
        """Be callable; it is never called here."""


class _Branch:
    """An attribute whose own attributes a proxy offers."""

    _pykka_traversable = True

    def __dir__(self) -> Iterable[str]:
        return [name for name in self.__dict__ if not name.startswith("_")]

"""Finds what a plugin has lent again when its process has ended: by doing once more what it was lent in."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from piactors.plugins.inside._piactors_plugin import ledgers, packing, things

_NEVER = 1 << 60
"""Nothing that is lent has so large a number: what has it can be held, and not used."""
MOST_ANSWERS, MOST_NODES = 1_000, 100_000
"""Of one call: more is not kept, and what is lent in it is not found again."""


class CallRecord:
    """One call of a plugin while it runs: what it has asked the host, and what was answered."""

    def __init__(self) -> None:
        self.answers: list[Any] | None = []
        self.lent: list[int] = []
        self.own: dict[Any, things.Anchor] = {}
        self._size = 0

    def answered(self, reply: Any, lent: packing.LentNumbers) -> None:
        """This was the answer to what it has asked."""
        self.lent += lent
        self.own.update(lent.own)
        if self.answers is None:
            return
        self._size += size_of(reply)
        if len(self.answers) >= MOST_ANSWERS or self._size > MOST_NODES:
            self.answers = None
        else:
            self.answers.append(reply)


def size_of(node: Any) -> int:
    """Return about how much a node takes."""
    if type(node) in (str, bytes):
        return 1 + len(node) // 16
    if type(node) in (list, tuple, set, frozenset):
        return 1 + sum(map(size_of, node))
    if type(node) is dict:
        return 1 + sum(size_of(key) + size_of(one) for key, one in node.items())
    return 1


class Origin:
    """One call in which a plugin has lent something.

    Args:
        anchor: of what was called.
        asked: path, operation and arguments of the call, as nodes.
        answers: what the host had answered meanwhile, in order.
        own: by number, what was named in both of the plugin's own.
    """

    def __init__(
        self, anchor: things.Anchor, asked: tuple[Any, ...], answers: list[Any], own: dict[Any, things.Anchor]
    ) -> None:
        self.anchor, self._given = anchor, own
        self._asked, self._answers = asked, answers
        self._lent: list[weakref.ref[things.Anchor] | None] = []
        self._numbers: list[int] = []
        self._objects: dict[int, Any] = {}
        self._own = frozenset(numbers_in((asked, answers)))

    def has_lent(self, numbers: list[int], anchors: dict[int, things.Anchor]) -> None:
        """It has lent these numbers, in this order; those that are used have anchors."""
        self._numbers = numbers
        self._lent = [weakref.ref(anchors[number]) if number in anchors else None for number in numbers]
        for anchor in anchors.values():
            anchor.comes_from(self)

    def hold(self, find: Callable[[int], Any]) -> None:
        """The process has ended, and had held these: keep what it had of this call's, as long as this is needed."""
        for number in self._own:
            try:
                self._objects.setdefault(number, find(number))
            except ledgers.Gone:
                continue

    def repetition(self, lend: Callable[[Any], int]) -> tuple[tuple[Any, ...], list[Any]]:
        """Return what to ask of another process, and what it is answered, with what is lent in both lent anew."""

        def again(number: int) -> int:
            return lend(self._objects[number]) if number in self._objects else _NEVER + number

        def now(root: Any) -> Any:
            return self._given[root].value if root in self._given else root

        path, *rest = self._asked
        return (self.anchor.value, path, *renumbered(rest, again, now)), renumbered(self._answers, again, now)

    def named(self, number: Any) -> things.Anchor | None:
        """Return the anchor of what it names by a number now."""
        return next((one for one in (self.anchor, *self._given.values()) if one.value == number), None)

    def first(self) -> things.Anchor | None:
        """Return the anchor of something that it has lent, and that is used."""
        used = (None if reference is None else reference() for reference in self._lent)
        return next((one for one in used if one is not None), None)

    def found(self, numbers: list[int]) -> dict[int, things.Anchor]:
        """Another process has lent these numbers in their places; return the anchors that are used, by number.

        Raises:
            Gone: if these are not the same things.
        """
        pattern = [self._numbers.index(number) for number in self._numbers]
        if [numbers.index(number) for number in numbers] != pattern:
            raise ledgers.Gone("done again, it lends other things than it did the first time")
        used: dict[int, things.Anchor] = {}
        for number, reference in zip(numbers, self._lent, strict=True):
            anchor = None if reference is None else reference()
            if anchor is not None:
                anchor.moved(number)
                used[number] = anchor
        self._numbers = numbers
        return used


def numbers_in(node: Any) -> Iterable[int]:
    """Yield the numbers of what the host lends in nodes."""
    if type(node) in (list, tuple):
        if len(node) == 3 and node[0] == "r" and type(node[1]) is int:
            yield node[1]
            return
        if len(node) == 2 and node[0] == "v":
            return
        for one in node:
            yield from numbers_in(one)
    elif type(node) is dict:
        for one in node.values():
            yield from numbers_in(one)


def renumbered(node: Any, again: Callable[[int], int], now: Callable[[Any], Any]) -> Any:
    """Return nodes in which the host lends the same by other numbers, and the plugin's own has those of now."""
    if type(node) in (list, tuple):
        if len(node) == 3 and node[0] == "r" and type(node[1]) is int:
            return ("r", again(node[1]), node[2])
        if len(node) == 3 and node[0] == "h":
            return ("h", now(node[1]), node[2])
        if len(node) == 2 and node[0] == "v":
            return node
        return type(node)(renumbered(one, again, now) for one in node)
    if type(node) is dict:
        return {key: renumbered(one, again, now) for key, one in node.items()}
    return node

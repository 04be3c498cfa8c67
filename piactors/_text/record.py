"""What records have in common: how they are compared and shown."""

from __future__ import annotations

from typing import Any


class ByAttributes:
    """Compared and shown by its attributes, as attrs does it.

    attrs would make functions for that for each class, which takes two thirds of the time in which a class is made;
    and a program's first start waits for many of them.
    """

    __slots__ = ()

    def _compared(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in _fields_of(self) if field.eq)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash((type(self), self._compared()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in _fields_of(self) if f.repr)
        return f"{type(self).__qualname__.rpartition('>.')[2]}({shown})"


def _fields_of(record: Any) -> tuple[Any, ...]:
    found: tuple[Any, ...] = record.__attrs_attrs__
    return found

"""What all writing of plain values is made of, and the error of a value that cannot be sent.

The counterpart of `reader`.
"""

from __future__ import annotations

import struct
from typing import AbstractSet, Any, Callable, Dict, List, Tuple, Union

from . import tags as t

Put = Callable[[Union[bytes, memoryview]], None]
Accept = AbstractSet[str]
# A writer gets the value, where to put the bytes, how deep the value lies, accepted classes.
Writer = Callable[[Any, Put, int, Accept], None]

_MOST_STEPS, _MOST_SHOWN = 8, 60


class NotPlain(ValueError):
    """A value cannot be sent; `type_name` is "module.qualname" of the type at fault, `path` says where it lies."""

    def __init__(self, type_name: str, why: str, path: str = "") -> None:
        """Keep the name of the type, the reason, and the way to the value, such as "item 3 of key 'rows'"."""
        super().__init__(type_name, why, path)
        self.type_name, self.why, self.path = type_name, why, path
        self.is_too_deep = False
        self._last: Any = None
        self._steps: List[Tuple[str, Any]] = []

    def __str__(self) -> str:
        """Return the text, with the way to the value at fault."""
        return f"{self.type_name} cannot be sent: {self.reason}"

    @property
    def reason(self) -> str:
        """Why it cannot be sent, and where it lies."""
        return f"{self.why} (at {self.path})" if self.path else self.why

    def __reduce__(self) -> Tuple[Any, Tuple[str, str, str]]:
        """Pickle and copy by the three arguments."""
        return type(self), (self.type_name, self.why, self.path)

    def of(self, holder: Any) -> NotPlain:
        """Take note of the value at fault, or of the one that it belongs to as a zone to its time."""
        self._last = holder
        return self

    def is_of(self, value: Any) -> bool:
        """Tell whether `value` is the one at fault, or the outermost known that holds it."""
        return self._last is value

    def inside(self, holder: Any, step: str) -> None:
        """Take note that the value at fault lies at `step` of a holder; called from the inside outwards."""
        self._steps.append((step, holder))
        self._last = holder

    def inside_object(self, value: Any, state: Any) -> None:
        """Take note that what was told last was the state of an object: its keys are attributes."""
        if len(self._steps) > 1 and type(state) is tuple and self._steps[-1][1] is state:
            self._steps.pop()  # a state with slots is a pair of dicts
        if self._steps and self._steps[-1][0].startswith("key '"):
            self._steps[-1] = "attribute" + self._steps[-1][0][3:], value
        self._last = value

    def finish(self) -> None:
        """Make the path of the steps, and let go of the values."""
        if self.is_too_deep:
            self._look_for_a_cycle()
        steps = [step for step, _ in self._steps]
        if len(steps) > _MOST_STEPS:
            steps[_MOST_STEPS // 2 : -_MOST_STEPS // 2] = ["…"]
        self.path = " of ".join(steps)
        self._steps, self._last = [], None

    def _look_for_a_cycle(self) -> None:
        """Say which value contains itself, and how, if there is one."""
        seen: Dict[int, int] = {}
        for place, (_, holder) in enumerate(reversed(self._steps)):
            first = seen.setdefault(id(holder), place)
            if first != place:
                steps = self._steps[::-1]
                way = " of ".join(step for step, _ in reversed(steps[first:place]))
                self.type_name, self.why = name_of(type(holder)), f"it contains itself, as {way}"
                self._steps = steps[:first][::-1]
                return


def name_of(cls: type) -> str:
    """Return "module.qualname" of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def not_plain(value: object, why: str) -> NotPlain:
    """Return the error of a value that cannot be sent."""
    return NotPlain(name_of(type(value)), why).of(value)


def check_depth(value: object, depth: int) -> None:
    """Refuse a container that lies too deep."""
    if depth >= t.MAX_DEPTH:
        error = not_plain(value, f"it lies more than {t.MAX_DEPTH} levels deep")
        error.is_too_deep = True
        raise error


def key_step(key: Any) -> str:
    """Say in a few words which key of a dict is meant."""
    kind = type(key)
    if kind is int and key.bit_length() < 200:
        return f"key {key}"
    if kind is str or kind is bytes:
        cut = "…" if len(key) > _MOST_SHOWN else ""
        return f"key {key[:_MOST_SHOWN]!r}{cut}"
    return f"key {key}" if kind in (bool, float, type(None)) else f"the value of a key of type {name_of(kind)}"


# --- heads and text ---------------------------------------------------------------------------

_SHORT_HEADS = {
    tag: tuple(bytes((tag, size)) for size in range(256))
    for tag in (
        *(t.BIGINT8, t.STR8, t.BYTES8, t.BYTEARRAY8, t.LIST8, t.TUPLE8, t.DICT8, t.SET8),
        *(t.FROZENSET8, t.FLOATS8, t.INTS8),
    )
}
_SHORT_STRS = _SHORT_HEADS[t.STR8]
_pack_long_head = struct.Struct("<BQ").pack


def head(tag: int, size: int) -> bytes:
    """Return the head of a sized value, short (`tag`) or long (`tag + 1`)."""
    return _SHORT_HEADS[tag][size] if size < 256 else _pack_long_head(tag + 1, size)


def write_str(value: str, put: Put, depth: int, accept: Accept) -> None:
    """Write a text; a Writer."""
    raw = value.encode("utf-8", "surrogatepass")
    size = len(raw)
    put(_SHORT_STRS[size] if size < 256 else _pack_long_head(t.STR, size))
    put(raw)


#: What writes a value, by its exact type; `encode` fills this table.
WRITERS: Dict[type, Writer] = {}

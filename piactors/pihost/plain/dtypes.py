"""NumPy's dtypes as plain values that any version of NumPy can be given, and the bytes of arrays and scalars.

A description is a text for simple dtypes, and a tuple for others::

    ("V" or "R", itemsize, aligned, names, formats, offsets, titles)   a structure, or one of numpy.record
    ("S", base, shape)                                                  a sub-array
    ("M", base, metadata)                                               a dtype that carries metadata

NumPy is never imported here: who has an array has NumPy, and hands it in.
"""

from __future__ import annotations

import sys
from typing import Any, Callable, Tuple, Union

from . import tags as t

Description = Union[str, Tuple[Any, ...]]

_MOST_LEVELS = 16
_MOST_FIELDS = 4096
_MOST_BYTES = 2**31 - 1
_FIELD_COST = 1024
"""Bytes that a field takes in the dtypes that hold it, generously."""
_MOST_SHOWN = 200
_UNIQUE = "?bBhHefdFD"
"""Codes of NumPy's own dtypes that say all that there is to know."""
_OF_ONE_SIZE = "iIlLqQ"
"""Two of C's types of integers have the same size, and are different types to NumPy all the same."""


class NoDescription(ValueError):
    """A dtype has no description; the text says why, and what to do."""


def shown(dtype: Any) -> str:
    """Return a dtype as text of bounded length."""
    text = str(dtype)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"


# --- describing -------------------------------------------------------------------------------


def describe(numpy: Any, dtype: Any) -> Description:
    """Return the description of a dtype.

    Raises NoDescription for one that holds Python objects, or that NumPy does not make from a description.
    """
    text: str = dtype.str
    if dtype.names is None and dtype.metadata is None:
        if dtype.isbuiltin == 1 and dtype.char in _UNIQUE:
            return text
        if t.DTYPE.fullmatch(text) and _is_usual(dtype, numpy.dtype(text)):
            return text
    if dtype.hasobject:
        raise NoDescription(
            f"its dtype, {shown(dtype)}, holds Python objects; "
            "send value.tolist(), or an array of numbers, times, or text of fixed width (such as value.astype('U'))"
        )
    try:
        described = _described(numpy, dtype)
        again = build(numpy, described)
    except (ValueError, TypeError, RecursionError) as error:
        raise NoDescription(f"its dtype, {shown(dtype)}, is not one that is sent: {error}") from None
    if not _is_same(dtype, again):
        raise NoDescription(
            f"its dtype, {shown(dtype)}, is not one of NumPy's own numbers, times, texts, bytes, and structures of "
            "these; convert the array with astype()"
        )
    return described


def _is_usual(dtype: Any, usual: Any) -> bool:
    """Tell whether a dtype without fields and metadata is the one that its text names."""
    return bool(usual == dtype and usual.char == dtype.char and usual.type is dtype.type)


def _described(numpy: Any, dtype: Any) -> Description:
    if dtype.metadata:
        described = _without_metadata(numpy, dtype)
        return "M", described, dict(dtype.metadata)
    return _without_metadata(numpy, dtype)


def _without_metadata(numpy: Any, dtype: Any) -> Description:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return "S", _described(numpy, base), tuple(map(int, shape))
    if dtype.names is not None:
        return _structure(numpy, dtype)
    text: str = dtype.str
    if dtype.char in _OF_ONE_SIZE and text[1:].isalnum() and numpy.dtype(text).char != dtype.char:
        return text[0] + dtype.char if text[0] in "<>" else text
    return text


def _structure(numpy: Any, dtype: Any) -> Description:
    if dtype.type is not numpy.void and dtype.type is not numpy.record:
        raise ValueError(f"numpy.{dtype.type.__name__} with fields")
    kind = "R" if dtype.type is numpy.record else "V"
    fields = [dtype.fields[name] for name in dtype.names]
    titles = tuple(field[2] if len(field) > 2 else None for field in fields)
    formats = tuple(_described(numpy, field[0]) for field in fields)
    offsets = tuple(int(field[1]) for field in fields)
    return kind, int(dtype.itemsize), bool(dtype.isalignedstruct), tuple(dtype.names), formats, offsets, titles


def _is_same(one: Any, other: Any) -> bool:
    """Compare more closely than NumPy does: types, titles, metadata and layout count too."""
    if one != other or one.type is not other.type or one.itemsize != other.itemsize:
        return False
    if dict(one.metadata or {}) != dict(other.metadata or {}) or one.isalignedstruct != other.isalignedstruct:
        return False
    if one.subdtype is not None:
        return other.subdtype is not None and _is_same(one.base, other.base) and one.shape == other.shape
    if one.names != other.names or (one.fields is None) != (other.fields is None):
        return False
    fields = [(one.fields[name], other.fields[name]) for name in one.names or ()]
    return all(mine[1:] == its[1:] and _is_same(mine[0], its[0]) for mine, its in fields)


# --- building ---------------------------------------------------------------------------------


def _no_charge(cost: int) -> None:
    pass


def build(numpy: Any, description: Any, charge: Callable[[int], None] = _no_charge) -> Any:
    """Return the dtype of a description, whatever that is.

    `charge` is told how many bytes are about to be taken.  Raises ValueError or TypeError for what is not a
    description; nothing is built that holds Python objects.
    """
    return _Builder(numpy, charge).dtype(description, 0)


class _Builder:
    def __init__(self, numpy: Any, charge: Callable[[int], None]) -> None:
        self._numpy = numpy
        self._charge = charge
        self._fields = 0

    def dtype(self, description: Any, level: int) -> Any:
        if type(description) is str:
            if not t.DTYPE.fullmatch(description):
                raise ValueError(f"{description[:40]!a} is not one of the dtypes that are sent")
            return self._numpy.dtype(description)
        if type(description) is not tuple or not description:
            raise ValueError("what describes a dtype is neither text nor a tuple")
        if level >= _MOST_LEVELS:
            raise ValueError(f"it is nested deeper than {_MOST_LEVELS} levels")
        kind, *parts = description
        self._charge(_FIELD_COST)
        if (kind == "V" or kind == "R") and len(parts) == 6:
            return self._structure(kind, level, *parts)
        if kind == "S" and len(parts) == 2:
            return self._numpy.dtype((self.dtype(parts[0], level + 1), _sizes(parts[1], 32)))
        if kind == "M" and len(parts) == 2 and type(parts[1]) is dict:
            return self._numpy.dtype(self.dtype(parts[0], level + 1), metadata=parts[1])
        raise ValueError("the description of a dtype is of an unknown kind")

    def _structure(
        self, kind: str, level: int, itemsize: Any, aligned: Any, names: Any, formats: Any, offsets: Any, titles: Any
    ) -> Any:
        for part in (names, formats, titles):
            if type(part) is not tuple or len(part) != len(names):
                raise ValueError("the fields of a structure do not fit each other")
        if not all(type(name) is str for name in names) or type(aligned) is not bool:
            raise ValueError("a name of a field is not text")
        if not all(title is None or type(title) is str for title in titles):
            raise ValueError("a title of a field is not text")
        if len(_sizes(offsets, _MOST_FIELDS)) != len(names):
            raise ValueError("the offsets of a structure do not fit its fields")
        self._fields += len(names)
        if self._fields > _MOST_FIELDS:
            raise ValueError(f"it has more than {_MOST_FIELDS} fields")
        self._charge(_FIELD_COST * len(names))
        spec = {
            "names": list(names),
            "formats": [self.dtype(part, level + 1) for part in formats],
            "offsets": list(offsets),
            "titles": list(titles),
            "itemsize": _sizes((itemsize,), 1)[0],
        }
        made = self._numpy.dtype(spec, align=aligned)
        return self._numpy.dtype((self._numpy.record, made)) if kind == "R" else made


def _sizes(numbers: Any, most: int) -> Tuple[int, ...]:
    """Check that these are sizes: ints that NumPy could take for a number of bytes."""
    if type(numbers) is not tuple or len(numbers) > most:
        raise ValueError(f"a shape, or a list of offsets, that is not a tuple of at most {most}")
    if not all(type(number) is int and 0 <= number <= _MOST_BYTES for number in numbers):
        raise ValueError("a size that is beyond bounds")
    return numbers


def overlaps(dtype: Any) -> bool:
    """Tell whether fields of a structure share bytes, at any level."""
    if dtype.subdtype is not None:
        return overlaps(dtype.base)
    if dtype.names is None:
        return False
    fields = [dtype.fields[name] for name in dtype.names]
    end = 0
    for start, size in sorted((field[1], field[0].itemsize) for field in fields):
        if start < end:
            return True
        end = max(end, start + size)
    return any(overlaps(field[0]) for field in fields)


# --- bytes ------------------------------------------------------------------------------------

_NATIVE = "<" if sys.byteorder == "little" else ">"


def raw(numpy: Any, value: Any) -> Any:
    """Return the bytes of an array or scalar as an array of uint8, in Fortran's order if that is its order.

    It shares the memory of what is contiguous, and copies everything else.
    """
    if not value.nbytes:  # of an empty text, which NumPy would make an array of one character of
        return numpy.empty(0, numpy.uint8)
    array = numpy.asarray(value)
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        array = array.T
    return numpy.ascontiguousarray(array).reshape(-1).view(numpy.uint8)


def scalar(numpy: Any, dtype: Any, raw: Any) -> Any:
    """Return the scalar of a dtype that has these bytes, as many as it takes."""
    if dtype.kind == "S":
        return dtype.type(bytes(raw))
    if dtype.kind == "U":
        # An item of an array of text has lost the zeros at its end.
        big = (dtype.byteorder if dtype.byteorder in "<>" else _NATIVE) == ">"
        return dtype.type(str(bytes(raw), "utf-32-be" if big else "utf-32-le", "surrogatepass"))
    if dtype.itemsize == 0:
        return numpy.zeros((), dtype)[()]
    return numpy.frombuffer(bytearray(raw), dtype)[0]

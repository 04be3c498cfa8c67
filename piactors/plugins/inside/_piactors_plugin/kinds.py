"""Kinds of values, by what becomes of them when they go to the other process."""

from __future__ import annotations

import builtins
import datetime
import decimal
import fractions
import pathlib
import types
import uuid
from typing import Any, Callable, Dict, Iterable

ATOMS = frozenset(
    (
        *(type(None), bool, int, float, complex, str, bytes, bytearray),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
        *(decimal.Decimal, fractions.Fraction, uuid.UUID),
        *(pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath),
    )
)
BUILDERS: Dict[str, Callable[[Iterable[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}
TEXTS = (str, int, float, bytes)
"""Of what subclasses are copied: C code takes no stand-in for them."""


class Copied:
    """A value that is copied, whatever it is."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class AsItIs:
    """A value that is lent, though it could be copied."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def is_array(kind: type) -> bool:
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray"


CONSTANTS: Dict[Any, str] = {type(NotImplemented): "NotImplemented", type(...): "Ellipsis"}
PARTS, OF_PARTS = (slice, range), ("start", "stop", "step")
NEVER_LENT = (types.FrameType, types.CodeType, types.TracebackType)
POWERFUL = frozenset(
    id(getattr(builtins, name)) for name in ("eval", "exec", "compile", "__import__", "globals", "locals", "vars")
)
OF_FRAMES = ("f_", "gi_", "cr_", "ag_", "tb_", "co_", "func_")
UNLESS = "; trust='code' lends those that begin with one '_', too"
OF_TUPLES = ("_asdict", "_fields", "_replace", "_mapping")

"""What the encoder and the decoder of plain values must agree on.

The format is a header byte and then one value.  A value is a tag byte and what the tag calls
for.  Numbers are little-endian; the buffers of arrays are in the machine's own order, which the
header names.  There are no references, so a message can never say more than its length allows.
"""

from __future__ import annotations

import re
import sys
import types
from typing import Any, Dict, Optional, Tuple

HEADER = 0xA1 if sys.byteorder == "little" else 0xA2

# A tag whose name ends in 8 is followed by a one-byte length; the tag one higher means the same
# with an eight-byte length.
NONE, FALSE, TRUE, INT8, INT64, FLOAT, COMPLEX = range(7)
BIGINT8, BIGINT, STR8, STR, BYTES8, BYTES, BYTEARRAY8, BYTEARRAY = range(7, 15)
LIST8, LIST, TUPLE8, TUPLE, DICT8, DICT = range(15, 21)
SET8, SET, FROZENSET8, FROZENSET = range(21, 25)
FLOATS8, FLOATS, INTS8, INTS = range(25, 29)
RANGE, SLICE, DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, FRACTION, UUID, PATH = range(29, 39)
ARRAY, NDARRAY, NUMPY_SCALAR, OBJECT, ENUM = range(39, 44)
NDARRAY_FORTRAN, RECARRAY, RECARRAY_FORTRAN, ZONE, UUID_SAFE = range(44, 49)
HANDLE = 49

#: Containers inside containers, and objects inside objects, may nest this deep.
MAX_DEPTH = 100

#: The longest int, in bytes, if arithmetic follows: range, Fraction, keys.  Division, gcd and
#: the comparison with a Decimal take quadratic time.
MAX_COMPUTED_INT = 4096

#: The longest text of a Decimal.
MAX_DECIMAL = 4096

#: Lists of floats or of 64-bit ints with this many items are sent as one block.
PACK_FROM = 8

#: "no offset" among the offsets of times, which are microseconds within a day.
NAIVE = -(2**63)

#: In the same place: a zone that is known by a key, and an offset with a name; both follow.
KEYED, NAMED = NAIVE + 1, NAIVE + 2

PATH_CONCRETE, PATH_POSIX, PATH_WINDOWS = b"C", b"P", b"W"

#: The type codes of array.array that are sent; the codes of text are not.
ARRAY_CODES = "bBhHiIlLqQfd"

#: The dtype strings of NumPy that are sent: numbers, times, fixed-width text and bytes, no objects.  NumPy
#: itself takes a unit of 0 seconds, and would divide by it.  Structures are tuples: see `dtypes`.
DTYPE = re.compile(
    r"[<>|](?:[biufcSU][0-9]{1,9}|V[1-9][0-9]{0,9}|[iIlLqQ]"
    r"|[mM]8(?:\[(?:[1-9][0-9]{0,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)",
    re.ASCII,
)

# What the __new__ of these may be given.  Other forms are open to abuse: bytes(10**12) takes
# 10**12 bytes of memory, int("9" * 10**7) and str(10**10**7) take hours.
_NEW_ARGS: Dict[type, Tuple[type, ...]] = {
    object: (),
    int: (int,),
    float: (float,),
    complex: (float, float),
    str: (str,),
    bytes: (bytes,),
    tuple: (tuple,),
}


def class_key(cls: type) -> str:
    """Return the name by which a class is accepted: "module:qualname"."""
    return f"{cls.__module__}:{cls.__qualname__}"


def owner_of(cls: type, name: str) -> type:
    """Return the class of cls's line of descent that defines the method `name`."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base
    return object


def is_builtin_exception(cls: type) -> bool:
    """Tell whether cls is an exception of the builtins module."""
    return issubclass(cls, BaseException) and cls.__module__ == "builtins"


def is_made_by_new(base: type) -> bool:
    """Tell whether objects of classes that derive from a builtin can be sent if they are accepted."""
    return base in _NEW_ARGS


def problem_of_new(cls: type, args: Tuple[Any, ...]) -> Optional[str]:
    """Say why cls.__new__(cls, *args) must not be called, or None when it may be.

    It may be when the __new__ is Python code of the class, which the accepting side knows, or
    comes from a builtin whose behaviour with these arguments is known to be harmless.
    """
    owner = owner_of(cls, "__new__")
    wanted = _NEW_ARGS.get(owner)
    if wanted is not None:
        fits = tuple(map(type, args)) == wanted
        return None if fits else f"the arguments of {owner.__name__}.__new__ do not fit"
    if is_builtin_exception(owner):
        return None
    new = owner.__dict__["__new__"]
    if isinstance(getattr(new, "__func__", new), types.FunctionType):
        return None
    return f"objects made by {class_key(owner)}.__new__ are not sent"

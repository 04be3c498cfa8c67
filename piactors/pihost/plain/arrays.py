"""Arrays as plain values, there and back: those of the array module, NumPy's, and NumPy's scalars.

An array of NumPy travels as its dtype (see `dtypes`), its shape and its bytes.  Nothing here imports NumPy.
`decode` tells what the reading half must guarantee.
"""

from __future__ import annotations

import array
import functools
import math
import struct
import sys
from typing import Any, Dict, Tuple

from . import dtypes
from . import tags as t
from .reader import HANDLERS, STR_TAGS, TUPLE_TAGS, BadPlain, Handler, PlainReader, leaf, made
from .writer import WRITERS, Accept, Put, not_plain

_ARRAY, _SIZE = struct.Struct("<cBQ"), struct.Struct("<Q")


# --- writing ----------------------------------------------------------------------------------


def write_array(value: Any, put: Put, depth: int, accept: Accept) -> None:
    """Write an array of the array module; a Writer."""
    if value.typecode not in t.ARRAY_CODES:
        raise not_plain(value, f"arrays of type code {value.typecode!r} are not sent; send its text")
    raw = value.tobytes()
    put(struct.pack("<BcBQ", t.ARRAY, value.typecode.encode(), value.itemsize, len(raw)))
    put(raw)


def is_numpy(value: Any) -> bool:
    """Tell whether it is an array or a scalar of NumPy's, or of a class that derives from these."""
    numpy: Any = sys.modules.get("numpy")
    array_type, generic = getattr(numpy, "ndarray", None), getattr(numpy, "generic", None)
    if array_type is None or generic is None:  # NumPy is absent, or only half imported
        return False
    return isinstance(value, (array_type, generic))


def write_numpy(value: Any, put: Put, depth: int, accept: Accept) -> None:
    """Write an array or a scalar of NumPy's; a Writer."""
    numpy: Any = sys.modules["numpy"]
    tag = _tag_of(value, numpy)
    try:
        described = _description(value.dtype, numpy)
    except dtypes.NoDescription as error:
        raise not_plain(value, str(error)) from None
    if value.dtype.itemsize == 0 and tag != t.NUMPY_SCALAR:
        raise not_plain(value, f"its dtype is {dtypes.shown(value.dtype)}, whose items take no bytes")
    put(bytes((tag,)))
    WRITERS[type(described)](described, put, depth, accept)
    shape = value.shape
    put(struct.pack(f"<B{len(shape)}QQ", len(shape), *shape, value.nbytes))
    if value.nbytes:
        put(memoryview(dtypes.raw(numpy, value)))


def _description(dtype: Any, numpy: Any) -> dtypes.Description:
    described = dtypes.describe(numpy, dtype)
    if type(described) is tuple and dtypes.overlaps(dtype):
        raise dtypes.NoDescription(f"its dtype, {dtypes.shown(dtype)}, has fields that share bytes; send them apart")
    return described


def _tag_of(value: Any, numpy: Any) -> int:
    """Return the tag of an array or scalar of the very classes that are sent."""
    cls = type(value)
    if cls is numpy.ndarray or cls is numpy.recarray:
        flags = value.flags
        plain = cls is numpy.ndarray
        if flags.f_contiguous and not flags.c_contiguous:
            return t.NDARRAY_FORTRAN if plain else t.RECARRAY_FORTRAN
        return t.NDARRAY if plain else t.RECARRAY
    if isinstance(value, numpy.generic):
        # A scalar's own class is the one that its dtype names.
        if cls is value.dtype.type:
            return t.NUMPY_SCALAR
        raise not_plain(value, f"it is a subclass of numpy.{value.dtype.type.__name__}; send value.item()")
    if any(base.__name__ == "MaskedArray" for base in cls.__mro__):
        raise not_plain(value, f"a masked array (of dtype {dtypes.shown(value.dtype)}); send its data and its mask")
    why = f"a subclass of numpy.ndarray (of dtype {dtypes.shown(value.dtype)}); send numpy.asarray(value)"
    raise not_plain(value, why)


# --- reading ----------------------------------------------------------------------------------


def _array(r: PlainReader) -> Any:
    code, item_size, size = r.unpack(_ARRAY)
    if code not in t.ARRAY_CODES.encode():
        raise r.bad("unknown type code of an array")
    result: Any = array.array(code.decode())
    if result.itemsize != item_size or size % item_size:
        raise r.bad("an array whose items have another size")
    start = r.take(size)
    r.charge(80 + size + (size >> 3))
    result.frombytes(r.view[start : r.pos])
    return result


def _dtype(r: PlainReader, numpy: Any) -> Any:
    if r.data[r.pos] in TUPLE_TAGS:
        r.pos += 1
        described: Any = HANDLERS[r.data[r.pos - 1]](r)
    else:
        described = leaf(r, STR_TAGS, "the dtype of an array")
        if not t.DTYPE.fullmatch(described):
            raise r.bad(f"a dtype that is not received, {described[:40]!a}")
        return made(r, numpy.dtype, described)
    try:
        dtype = dtypes.build(numpy, described, r.charge)
        if dtype.hasobject or dtypes.overlaps(dtype):
            raise ValueError("it has fields that share bytes")
    except BadPlain:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        if type(error) is not ValueError:
            raise r.bad("a dtype that NumPy refuses") from None
        raise r.bad(f"a dtype that is not received: {str(error)[:100]}") from None
    return dtype


def _numpy_buffer(r: PlainReader) -> Tuple[Any, Any, Tuple[int, ...], memoryview]:
    """Read the parts of an array: numpy itself, dtype, shape, and the right number of bytes."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        raise r.bad("import numpy in the host to receive arrays")
    dtype = _dtype(r, numpy)
    shape = tuple(r.unpack(_SIZE)[0] for _ in range(_dimensions(r)))
    (size,) = r.unpack(_SIZE)
    # The dimensions beside a zero count too: NumPy multiplies them without looking at overflow.
    if math.prod(length or 1 for length in shape) * (dtype.itemsize or 1) >= 2**62:
        raise r.bad("an array shape beyond all memory")
    if math.prod(shape) * dtype.itemsize != size:
        raise r.bad("an array shape that does not fit its data")
    start = r.take(size)
    r.charge(200 + 16 * len(shape) + size)
    return numpy, dtype, shape, r.view[start : r.pos]


def _dimensions(r: PlainReader) -> int:
    count = r.data[r.take(1)]
    if count > 32:
        raise r.bad("an array of more than 32 dimensions")
    return count


def _ndarray(r: PlainReader, order: str, record: bool) -> Any:
    numpy, dtype, shape, raw = _numpy_buffer(r)
    if dtype.itemsize == 0:
        raise r.bad("an array whose items take no bytes")
    if raw and dtype.names is None:
        result = made(r, numpy.frombuffer(raw, dtype).reshape, shape, order=order)
        # One that is most of what was copied for this reader stays there; a small one would hold all the rest.
        if not (r.owned and 2 * len(raw) > r.end and result.flags.aligned):
            result = result.copy(order=order)
    else:
        result = made(r, numpy.empty, shape, dtype, order=order)
        # As bytes: NumPy's own copy of a structure leaves out the bytes between the fields.
        dtypes.raw(numpy, result)[:] = numpy.frombuffer(raw, numpy.uint8) if raw else 0
    if raw:
        _check_items(r, numpy, result)
    return result.view(numpy.recarray) if record else result


def _check_items(r: PlainReader, numpy: Any, result: Any) -> None:
    """Refuse items that NumPy takes for granted not to exist; `result` is out of the child's reach.

    NumPy counts the True of a mask by adding bytes, so a "bool" of 255 makes it write beyond
    what it has allocated.
    """
    kind = result.dtype.kind
    if kind == "b" and result.size and result.view(numpy.uint8).max() > 1:
        raise r.bad("an array of bool with bytes other than 0 and 1")
    if kind == "U" and result.size and result.dtype.itemsize:
        if not result.flags.c_contiguous:
            r.charge(result.nbytes)  # a field, or Fortran's order: the next line copies it
        u4 = numpy.dtype("u4").newbyteorder(result.dtype.byteorder)
        points = numpy.ascontiguousarray(result).reshape(-1).view(u4)
        if points.max() > 0x10FFFF:
            raise r.bad("an array of text with a character beyond Unicode")
    if result.dtype.names is not None:
        # Fields do not overlap, so that this looks at each byte once; each has been charged for.
        for name in result.dtype.names:
            if result.dtype.fields[name][0].base.kind in "bUV":
                _check_items(r, numpy, result[name])


def _numpy_scalar(r: PlainReader) -> Any:
    numpy, dtype, shape, raw = _numpy_buffer(r)
    if shape:
        raise r.bad("a NumPy scalar with a shape")
    copy = bytes(raw)
    r.charge(len(copy))
    if copy:
        _check_items(r, numpy, numpy.frombuffer(copy, dtype))
    return dtypes.scalar(numpy, dtype, copy)


HANDLERS_HERE: Dict[int, Handler] = {
    t.ARRAY: _array,
    t.NDARRAY: functools.partial(_ndarray, order="C", record=False),
    t.NDARRAY_FORTRAN: functools.partial(_ndarray, order="F", record=False),
    t.RECARRAY: functools.partial(_ndarray, order="C", record=True),
    t.RECARRAY_FORTRAN: functools.partial(_ndarray, order="F", record=True),
    t.NUMPY_SCALAR: _numpy_scalar,
}

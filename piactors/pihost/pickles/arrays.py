"""NumPy's arrays and scalars in pickles that every version of NumPy can load.

NumPy's own pickles name modules that are private to it: those of NumPy 2 cannot be loaded by NumPy 1.  What
`reduce_array` makes names nothing but this module; NumPy is told a dtype, a shape and a buffer.  The buffer is a
`pickle.PickleBuffer`, so that a large one goes out of band if the pickler has a `buffer_callback`.

It is meant for the `reducer_override` of a pickler (protocol 5) whose message goes to another interpreter::

    def reducer_override(self, obj):
        return reduce_array(obj)

The modules of NumPy stay unimported until an array is there, or arrives.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any, List, Optional, Tuple

from ..plain import dtypes

_USER_TYPES = 256
"""From here on numbers of types are those of other packages (NPY_USERDEF in NumPy's API)."""


class NotPortable(TypeError):
    """An array cannot be sent to another interpreter; the text names its dtype, and what to do."""


def is_simple(value: Any) -> bool:
    """Whether it is an array of numbers in a row, which the same NumPy at the other end loads as it is."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or type(value) is not getattr(numpy, "ndarray", None):
        return False
    dtype = value.dtype  # which says that it is not built in, once it has come out of a pickle
    return bool(
        dtype.kind in "biufc" and 0 <= dtype.num < _USER_TYPES and dtype.metadata is None and value.flags.c_contiguous
    )


# --- taking apart -----------------------------------------------------------------------------


def reduce_array(value: Any) -> Any:
    """Take an array or a scalar of NumPy's apart, as a pickler's `reducer_override` does.

    An array arrives with its dtype, shape and order (that of C or of Fortran; any other layout becomes that of C), and
    is read-only if it was, or if the buffer that the unpickler is given is.  Arrays of objects go as their items.
    Subclasses that pickle as NumPy's own arrays do arrive as their class.

    Returns:
        What `object.__reduce__` may return; NotImplemented for everything else, masked arrays included: they pickle
        themselves, and come here with what they are made of.

    Raises:
        NotPortable: if the dtype is one that only this interpreter can know, such as a structure that holds objects.
    """
    numpy: Any = sys.modules.get("numpy")
    array_type, generic = getattr(numpy, "ndarray", None), getattr(numpy, "generic", None)
    if array_type is None or generic is None:  # NumPy is absent, or only half imported
        return NotImplemented
    if isinstance(value, array_type):
        cls: Any = type(value)
        if cls.__reduce__ is array_type.__reduce__ and cls.__reduce_ex__ is array_type.__reduce_ex__:
            return _array(numpy, value)
    elif isinstance(value, generic) and type(value) is value.dtype.type:
        return rebuild_scalar, (_dtype(numpy, value), dtypes.raw(numpy, value).tobytes())
    return NotImplemented


def _array(numpy: Any, value: Any) -> Any:
    cls = _class(numpy, type(value))
    fortran = bool(value.flags.f_contiguous and not value.flags.c_contiguous)
    if value.dtype == object:
        # The items are its state, not its arguments: so an array may hold itself.
        items = list(numpy.asarray(value).reshape(-1, order="F" if fortran else "C"))
        return rebuild_objects, (value.shape, fortran, cls), items, None, None, set_objects
    dtype = _dtype(numpy, value)
    buffer = pickle.PickleBuffer(dtypes.raw(numpy, value)) if value.nbytes else b""
    return rebuild_array, (dtype, value.shape, fortran, cls, buffer)


def _class(numpy: Any, cls: Any) -> Any:
    """Return None for a plain array, the name of a class of NumPy's (its module is not always the same), else it."""
    if cls is numpy.ndarray:
        return None
    name: str = cls.__name__
    return name if vars(numpy).get(name) is cls else cls


def _dtype(numpy: Any, value: Any) -> Any:
    """Return the description of a dtype, or the dtype itself if it comes from another package."""
    dtype = value.dtype
    try:
        return dtypes.describe(numpy, dtype)
    except dtypes.NoDescription as error:
        if dtype.hasobject:
            kind = "an array" if isinstance(value, numpy.ndarray) else "a scalar"
            raise NotPortable(f"{kind} of NumPy's cannot be sent to another interpreter: {error}") from None
        return dtype


# --- putting together -------------------------------------------------------------------------


def rebuild_array(description: Any, shape: Tuple[int, ...], fortran: bool, cls: Any, buffer: Any) -> Any:
    """Return the array that `reduce_array` took apart; it uses the buffer, without a copy.

    Raises ImportError if this interpreter has no NumPy, ValueError if its NumPy does not know the dtype.
    """
    numpy = _numpy("an array", description, shape)
    dtype = _built(numpy, description)
    order = "F" if fortran else "C"
    if dtype.itemsize and 0 not in shape:
        array = numpy.frombuffer(buffer, dtype).reshape(shape, order=order)
    else:
        array = numpy.zeros(shape, dtype, order=order)
    return array if cls is None else array.view(_found(numpy, cls))


def rebuild_objects(shape: Tuple[int, ...], fortran: bool, cls: Any) -> Any:
    """Return an array of objects that `set_objects` is going to fill."""
    numpy = _numpy("an array", "object", shape)
    array = numpy.empty(shape, object, order="F" if fortran else "C")
    return array if cls is None else array.view(_found(numpy, cls))


def set_objects(array: Any, items: List[Any]) -> None:
    """Put items into a new array of objects, in the order of its memory."""
    numpy: Any = sys.modules["numpy"]
    flat = numpy.asarray(array)
    flat = (flat if flat.flags.c_contiguous else flat.T).reshape(-1)
    for place, item in enumerate(items):  # one by one: an item may be a sequence or an array itself
        flat[place] = item


def rebuild_scalar(description: Any, raw: bytes) -> Any:
    """Return the scalar that `reduce_array` took apart.

    Raises ImportError if this interpreter has no NumPy, ValueError if its NumPy does not know the dtype.
    """
    numpy = _numpy("a scalar", description, None)
    return dtypes.scalar(numpy, _built(numpy, description), raw)


def _found(numpy: Any, cls: Any) -> Any:
    return getattr(numpy, cls) if type(cls) is str else cls


def _numpy(kind: str, description: Any, shape: Optional[Tuple[int, ...]]) -> Any:
    try:
        import numpy
    except ImportError as error:
        what = f"dtype {dtypes.shown(description)}" + ("" if shape is None else f", shape {shape}")
        raise ImportError(
            f"the message holds {kind} of NumPy's ({what}), and {sys.executable} cannot import NumPy: {error}; "
            "install numpy there, or send value.tolist()"
        ) from None
    return numpy


def _built(numpy: Any, description: Any) -> Any:
    if type(description) is not str and type(description) is not tuple:
        return description  # a dtype of another package, which came by its own pickle
    try:
        return dtypes.build(numpy, description)
    except (ValueError, TypeError) as error:
        text = f"dtype {dtypes.shown(description)} is not known to NumPy {numpy.__version__} here: {error}"
        raise ValueError(text) from None

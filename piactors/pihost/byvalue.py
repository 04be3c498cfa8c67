"""Classes and functions that cannot be found by name travel by value, once, under a key.

What stands in the host's ``__main__``, in a notebook or inside a function is sent as a definition
(made by dill in the host).  Each carries a key.  When such a class, or an instance of it, goes back,
only the key goes: so the host gets its own class, not a second one that looks like it.
"""

from __future__ import annotations

import io
import pickle
import types
from typing import Any, Dict, List, Tuple, Union

from . import pieces

_objects: Dict[str, Any] = {}
_keys: Dict[int, str] = {}


_HERE = b"piactors.pihost.byvalue"
_MAIN = b"__main__"
_SMALL = 65536
_SIMPLE = frozenset((int, float, str, bytes, bool, type(None), tuple, list, dict, set, frozenset))
"""Types that plain pickle, which is faster, is tried on first.  What is in them may still have come by value: then
pickle does not find it by its name, or finds it in ``__main__``."""


class NeedsDill(ImportError):
    """The interpreter of an isolate lacks dill, which a definition sent by value needs."""


def load_definition(key: str, name: str, definition: bytes) -> Any:
    """Return the object of `key`, made from its definition the first time."""
    if key not in _objects:
        unpickler = _dill(name).Unpickler(io.BytesIO(definition))
        unpickler.load()
        found: List[Tuple[str, Any]] = unpickler.load()
        for other_key, obj in found:
            if _objects.setdefault(other_key, obj) is obj:
                _keys[id(obj)] = other_key
    return _objects[key]


def host_object(key: str) -> Any:
    """Return the object of `key`; in the host, a function of its own stands in for this one."""
    return _objects[key]


def _dill(name: str) -> Any:
    try:
        import dill
    except ImportError:
        raise NeedsDill(
            "{} is defined in __main__ or inside a function, so it is sent by value, and this interpreter has no "
            "dill to load it with; install dill there, or move it into a module".format(name)
        ) from None
    return dill


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "piactors.pihost.byvalue":
            return globals()[name]
        return super().find_class(module, name)


def loads(data: Any) -> Any:
    """Deserialise what the host sent."""
    if len(data) < _SMALL and _HERE not in data:
        return pickle.loads(data)  # nothing in it is to be found in this module, which has another name here
    return _Unpickler(io.BytesIO(data)).load()


def loads_chunks(chunks: List[memoryview]) -> Any:
    """Deserialise what the host sent in shared memory; its large buffers stay there."""
    return _Unpickler(pieces.ViewReader(chunks[0]), buffers=chunks[1:]).load()


def _reducer_override(_: Any, obj: Any) -> Any:
    if isinstance(obj, (type, types.FunctionType)):
        key = _keys.get(id(obj))
        if key is not None:
            return host_object, (key,)
    return NotImplemented


class _Pickler(pickle.Pickler):
    reducer_override = _reducer_override


def dumps(obj: Any) -> bytes:
    """Serialise a reply; what plain pickle cannot take goes through dill where that is installed."""
    if type(obj) in _SIMPLE:
        try:
            data = pickle.dumps(obj, 5)
        except Exception:
            data = _MAIN
        if _MAIN not in data:
            return data
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, 5).dump(obj)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        return _dump_with_dill(obj, error)
    return buffer.getvalue()


def dumps_chunks(obj: Any) -> Union[bytes, pieces.Chunks]:
    """Serialise a reply: a small one in one piece, another with large buffers apart and large bytes in pieces."""
    chunks = pieces.Chunks()
    if type(obj) in _SIMPLE and not pieces.is_heavy(obj):
        try:
            data = pickle.dumps(obj, 5, buffer_callback=chunks.take)
        except Exception:
            data = _MAIN
        if _MAIN not in data:
            if len(data) < pieces.LEAST and not chunks.apart:
                return data
            chunks.pieces.append(data)
            return chunks
        chunks = pieces.Chunks()
    try:
        _Pickler(chunks, 5, buffer_callback=chunks.take).dump(obj)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        chunks = pieces.Chunks()
        chunks.pieces.append(_dump_with_dill(obj, error))
    return chunks


def _dump_with_dill(obj: Any, error: Exception) -> bytes:
    try:
        import dill
    except ImportError:
        raise error from None
    buffer = io.BytesIO()
    pickler_class = type("_DillPickler", (dill.Pickler,), {"reducer_override": _reducer_override})
    try:
        pickler_class(buffer, 5, recurse=True).dump(obj)
    except Exception:
        raise error from None
    return buffer.getvalue()

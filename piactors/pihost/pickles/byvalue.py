"""Definitions of the host that cannot be imported here, and the pickles that refer to them.

Classes and functions of the host's ``__main__``, of a notebook, of any module without a file, are sent beside
the messages that need them, each once and again when it has changed, under a key.  Here they live in
one namespace for each of the host's modules, as if it had been imported.  What is local to a function of the
host (closures, lambdas, classes within functions) is sent within the message, and let go of with it.

If such a class or function, or an instance, goes back, its key goes: so the host gets its own.
"""

from __future__ import annotations

import io
import pickle
import weakref
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple, Union

from ..memory.chunks import IN_PARTS, LEAST, Chunk, Chunks, file_over, is_heavy
from . import copies, lending, rebuild, refusals
from .store import Unpickler, store

_HERE = b"piactors.pihost"
_SMALL = 65536
_SIMPLE = frozenset((int, float, str, bytes, bool, type(None), tuple, list, dict, set, frozenset))
"""Types that plain pickle, which is faster, is tried on first."""
MOST_OF_KIND: Dict[type, int] = {int: 0, float: 0, bool: 0, type(None): 0, str: LEAST - 1, bytes: LEAST - 1}
MOST_OF_KIND.update({tuple: 64, list: 64, dict: 64, set: 64, frozenset: 64})
"""How long values of plain kinds may be that are pickled before anything else is looked at; 0 for any length."""
STACK_GLOBAL = 0x93
"""The step of a pickle that looks something up by its name; which may have come by value, or belong to ``__main__``."""


# What pickles of the host name


def ref(key: str) -> Any:
    """Return the definition of a key; in the host, a function of its own stands in for this one."""
    return store.get(key)


def variable(key: str) -> Any:
    """Return the value of a global variable of the host's, as it is here."""
    return store.variable(key)


def with_definitions(records: Any, data: bytes) -> Any:
    """Return what a pickle holds that carries the definitions that it needs along."""
    store.add((), records)
    return loads(data)


def local_function(key: str, place: rebuild.Place, code: Any, name: str, cells: Any) -> Any:
    """Return a closure or a lambda, still without its state."""
    made = rebuild.function(place, code, name, cells)
    store.note(key, made)
    return made


def local_thing(key: str, maker: Any, args: Tuple[Any, ...]) -> Any:
    """Return something else that is local to a function of the host, and known by its key."""
    made = maker(*args)
    store.note(key, made)
    return made


class _Local(NamedTuple):
    version: int
    names: Tuple[str, ...]


_local_classes: "weakref.WeakKeyDictionary[Any, _Local]" = weakref.WeakKeyDictionary()


def local_class(key: str, maker: Any, args: Tuple[Any, ...]) -> Any:
    """Return a class that stands within a function of the host, still without its attributes: one while it lives."""
    made = store.known(key)
    if made is None:
        made = maker(*args)
        store.note(key, made)
    return made


def set_local_class(made: Any, state: Any) -> None:
    """Give a local class its attributes, if they have changed."""
    version, attributes, virtual = state
    known = _local_classes.get(made)
    if known is not None and known.version == version:
        return
    gone = [name for name in known.names if name not in attributes] if known is not None else []
    rebuild.set_class(made, attributes, gone, virtual)
    _local_classes[made] = _Local(version, tuple(attributes))


def host_object(key: str, copy: Optional[bytes] = None) -> Any:
    """Return the object of `key`; in the host, a function of its own stands in for this one."""
    try:
        return store.get(key)
    except LookupError:
        if copy is None:
            raise
        return copies.loads(copy)


# Pickles


def loads(data: Any) -> Any:
    """Deserialise what the host sent."""
    if store.pending:
        store.settle()
    if len(data) < _SMALL and data.find(_HERE) < 0:
        return pickle.loads(data)  # nothing in it is to be found in this package, which has another name here
    if data and data[0] == IN_PARTS:
        from ..memory import parts

        return loads_chunks(parts.parts_of(data) or [data])
    return loads_chunks([data])


def loads_chunks(chunks: Sequence[Chunk]) -> Any:
    """Deserialise what the host sent in parts; its large buffers stay where they are."""
    if store.pending:
        store.settle()
    return Unpickler(file_over(chunks[0]), buffers=chunks[1:]).load()


def reduced(obj: Any) -> Any:
    """Return how something goes back that came by value; NotImplemented if it did not."""
    key, known = store.key_of(obj)
    if key is None:
        return NotImplemented
    return host_object, (key,) if known else (key, copies.dumps_or_none(obj, _reduced_if_known))


def _reduced_if_known(_: Any, obj: Any) -> Any:
    key, known = store.key_of(obj)
    return (host_object, (key,)) if known else NotImplemented


def _reducer_override(_: Any, obj: Any) -> Any:
    kind = type(obj)
    if id(kind) in refusals.fine:  # most are
        return NotImplemented
    if refusals.is_definition(kind):
        return reduced(obj)
    if lending.ways and lending.way_of(kind) is not None:
        return lending.reduced(obj)
    refusals.check(obj, kind)
    return NotImplemented


class _Pickler(pickle.Pickler):
    reducer_override = _reducer_override


def dumps(obj: Any) -> bytes:
    """Serialise a reply; what plain pickle cannot take goes through cloudpickle.

    Raises:
        TypeError: naming what cannot be sent, and where in the reply it is.
    """
    if type(obj) in _SIMPLE:
        try:
            data = pickle.dumps(obj, 5)
        except Exception:
            data = b"\x93"
        if STACK_GLOBAL not in data:
            return data
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, 5).dump(obj)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        return _dump_with_copies(obj, error)
    return buffer.getvalue()


def dumps_chunks(obj: Any) -> Union[bytes, Chunks]:
    """Serialise a reply: a small one in one piece, another with large buffers apart and large bytes in pieces."""
    chunks = Chunks()
    if type(obj) in _SIMPLE and not is_heavy(obj):
        try:
            data = pickle.dumps(obj, 5, buffer_callback=chunks.take)
        except Exception:
            data = b"\x93"
        if STACK_GLOBAL not in data:
            if len(data) < LEAST and not chunks.apart:
                return data
            chunks.pieces.append(data)
            return chunks
        chunks = Chunks()
    try:
        _Pickler(chunks, 5, buffer_callback=chunks.take).dump(obj)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        chunks = Chunks()
        chunks.pieces.append(_dump_with_copies(obj, error))
    return chunks


def _dump_with_copies(obj: Any, error: Exception) -> bytes:
    if isinstance(error, refusals.Refused):
        raise refusals.explained(obj, error, "the result") from None
    try:
        return copies.dumps(obj, _reducer_override)
    except Exception as found:
        raise refusals.explained(obj, found if isinstance(found, refusals.Refused) else error, "the result") from None

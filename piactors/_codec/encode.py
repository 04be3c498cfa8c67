"""What the host sends as bytes: messages, starts and data.  Requests are pickles: isolates trust their host."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from piactors._codec import definitions, dumping, shared_memory, shared_objects
from piactors._codec import pickler as pickling
from piactors._codec.definitions import Needs
from piactors._codec.lending import Loan
from piactors.errors import NotSendable
from piactors.pihost.memory.chunks import BLOCKS, CONTAINERS, FEW, LEAST, Chunks
from piactors.pihost.memory.parts import laid_out
from piactors.pihost.pickles import arrays, byvalue, refusals
from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.serve import replies

_SIMPLE = frozenset({int, float, str, bytes, bool, type(None), tuple, list, dict, set, frozenset})
"""Types of arguments that plain pickle, which is faster, is tried on first."""
_NUMBERS = frozenset({int, float, bool, type(None)})
_TEXTS = frozenset({str, bytes})
REFUSALS = (pickle.PicklingError, TypeError, AttributeError, RecursionError)


class Packed(NamedTuple):
    """What goes to an isolate: bytes or a parcel, and the definitions that it needs."""

    data: Any
    needs: Needs | None


def _dumped(value: Any, explain: Callable[[BaseException], NotSendable], foreign: bool) -> Packed:
    """Serialise with all that can be sent, handed over, or sent along.

    Raises:
        NotSendable: as `explain` words it.
        Exception: what an object's own pickling raises.
    """
    spawning = shared_objects.Spawning()
    try:
        try:
            return _pickled(pickling.Pickler, value, spawning, foreign)
        except refusals.Refused:
            raise
        except REFUSALS:
            spawning.begin_again()
            return _pickled(pickling.full(), value, spawning, foreign)
    except (*REFUSALS, RuntimeError) as error:
        if not isinstance(error, REFUSALS) and not spawning.is_on:
            raise  # of the object's own pickling
        found = explain(error)
    finally:
        spawning.end()
    raise found


def _pickled(
    kind: type[pickling.Pickler], value: Any, spawning: shared_objects.Spawning | None, foreign: bool
) -> Packed:
    buffer = io.BytesIO()
    pickler = kind(buffer, foreign=foreign, spawning=spawning)
    pickler.dump(value)
    return Packed(buffer.getvalue(), needs_of(pickler, foreign=foreign))


def needs_of(pickler: pickling.Pickler, *, foreign: bool) -> Needs | None:
    """Return what is needed besides of what a pickler has made."""
    spawning = pickler.spawning
    lent, kept = ((), ()) if spawning is None else (tuple(spawning.lent), spawning.kept)
    if not (pickler.met or pickler.held or lent or kept):
        return None
    return definitions.needs_of(pickler.met, [*pickler.held, *kept], lent, foreign=foreign)


def _explained(parts: Iterable[tuple[str, Any]], error: BaseException) -> NotSendable:
    """Return the error that says which part of a message, and what within it, cannot be sent."""
    if isinstance(error, NotSendable):
        return error
    for whole, part in parts:
        try:
            dumping.try_to_dump(part)
        except refusals.Refused as refused:
            return NotSendable(str(refusals.explained(part, refused, whole)))
        except RecursionError:
            return NotSendable(f"{whole} cannot be sent: it is nested too deeply")
        except Exception as other:
            return NotSendable(str(refusals.explained(part, other, whole)))
    return NotSendable(str(error))


def dumps_start(target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, foreign: bool) -> Packed:
    """Serialise what an isolate is to host: a class, a function or a name, and arguments.

    Raises:
        NotSendable: naming what cannot be sent.
    """
    parts = [("what is to be started", target), *_named_arguments(args, kwargs)]
    return _dumped((target, args, kwargs), lambda error: _explained(parts, error), foreign)


def _named_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    named = [(f"argument `{name}`", value) for name, value in kwargs.items()]
    return [*((f"argument {number}", value) for number, value in enumerate(args, 1)), *named]


class Whole(NamedTuple):
    """A value in one piece with all that it needs, and the things of this program that it names."""

    data: bytes
    loans: tuple[Loan, ...] = ()


def with_definitions(value: Any, *, foreign: bool, whole: str) -> Whole:
    """Serialise a value in one piece with all that it needs, for a process that has none of it.

    Raises:
        NotSendable: naming what cannot be sent.
    """
    try:
        packed = _pickled(pickling.full(), value, None, foreign)
    except REFUSALS as error:
        found = NotSendable(str(refusals.explained(value, error, whole)))
    else:
        return _whole(packed)
    raise found


def _whole(packed: Packed) -> Whole:
    if packed.needs is None:
        return Whole(packed.data)
    loans = tuple(packed.needs.all_loans())
    return Whole(pickle.dumps(_Whole(packed), 5) if packed.needs.made else packed.data, loans)


def dumps_answer(value: Any, *, foreign: bool) -> Whole:
    """Serialise what an isolate is answered, in one piece with all that it needs.

    Raises:
        NotSendable: naming what cannot be sent, and where it is.
    """
    if type(value) in _SIMPLE:
        try:
            data = pickle.dumps(value, 5)
        except Exception:
            data = b"\x93"
        if byvalue.STACK_GLOBAL not in data:
            return Whole(data)
    try:
        return _whole(_pickled(pickling.Pickler, value, None, foreign))
    except refusals.Refused as error:
        found = NotSendable(str(refusals.explained(value, error, "the answer")))
    except REFUSALS:
        return with_definitions(value, foreign=foreign, whole="the answer")
    raise found


def dumps_error(error: BaseException, *, foreign: bool) -> Whole:
    """Serialise an exception that an isolate is answered: a description, and a pickle of it if that can be had."""
    described = replies.described(error)
    loans: tuple[Loan, ...] = ()
    try:
        whole = dumps_answer(error, foreign=foreign)
        pickle.loads(pickle.dumps(error, 5))  # some do not come out of a pickle again
        described["pickle"], loans = whole
    except Exception:
        pass
    return Whole(plain_encode.encode(described), loans)


class _Whole:
    """Pickles as the call that makes a value of its definitions and its bytes."""

    def __init__(self, packed: Packed) -> None:
        self._packed = packed

    def __reduce__(self) -> tuple[Any, ...]:
        assert self._packed.needs is not None
        return byvalue.with_definitions, (self._packed.needs.records, self._packed.data)


def dumps_call(
    operation: str, path: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, foreign: bool
) -> bytes | Packed:
    """Serialise one message; see `piactors.pihost.serve.hosted` for the operations.

    Raises:
        NotSendable: naming what cannot be sent, and where it is.
    """
    message = (operation, path, args, kwargs)
    for arg in args:
        if type(arg) not in _SIMPLE:
            return _dumped_call(message, foreign)
    if kwargs and not all(type(arg) in _SIMPLE for arg in kwargs.values()):
        return _dumped_call(message, foreign)
    try:
        data = pickle.dumps(message, 5)
    except Exception:
        return _dumped_call(message, foreign)
    return _dumped_call(message, foreign) if byvalue.STACK_GLOBAL in data else data


def dumps_simple_call(
    path: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any], foreign: bool
) -> bytes | None:
    """Serialise the call of a method whose arguments are small and of plain kinds; None if they are not, perhaps.

    It is asked of every call, so it does nothing that it can do without.
    """
    try:
        for arg in (*args, *kwargs.values()) if kwargs else args:
            most = byvalue.MOST_OF_KIND[type(arg)]
            if most and len(arg) > most:
                return None
        data = pickle.dumps((path, args, kwargs) if kwargs else (path, args), 5)
    except KeyError:
        return None if foreign else _dumps_arrays(path, args, kwargs)
    except Exception:
        return None
    return None if byvalue.STACK_GLOBAL in data or len(data) >= LEAST else data


def _dumps_arrays(path: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes | None:
    """Serialise a call with arrays that are not large, as NumPy itself does; None if anything else is among them."""
    size = 0
    for arg in (*args, *kwargs.values()):
        if arrays.is_simple(arg):
            size += arg.nbytes
        elif type(arg) in _TEXTS:
            size += len(arg)
        elif type(arg) not in _NUMBERS:
            return None
        if size >= LEAST:
            return None
    try:
        data = pickle.dumps((path, args, kwargs) if kwargs else (path, args), 5)
    except Exception:
        return None
    return data if len(data) < LEAST else None


def _dumped_call(message: tuple[Any, ...], foreign: bool) -> bytes | Packed:
    _, _, args, kwargs = message
    packed = _dumped(message, lambda error: _explained(_named_arguments(args, kwargs), error), foreign)
    return packed.data if packed.needs is None else packed


def pack_call(
    outbox: shared_memory.Outbox | None,
    operation: str,
    path: tuple[str, ...],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    foreign: bool,
) -> Packed | None:
    """Serialise one message whose large buffers are not to be copied more than once: into shared memory, if there is
    any; None if it has to be done the usual way.

    Args:
        outbox: what has the shared memory; None if it is not to be used.
    """
    chunks = Chunks()
    pickler = pickling.Pickler(chunks, foreign=foreign, buffer_callback=chunks.take)
    try:
        pickler.dump((operation, path, args, dict(kwargs)))
        needs = needs_of(pickler, foreign=foreign)
    except REFUSALS:
        return None  # the error is left to the usual way
    parcel = None if outbox is None or chunks.nbytes < LEAST else outbox.pack(chunks)
    return Packed(b"".join(laid_out(chunks)) if parcel is None else parcel, needs)


def may_be_large(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether arguments may be worth a trip through shared memory: large bytes, or objects that may hold some.

    It is asked of every call, so it does nothing that it can do without.
    """
    for arg in (*args, *kwargs.values()) if kwargs else args:
        kind = type(arg)
        if kind in BLOCKS:
            if len(arg) >= LEAST:
                return True
        elif kind in CONTAINERS:
            items = arg.values() if kind is dict else arg
            if _holds_large(items if len(arg) <= FEW else islice(items, FEW)):
                return True
        elif kind not in _SIMPLE and _nbytes(arg) >= LEAST:
            return True
    return False


def _holds_large(items: Iterable[Any]) -> bool:
    for item in items:
        kind = type(item)
        if kind in BLOCKS:
            if len(item) >= LEAST:
                return True
        elif kind not in _SIMPLE and _nbytes(item) >= LEAST:
            return True
    return False


def _nbytes(value: Any) -> int:
    """How many bytes an array claims to have; 0 if it says nothing."""
    found = getattr(value, "nbytes", 0)
    return found if type(found) is int else 0

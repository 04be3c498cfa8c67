"""What the host sends as bytes, and what it makes of the bytes that come back.

Requests are pickles: isolates trust their host.  Replies are decoded by the isolate's trust, in the
thread that asks for the result, never on the I/O thread.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import pickle
import types
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import attrs
import dill

from piactors._host import exports, parcels
from piactors.errors import InvalidTarget, ProtocolError, RemoteError, RemoteTraceback, UntrustedReply
from piactors.pihost import byvalue, pieces, plain_decode, segments, wire

_MAX_SHOWN = 500
_SMALL = 65_536
_SIMPLE = frozenset({int, float, str, bytes, bool, type(None), tuple, list, dict, set, frozenset})
"""Types of arguments that plain pickle, which is faster, is tried on first.  What they hold may still refuse it, or be
of `__main__`, and so of a class that has to travel by value."""


class _Pickler(pickle.Pickler):
    def __init__(self, buffer: Any, fresh: bool, **more: Any) -> None:
        super().__init__(buffer, 5, **more)
        self._fresh = fresh

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, types.FunctionType)) and exports.travels_by_value(obj):
            key = exports.key_of(obj)
            return byvalue.load_definition, (key, obj.__qualname__, exports.definition_of(obj, fresh=self._fresh))
        return NotImplemented


def dumps(value: Any, *, fresh: bool = False) -> bytes:
    """Serialise what goes to an isolate; `fresh` sends definitions as they are now, not as last sent.

    Raises:
        TypeError, pickle.PicklingError and what an object's own pickling raises.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, fresh).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        return _dumps_with_dill(value, error)
    return buffer.getvalue()


def _dumps_with_dill(value: Any, error: Exception) -> bytes:
    if isinstance(error, NotSendable):
        raise error
    try:
        data: bytes = dill.dumps(value, protocol=5, recurse=True)
    except Exception:
        raise error from None
    return data


def holds_definitions(data: bytes) -> bool:
    """Whether dill is needed to load what `dumps` has made; at times also where it is not."""
    return b"load_definition" in data or b"dill._dill" in data


class NotSendable(TypeError):
    """An object of piactors that cannot leave its process."""


def dumps_call(operation: str, path: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
    """Serialise one message; see `piactors.pihost.hosted` for the operations."""
    message = (operation, path, args, kwargs)
    for arg in args:
        if type(arg) not in _SIMPLE:
            return dumps(message)
    if kwargs and not all(type(arg) in _SIMPLE for arg in kwargs.values()):
        return dumps(message)
    try:
        data = pickle.dumps(message, 5)
    except Exception:
        return dumps(message)
    return dumps(message) if b"__main__" in data else data


def pack_call(
    outbox: parcels.Outbox, operation: str, path: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> segments.Parcel | None:
    """Serialise one message into shared memory, where it is large; None where it is not, or none is to be had."""
    chunks = pieces.Chunks()
    try:
        _Pickler(chunks, False, buffer_callback=chunks.take).dump((operation, path, args, dict(kwargs)))
    except (pickle.PicklingError, TypeError, AttributeError):
        return None  # dill, or the error that there is, is for the usual way
    return outbox.pack(chunks) if chunks.nbytes >= pieces.LEAST else None


def may_be_large(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether arguments may be worth the way through shared memory: large bytes, or objects that may hold some.

    It is asked of every call, so it makes no steps that it can do without.
    """
    for arg in (*args, *kwargs.values()) if kwargs else args:
        kind = type(arg)
        if kind in pieces.BLOCKS:
            if len(arg) >= pieces.LEAST:
                return True
        elif kind in pieces.CONTAINERS:
            items = arg.values() if kind is dict else arg
            if _holds_large(items if len(arg) <= pieces.FEW else islice(items, pieces.FEW)):
                return True
        elif kind not in _SIMPLE and _nbytes(arg) >= pieces.LEAST:
            return True
    return False


def _holds_large(items: Iterable[Any]) -> bool:
    for item in items:
        kind = type(item)
        if kind in pieces.BLOCKS:
            if len(item) >= pieces.LEAST:
                return True
        elif kind not in _SIMPLE and _nbytes(item) >= pieces.LEAST:
            return True
    return False


def _nbytes(value: Any) -> int:
    """How many bytes an array says that it has; 0 where it says nothing."""
    found = getattr(value, "nbytes", 0)
    return found if type(found) is int else 0


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: Any, requested: Callable[[int], Any]) -> None:
        if type(data) is segments.Received:
            first, *apart = data.chunks()
            super().__init__(pieces.ViewReader(first), buffers=apart)
        else:
            super().__init__(io.BytesIO(data))
        self._requested = requested

    def find_class(self, module: str, name: str) -> Any:
        if module == "_pihost.byvalue" and name == "host_object":
            return exports.lookup
        if module == "piactors.promises" and name == "requested":
            return self._requested
        return super().find_class(module, name)


@attrs.frozen(eq=False)
class Decoder:
    """Makes values of the payloads of one isolate.

    Attributes:
        name: the isolate's, for errors.
        code: whether replies may be pickles.
        accept: the classes that plain data may hold besides, by ``module:qualname``.
        budget: how much memory a plain reply may take, in bytes.
        requested: finds the future of a request that the isolate made, by its number.
    """

    name: str
    code: bool
    accept: Mapping[str, type]
    budget: int
    requested: Callable[[int], Any]

    def value(self, flags: int, payload: Any) -> Any:
        """Return the value of a reply.

        Raises:
            UntrustedReply: where the reply holds what the isolate's trust does not allow.
        """
        if flags == wire.PICKLE:
            if not self.code:
                raise UntrustedReply(f"isolate {self.name} sent a pickle, and its trust is 'data'")
            if len(payload) < _SMALL and b"pihost.byvalue" not in payload and b"piactors.promises" not in payload:
                return pickle.loads(payload)  # nothing in it has another name here
            return _Unpickler(payload, self.requested).load()
        return self._plain(payload)

    def _plain(self, payload: Any) -> Any:
        if type(payload) is segments.Received:
            # What an isolate can still write to is copied before it is looked at.
            payload = b"".join(payload.chunks())
        try:
            return plain_decode.decode(payload, budget=self.budget, accept=self.accept)
        except plain_decode.BadPlain as error:
            why = str(error)
        # Not within `except`: the context of the error would hold the frames that hold the reply, which may be large.
        raise UntrustedReply(f"isolate {self.name} sent a reply that is no plain data: {why}")

    def error(self, payload: wire.Payload) -> BaseException:
        """Return the exception that an ERROR or START_FAILED payload describes."""
        try:
            described = Description.of(plain_decode.decode(payload, budget=self.budget))
        except Exception as error:
            return ProtocolError(f"isolate {self.name} sent an error that cannot be read: {str(error)[:_MAX_SHOWN]}")
        if described.untrusted is not None:
            return UntrustedReply(
                f"isolate {self.name} would return a {described.untrusted}, and its trust allows plain data; "
                "return plain data, name the class in accept=, or use trust='code' if you would run its code here"
            )
        rebuilt = InvalidTarget(described.text) if described.invalid_target else self._rebuilt(described)
        with contextlib.suppress(Exception):  # the state of an accepted class may hold anything, its notes too
            for note in described.notes:
                rebuilt.add_note(note)
        rebuilt.__cause__ = RemoteTraceback(described.traceback)
        return rebuilt

    def traceback(self, payload: wire.Payload) -> str:
        """Return the traceback that a description holds; no code of any class runs for it."""
        try:
            return Description.of(plain_decode.decode(payload, budget=self.budget)).traceback
        except Exception:
            return "(an exception that cannot be read)"

    def _rebuilt(self, described: Description) -> BaseException:
        for attempt in (self._from_pickle, self._from_accepted, self._from_builtin):
            try:
                error = attempt(described)
            except Exception:
                continue
            if isinstance(error, Exception):
                return error
        return RemoteError(described.type_name, described.text, described.traceback)

    def _from_pickle(self, described: Description) -> object:
        if described.pickle is None or not self.code:
            return None
        return _Unpickler(described.pickle, self.requested).load()

    def _from_accepted(self, described: Description) -> object:
        if described.accepted is None:
            return None
        return plain_decode.decode(described.accepted, budget=self.budget, accept=self.accept)

    def _from_builtin(self, described: Description) -> object:
        if described.args is None or described.module != "builtins":
            return None
        cls = vars(builtins).get(described.qualname)
        if not (isinstance(cls, type) and issubclass(cls, Exception)):
            return None
        args = plain_decode.decode(described.args, budget=self.budget)
        return cls(*args) if isinstance(args, tuple) else None


def _is(cls: type, *, optional: bool = False) -> Any:
    """Like attrs' own `instance_of`, but its error does not show the value: that may be long, or have no text."""

    def validate(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, cls) and not (optional and value is None):
            raise TypeError(f"its {field.name} is a {type(value).__name__}")

    return validate


def _are_texts(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"its {field.name} are no list of texts")


@attrs.frozen(kw_only=True)
class Description:
    """An exception as its isolate describes it; untrusted input, so every field is checked."""

    module: str = attrs.field(validator=_is(str))
    qualname: str = attrs.field(validator=_is(str))
    text: str = attrs.field(validator=_is(str))
    traceback: str = attrs.field(validator=_is(str))
    notes: list[str] = attrs.field(validator=_are_texts)
    args: bytes | None = attrs.field(default=None, validator=_is(bytes, optional=True))
    pickle: bytes | None = attrs.field(default=None, validator=_is(bytes, optional=True))
    accepted: bytes | None = attrs.field(default=None, validator=_is(bytes, optional=True))
    untrusted: str | None = attrs.field(default=None, validator=_is(str, optional=True))
    invalid_target: bool = attrs.field(default=False, validator=_is(bool))

    @classmethod
    def of(cls, fields: Any) -> Description:
        """Check what was decoded and return it as a description; TypeError where it is none."""
        if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
            raise TypeError("no description of an exception")
        return cls(**fields)

    @property
    def type_name(self) -> str:
        """The exception's class as readers know it."""
        return self.qualname if self.module == "builtins" else f"{self.module}.{self.qualname}"

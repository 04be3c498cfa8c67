"""What the host makes of the bytes that come back from an isolate.

Replies are decoded by the isolate's trust, in the thread that asks for the result, never on the I/O thread.
"""

from __future__ import annotations

import builtins
import contextlib
import pickle
import types
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import attrs

from piactors._codec import keys, lending
from piactors._codec.passing import PassedOn
from piactors._text.record import ByAttributes
from piactors.errors import InvalidTarget, NotSendable, ProtocolError, RemoteError, RemoteTraceback, UntrustedReply
from piactors.pihost.memory import segments
from piactors.pihost.memory.chunks import file_over
from piactors.pihost.memory.parts import parts_of
from piactors.pihost.pickles import rebuild
from piactors.pihost.plain import decode as plain_decode
from piactors.pihost.wire import wire

_MAX_SHOWN = 500
_NOTHING: Mapping[int, Any] = types.MappingProxyType({})
_SMALL = 65_536
_TIMES_OF_TEXT = 4
_ALIGNMENT = 16  # of what malloc gives
_ALWAYS_FRESH = 32 << 20
"""Bytes from which on malloc never has memory that was used before (DEFAULT_MMAP_THRESHOLD_MAX of glibc)."""
_STEP = 4 << 20
"""Bytes that are copied in one go: Python's lock is held for so long."""


def host_object(key: str, copy: bytes | None = None) -> Any:
    """Return this process's own object of a key, or the copy that came along if it has let go of it.

    Raises:
        LookupError: if there is neither.
    """
    found = keys.known(key)
    if found is not None:
        return found
    if copy is None:
        raise LookupError(f"no class or function of this process has the key {key!r} any more")
    return keys.adopt(key, _Unpickler(copy, _no_request).load())


def loads_own(data: bytes, loans: Iterable[lending.Loan] = ()) -> Any:
    """Return what this process has pickled for an isolate, with what it lent."""
    return _Unpickler(data, _no_request, {loan.number: loan.home() for loan in loans}).load()


def _no_request(number: int) -> None:
    """Stand in for what only an isolate can have asked for."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: Any, requested: Callable[[int], Any], things: Mapping[int, Any] = _NOTHING) -> None:
        if type(data) is segments.Lost:
            raise data.error()
        chunks = data.chunks() if type(data) is segments.Received else parts_of(data)
        super().__init__(file_over(data if chunks is None else chunks[0]), buffers=chunks[1:] if chunks else None)
        self._requested = requested
        self._things = things

    def find_class(self, module: str, name: str) -> Any:
        if name in ("host_object", "ref") and module in ("_pihost.pickles.byvalue", "piactors.pihost.pickles.byvalue"):
            return host_object
        if module == "piactors._values.requested" and name == "requested":
            return self._requested
        if name == "thing" and module in ("_pihost.pickles.lending", "piactors.pihost.pickles.lending"):
            return self._things.__getitem__
        if module == "_pihost.pickles.rebuild":
            return getattr(rebuild, name)
        return super().find_class(module, name)


def _private(chunks: list[memoryview]) -> bytearray | memoryview:
    """Return a copy, out of reach of the isolate, which can still write to the chunks.

    Its end has the alignment that memory of its size has at its beginning, as an array that ends
    there can then stay in it (taking bytes off the front of a bytearray moves nothing).
    """
    size = sum(map(len, chunks))
    if size >= _ALWAYS_FRESH:
        return _filled(wire.mapped(size), chunks)
    padding = -size % _ALIGNMENT
    copy = bytearray().join((bytes(padding), *chunks))
    del copy[:padding]
    return copy


def _filled(place: memoryview, chunks: list[memoryview]) -> memoryview:
    start = 0
    for chunk in chunks:
        for first in range(0, len(chunk), _STEP):
            piece = chunk[first : first + _STEP]
            place[start : start + len(piece)] = piece
            start += len(piece)
    return place


@attrs.frozen(eq=False)
class Decoder:
    """Makes values of the payloads of one isolate.

    Attributes:
        name: the isolate's, for errors.
        code: whether replies may be pickles.
        accept: the classes that plain data may hold besides, by ``module:qualname``.
        budget: how much memory a plain reply may take, in bytes.
        requested: finds the future of a request that the isolate made, by its number.
        about: returns what to call the isolate if it is an actor, whose exceptions are logged.
    """

    name: str
    code: bool
    accept: Mapping[str, type]
    budget: int
    requested: Callable[[int], Any]
    about: Callable[[], str] | None = None

    def value(self, flags: int, payload: Any) -> Any:
        """Return the value of a reply.

        Raises:
            UntrustedReply: if the reply holds what the isolate's trust does not allow.
        """
        if flags & wire.LENDS:
            return self._lending(flags & ~wire.LENDS, *lending.opened(payload))
        if type(payload) is PassedOn:  # for another isolate, and here because this program has to make something of it
            return self.value(flags & wire.PICKLE, payload.received())
        if flags & ~wire.QUICK == wire.PICKLE:
            if not self.code:
                raise UntrustedReply(f"isolate {self.name} sent a pickle, but its trust is 'data'")
            if flags & wire.QUICK:
                return pickle.loads(payload)
            if (
                len(payload) < _SMALL
                and payload.find(b"pihost.") < 0
                and payload.find(b"piactors._values.requested") < 0
            ):
                return pickle.loads(payload)  # nothing in it has another name here
            return _Unpickler(payload, self.requested).load()
        return self._plain(payload)

    def _lending(self, flags: int, payload: Any, things: Mapping[int, Any]) -> Any:
        if type(payload) is PassedOn:
            flags, payload = flags & wire.PICKLE, payload.received()
        if flags & wire.PICKLE and self.code:
            return _Unpickler(payload, self.requested, things).load()
        return self.value(flags, payload) if flags & wire.PICKLE else self._plain(payload, things)

    def _plain(self, payload: Any, things: Mapping[int, Any] = _NOTHING) -> Any:
        if type(payload) is segments.Lost:
            raise payload.error()
        if type(payload) is segments.Received:
            payload = _private(payload.chunks())
        owned = type(payload) is not bytes  # nobody else has it
        try:
            return plain_decode.decode(payload, budget=self.budget, accept=self.accept, owned=owned, things=things)
        except plain_decode.BadPlain as error:
            why = str(error)
        # Not within `except`: the context of the error would hold the frames that hold the reply, which may be large.
        raise UntrustedReply(f"isolate {self.name} sent a reply that is not plain data: {why}")

    def error(self, payload: Any) -> BaseException:
        """Return the exception that an ERROR or START_FAILED payload describes."""
        payload, things = lending.opened(payload)
        try:
            described = Description.of(plain_decode.decode(payload, budget=self._budget_of(payload)))
        except Exception as error:
            return ProtocolError(f"isolate {self.name} sent an error that cannot be read: {str(error)[:_MAX_SHOWN]}")
        if described.untrusted is not None:
            return UntrustedReply(
                f"isolate {self.name} would return a {described.untrusted}, but its trust allows only plain data; "
                "return plain data, name the class in accept=, or use trust='code' if its code may run here"
            )
        rebuilt = self._rebuilt(described, things)
        cause = RemoteTraceback(described.traceback)
        try:
            rebuilt.__cause__ = cause
        except Exception:  # its class does not let it have one
            rebuilt = RemoteError(described.type_name, described.text, described.traceback)
            rebuilt.__cause__ = cause
        with contextlib.suppress(Exception):  # the state of an accepted class may hold anything, notes included
            for note in described.notes:
                rebuilt.add_note(note)
        return rebuilt

    def _budget_of(self, payload: wire.Payload) -> int:
        """How much memory a description may take: it is made to be as large as `max_frame` allows, and is mostly text.

        A character may take four times the memory that it has in the payload.
        """
        return self.budget + _TIMES_OF_TEXT * len(payload) + _SMALL

    def traceback(self, payload: wire.Payload) -> str:
        """Return the traceback that a description holds; no code of any class runs for it."""
        try:
            payload, _ = lending.opened(payload)
            return Description.of(plain_decode.decode(payload, budget=self._budget_of(payload))).traceback
        except Exception:
            return "(an exception that cannot be read)"

    def _rebuilt(self, described: Description, things: Mapping[int, Any]) -> BaseException:
        if described.invalid_target:
            return InvalidTarget(described.text)
        if described.not_sendable:
            return NotSendable(described.text)
        for attempt in (partial(self._from_pickle, things), self._from_accepted, self._from_builtin):
            try:
                error = attempt(described)
                if isinstance(error, Exception):
                    return error
            except KeyboardInterrupt:
                raise
            except BaseException:  # whatever is raised when it is made, such as SystemExit
                continue
        return RemoteError(described.type_name, described.text, described.traceback)

    def _from_pickle(self, things: Mapping[int, Any], described: Description) -> object:
        if described.pickle is None or not self.code:
            return None
        return _Unpickler(described.pickle, self.requested, things).load()

    def _from_accepted(self, described: Description) -> object:
        if described.accepted is None:
            return None
        return plain_decode.decode(described.accepted, budget=self._budget_of(described.accepted), accept=self.accept)

    def _from_builtin(self, described: Description) -> object:
        if described.args is None or described.module != "builtins":
            return None
        cls = vars(builtins).get(described.qualname)
        if not (isinstance(cls, type) and issubclass(cls, Exception)):
            return None
        args = plain_decode.decode(described.args, budget=self._budget_of(described.args))
        return cls(*args) if isinstance(args, tuple) else None


def _is(cls: type, *, optional: bool = False) -> Any:
    """Like attrs' own `instance_of`, but its error does not show the value: that may be long, or have no text."""

    def validate(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, cls) and not (optional and value is None):
            raise TypeError(f"its {field.name} is a {type(value).__name__}")

    return validate


def _are_texts(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"its {field.name} are not a list of texts")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Description(ByAttributes):
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
    not_sendable: bool = attrs.field(default=False, validator=_is(bool))

    @classmethod
    def of(cls, fields: Any) -> Description:
        """Check what was decoded and return it as a description; TypeError if it is not one."""
        if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
            raise TypeError("not a description of an exception")
        return cls(**fields)

    @property
    def type_name(self) -> str:
        """The exception's class as readers know it."""
        return self.qualname if self.module == "builtins" else f"{self.module}.{self.qualname}"

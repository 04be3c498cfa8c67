"""How results and exceptions leave an isolate.

With trust "data" a result is plain data in the tagged format, and an exception is a description
from which the host rebuilds builtin exceptions.  With trust "code" both may be pickles.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any, Dict, FrozenSet, List, Optional, Tuple, Union

from . import byvalue, pieces, plain_encode, rebuild, wire
from .store import store

_TEXT_LIMIT = 1 << 16
_MARKS = (("_pihost_invalid_target", "invalid_target"), ("_pihost_not_sendable", "not_sendable"))
"""Errors of pihost's own that the host knows as errors of its own: a mark of the class, and the field that tells."""


class Replies:
    """Encodes what goes back, by the trust that the host has set."""

    def __init__(self, code: bool, accept: FrozenSet[str]) -> None:
        self.code = code
        self.accept = accept

    def value(self, value: Any) -> Tuple[int, bytes]:
        """Return the flags and the payload for a result."""
        if self.code:
            return wire.PICKLE, byvalue.dumps(value)
        return wire.PLAIN, plain_encode.encode(value, self.accept)

    def chunks(self, value: Any) -> Tuple[int, Union[bytes, pieces.Chunks]]:
        """Return the flags and the pieces for a result that may lie in shared memory; bytes where it is small."""
        if self.code:
            return wire.PICKLE, byvalue.dumps_chunks(value)
        chunks = pieces.Chunks()
        plain_encode.write(value, chunks.write, self.accept)
        chunks.gather()
        return wire.PLAIN, chunks

    def error(self, error: BaseException, **more: Any) -> bytes:
        """Return the payload that describes an exception."""
        described: Dict[str, Any] = {
            "module": type(error).__module__,
            "qualname": type(error).__qualname__,
            "text": _text(error)[:_TEXT_LIMIT],
            "traceback": self.traceback(error),
            "notes": _notes(error),
            "args": None,
            "pickle": None,
            "accepted": None,
        }
        described.update(more)
        for mark, field in _MARKS:
            if getattr(error, mark, False) is True:
                described[field] = True
        if self.code:
            described["pickle"] = _pickled(error)
        if described["pickle"] is None:
            described["accepted"] = self._accepted(error)
            # What such an exception held besides is not left out in silence: then it arrives as described.
            described["args"] = None if self.code and _holds_more(error) else _builtin_args(error)
        return plain_encode.encode(described)

    @staticmethod
    def traceback(error: BaseException) -> str:
        """Return an exception's traceback as text, of bounded length."""
        return _traceback(error)[-_TEXT_LIMIT:]

    def refused(self, error: plain_encode.NotPlain) -> bytes:
        """Return the payload for a result that plain data cannot express."""
        return self.error(error, untrusted=f"{error.type_name} ({error.reason})")

    def _accepted(self, error: BaseException) -> Optional[bytes]:
        name = "{}:{}".format(type(error).__module__, type(error).__qualname__)
        if name not in self.accept:
            return None
        try:
            return plain_encode.encode(error, self.accept)
        except Exception:
            return None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<the text of this {} cannot be had>".format(type(error).__name__)


def _traceback(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(error), error, _own_frames(error))
        return "".join(lines)
    except Exception:
        return "".join(traceback.format_tb(error.__traceback__)) + "<the exception cannot be formatted>\n"


def _own_frames(error: BaseException) -> Any:
    """Leave out the frames of this folder at the outer end: the reader's own code is of interest."""
    frame = error.__traceback__
    here = {__package__, "piactors", "piactors.pihost"}  # an actor's host has its own copy of some modules
    while frame is not None and frame.tb_next is not None:
        if frame.tb_frame.f_globals.get("__package__") not in here:
            break
        frame = frame.tb_next
    return frame


def _notes(error: BaseException) -> List[str]:
    notes = getattr(error, "__notes__", None)
    return [note for note in notes if type(note) is str] if isinstance(notes, list) else []


def _pickled(error: BaseException) -> Optional[bytes]:
    """Pickle an exception, or return None where it would not come out of the pickle again."""
    try:
        data = byvalue.dumps(error)
        if type(error).__reduce__ is BaseException.__reduce__ and _simple(error):
            return data
    except Exception:
        return None
    try:
        if type(byvalue.loads(data)) is type(error):
            return data
    except Exception:
        pass  # its constructor wants other arguments than those that it has kept
    return _pickled_without_constructor(error)


def _pickled_without_constructor(error: BaseException) -> Optional[bytes]:
    """Pickle an exception of a class that came by value: the host has that class, and is to catch it as that."""
    if type(error).__reduce__ is not BaseException.__reduce__ or store.key_of(type(error))[0] is None:
        return None
    try:
        data = byvalue.dumps(rebuild.Unmade(error))
        return data if type(byvalue.loads(data)) is type(error) else None
    except Exception:
        return None


def _holds_more(error: BaseException) -> bool:
    return bool(set(getattr(error, "__dict__", ())) - {"__notes__"})


def _simple(error: BaseException) -> bool:
    """Whether an exception is rebuilt from its arguments by the constructor that builtins have."""
    return type(error).__init__ is Exception.__init__ and type(error).__new__ is Exception.__new__


def _builtin_args(error: BaseException) -> Optional[bytes]:
    """Return the arguments that rebuild a builtin exception, where they are plain data."""
    if type(error).__module__ != "builtins" or getattr(sys.modules["builtins"], type(error).__name__, None) is not type(
        error
    ):
        return None
    try:
        args = error.__reduce_ex__(2)[1]
        return plain_encode.encode(args)
    except Exception:
        return None

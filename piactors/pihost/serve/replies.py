"""How results and exceptions leave an isolate.

With trust "data" a result is plain data in the tagged format, and an exception is a description
from which the host rebuilds builtin exceptions.  With trust "code" both may be pickles.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Tuple, Union

from ..memory.chunks import LEAST, Chunks
from ..pickles import byvalue, lending, rebuild
from ..pickles.lending import Entry
from ..pickles.store import store
from ..plain import encode as plain_encode
from ..wire import wire
from ..wire.streams import JOIN_UP_TO, FrameStream
from . import faults

_TEXT_LIMIT = 1 << 16
_LEAST_LIMIT = 256
"""From here on an exception is described by little more than its class."""
_WHOLE = ("pickle", "accepted", "args")
_MARKS = (("_pihost_invalid_target", "invalid_target"), ("_pihost_not_sendable", "not_sendable"))
"""Errors of pihost's own that the host knows as errors of its own: a mark of the class, and the field that tells."""


def quick(stream: FrameStream, most: int) -> Callable[[int, Any], bool]:
    """Return what sends a result as a pickle if it is small and of plain kinds; it returns whether it was.

    Nearly all results are, so it does nothing that it can do without, with everything it needs at hand.
    """
    kinds, dumps, pack = byvalue.MOST_OF_KIND, pickle.dumps, wire.HEADER.pack
    generation, lock = stream.generation, stream.lock
    write, acquire, release, most = stream.end.write, lock.acquire, lock.release, min(most, LEAST - 1)
    names_a_global, kind, flags = byvalue.STACK_GLOBAL, wire.REPLY, wire.PICKLE | wire.QUICK

    def send(seq: int, value: Any) -> bool:
        try:
            longest = kinds[type(value)]
            if longest and len(value) > longest:
                return False
            payload = dumps(value, 5)
        except Exception:
            return False
        size = len(payload)
        if names_a_global in payload or size > most:
            return False
        if size > JOIN_UP_TO:
            stream.send(kind, flags, seq, payload)
            return True
        frame = pack(size, kind, flags, generation, seq) + payload
        acquire()
        try:
            sent = write(frame)
            if sent != len(frame):
                stream.send_rest(frame, sent)
        except OSError:
            stream.gone()
        finally:
            release()
        return True

    return send


def simple_array(value: Any, most: int) -> Optional[bytes]:
    """Return the pickle of an array that is not large, as NumPy itself makes it; None if that is not how it travels."""
    if "numpy" not in sys.modules:
        return None
    from ..pickles import arrays  # which an isolate without arrays need not load

    if not arrays.is_simple(value) or value.nbytes >= LEAST:
        return None
    payload = pickle.dumps(value, 5)
    return payload if len(payload) <= min(most, LEAST) else None


def described(error: BaseException) -> Dict[str, Any]:
    """Return a description of an exception, without a pickle of it."""
    return {**Replies(False, frozenset()).describe(error), "untrusted": None}


class Replies:
    """Encodes what goes back, by the trust that the host has set.

    Args:
        code: whether results and exceptions may be pickles.
        accept: the classes that plain data may hold besides.
        most: how many bytes the host takes in one frame: results over it are refused, exceptions are shortened.
    """

    def __init__(self, code: bool, accept: FrozenSet[str], most: int = 0xFFFFFFFF) -> None:
        self.code = code
        self.accept = accept
        self.most = most

    def value(self, value: Any) -> Tuple[int, bytes]:
        """Return the flags and the payload for a result."""
        if self.code:
            return wire.PICKLE, byvalue.dumps(value)
        return wire.PLAIN, plain_encode.encode(value, self.accept)

    def value_lending(self, value: Any) -> Tuple[int, bytes, List[Entry]]:
        """Return the flags and the payload for a result that may lend things, and what it lends."""
        lending.begin()
        try:
            flags, payload = self.value(value)
        except BaseException:
            lending.call_off()
            raise
        return flags, payload, lending.end()

    def chunks(self, value: Any) -> Tuple[int, Union[bytes, Chunks]]:
        """Return the flags and the pieces for a result that may lie in shared memory; bytes if it is small."""
        if self.code:
            return wire.PICKLE, byvalue.dumps_chunks(value)
        chunks = Chunks()
        plain_encode.write(value, chunks.write, self.accept)
        chunks.gather()
        return wire.PLAIN, chunks

    def check_size(self, size: int, room: int = 0) -> None:
        """See that the host takes a frame of that many bytes, and `room` more.

        Raises:
            ValueError: if it does not.
        """
        if size + room > self.most:
            raise ValueError("it takes {:,} bytes, but max_frame is {:,}".format(size, self.most))

    def error(self, error: BaseException, untrusted: Optional[str] = None, room: int = 0) -> bytes:
        """Return the payload that describes an exception: as it is, or shortened so that the host takes it.

        Args:
            untrusted: of a result that plain data cannot express, what it is.
            room: how many bytes the frame has to have room for besides.
        """
        most = self.most - room
        described = self.describe(error)
        described["untrusted"] = None if untrusted is None else faults.shortened(untrusted, _LEAST_LIMIT * 4)
        payload = plain_encode.encode(described)
        limit = _TEXT_LIMIT
        while len(payload) > most and limit:
            for field in _WHOLE:
                if described[field] is not None and (len(described[field]) > most // 2 or limit < _LEAST_LIMIT):
                    described[field] = None
            limit //= 4
            _cut(described, error, limit)
            payload = plain_encode.encode(described)
        return payload

    def report(self, error: Optional[BaseException], code: Optional[int], most: int) -> bytes:
        """Return what the host is told of this process's end, in at most `most` bytes."""
        limit = _TEXT_LIMIT
        while True:
            text = None if error is None else faults.traceback_of(error, limit)
            payload = plain_encode.encode({"error": text, "code": code})
            if len(payload) <= min(most, self.most) or not limit:
                return payload
            limit //= 4

    def refused(self, error: plain_encode.NotPlain) -> bytes:
        """Return the payload for a result that plain data cannot express."""
        return self.error(error, untrusted=f"{error.type_name} ({error.reason})")

    def describe(self, error: BaseException) -> Dict[str, Any]:
        """Return the description of an exception: its texts, and what it is rebuilt from."""
        described: Dict[str, Any] = dict.fromkeys(_WHOLE)
        _cut(described, error, _TEXT_LIMIT)
        for mark, field in _MARKS:
            if faults.attempt(lambda mark=mark: getattr(error, mark, False) is True, False):  # type: ignore[misc]
                described[field] = True
        if self.code:
            described["pickle"] = _pickled(error)
        if described["pickle"] is None:
            described["accepted"] = self._accepted(error)
            # What such an exception held besides is not left out in silence: then it arrives as described.
            described["args"] = None if self.code and _holds_more(error) else _builtin_args(error)
        return described

    def _accepted(self, error: BaseException) -> Optional[bytes]:
        if "{}:{}".format(*faults.class_of(error)) not in self.accept:
            return None
        return faults.attempt(lambda: plain_encode.encode(error, self.accept), None)


def _cut(described: Dict[str, Any], error: BaseException, limit: int) -> None:
    """Describe an exception in texts of at most `limit` characters each."""
    module, qualname = faults.class_of(error)
    described["module"], described["qualname"] = faults.shortened(module, limit), faults.shortened(qualname, limit)
    described["text"] = faults.text_of(error, limit)
    described["traceback"] = faults.traceback_of(error, limit)
    described["notes"] = faults.notes_of(error, limit // 8)


def _pickled(error: BaseException) -> Optional[bytes]:
    """Pickle an exception, or return None if it would not come out of the pickle again."""
    try:
        data = byvalue.dumps(error)
        if type(error).__reduce__ is BaseException.__reduce__ and _simple(error):
            return data
    except BaseException:
        return None
    try:
        if type(byvalue.loads(data)) is type(error):
            return data
    except BaseException:
        pass  # its constructor wants other arguments than those that it has kept
    return faults.attempt(lambda: _pickled_without_constructor(error), None)


def _pickled_without_constructor(error: BaseException) -> Optional[bytes]:
    """Pickle an exception of a class that came by value: the host has that class, and is to catch it as that."""
    if type(error).__reduce__ is not BaseException.__reduce__ or store.key_of(type(error))[0] is None:
        return None
    data = byvalue.dumps(rebuild.Unmade(error))
    return data if type(byvalue.loads(data)) is type(error) else None


def _holds_more(error: BaseException) -> bool:
    return faults.attempt(lambda: bool(set(getattr(error, "__dict__", ())) - {"__notes__"}), True)


def _simple(error: BaseException) -> bool:
    """Whether an exception is rebuilt from its arguments by the constructor that builtins have."""
    return type(error).__init__ is Exception.__init__ and type(error).__new__ is Exception.__new__


def _builtin_args(error: BaseException) -> Optional[bytes]:
    """Return the arguments that rebuild a builtin exception, if they are plain data."""
    module, name = faults.class_of(error)
    if module != "builtins" or getattr(sys.modules["builtins"], name, None) is not type(error):
        return None
    return faults.attempt(lambda: plain_encode.encode(error.__reduce_ex__(2)[1]), None)

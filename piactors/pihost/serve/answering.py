"""How calls are answered, each exactly once: with a result, an exception, or items of a stream."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Tuple, Union

from ..memory.chunks import LEAST, Chunk
from ..pickles import lending, refusals
from ..pickles.lending import Entry
from ..plain import encode as plain_encode
from ..wire import wire
from ..wire.page import WINDOW
from ..wire.streams import FrameStream
from ..wire.yielded import ANSWERED, Batch, ItemNotPlain
from . import faults, hosted
from .coroutines import CancelledError
from .lending_link import Threads
from .replies import Replies, quick, simple_array
from .sharing import Sharing

if TYPE_CHECKING:
    from .control import HostLink

_MOST_SHOWN = 1000
_SMALL = frozenset((int, float, bool, type(None)))
"""Types of results that are never large, or that cannot hold what is large."""
_OURS = 2
"""Threads of an isolate that are not its own code's: the main one and that of the control channel."""


def cancelled_errors() -> Tuple[Any, ...]:
    """What a call raises that ends because it is not wanted: a coroutine's, and that of a wait for another call."""
    futures = sys.modules.get("concurrent.futures._base")
    return CancelledError, getattr(futures, "CancelledError", None)


class Answering(Threads):
    """Answers the calls of one generation, which run in `threads` threads.

    Args:
        own: whether this is the host's own interpreter, with the same packages.
    """

    def __init__(self, data: FrameStream, replies: Replies, threads: int, sharing: Sharing, own: bool) -> None:
        self._sharing = sharing
        self._data = data
        self._replies = replies
        self.trusted_replies = Replies(True, replies.accept, replies.most)
        self._quick = quick(data, replies.most)
        self._is_own = own
        self._threads = threads
        self._cancelled: OrderedDict[int, None] = OrderedDict()
        """The calls that were cancelled last."""
        self.link: HostLink
        """What leads to the host besides the answers."""
        self.hosted = hosted.Hosted(hosted.Toolbox())

    def connect(self, link: HostLink) -> None:
        """This leads to the host, besides the answers."""
        self.link = link

    def host(self, found: hosted.Hosted) -> None:
        """This is what calls are for."""
        self.hosted = found

    def is_cancelled(self, call: int) -> bool:
        """Whether the caller of a call has cancelled it."""
        return call in self._cancelled

    def _note_cancel(self, call: int) -> None:
        self._cancelled[call] = None
        if len(self._cancelled) > WINDOW:
            self._cancelled.popitem(last=False)

    def _end(self, error: Optional[BaseException], wake: bool = False) -> None:
        """Serve nothing more."""
        raise NotImplementedError

    def answer_early(self, call: int, batch: Any) -> None:
        """Send a batch in place of the answer to a call, which goes on; from any thread."""
        self._send_batch(wire.PART, call, batch)

    def _replies_to(self, flags: int) -> Replies:
        return self.trusted_replies if flags & wire.CODE else self._replies

    def _payload(
        self, replies: Replies, value: Any, inline: bool, is_routed: bool
    ) -> Tuple[int, Union[bytes, List[Chunk]]]:
        """Return the flags and the payload of an answer; of a large one, the table of where it lies, or its pieces.

        Args:
            is_routed: whether another isolate gets it, as it is.
        """
        if type(value) in _SMALL:
            flags, payload = replies.value(value)
            if len(payload) > replies.most:
                replies.check_size(len(payload))
            return flags, payload
        flags, chunks = replies.chunks(value)
        if isinstance(chunks, bytes):
            replies.check_size(len(chunks))
            return flags, chunks
        size = chunks.nbytes
        replies.check_size(size)
        if is_routed and replies.code and size >= LEAST:
            from ..values import packing  # only isolates that others ask need this

            return packing.passed(self.link, flags, chunks)
        table = self._sharing.pack(chunks) if size >= LEAST and not inline else None
        if table is not None:
            return flags | wire.SHARED, table
        from ..memory import parts  # what goes without shared memory is rare

        pieces = parts.laid_out(chunks)
        replies.check_size(sum(memoryview(piece).nbytes for piece in pieces))
        if self._threads > 1 or threading.active_count() > _OURS:
            return flags, b"".join(pieces)  # while it is sent, another thread may change what lies there
        return flags, pieces

    @staticmethod
    def told(hook: Callable[[BaseException], None], error: BaseException) -> None:
        """Call what reports an exception; what that raises (a broken `__str__`, a log handler) does not matter."""
        with contextlib.suppress(BaseException):
            hook(error)

    def _failed(self, kind: int, flags: int, seq: int, error: Exception) -> None:
        if kind == wire.CALL and seq in self._cancelled and type(error) in cancelled_errors():
            self._data.send(wire.CANCELLED, 0, seq)
        elif kind == wire.CALL:
            self.told(self.hosted.on_returned_exception, error)
            lending.begin()
            replies = self._replies_to(flags)
            payload = replies.refused(error.why) if type(error) is ItemNotPlain else replies.error(error)
            lends = wire.LENDS if self._lends(seq) else 0
            self._data.send(wire.ERROR, wire.PLAIN | lends, seq, payload)
        else:
            self._end(error)

    def _lends(self, seq: int) -> List[Entry]:
        """Tell the host what the answer lends that was made last, and return it."""
        entries = lending.end()
        if entries:
            self.link.lend(seq, entries)
        return entries

    def _answer(self, kind: int, flags: int, seq: int, value: Any) -> None:
        if kind != wire.CALL or value is ANSWERED:
            self._data.send(wire.SKIPPED if kind == wire.SKIPPED else wire.DONE, 0, seq)
            return
        replies = self.trusted_replies if flags & wire.CODE else self._replies  # as `_replies_to`, without a step more
        if replies.code:
            if self._quick(seq, value):
                return
            array = simple_array(value, replies.most) if self._is_own and not flags & wire.INLINE else None
            if array is not None:
                self._data.send(wire.REPLY, wire.PICKLE | wire.QUICK, seq, array)
                return
        if type(value) is Batch:
            if not value.large:
                self._send_batch(wire.REPLY, seq, value)
                return
            (value,) = value.large
        is_routed = flags & wire.LENDS
        lending.begin()
        try:
            flags, payload = self._payload(replies, value, bool(flags & wire.INLINE), bool(is_routed))
        except plain_encode.NotPlain as error:
            lending.call_off()
            self._data.send(wire.ERROR, wire.PLAIN, seq, replies.refused(error))
        except BaseException as error:
            lending.call_off()
            self._data.send(wire.ERROR, wire.PLAIN, seq, replies.error(unsendable(value, error)))
        else:
            entries = self._lends(seq)
            if entries:
                flags |= wire.LENDS
            if isinstance(payload, list):
                self._data.send_pieces(wire.REPLY, flags, seq, payload)
            else:
                self._data.send(wire.REPLY, flags, seq, payload)
            if entries:
                self.link.border.pipeline.result_sent((False, seq), value, entries)

    def _send_batch(self, kind: int, seq: int, batch: Batch) -> None:
        from ..wire import batches  # as in `settle`

        lends = 0
        if batch.lends:
            self.link.lend(seq, batch.lends)
            lends = wire.LENDS
        self._data.send(kind, wire.BATCH | lends, seq, batches.packed(batch.items, batch.is_last))


def unsendable(value: Any, error: BaseException) -> Exception:
    if isinstance(error, refusals.Refused):
        return error
    name, text = faults.class_name(type(value)), faults.text_of(error, _MOST_SHOWN)
    if not isinstance(error, Exception):
        text = "{}: {}".format(faults.title(error), text)
    return refusals.Refused("the result, a {}, cannot be sent: {}".format(name, text))

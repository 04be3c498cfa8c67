"""The call loop: reads messages in order, runs them, and answers each exactly once.

With several threads they take turns at the channel: one reads a message and publishes its number,
then lets the next thread read while it runs the message.  So messages begin in order, and no
thread hands a message to another.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..memory import handed
from ..memory.chunks import LEAST
from ..pickles import byvalue, refusals
from ..pickles.store import store
from ..plain import encode as plain_encode
from ..wire import wire
from ..wire.page import SequencePage
from ..wire.streams import FrameStream
from . import faults, hosted
from .coroutines import CoroutineRunner
from .replies import Replies, quick, simple_array
from .sharing import Sharing

_MOST_SHOWN = 1000
_SMALL = frozenset((int, float, bool, type(None)))
"""Types of results that are never large, or that cannot hold what is large."""


_TO_RUN = frozenset((wire.CALL, wire.TELL))


class CallsEnding(NamedTuple):
    """Why the call loop ended: a stop (`error` is None), or an exception that nobody waits for."""

    error: Optional[BaseException]


class CallLoop:
    """Runs the messages of one generation in `threads` threads, the main thread among them.

    Args:
        own: whether this is the host's own interpreter, with the same packages.
    """

    def __init__(
        self, data: FrameStream, page: SequencePage, replies: Replies, threads: int, sharing: Sharing, own: bool
    ) -> None:
        self._sharing = sharing
        self._data = data
        self.page = page
        self._replies = replies
        self._trusted = Replies(True, replies.accept, replies.most)
        self._quick = quick(data, replies.most)
        self._is_own = own
        self._threads = threads
        self._others: List[threading.Thread] = []
        self._turn = threading.Lock()
        self._ending: Optional[CallsEnding] = None
        self.coroutines = CoroutineRunner(self.end_with)
        self.hosted = hosted.Hosted(hosted.Toolbox())

    def start_threads(self) -> None:
        """Start the threads that serve beside the main one; before the host is told that this process is ready."""
        for slot in range(1, self._threads):
            name = "pihost-call-{}".format(slot)
            thread = threading.Thread(target=self._serve, args=(slot,), name=name, daemon=True)
            thread.start()
            self._others.append(thread)

    def host(self, found: hosted.Hosted) -> None:
        """This is what calls are for."""
        self.hosted = found

    def run(self) -> CallsEnding:
        """Serve until a stop or a failure, and return which; all running calls have ended by then."""
        self._serve(0)
        for thread in self._others:
            thread.join()
        assert self._ending is not None
        return self._ending

    def cut(self, returned: Callable[..., Any], ended: Callable[[Optional[BaseException]], None]) -> None:
        """In a fork of the isolate: answer nothing, and call one of these when the code that forked comes back.

        What is not a fork does not look whether it is one: here the steps that follow a call are replaced.
        """
        hidden: Dict[str, Any] = {
            "_answer": returned,
            "_quick": returned,
            "_failed": lambda *failed: ended(failed[-1]),
            "_end": ended,
        }
        self.__dict__.update(hidden)
        self.coroutines.cut(ended)

    def settle(self, value: Any) -> Any:
        """Return a result as it is, or the result of a coroutine."""
        return self.coroutines.run(value) if type(value) is hosted.CoroutineType else value

    def _serve(self, slot: int) -> None:
        begin, data, several, perform = self.page.begin, self._data, self._threads > 1, self._perform
        frames, next_frame = data.frames, data.next_raw
        while True:
            lent: Sequence[int] = ()
            if several:
                self._turn.acquire()
            try:
                if self._ending is not None:
                    return
                frame = frames.popleft() if frames else next_frame()
                if frame is None or frame[0] not in _TO_RUN:
                    frame, lent = self._prepared(frame)
                    if frame is None:
                        return
                    if frame[0] == wire.BULK:
                        self._serve_many(frame)
                        continue
                kind, flags, _, seq, payload = frame
                wanted = begin(slot, seq)
            finally:
                if several:
                    self._turn.release()
            # In a fork, what is called after the call itself ends the process (see `cut`).
            try:
                value = perform(flags, payload) if wanted else None
            except Exception as error:
                self._failed(kind, flags, seq, error)
            except BaseException as error:
                self._told(self.hosted.on_base_exception, error)
                self._end(error)
            else:
                self._answer(kind if wanted else wire.SKIPPED, flags, seq, value)
            value = payload = frame = None  # while it waits for the next one, nothing of this one is held
            if lent:
                handed.drop(lent)

    def _serve_many(self, frame: wire.Raw) -> None:
        """Run calls that came in one frame, which come only if one thread serves: each begins when it is its turn."""
        _, flags, _, last, payload = frame
        path, items = byvalue.loads(payload)
        begin, is_plain, coroutine = self.page.begin, self._replies.code, hosted.CoroutineType
        for seq, item in enumerate(items, last + 1 - len(items)):
            if self._ending is not None:
                return
            if not begin(0, seq):
                self._answer(wire.SKIPPED, flags, seq, None)
                continue
            try:
                target = self.hosted.obj
                for name in path:
                    target = getattr(target, name)
                value = target(item)
                if type(value) is coroutine:
                    value = self.settle(value)
            except Exception as error:
                self._failed(wire.CALL, flags, seq, error)
            except BaseException as error:
                self._told(self.hosted.on_base_exception, error)
                self._end(error)
            else:
                if not (is_plain and self._quick(seq, value)):
                    self._answer(wire.CALL, flags, seq, value)

    def _prepared(self, frame: Optional[wire.Raw]) -> Tuple[Optional[wire.Raw], Sequence[int]]:
        """Take definitions that come first; return the message after them, and what was lent to it.  None: no more."""
        lent: Sequence[int] = ()
        while frame is not None and frame[0] == wire.DEFINE:
            lent = store.receive(frame[4])
            frame = self._data.next_raw()
        if frame is None or frame[0] == wire.STOP:
            self._no_more(frame)
            return None, ()
        return frame, lent

    def _perform(self, flags: int, payload: Any) -> Any:
        """Do what a message asks for: a call of a method, nearly always, so without a step more than that takes."""
        if flags & wire.SHARED:
            message = byvalue.loads_chunks(self._sharing.receive(payload))
        elif flags & wire.QUICK and not store.pending:
            message = pickle.loads(payload)
        else:
            message = byvalue.loads(payload)
        if len(message) == 2:
            path, args = message
            target = self.hosted.obj
            for name in path:
                target = getattr(target, name)
            value = target(*args)
        else:
            value = self.hosted.perform(message)
        return self.settle(value) if type(value) is hosted.CoroutineType else value

    def _no_more(self, frame: Optional[wire.Raw]) -> None:
        if frame is None and self._ending is None:
            threading.Event().wait()  # the host is gone; the control thread ends this process, and all below it
        self._end(None)

    def end_with(self, error: BaseException) -> None:
        """End, on a thread that serves no messages: code that no call waits for has raised what ends a process."""
        self._end(error, wake=True)

    def _end(self, error: Optional[BaseException], wake: bool = False) -> None:
        if self._ending is None:
            self._ending = CallsEnding(error)
            if self._threads > 1 or wake:
                self._data.stop()  # wakes the thread that waits for the next message; what it would read is not begun

    def _replies_to(self, flags: int) -> Replies:
        return self._trusted if flags & wire.CODE else self._replies

    def _payload(self, replies: Replies, value: Any, inline: bool) -> Tuple[int, bytes]:
        """Return the flags and the payload of an answer; of a large one, the table of where it lies."""
        if inline or type(value) in _SMALL:
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
        if size >= LEAST:
            table = self._sharing.pack(chunks)
            if table is not None:
                return flags | wire.SHARED, table
            if chunks.apart:
                return replies.value(value)
        return flags, chunks.joined()

    @staticmethod
    def _told(hook: Callable[[BaseException], None], error: BaseException) -> None:
        """Call what reports an exception; what that raises (a broken `__str__`, a log handler) does not matter."""
        with contextlib.suppress(BaseException):
            hook(error)

    def _failed(self, kind: int, flags: int, seq: int, error: Exception) -> None:
        if kind == wire.CALL:
            self._told(self.hosted.on_returned_exception, error)
            self._data.send(wire.ERROR, wire.PLAIN, seq, self._replies_to(flags).error(error))
        else:
            self._end(error)

    def _answer(self, kind: int, flags: int, seq: int, value: Any) -> None:
        if kind != wire.CALL:
            self._data.send(wire.DONE if kind == wire.TELL else wire.SKIPPED, 0, seq)
            return
        replies = self._trusted if flags & wire.CODE else self._replies  # as `_replies_to`, without a step more
        if replies.code:
            if self._quick(seq, value):
                return
            array = simple_array(value, replies.most) if self._is_own and not flags & wire.INLINE else None
            if array is not None:
                self._data.send(wire.REPLY, wire.PICKLE | wire.QUICK, seq, array)
                return
        try:
            flags, payload = self._payload(replies, value, bool(flags & wire.INLINE))
        except plain_encode.NotPlain as error:
            self._data.send(wire.ERROR, wire.PLAIN, seq, replies.refused(error))
        except BaseException as error:
            self._data.send(wire.ERROR, wire.PLAIN, seq, replies.error(_unsendable(value, error)))
        else:
            self._data.send(wire.REPLY, flags, seq, payload)


def _unsendable(value: Any, error: BaseException) -> Exception:
    if isinstance(error, refusals.Refused):
        return error
    name, text = faults.class_name(type(value)), faults.text_of(error, _MOST_SHOWN)
    if not isinstance(error, Exception):
        text = "{}: {}".format(faults.title(error), text)
    return refusals.Refused("the result, a {}, cannot be sent: {}".format(name, text))

"""The control thread: answers the host while a call runs, and ends the process with the host."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..memory import handed
from ..pickles import byvalue, refusals
from ..plain import decode as plain_decode
from ..plain import encode as plain_encode
from ..process import adopted, linux, quell
from ..wire import wire
from ..wire.streams import FrameStream
from . import faults
from .replies import Replies
from .sharing import Sharing

_PIHOST = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_HOST_GONE_CODE = 71
_LAST_ROUNDS = 50
_MOST_ON_CHANNEL = 1 << 26
"""What the host takes on the control channel, as far as `max_frame` is not less."""
_ROOM = 256
"""What such a request takes besides the outcome."""


class HostLink:
    """The isolate's end of the control channel, served by a thread of its own."""

    def __init__(
        self,
        stream: FrameStream,
        data: FrameStream,
        host_pidfd: int,
        replies: Replies,
        describe: Callable[[], Any],
        sharing: Sharing,
    ) -> None:
        self._sharing = sharing
        self._stream = stream
        self._data = data
        self._host_pidfd = host_pidfd
        self._replies = replies
        self._describe = describe
        self._proceed = threading.Event()
        self._waiting: Dict[int, Callable[[int, wire.Frame], None]] = {}
        self._lock = threading.Lock()  # any thread of the isolate asks, and the control thread answers
        self._next_request = 1
        self.data: Dict[str, Any] = {}

    def start(self) -> None:
        """Begin to serve, and to reap what this process adopts."""
        threading.Thread(target=self._serve, name="pihost-control", daemon=True).start()

    def cut(self, refuse: Callable[..., Any]) -> None:
        """In a fork of the isolate: close the channels, and have `refuse` raise when somebody would send."""
        self._lock = threading.Lock()  # another thread of the isolate may have held the old one
        self._data.cut(refuse)
        self._stream.cut(refuse)
        refusals: Dict[str, Any] = {"request": refuse, "announce_stop": refuse, "send_log": refuse}
        self.__dict__.update(refusals)

    def announce_stop(self, payload: bytes) -> None:
        """Report that this generation is stopping, and wait until the host has taken note."""
        self._stream.send(wire.STOPPING, wire.PLAIN, 0, payload)
        self._proceed.wait()

    def request(self, payload: bytes, on_answer: Callable[[int, wire.Frame], None]) -> int:
        """Send a request to the host; `on_answer` gets its number and the frame that answers.

        It goes on the data channel: the host must see it before the answer of the call that made it.

        Raises:
            Refused: if it is larger than the host takes.
        """
        if len(payload) > self._replies.most:
            text = "what is sent to the host takes {:,} bytes, but max_frame is {:,}"
            raise refusals.Refused(text.format(len(payload), self._replies.most))
        with self._lock:
            number, self._next_request = self._next_request, self._next_request + 1
            self._waiting[number] = on_answer
        self._data.send(wire.REQUEST, wire.PLAIN, number, payload)
        return number

    def number_from(self, first: int) -> None:
        """Number requests so that no other generation of this isolate uses the same numbers."""
        self._next_request += first

    def post(self, handle: Tuple[str, str], operation: str, value: Any, error: Optional[BaseException]) -> None:
        """Have the host do something to a thing of its own that came here as a handle (kind, token)."""
        if error is None:
            flags, payload = self._replies.value(value)
        else:
            flags, payload = wire.PLAIN, self._replies.error(error, room=_ROOM)
        self.request(plain_encode.encode(("post", *handle, operation, error is None, flags, payload)), lambda *_: None)

    def dumps(self, value: Any) -> bytes:
        """Serialise what comes back to this very process; of what was sent by value, its key goes."""
        return byvalue.dumps(value)

    def result_of(self, frame: wire.Frame) -> Any:
        """Return the result that an answer of the host holds, or raise what it says was raised."""
        if frame.kind == wire.RESPONSE:
            if frame.flags == wire.PICKLE:
                return byvalue.loads(frame.payload)
            return plain_decode.decode(frame.payload, budget=1 << 32)
        if frame.flags == wire.PICKLE:
            raise pickle.loads(frame.payload)
        described: Any = plain_decode.decode(frame.payload, budget=1 << 32)
        if described["pickle"] is not None:
            raise byvalue.loads(described["pickle"])
        raise RuntimeError("{}: {}".format(described["qualname"], described["text"]))

    def send_log(self, payload: bytes) -> None:
        """Send one logging record."""
        self._stream.send(wire.LOG, wire.PLAIN, 0, payload)

    def _serve(self) -> None:
        poller = select.poll()
        poller.register(self._stream, select.POLLIN)
        if self._host_pidfd >= 0:
            poller.register(self._host_pidfd, select.POLLIN)
        children = adopted.current or adopted.Adopted()
        if children.fileno() >= 0:
            poller.register(children.fileno(), select.POLLIN)
        while True:
            patience = children.patience()
            ready = {fd for fd, _ in poller.poll(None if patience is None else math.ceil(patience * 1000))}
            if self._host_pidfd in ready:
                end_with_host()
            children.look()
            if self._stream.fileno() in ready:
                self._read()

    def _read(self) -> None:
        try:
            frames = self._stream.ready()
        except (EOFError, OSError):
            end_with_host()
            return
        for frame in frames:
            self._handle(frame)

    def _handle(self, frame: wire.Frame) -> None:
        if frame.kind == wire.PROCEED:
            self._proceed.set()
        elif frame.kind == wire.REQUEST:
            self._answer(frame)
        elif frame.kind == wire.MAP:
            self._sharing.mapped(frame.seq, self._stream.fds.popleft())
        elif frame.kind == wire.HAND:
            handed.came(frame.seq, self._stream.fds.popleft())
        elif frame.kind == wire.UNMAP:
            self._sharing.dropped(frame.seq)
        elif frame.kind == wire.LOST:
            self._sharing.lost(frame.seq)
        elif frame.kind in (wire.RESPONSE, wire.FAILURE):
            with self._lock:
                on_answer = self._waiting.pop(frame.seq, None)
            if on_answer is not None:
                on_answer(frame.seq, frame)

    def _answer(self, frame: wire.Frame) -> None:
        try:
            operation, args = pickle.loads(frame.payload)
            if operation in _QUERIES:  # plain data, whatever the host would take
                flags, payload = wire.PLAIN, plain_encode.encode(_QUERIES[operation](self._most() // 8))
            else:
                flags, payload = self._replies.value(self._perform(operation, args))
            if len(payload) > self._most():
                text = "the answer takes {:,} bytes, but only {:,} may come on this channel"
                raise refusals.Refused(text.format(len(payload), self._most()))
        except BaseException as error:
            described = self._replies.error(error, room=self._replies.most - self._most())
            self._stream.send(wire.FAILURE, wire.PLAIN, frame.seq, described)
        else:
            self._stream.send(wire.RESPONSE, flags, frame.seq, payload)

    def _most(self) -> int:
        """Return how many bytes the host takes at once on this channel."""
        return min(self._replies.most, _MOST_ON_CHANNEL)

    def _perform(self, operation: str, args: Tuple[Any, ...]) -> Any:
        if operation == "set_data":
            self.data[args[0]] = byvalue.loads(args[1])
            return None
        if operation == "get_data":
            return self.data[args[0]]
        if operation == "trim":
            return self._sharing.trim(args[0])
        if operation == "describe":
            return self._describe()
        raise ValueError("the control thread does not know {!r}".format(operation))


serving: Optional[HostLink] = None
"""What sends requests to the host for code that may; an actor's code has its own."""

parent_pid = 0
"""Who made this process; set at its start."""


def end_with_host() -> None:
    """The host is gone: end what this process has started, then this process, and run nothing more."""
    if os.getppid() == parent_pid:
        with contextlib.suppress(OSError):
            os.kill(parent_pid, signal.SIGCONT)  # a launcher that somebody has stopped has to end too
    adopted.start_nothing_more()
    for _ in range(_LAST_ROUNDS):
        try:
            pids = linux.children()
        except OSError:
            break
        if not pids:
            break
        refused = quell.quell(pids)
        for pid in set(pids) - refused:
            quell.wait(pid)
        if refused.issuperset(pids):
            break
    os._exit(_HOST_GONE_CODE)


def stacks(most: int = _MOST_ON_CHANNEL) -> str:
    """Return the Python stacks of all threads of this process, as text, without the frames of pihost itself.

    Args:
        most: how many characters it may have; what is beyond is left out in the middle.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts: List[str] = []
    for ident, frame in sys._current_frames().items():
        frames = [entry for entry in traceback.extract_stack(frame) if not entry.filename.startswith(_PIHOST)]
        if frames and ident != threading.get_ident():
            parts.append("Thread {}:\n{}".format(names.get(ident, ident), "".join(traceback.format_list(frames))))
    text = "\n".join(parts) or "(nothing but pihost itself: it receives a message or sends an answer)"
    return faults.shortened(text, most)


def usage(_: int) -> Dict[str, Any]:
    """Return what this process has used, as it sees it itself."""
    import resource

    own = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "user": own.ru_utime,
        "system": own.ru_stime,
        "max_rss": own.ru_maxrss * 1024,
        "threads": threading.active_count(),
        "gc_counts": list(gc.get_count()) if hasattr(gc, "get_count") else [],
        "gc_stats": gc.get_stats() if hasattr(gc, "get_stats") and sys.implementation.name == "cpython" else [],
        "heap_blocks": sys.getallocatedblocks() if hasattr(sys, "getallocatedblocks") else None,
        "heap_traced": _heap_traced(),
    }


def _heap_traced() -> Optional[int]:
    """Return the bytes that tracemalloc knows of, or None if it does not trace."""
    try:
        import _tracemalloc  # built in; the module around it is not imported for this
    except ImportError:
        return None
    return _tracemalloc.get_traced_memory()[0] if _tracemalloc.is_tracing() else None


_QUERIES: Dict[str, Callable[[int], Any]] = {"ping": lambda _: os.getpid(), "stacks": stacks, "usage": usage}
"""What the host asks, given how many characters a text may have."""

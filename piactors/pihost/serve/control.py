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
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..pickles import byvalue, refusals
from ..pickles.lending import Entry
from ..plain import decode as plain_decode
from ..plain import encode as plain_encode
from ..process import adopted, linux, quell
from ..wire import wire
from ..wire.streams import FrameStream
from . import faults
from .lending_link import LendingLink, Threads
from .replies import Replies
from .sharing import Sharing

if TYPE_CHECKING:
    pass

_PIHOST = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_HOST_GONE_CODE = 71
_LAST_ROUNDS = 50
_MOST_ON_CHANNEL = 1 << 26
"""What the host takes on the control channel, as far as `max_frame` is not less."""
_ROOM = 256
"""What such a request takes besides the outcome."""


class HostLink(LendingLink):
    """The isolate's end of the control channel, served by a thread of its own."""

    def __init__(
        self,
        stream: FrameStream,
        data: FrameStream,
        host_pidfd: int,
        replies: Replies,
        describe: Callable[[], Any],
        sharing: Sharing,
        threads: Threads,
    ) -> None:
        super().__init__(stream, data, replies, threads)
        self._sharing = sharing
        self._host_pidfd = host_pidfd
        self._describe = describe
        self._proceed = threading.Event()
        self.data: Dict[str, Any] = {}

    def start(self) -> None:
        """Begin to serve, and to reap what this process adopts."""
        threading.Thread(target=self._serve, name="pihost-control", daemon=True).start()

    def cut(self, refuse: Callable[..., Any]) -> None:
        """In a fork of the isolate: close the channels, and have `refuse` raise when somebody would send."""
        self._lock = threading.Lock()  # another thread of the isolate may have held the old one
        self._data.cut(refuse)
        self._stream.cut(refuse)
        if self._channels is not None:
            self._channels.abandon()
        refusals: Dict[str, Any] = {"request": refuse, "use": refuse, "announce_stop": refuse, "send_log": refuse}
        self.__dict__.update(refusals)

    def announce_stop(self, payload: bytes) -> None:
        """Report that this generation is stopping, and wait until the host has taken note."""
        self.leave_channels()
        self._stream.send(wire.STOPPING, wire.PLAIN, 0, payload)
        self._proceed.wait()

    def result_of(self, frame: wire.Frame) -> Any:
        """Return the result that an answer of the host holds, or raise what it says was raised."""
        if frame.flags & (wire.LENDS | wire.BATCH | wire.SHARED) or frame.kind == wire.FAILURE:
            from ..values import results  # where what is special about them is

            return results.of(frame)
        if frame.flags == wire.PICKLE:
            return byvalue.loads(frame.payload)
        return plain_decode.decode(frame.payload, budget=1 << 32)

    def send_log(self, payload: bytes) -> None:
        """Send one logging record."""
        self._stream.send(wire.LOG, wire.PLAIN, 0, payload)

    def _serve(self) -> None:
        self._data.ended_by(threading.get_ident())
        poller = select.poll()
        poller.register(self._stream, select.POLLIN)
        if self._host_pidfd >= 0:
            poller.register(self._host_pidfd, select.POLLIN)
        children = adopted.current or adopted.Adopted()
        if children.fileno() >= 0:
            poller.register(children.fileno(), select.POLLIN)
        while True:
            patiences = (children.patience(), self.flush(), self._watch_channels(poller))
            patience = min((found for found in patiences if found is not None), default=None)
            ready = {fd for fd, _ in poller.poll(None if patience is None else math.ceil(patience * 1000))}
            if self._host_pidfd in ready:
                end_with_host()
            children.look()
            try:
                self.look_for_drops()
                if self._channels is not None:
                    self._channels.look(ready)
                if self._stream.fileno() in ready:
                    self._read()
            except BrokenPipeError:  # of the data channel: the host is gone
                end_with_host()

    def _watch_channels(self, poller: Any) -> Optional[float]:
        return None if self._channels is None else self._channels.watch_with(poller)

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
            from ..memory import handed  # most isolates are never lent anything

            handed.came(frame.seq, self._stream.fds.popleft())
        elif frame.kind == wire.UNMAP:
            self._sharing.dropped(frame.seq)
        elif frame.kind == wire.LOST:
            self._sharing.lost(frame.seq)
        elif frame.kind == wire.ALIVE:
            self.note_alive(frame)
        elif frame.kind == wire.CUT or frame.seq >> 63:
            self.channels.hear(self.arrived(frame))
        elif frame.kind in (wire.RESPONSE, wire.FAILURE):
            with self._lock:
                on_answer = self._waiting.pop(frame.seq, None)
            frame = self.arrived(frame)
            if on_answer is not None:
                on_answer(frame.seq, frame)

    def _answer(self, frame: wire.Frame) -> None:
        entries: Sequence[Entry] = ()
        try:
            operation, args = pickle.loads(frame.payload)
            if operation == "on":
                self.border.perform(frame.seq, *args)
                return
            if operation == "close_channels":
                self.threads.close_channels(lambda: self.respond(frame.seq, wire.PLAIN, plain_encode.encode(None)))
                return
            if operation == "then":
                self.border.pipeline.then(frame.seq, *args)
                return
            if operation in _QUERIES:  # plain data, whatever the host would take
                flags, payload = wire.PLAIN, plain_encode.encode(_QUERIES[operation](self._most() // 8))
            else:
                flags, payload, entries = self.replies.value_lending(self._perform(operation, args))
        except BaseException as error:
            self.respond_with_error(frame.seq, error)
        else:
            self.respond(frame.seq, flags, payload, entries)

    def respond(self, number: int, flags: int, payload: bytes, entries: Sequence[Entry] = ()) -> None:
        """Answer a request of the host, from any thread; `entries` are what the answer lends."""
        if len(payload) > self._most():
            if entries:
                self.border.not_sent(entries)
            text = "the answer takes {:,} bytes, but only {:,} may come on this channel"
            self.respond_with_error(number, refusals.Refused(text.format(len(payload), self._most())))
            return
        if entries:
            self._stream.send(wire.LEND, wire.PLAIN, number, self.border.sent(entries))
            flags |= wire.LENDS
        self._stream.send(wire.RESPONSE, flags, number, payload)

    def respond_with_error(self, number: int, error: BaseException) -> None:
        """Answer a request of the host with an exception."""
        described = self.replies.error(error, room=self.replies.most - self._most())
        self._stream.send(wire.FAILURE, wire.PLAIN, number, described)

    def _cancel(self, call: int) -> None:
        self.threads.cancel(call)
        if self._channels is not None:
            self._channels.cancel_asked_in(call)

    def _most(self) -> int:
        """Return how many bytes the host takes at once on this channel."""
        return min(self.replies.most, _MOST_ON_CHANNEL)

    def _perform(self, operation: str, args: Tuple[Any, ...]) -> Any:
        if operation == "set_data":
            key, value, entries = args
            held = self.border.take(entries) if entries else None  # until it has been read
            self.data[key] = byvalue.loads(value)
            del held
            return None
        if operation == "cancel":
            return self._cancel(*args)
        if operation == "asked_in":
            return 0 if self._channels is None else self._channels.asked_in(*args)
        if operation == "not_then":
            return self.border.pipeline.forget(*args)
        if operation == "given_back":
            return self.border.dropped(*args)
        if operation == "get_data":
            return self.data[args[0]]
        if operation == "trim":
            return self._sharing.trim(args[0])
        if operation == "describe":
            return self._describe()
        raise ValueError("the control thread does not know {!r}".format(operation))


current: Optional[HostLink] = None
"""That of this process."""


def use(link: Optional[HostLink]) -> None:
    """This is that of this process; None: it has none any more."""
    global current
    current = link


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

"""The part of an isolate's link to its host that asks: requests, answers, and what goes by reference."""

from __future__ import annotations

import math
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Dict, Optional, Sequence, Tuple

from ..pickles import byvalue, lending, refusals
from ..pickles.lending import Entry
from ..plain import encode as plain_encode
from ..process import adopted
from ..wire import wire
from ..wire.streams import FrameStream
from ..wire.yielded import Batch
from .coroutines import call_here
from .replies import Replies

if TYPE_CHECKING:
    from ..values.channels import Channels
    from ..values.linked import LinkedBorder as Border
    from ..values.streaming import Flusher

_COMES_ALONG = wire.LENDS | wire.SHARED
_ANSWERS = (wire.RESPONSE, wire.FAILURE, wire.SENT, wire.NEST)
OnAnswer = Callable[[int, wire.Frame], None]


class Threads:
    """What is to be known of the threads that run calls (see `calls.CallLoop`)."""

    def call_of_thread(self) -> int:
        """Return the number of the call that runs in the calling thread; 0 if none does."""
        raise NotImplementedError

    def waits_for(self, request: int, reads: bool = True) -> None:
        """The calling thread waits for the answer to a request; 0: not any more.

        Args:
            reads: whether it reads the data channel meanwhile, if it is the one that does.
        """
        raise NotImplementedError

    def reads_here(self) -> bool:
        """Whether the calling thread is the only one that reads the data channel."""
        raise NotImplementedError

    def run_nested(self, last: int) -> None:
        """Run a call, by number, in the thread that waits and reads the data channel: it is here already."""
        raise NotImplementedError

    def slots_of_task(self) -> Sequence[int]:
        """Return the places in the page of the threads that wait for the call whose coroutine runs here."""
        raise NotImplementedError

    def note_wait(self, slots: Sequence[int], request: int) -> None:
        """Note that the call of these waits for the answer to a request; 0: not any more."""
        raise NotImplementedError

    def awaited(self, request: int) -> ContextManager[None]:
        """Return what notes meanwhile that the coroutine of a call awaits the answer to a request, and nothing else."""
        raise NotImplementedError

    def is_cancelled(self, call: int) -> bool:
        """Whether the caller of a call has cancelled it."""
        raise NotImplementedError

    def deadline_of(self, call: int) -> float:
        """Return when a call is not wanted any more; infinite: never."""
        raise NotImplementedError

    def cancel(self, call: int) -> None:
        """A call is not wanted any more."""
        raise NotImplementedError

    def close_channels(self, told: Callable[[], object]) -> None:
        """Begin nothing more that comes directly, and call `told()` once nothing of that runs; from any thread."""
        raise NotImplementedError

    def runs_alone(self) -> None:
        """What begins is to run alone: from now on all messages come by way of the host."""
        raise NotImplementedError

    def settle(self, value: Any) -> Any:
        """Return a result as it is, or that of a coroutine, which is run."""
        raise NotImplementedError

    def answer_early(self, call: int, batch: Batch) -> None:
        """Send items of a stream in place of the answer to a call, which goes on; from any thread."""
        raise NotImplementedError


class LendingLink:
    """What asks the host for something; from any thread."""

    def __init__(self, stream: FrameStream, data: FrameStream, replies: Replies, threads: Threads) -> None:
        self._stream = stream
        self._data = data
        self.replies = replies
        self.threads = threads
        self._owner = 0
        self._border: Optional[Border] = None
        self._flusher: Optional[Flusher] = None
        self._channels: Optional[Channels] = None
        self.channels_after = -1
        self._passing: Any = None
        self.most_passed = 0
        self._own_ref: Any = None
        self._waiting: Dict[int, OnAnswer] = {}
        self._lock = threading.Lock()  # any thread of the isolate asks, and the control thread answers
        self._next_request = 1
        self._uses = 0
        """Frames on the data channel so far that used, or gave back, what is borrowed."""

    def request_plain(self, request: Tuple[Any, ...], on_answer: OnAnswer, uses: bool = False) -> int:
        """Send a request of plain data to the host; see `request`."""
        return self.request(plain_encode.encode(request), on_answer, uses)

    def request(self, payload: bytes, on_answer: OnAnswer, uses: bool = False) -> int:
        """Send a request to the host; `on_answer` gets its number and the frame that answers.

        It goes on the data channel: the host must see it before the answer of the call that made it.

        Args:
            uses: whether it is about something that is borrowed, or lends something.

        Raises:
            Refused: if it is larger than the host takes.
        """
        return self._ask(wire.REQUEST, wire.PLAIN, payload, on_answer, uses)

    def call_here(self) -> int:
        """Return the number of the call that this code runs for; 0 if it runs for none."""
        return call_here.get() or self.threads.call_of_thread()

    def call_asking(self) -> int:
        """Return the number of the call that what is asked here belongs to; 0 if it belongs to none."""
        is_detached = getattr(sys.modules.get("piactors._values.current"), "is_detached", None)
        return 0 if is_detached is not None and is_detached() else self.call_here()

    def deadline_of(self, call: int) -> float:
        """Return when a call is not wanted any more; infinite: never."""
        return self.threads.deadline_of(call)

    def until(self, call: int, timeout: Optional[float]) -> float:
        """Return when something is not wanted any more that is asked now, for a call, with such a time limit."""
        # While another thread imports it, it may have no `until` yet, nor anybody a deadline by it.
        find = getattr(sys.modules.get("piactors._values.current"), "until", None)
        own: float = find(timeout) if find else math.inf if timeout is None else time.monotonic() + timeout
        return min(own, self.threads.deadline_of(call))

    def forget(self, number: int) -> None:
        """Nobody waits for the answer to a request any more."""
        with self._lock:
            self._waiting.pop(number, None)

    def number_from(self, first: int, owner: int, channels_after: int, most_passed: int) -> None:
        """Number requests so that no other generation of this isolate uses the same numbers.

        Args:
            owner: the number of this process among all that lend things.
            channels_after: how many messages to one actor go by way of the host before a direct channel is asked for;
                -1: none is.
            most_passed: how many bytes a value may have that goes to another isolate in a file of its own.
        """
        self.channels_after, self.most_passed = channels_after, most_passed
        self._next_request += first
        self._owner = owner

    # What goes by reference

    @property
    def border(self) -> Border:
        """What this process has borrowed and lent."""
        found = self._border
        if found is None:
            from ..values import linked  # most isolates borrow nothing

            with self._lock:
                found = self._border = self._border or linked.make(self, self._owner, self._own_ref)
        return found

    @property
    def channels(self) -> Channels:
        """The direct channels to actors of other processes."""
        found = self._channels
        if found is None:
            from ..values import channels  # most isolates have none

            with self._lock:
                found = self._channels = self._channels or channels.Channels(self, adopted.wake)
        return found

    def spins(self) -> bool:
        """Whether threads of this process may wait awake for a moment."""
        return self._data.spin is not None

    @property
    def flusher(self) -> Flusher:
        """What sends items that the iterator of a stream lets wait."""
        found = self._flusher
        if found is None:
            from ..values import streaming  # as in `border`

            with self._lock:
                found = self._flusher = self._flusher or streaming.Flusher(adopted.wake)
        return found

    def flush(self) -> Optional[float]:
        """Send such items; return after how many seconds to do so again, None: not until woken."""
        flusher = self._flusher
        if flusher is None:
            return None
        flusher.look()
        return flusher.patience()

    def leave_channels(self) -> None:
        """Send what waits for a direct channel by way of the host: this isolate ends."""
        if self._channels is not None:
            self._channels.leave()

    def close_streams(self) -> None:
        """Close the streams that calls of this isolate yield: it ends."""
        if self._flusher is not None:
            from ..values import streaming

            streaming.close_all(self)

    def use(self, flags: int, payload: bytes, on_answer: Optional[OnAnswer], waits: int = 0) -> int:
        """Ask for something of a thing that is borrowed; return the number of the request.

        Args:
            waits: whether this thread waits for the answer from now on (not 0), which is said before the host can ask:
                1 if it reads the data channel meanwhile.

        Raises:
            Refused: if it is larger than the host takes.
        """
        return self._ask(wire.USE, flags, payload, on_answer, True, waits)

    def _ask(
        self, kind: int, flags: int, payload: bytes, on_answer: Optional[OnAnswer], uses: bool, waits: int = 0
    ) -> int:
        if len(payload) > self.replies.most:
            text = "what is sent to the host takes {:,} bytes, but max_frame is {:,}"
            raise refusals.Refused(text.format(len(payload), self.replies.most))
        with self._lock:
            number, self._next_request = self._next_request, self._next_request + 1
            self._uses += uses
            if on_answer is not None:
                self._waiting[number] = on_answer
        if waits:
            self.threads.waits_for(number, waits == 1)
        self._data.send(kind, flags, number, payload)
        return number

    def read_answer(self, number: int, timeout: Optional[float]) -> Optional[wire.Frame]:
        """Read the data channel until the answer to a request comes, which only its one reader may do; None: too late.

        What else comes waits to be read after it, except what the host says has to be run first.
        """
        until = None if timeout is None else time.monotonic() + timeout
        found = self._data.next_of(_ANSWERS, number, timeout)
        while found is not None and found[0] == wire.NEST:
            self.threads.run_nested(int.from_bytes(found[4], "little"))
            left = None if until is None else until - time.monotonic()
            found = self._data.next_of(_ANSWERS, number, left, again=True)
        if found is None:
            return None
        frame = wire.Frame(*found)
        return self.arrived(frame) if frame.flags & _COMES_ALONG else frame

    def await_here(self, number: int, timeout: Optional[float]) -> bool:
        """Wait for the answer to a request that was sent before, in the only thread that reads the data channel.

        Returns whether it is there, or is certain to come on the control channel at once; False: the time has run out.
        """
        self._data.send(wire.AWAIT, 0, number)
        frame = self.read_answer(number, timeout)
        if frame is not None and frame.kind != wire.SENT:
            with self._lock:
                on_answer = self._waiting.pop(number, None)
            if on_answer is not None:
                on_answer(number, frame)
        return frame is not None

    def late_answer(self, frame: wire.Raw) -> None:
        """An answer has come on the data channel after who waited for it there had given up on that; or news."""
        found = wire.Frame(*frame)
        if found.kind == wire.NEST:
            return  # nobody waits any more
        if found.kind == wire.ALIVE:
            self.note_alive(found)
            return
        if found.flags & _COMES_ALONG:
            found = self.arrived(found)
        with self._lock:
            on_answer = None if found.kind == wire.SENT else self._waiting.pop(found.seq, None)
        if on_answer is not None:
            on_answer(found.seq, found)

    def note_alive(self, frame: wire.Frame) -> None:
        """An actor takes no messages any more, or does again."""
        self.border.note_alive(frame.seq, bytes(frame.payload) == b"\1")

    def lend(self, seq: int, entries: Sequence[Entry]) -> None:
        """The answer with this number, which follows, lends these or gives them back."""
        payload = self.border.sent(entries)
        with self._lock:
            self._uses += 1
        self._data.send(wire.LEND, wire.PLAIN, seq, payload)

    def look_for_drops(self) -> None:
        """Tell the host what is borrowed no longer; on the control thread."""
        counts = [] if self._border is None else self._border.drops()
        if counts:
            self._stream.send(wire.DROP, wire.PLAIN, self._uses, plain_encode.encode(counts))
            if self._channels is not None:
                self._channels.dropped(counts[::2])

    def passing(self) -> Any:
        """Return what passes large values on to other isolates."""
        with self._lock:
            if self._passing is None:
                from ..memory import passed  # what is so large is rare

                self._passing = passed.Passing(self.most_passed)
            return self._passing

    def send_file(self, number: int, fd: int) -> None:
        """Send a descriptor ahead of what refers to it."""
        self._stream.send_descriptor(wire.HAND, number, fd)

    def arrived(self, frame: wire.Frame) -> wire.Frame:
        """Return an answer of the host with what comes along with it."""
        if frame.flags & wire.LENDS:
            frame = self.border.arrived(frame)
        if frame.flags & wire.SHARED:
            from ..values import results  # as in `passing`

            frame = results.arriving(frame)
        return frame

    def lend_self(self, ref: Any) -> None:
        """This ref stands for the isolate itself, wherever it goes."""
        lending.ways[type(ref)] = lambda _: (self._owner << 32, *lending.HOME)
        self._own_ref = ref

    def dumps(self, value: Any) -> Tuple[bytes, bytes]:
        """Serialise what comes back to this very isolate, and what it lends; of what came by value, its key goes."""
        lending.begin()
        try:
            data = byvalue.dumps(value)
        except BaseException:
            lending.call_off()
            raise
        entries = lending.end()
        return data, self.border.sent(entries) if entries else b""

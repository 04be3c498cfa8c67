"""The call loop: reads messages in order, runs them, and answers each exactly once.

With several threads they take turns at the channel: one reads a message and publishes its number,
then lets the next thread read while it runs the message.  So messages begin in order, and no
thread hands a message to another.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..pickles import byvalue
from ..pickles.store import store
from ..wire import wire
from ..wire.page import READS, SequencePage
from ..wire.streams import FrameStream
from ..wire.yielded import GENERATORS, UNSETTLED, noted
from .answering import Answering
from .coroutines import CoroutineRunner
from .replies import Replies
from .sharing import Sharing

if TYPE_CHECKING:
    from .direct import DirectCalls
    from .nested import Nesting

_BETWEEN = frozenset((wire.DEFINE, wire.RESPONSE, wire.FAILURE, wire.SENT, wire.ALIVE, wire.NEST))
"""What may stand before a message: definitions, what came too late, and news of other actors."""
_TO_RUN = frozenset((wire.CALL, wire.TELL))


class CallsEnding(NamedTuple):
    """Why the call loop ended: a stop (`error` is None), or an exception that nobody waits for."""

    error: Optional[BaseException]


class CallLoop(Answering):
    """Runs the messages of one generation in `threads` threads, the main thread among them.

    Args:
        own: whether this is the host's own interpreter, with the same packages.
    """

    def __init__(
        self, data: FrameStream, page: SequencePage, replies: Replies, threads: int, sharing: Sharing, own: bool
    ) -> None:
        super().__init__(data, replies, threads, sharing, own)
        self.page = page
        self._slots: Dict[int, int] = {}
        """By thread that serves: its place in the page."""
        self._nesting: Optional[Nesting] = None
        self._direct: Optional[DirectCalls] = None
        self._others: List[threading.Thread] = []
        self._turn = threading.Lock()
        self._ending: Optional[CallsEnding] = None
        self.coroutines = CoroutineRunner(self.end_with)

    def start_threads(self) -> None:
        """Start the threads that serve beside the main one; before the host is told that this process is ready."""
        for slot in range(1, self._threads):
            name = "pihost-call-{}".format(slot)
            thread = threading.Thread(target=self._serve, args=(slot,), name=name, daemon=True)
            thread.start()
            self._others.append(thread)

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
        if self._direct is not None:
            self._direct.cut(returned, ended)
        self.coroutines.cut(ended)

    def call_of_thread(self) -> int:
        """Return the number of the call that runs in the calling thread; 0 if none does."""
        slot = self._slots.get(threading.get_ident())
        return 0 if slot is None else self.page.begun_by(slot)

    def slots_of_task(self) -> Sequence[int]:
        """Return the places in the page of the threads that wait for the call whose coroutine runs here."""
        call = self.coroutines.call_of_task()
        return [slot for slot in list(self._slots.values()) if call and self.page.begun_by(slot) == call]

    def note_wait(self, slots: Sequence[int], request: int) -> None:
        """Note that the call of these waits for the answer to a request; 0: not any more."""
        for slot in slots:
            self.page.wait(slot, request)

    @contextlib.contextmanager
    def awaited(self, request: int) -> Iterator[None]:
        """Note meanwhile that the coroutine of a call awaits the answer to a request, and nothing else."""
        slots = self.slots_of_task()
        self.note_wait(slots, request)
        try:
            yield
        finally:
            self.note_wait(slots, 0)

    def deadline_of(self, call: int) -> float:
        """Return when a call is not wanted any more; infinite: never."""
        until = None if self._nesting is None else self._nesting.untils.get(call)
        if until is None and self._direct is not None:
            until = self._direct.deadline_of(call)
        return self.page.until(call) if until is None else until

    def cancel(self, call: int) -> None:
        """A call is not wanted any more: cancel its coroutine, if it has one, or gets one."""
        self._note_cancel(call)
        self.coroutines.cancel(call)

    def waits_for(self, request: int, reads: bool = True) -> None:
        """The calling thread waits for the answer to a request; 0: not any more (see `Threads`)."""
        slot = self._slots.get(threading.get_ident())
        if slot is not None:
            self.page.wait(slot, request | READS if request and reads and self._threads == 1 else request)

    def run_nested(self, last: int) -> None:
        """Run a call, by number, in the thread that waits and reads the data channel: it is here already."""
        slot = self._slots[threading.get_ident()]
        if self._nesting is None:
            from . import nested  # most isolates are never entered while they wait

            self._nesting = nested.Nesting(self.page, self._following, self._run, _give_back)
        self._nesting.run(slot, last, self.deadline_of(self.page.begun_by(slot)))
        if self._ending is not None and self._ending.error is not None:
            raise self._ending.error  # what ends the process ends the call that waits, too

    def _following(self) -> Tuple[Optional[wire.Raw], Sequence[Any]]:
        return self._prepared(self._data.next_raw())

    def _run(self, slot: int, frame: wire.Raw) -> None:
        """Run a message as `_serve` does."""
        kind, flags, _, seq, payload = frame
        if kind == wire.BULK:
            self._serve_many(frame)
            return
        wanted = self.page.begin(slot, seq)
        try:
            value = self._perform(flags, payload) if wanted else None
        except Exception as error:
            self._failed(kind, flags, seq, error)
        except BaseException as error:
            self.told(self.hosted.on_base_exception, error)
            self._end(error)
        else:
            self._answer(kind if wanted else wire.SKIPPED, flags, seq, value)

    def reads_here(self) -> bool:
        """Whether the calling thread is the only one that reads the data channel."""
        return self._threads == 1 and threading.get_ident() in self._slots

    def settle(self, value: Any) -> Any:
        """Return a result as it is, the result of a coroutine, or what stands for a generator."""
        if type(value) is CoroutineType:
            call = self.call_of_thread()
            value = self.coroutines.run(value, call, lambda: call in self._cancelled)
        if type(value) in GENERATORS:
            from ..values import streaming  # most isolates give out no streams

            return streaming.of_result(self.link, value, self._threads)
        return value

    def _serve(self, slot: int) -> None:
        self._slots[threading.get_ident()] = slot
        begin, data, several, perform = self.page.begin, self._data, self._threads > 1, self._perform
        frames, next_frame = data.frames, data.next_raw
        while True:
            lent: Sequence[Any] = ()
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
                self.told(self.hosted.on_base_exception, error)
                self._end(error)
            else:
                self._answer(kind if wanted else wire.SKIPPED, flags, seq, value)
            value = payload = frame = None  # while it waits for the next one, nothing of this one is held
            if lent:
                _give_back(lent)

    def _serve_many(self, frame: wire.Raw) -> None:
        """Run calls that came in one frame, which come only if one thread serves: each begins when it is its turn."""
        _, flags, _, last, payload = frame
        path, items = byvalue.loads(payload)
        begin, is_plain, unsettled = self.page.begin, self._replies.code, UNSETTLED
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
                if type(value) in unsettled:
                    value = self.settle(value)
            except Exception as error:
                self._failed(wire.CALL, flags, seq, error)
            except BaseException as error:
                self.told(self.hosted.on_base_exception, error)
                self._end(error)
            else:
                if not (is_plain and self._quick(seq, value)):
                    self._answer(wire.CALL, flags, seq, value)

    def _prepared(self, frame: Optional[wire.Raw]) -> Tuple[Optional[wire.Raw], Sequence[Any]]:
        """Take definitions that come first; return the message after them, and what was lent to it.  None: no more."""
        lent: Sequence[Any] = ()
        while frame is not None and frame[0] in _BETWEEN:
            if frame[0] != wire.DEFINE:
                self.link.late_answer(frame)
                frame = self._data.next_raw()
                continue
            numbers, entries = store.receive(frame[4])
            lent = [*lent, *numbers, self.link.border.take(entries)] if entries else [*lent, *numbers]
            frame = self._data.next_raw()
        if frame is None or frame[0] == wire.STOP:
            self._no_more(frame)
            return None, ()
        return frame, lent

    def _perform(self, flags: int, payload: Any) -> Any:
        """Do what a message asks for: a call of a method, nearly always, so without a step more than that takes."""
        if flags & wire.LENDS:
            from ..values import routed  # most isolates get their calls from the host alone

            return self.settle(routed.perform(partial(self._asked, self._replies), self.link.border, payload))
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
            value = self._asked(self._replies_to(flags), message)
        if type(value) not in UNSETTLED:
            return value
        return self.settle(self._noted(message, value) if type(value) in GENERATORS else value)

    def _noted(self, message: Any, value: Any) -> Any:
        return noted(lambda: self.hosted.function_of(message), value)

    def _asked(self, replies: Replies, message: Any) -> Any:
        """Do what a message asks for that is not a plain call."""
        if message[0] == "channel":
            return self._direct_calls().open(*message[1])
        if message[0] != "stream":
            value = self.hosted.perform(message)
            return self._noted(message, value) if type(value) in GENERATORS else value
        from ..values import streaming  # as in `settle`

        _, (number, operation), args, _ = message
        return streaming.perform(self.link, replies, number, operation, args)

    def _no_more(self, frame: Optional[wire.Raw]) -> None:
        if frame is not None and self._direct is not None:
            self._direct.drain()
        if frame is None and self._ending is None:
            threading.Event().wait()  # the host is gone; the control thread ends this process, and all below it
        self._end(None)

    # What comes directly (see `direct`)

    def _direct_calls(self) -> DirectCalls:
        if self._direct is None:
            from . import direct  # most isolates get their calls from the host alone

            self._direct = direct.DirectCalls(self, self._data, self._data.spin)
        return self._direct

    def is_ending(self) -> bool:
        """Whether nothing is to be run any more."""
        return self._ending is not None

    def close_channels(self, told: Callable[[], object]) -> None:
        """Begin nothing more that comes directly, and call `told()` once nothing of that runs; from any thread."""
        if self._direct is None:
            told()
        else:
            self._direct.close(told)

    def runs_alone(self) -> None:
        """What begins is to run alone: from now on all messages come by way of the host."""
        if self._direct is not None:
            self._direct.refuse()

    def end_with(self, error: BaseException) -> None:
        """End, on a thread that serves no messages: code that no call waits for has raised what ends a process."""
        self._end(error, wake=True)

    def _end(self, error: Optional[BaseException], wake: bool = False) -> None:
        if self._ending is None:
            self._ending = CallsEnding(error)
            if self._threads > 1 or wake:
                self._data.stop()  # wakes the thread that waits for the next message; what it would read is not begun


def _give_back(lent: Sequence[Any]) -> None:
    numbers = [found for found in lent if type(found) is int]  # the rest is borrowed, and told of when nothing holds it
    if numbers:
        from ..memory import handed  # most isolates never get a descriptor

        handed.drop(numbers)

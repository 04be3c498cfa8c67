"""One process of an isolate, from the host: its channels, its output, its page, its end.

All of it runs on the loop's thread, but for `send`, `request`, `give_up` and `kill`.  The owner gets
what arrives, in this order at the end: all that was still in the channels, then the news of the end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from piactors._host.channel import SocketChannel
from piactors._host.controlling import Answer, Control
from piactors._host.definitions import Needs
from piactors._host.ends import open_ends
from piactors._host.knowledge import Knowledge
from piactors._host.launching import Backend, Order
from piactors._host.loop import Loop, Timer
from piactors._host.output import OutputPipe
from piactors._host.reading import ANSWERS, Reader, Waiting
from piactors._host.spin import Spin
from piactors._host.writing import Writer
from piactors._lifecycle.mailbox import Evidence
from piactors._platform import late_threads, pidfd
from piactors._platform.identity import Identity
from piactors._platform.wake import Waker
from piactors.errors import ProtocolError
from piactors.exit_reason import Rusage
from piactors.pihost import page, segments, wire

logger = logging.getLogger("piactors")

_REFUSED_THREADS = "threads"
_FOR_CALLERS = ANSWERS - {wire.SKIPPED}
"""A skipped message may have to wait again, or to fail: that is not done where a KeyboardInterrupt may strike."""
_ON_DATA = frozenset({wire.READY, wire.START_FAILED, wire.REQUEST})
_ASKED_SECONDS = 2.0
"""How long a launcher that was asked to kill a process may take."""
_NEWS_SECONDS = 2.0
"""How long the news of a process's end may take after the end of its channels."""


@attrs.frozen(kw_only=True)
class End:
    """What is known when a process and all that it left are gone."""

    status: int | None
    usage: Rusage | None
    lost: bool
    evidence: Evidence
    stderr_tail: str
    fault: str


class Owner(Protocol):
    """Who a generation belongs to; called on the loop's thread, but for `on_answer`."""

    answers_anywhere: bool
    """Whether `on_answer` may be called by other threads than the loop's."""

    def on_launched(self, generation: Generation) -> None:
        """The process exists."""

    def on_frame(self, frame: wire.Frame) -> None:
        """A frame has come that the generation does not answer itself.

        Raises:
            ProtocolError: where it should not have come.
        """

    def on_answer(self, frame: wire.Frame, again: bool) -> None:
        """An answer to a message has come; `again` where it may have been handled, and was interrupted.

        Called by whoever reads the data channel: the loop, or a caller that waits for an answer.

        Raises:
            ProtocolError: where it should not have come.
        """

    def on_lines(self, stream: str, lines: list[str]) -> None:
        """Lines of output have come."""

    def wants_output(self) -> bool:
        """Whether more output can be taken; where not, it is dropped and counted."""

    def on_refused(self, text: str) -> None:
        """There will be no process."""

    def on_end(self, end: End) -> None:
        """The process is gone."""

    def on_fault(self, error: Exception) -> None:
        """What came from the process cannot be; it should be ended."""


class Generation:
    """One process."""

    def __init__(
        self, loop: Loop, backend: Backend, owner: Owner, number: int, order: Order, init: bytes, concurrency: int,
        output: str, max_frame: int, on_fallback: Callable[[str], None], needs: Needs | None,
    ) -> None:  # fmt: skip
        self.number = number
        self.pid: int | None = None
        self._loop = loop
        self._backend = backend
        self._owner = owner
        self._order = order
        self._concurrency = concurrency
        self._on_fallback = on_fallback
        self._process_fd = -1
        self._identity: Identity | None = None
        self._ended = False
        self._timers: list[Timer] = []
        self._kill_wanted = False
        self._is_cut_off = False
        self._lock = threading.Lock()
        self._ends = open_ends(output, order.stdin)
        self._page = self._ends.page
        self._data = SocketChannel(self._ends.data, max_frame)
        self._control = Control(loop, self._ends.control, number, max_frame, self._pass_on_control)
        self._pipes = {stream: self._output_pipe(stream, fd) for stream, fd in self._ends.outputs.items()}
        self._reader = Reader(
            loop, self._data, self._may_handle, self._pass_on_data, self._fault, self._channel_ended
        )
        self._reader.answers_only = owner.answers_anywhere
        self.knowledge = Knowledge(needs)
        """What the process has of this program's definitions."""
        self._data_writer = Writer(loop, self._data, number, self._reader.want_write)
        self.send = self._data_writer.send
        self.send_soon = self._data_writer.send_soon
        self._watch()
        self.send(wire.INIT, 0, 0, init)
        for lent in () if needs is None else needs.lent:
            self._control.hand_over(lent)
        backend.launch(order, self._ends.theirs, self)

    # Set up

    def _output_pipe(self, stream: str, fd: int) -> OutputPipe:
        return OutputPipe(fd, lambda lines: self._owner.on_lines(stream, lines), self._owner.wants_output)

    def _watch(self) -> None:
        self._loop.watch(self._data.fileno(), self._reader.read, self._data_writer.write)
        self._control.watch(self._read_control)
        for pipe in self._pipes.values():
            self._loop.watch(pipe.fd, lambda pipe=pipe: self._read_output(pipe))  # type: ignore[misc]

    def hand_over(self, owner: Owner) -> None:
        """Let somebody else own it from here on."""
        self._owner = owner
        self._reader.answers_only = owner.answers_anywhere

    # Sending, from any thread

    def define(self, needs: Needs | None) -> None:
        """Send ahead what the next message needs and the process does not have."""
        records = self.knowledge.missing(needs)
        for lent in () if needs is None else needs.lent:
            self._control.hand_over(lent)
        if records:
            self.send(wire.DEFINE, wire.PICKLE, 0, records)

    def send_parcel(self, flags: int, kind: int, seq: int, parcel: segments.Parcel, dropped: list[int]) -> None:
        """Send a message that lies in a segment; `dropped` are segments that are not used any more."""
        segment = parcel.segment
        assert segment is not None
        self._control.announce(segment, dropped)
        segment.mark(segments.SENT)
        self._data_writer.send(kind, flags | wire.SHARED, seq, parcel.table)

    def send_control(self, kind: int, seq: int, payload: wire.Payload) -> None:
        """Send one frame on the control channel; never blocks."""
        self._control.send(kind, wire.PICKLE, seq, payload)

    def answer(self, kind: int, flags: int, number: int, payload: wire.Payload) -> None:
        """Answer a request of the isolate on the control channel; never blocks."""
        self._control.send(kind, flags, number, payload)

    def lend(
        self, future: Waiting, waker: Waker, spin: Spin, deadline: float | None, answers_due: Callable[[], int]
    ) -> None:
        """Let the caller that waits for `future` read its answer itself (see `Reader.lend`)."""
        if self._data.held_back:
            self._data_writer.flush()
        self._reader.lend(future, waker, spin, deadline, answers_due)

    def watch(self) -> None:
        """See to it that answers are read that no caller reads; never under the isolate's lock."""
        if self._reader.rests:
            self._reader.watch()

    def request(self, operation: str, args: tuple[Any, ...], answer: Answer) -> None:
        """Ask the control thread for something; `answer` is called once, on the loop's thread."""
        self._control.request(operation, args, answer)

    def give_up(self, seq: int) -> bool:
        """Publish that the caller of `seq` gave up; True where the call will never begin."""
        with self._lock:
            if self._page < 0:
                return False
            page.give_up(self._page, seq)
            return page.begun(self._page) < seq

    def has_begun(self, seq: int) -> bool:
        """Whether the isolate says that it has begun this message, or a later one."""
        with self._lock:
            return self._page >= 0 and page.begun(self._page) >= seq

    def unsent_bytes(self) -> int:
        """How much of what was sent on the data channel the kernel has not taken yet."""
        return self._data_writer.unsent_bytes()

    def fault_text(self) -> str:
        """Return what faulthandler has written so far."""
        with self._lock:
            return "" if self._page < 0 else page.fault_text(self._page)

    def after(self, seconds: float, callback: Callable[[], object]) -> None:
        """Have `callback()` called on the loop later, unless the process has ended by then."""
        self._loop.call_later(seconds, lambda: None if self._ended else callback())

    def signal(self, number: int) -> None:
        """Send a signal to the process, where there is one."""
        with self._lock:
            try:
                if self._process_fd >= 0:
                    pidfd.send(self._process_fd, number)
                elif self._identity is not None:
                    self._identity.send(number)
            except PermissionError:
                self._backend.signal(self, number)

    @property
    def unread(self) -> int:
        """How much of what was sent on the control channel waits for the isolate to read."""
        return len(self._control.channel.out)

    @property
    def process_fd(self) -> int:
        """See `Listener`."""
        return self._process_fd

    def kill(self) -> None:
        """End the process with SIGKILL, as soon as there is one; what it has started goes with it."""
        with self._lock:
            self._kill_wanted = True
            if self._ended or self.pid is None:
                return
            try:
                if self._backend.kill_tree(self.pid):
                    return
                if self._identity is not None:
                    self._identity.kill_tree()
                elif self._process_fd >= 0:
                    pidfd.kill(self._process_fd)
                else:  # its descriptor was lost: this process could not have one more
                    self._backend.signal(self, signal.SIGKILL)
            except PermissionError:
                self._kill_by_others()

    # Ending what the host may not end: it has become another user since that process began

    def _kill_by_others(self) -> None:
        """Have whoever made the process kill it; where nobody may, it has to end by itself."""
        asked = self._backend.signal(self, signal.SIGKILL)
        self._loop.call_later(_ASKED_SECONDS if asked else 0, self.spared)

    def spared(self) -> None:
        """See `Listener`: close the channels, at which the process ends itself, and let go of it where it does not."""
        if not self._ended and not self._is_cut_off:
            self._is_cut_off = True
            for channel in (self._data, self._control.channel):
                with contextlib.suppress(OSError):
                    channel.sock.shutdown(socket.SHUT_RDWR)
            self._loop.call_later(_NEWS_SECONDS, self._let_go)

    def _let_go(self) -> None:
        if not self._ended:
            text = "process %s may not be ended by this program and does not end by itself: it is left running"
            late_threads.start_or_run(threading.Thread(target=logger.error, args=(text, self.pid), daemon=True))
            self.exited(None, None, lost=False)

    # Arriving, on the loop's thread

    def _read_control(self) -> None:
        channel = self._control.channel
        try:
            self._control.read()
        except Exception as error:  # a defect of ours must end one isolate, not the I/O thread
            self._fault(channel, error)
        if channel.ended:
            self._channel_ended(channel)

    def _channel_ended(self, channel: SocketChannel) -> None:
        self._loop.unwatch(channel.fileno())
        self._timers.append(self._loop.call_later(_NEWS_SECONDS, self._closed_and_alive))

    def _closed_and_alive(self) -> None:
        """A channel has ended: so has the process, or it will never answer again, and has to."""
        if not self._ended:
            self._owner.on_fault(ProtocolError("it has closed its channel"))

    def _pass_on_data(self, frame: wire.Frame, again: bool) -> None:
        if frame.generation != self.number & 0xFFFF:
            raise ProtocolError(f"a frame of generation {frame.generation} in the channel of {self.number}")
        if frame.kind in ANSWERS:
            if frame.flags & wire.SHARED:
                frame = self._control.unpacked(frame, self._read_control)
            self._owner.on_answer(frame, again)
        elif frame.kind in _ON_DATA:
            self._owner.on_frame(frame)
        else:
            raise ProtocolError(f"a frame of kind {frame.kind} in a channel where it does not belong")

    def _may_handle(self, frame: wire.Frame) -> bool:
        """Whether a caller may handle a frame of the data channel: an answer that is here, wherever it lies."""
        return frame.kind in _FOR_CALLERS and (not frame.flags & wire.SHARED or self._control.knows_segment_of(frame))

    def _pass_on_control(self, frame: wire.Frame) -> None:
        if frame.kind == wire.STOPPING:
            self._reader.drain()  # what was answered before it stops was answered
        self._owner.on_frame(frame)

    def _fault(self, channel: SocketChannel, error: Exception) -> None:
        self._loop.unwatch(channel.fileno())
        channel.ended = True
        self._owner.on_fault(error)

    def _read_output(self, pipe: OutputPipe) -> None:
        pipe.read()
        if pipe.ended:
            self._loop.unwatch(pipe.fd)

    # News of the process, on the loop's thread

    def launched(self, pid: int, process_fd: int) -> None:
        """See `Listener`."""
        with self._lock:
            self.pid, self._process_fd = pid, process_fd
            self._identity = None if process_fd >= 0 else Identity.of(pid)
            kill = self._kill_wanted
        self._ends.close_theirs()
        if kill:
            self.kill()
        self._owner.on_launched(self)

    def refused(self, why: str, text: str) -> None:
        """See `Listener`: a launcher that must not fork leaves a fresh interpreter as the way."""
        if why == _REFUSED_THREADS:
            self._on_fallback(text)
            self._order = attrs.evolve(self._order, fresh=True)
            self._backend.launch(self._order, self._ends.theirs, self)
            return
        self._close()
        self._owner.on_refused(text)

    def exited(self, status: int | None, usage: Rusage | None, *, lost: bool) -> None:
        """See `Listener`: read what is left, then close and tell."""
        if self._ended:
            return  # it was let go of before, and has ended after all
        control = self._control
        for channel, read_rest in ((self._data, self._reader.drain), (control.channel, control.read_rest)):
            try:
                read_rest()
            except Exception as error:
                self._fault(channel, error)
        for pipe in self._pipes.values():
            pipe.drain()
        end = End(
            status=status, usage=usage, lost=lost, evidence=self._evidence(), fault=page.fault_text(self._page),
            stderr_tail=self._pipes["stderr"].tail if "stderr" in self._pipes else "",
        )  # fmt: skip
        self._close()
        self._owner.on_end(end)

    def _evidence(self) -> Evidence:
        seen = page.snapshot(self._page, self._concurrency)
        credible = all(0 < seq <= seen.begun for seq in seen.running) and bool(seen.running) == bool(seen.begun)
        return Evidence(seen.begun, credible)

    def _close(self) -> None:
        self._reader.close()
        for pipe in self._pipes.values():
            self._loop.unwatch(pipe.fd)
        self._data_writer.close()
        waiting = self._control.close()
        for timer in self._timers:
            timer.cancel()
        with self._lock:  # other threads write to the page under it
            self._ended = True
            self.abandon()
        for answer in waiting:
            answer(None)

    def abandon(self) -> None:
        """Close all descriptors, and nothing more: all that a forked copy of the host may do, which takes no lock."""
        self._ends.close_theirs()
        self._reader.abandon()
        self._data.close()
        self._control.channel.close()
        fds = [self._page, self._process_fd, *(pipe.fd for pipe in self._pipes.values())]
        self._page = self._process_fd = -1
        self._pipes = {}
        for fd in fds:
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)

"""One process of an isolate, from the host: its channels, its output, its page, its end.

All of it runs on the loop's thread, except `send`, `request`, `give_up` and `kill`.  The owner gets
what arrives, in this order at the end: all that was still in the channels, then the news of the end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable

import attrs

from piactors._codec.definitions import Needs
from piactors._codec.knowledge import Knowledge
from piactors._codec.lending import Ledger
from piactors._io import background
from piactors._io.channel import Channel
from piactors._io.loop import LoopTimer, Share
from piactors._io.output import OutputPipe
from piactors._io.reader import ANSWERS, Reader
from piactors._io.writer import Writer
from piactors._platform import pidfd
from piactors._platform.identity import Identity
from piactors._process import host_page
from piactors._process.announced import Announced
from piactors._process.backend import RESOURCES, Backend
from piactors._process.control_channel import Answer, ControlChannel
from piactors._process.descriptors import open_descriptors
from piactors._process.early import EarlyFrames
from piactors._process.host_page import HostPage, open_page
from piactors._process.placement import End, ProcessOrder, ProcessOwner
from piactors._process.wires import Wires
from piactors._rules.mailbox import Evidence
from piactors._text.logs import logger
from piactors.errors import ProtocolError
from piactors.exit_reason import Rusage
from piactors.pihost.wire import wire

_REFUSED_THREADS = "threads"
_FOR_CALLERS = (ANSWERS | {wire.USE, wire.AWAIT}) - {wire.SKIPPED, wire.CANCELLED}
"""A skipped message may have to wait again, or to fail: that is not done where a KeyboardInterrupt may strike."""
_ON_DATA = frozenset({wire.READY, wire.START_FAILED, wire.REQUEST, wire.USE})
_ASKED_SECONDS = 2.0
"""How long a launcher that was asked to kill a process may take."""
_NEWS_SECONDS = 2.0
"""How long the news of a process's end may take after the end of its channels."""


class LocalProcess(Wires):
    """One process of this machine; see `placement.Process`."""

    node = ""

    def __init__(self, loop: Share, backend: Backend, owner: ProcessOwner, order: ProcessOrder) -> None:
        self.number = order.number
        self.pid: int | None = None
        self._loop = loop
        self._backend = backend
        self._owner = owner
        self._order = order.how
        self._concurrency = order.concurrency
        self._fell_back, self._on_large = order.fell_back, order.on_large
        self._process_fd = -1
        self._page: HostPage | None = None
        self._identity: Identity | None = None
        self._ended = False
        self._timers: list[LoopTimer] = []
        self._kill_wanted = False
        self._is_cut_off = False
        # Its end races with kills and answers of any thread; a signal handler may come while its thread has it.
        self._lock = threading.RLock()
        self.knowledge = Knowledge(order.needs)
        self.ledger = Ledger(order.name, order.owner, order.lends, self._tell_of_actor)
        self.owner = order.owner
        self._lends = Announced(self.lends)
        self._ends = open_descriptors(order.output, order.how.stdin, streams=not order.shares)
        try:
            self._open_channels(order.max_frame, order.lock)
            self._launch(order.init, order.needs)
        except BaseException:
            self._ended = True  # a process of it that is made all the same is killed as soon as it is heard of
            for fd in (self._ends.data.fileno(), self._ends.control.fileno(), *self._ends.outputs.values()):
                loop.unwatch(fd)
            self._want_room(False)
            self._ends.close()
            if self._page is not None:
                self._page.close()
            raise

    # Set up

    def _open_channels(self, max_frame: int, lock: threading.RLock | None) -> None:
        loop, owner = self._loop, self._owner
        self._page = open_page(self._ends.take_page())
        self._early = EarlyFrames(lambda frame: self._owner.on_frame(frame))
        self._data = Channel(self._ends.data, max_frame)
        control, pass_on = self._ends.control, self._pass_on_control
        self._control = ControlChannel(loop, control, self.number, max_frame, pass_on, self.lends)
        self._pipes = {stream: self._output_pipe(stream, fd) for stream, fd in self._ends.outputs.items()}
        self._reader = Reader(loop, self._data, self._may_handle, self._pass_on_data, self._fault, self._channel_ended)
        self._reader.hold(answers_only=owner.answers_anywhere, take=owner.take_answers)
        self._data_writer = Writer(loop, self._data, self.number, self._want_room, lock)
        self.retract = self._control.retract
        self.mapped_bytes = self._control.mapped_bytes
        self.send = self._data_writer.send
        self.send_frames = self._data_writer.send_frames
        self.read_until_settled = self._reader.read_until_settled
        self.read_ahead = self._reader.read_ahead
        self.wake_reader = self._reader.wake_reader
        self.await_in = self._reader.await_in
        self._watch()

    def _launch(self, init: bytes, needs: Needs | None) -> None:
        self.send(wire.INIT, 0, 0, init)
        for lent in () if needs is None else needs.lent:
            self._control.hand_over(lent)
        self._backend.launch(self._order, self._ends.theirs, self)

    def _output_pipe(self, stream: str, fd: int) -> OutputPipe:
        return OutputPipe(fd, stream, lambda: self._owner)

    def _watch(self) -> None:
        self._loop.watch(self._data.fileno(), self._reader.read)
        self._control.watch(self._read_control)
        for pipe in self._pipes.values():
            self._loop.watch(pipe.fd, lambda pipe=pipe: self._read_output(pipe))  # type: ignore[misc]

    def _want_room(self, wanted: bool) -> None:
        """Have the loop tell when there is room to write, or no longer; on its thread."""
        fd = self._ends.data.write_fd()
        if wanted and not self._ended and fd >= 0:
            self._loop.watch_room(fd, self._data_writer.write)
        elif fd >= 0:
            self._loop.unwatch(fd)

    def hand_over(self, owner: ProcessOwner) -> None:
        """Let another owner have it from here on."""
        self._owner = owner
        self._reader.hold(answers_only=owner.answers_anywhere, take=owner.take_answers)

    def after(self, seconds: float, callback: Callable[[], object]) -> None:
        """Have `callback()` called on the loop later, unless the process has ended by then."""
        self._loop.deadline(seconds, lambda: None if self._ended else callback())

    def signal(self, number: int) -> None:
        """Send a signal to the process, if there is one."""
        with self._lock:
            try:
                if self._process_fd >= 0:
                    pidfd.send(self._process_fd, number)
                elif self._identity is not None:
                    self._identity.send(number)
            except PermissionError:
                self._backend.signal(self, number)

    def kill(self) -> None:
        """End the process with SIGKILL, as soon as there is one; what it has started goes with it."""
        with self._lock:
            self._kill_wanted = True
            if self._ended:
                return
            self._loop.call_soon(self._expect_end)
            if self.pid is None:
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

    def _expect_end(self) -> None:
        if not self._ended:
            self._backend.expect(self, kill=True)

    # Ending what the host may not end: it has become another user since that process began

    def _kill_by_others(self) -> None:
        """Have its maker kill the process; if it may not, the process has to end by itself."""
        asked = self._backend.signal(self, signal.SIGKILL)
        self._loop.deadline(_ASKED_SECONDS if asked else 0, self.spared)

    def spared(self) -> None:
        """Hang up, whereupon the process ends itself; let go of it if it does not."""
        if not self._ended and not self._is_cut_off:
            self._is_cut_off = True
            self._control.hang_up()
            self._loop.deadline(_NEWS_SECONDS, self._let_go)

    def _let_go(self) -> None:
        if not self._ended:
            text = "process %s may not be ended by this program and does not end by itself: it is left running"
            background.run(self._loop, "piactors-log", logger.error, text, self.pid)
            self.exited(None, None, lost=False)

    # Arriving, on the loop's thread

    def _read_control(self) -> None:
        channel = self._control.channel
        try:
            self._control.read()
        except Exception as error:  # a defect of ours must end one isolate, not the I/O thread
            self._fault(channel, error)
        if channel.ended and not channel.frames:
            self._channel_ended(channel)

    def _channel_ended(self, channel: Channel) -> None:
        self._loop.unwatch(channel.fileno())
        self._timers.append(self._loop.deadline(_NEWS_SECONDS, self._closed_and_alive))

    def _closed_and_alive(self) -> None:
        """A channel has ended: so has the process, without any news of it yet, or it has to end: it cannot answer."""
        if not self._ended and not pidfd.has_ended(self._process_fd):
            self._owner.on_fault(ProtocolError("it has closed its channel"))

    def _pass_on_data(self, frame: wire.Frame, again: bool) -> None:
        # One that fails very early does not know its number yet.
        if frame.generation != self.number & 0xFFFF and (frame.generation or frame.kind != wire.START_FAILED):
            raise ProtocolError(f"a frame of generation {frame.generation} in the channel of {self.number}")
        if frame.kind in ANSWERS:
            if frame.flags & wire.SHARED:
                self._on_large()
                frame = self._control.unpacked(frame, self._read_control)
            self._owner.on_answer(self._lends.joined(frame) if frame.flags & wire.LENDS else frame, again)
        elif frame.kind == wire.USE and self._early.is_known:
            self._owner.on_use(frame, again)
            self._reader.note_asked()
        elif frame.kind == wire.AWAIT:
            self._owner.on_await(frame.seq)
        elif frame.kind == wire.LEND:
            self._lends.hear(frame)
            self.ledger.used()
        elif frame.kind in _ON_DATA:
            self._early.hear(frame)
        else:
            raise ProtocolError(f"a frame of kind {frame.kind} in a channel where it does not belong")

    def _may_handle(self, frame: wire.Frame) -> bool:
        """Whether a caller may handle a frame of the data channel: an answer that is here, wherever it lies."""
        if frame.kind == wire.USE and (frame.flags & (wire.LENDS | wire.SHARED) or not self._early.is_known):
            return False  # what is lent is counted where nothing interrupts that
        return frame.kind in _FOR_CALLERS and (not frame.flags & wire.SHARED or self._control.knows_segment_of(frame))

    def _pass_on_control(self, frame: wire.Frame) -> None:
        if frame.kind == wire.STOPPING:
            self._reader.drain()  # what was answered before it stops was answered
        self._early.hear(frame)

    def _fault(self, channel: Channel, error: Exception) -> None:
        self._loop.unwatch(channel.fileno())
        channel.discard()
        self._owner.on_fault(error)

    def _read_output(self, pipe: OutputPipe) -> None:
        pipe.read()
        if pipe.ended:
            self._loop.unwatch(pipe.fd)

    # News of the process, on the loop's thread

    def launched(self, pid: int, process_fd: int) -> None:
        """The process exists; the listener owns the descriptor (-1: there are no pidfds)."""
        if self._ended:  # its making had failed half-way
            self._kill_unwanted(process_fd)
            return
        with self._lock:
            self.pid, self._process_fd = pid, process_fd
            self._identity = None if process_fd >= 0 else Identity.of(pid)
            kill = self._kill_wanted
        if process_fd >= 0:
            self._loop.watch(process_fd, self._process_ended)
        self._ends.close_theirs()
        if kill:
            self.kill()
        try:
            self._owner.on_launched(self)
        finally:  # whatever fails of that, what it has to say is heard
            try:
                self._early.known()
            except Exception as error:
                self._fault(self._data, error)

    def _process_ended(self) -> None:
        self._loop.unwatch(self._process_fd)
        self._backend.expect(self, kill=False)

    def refused(self, why: str, text: str) -> None:
        """There is no process; if the launcher must not fork, a fresh interpreter is the way."""
        if self._ended:
            return
        if why == _REFUSED_THREADS:
            self._fell_back(text)
            self._order = attrs.evolve(self._order, fresh=True)
            self._backend.launch(self._order, self._ends.theirs, self)
            return
        self._close()
        self._owner.on_refused(text, why == RESOURCES)

    def failed(self, error: BaseException, *, over: bool = False) -> None:
        """The owner has raised this.  The end is told once more, and then counts, whatever becomes of that."""
        self._owner.on_failure(error)
        if over and not self._ended:
            try:
                self.exited(None, None, lost=False)
            except BaseException as second:
                self._ended = True
                with contextlib.suppress(BaseException):
                    self._close()
                self._owner.on_failure(second)

    def _kill_unwanted(self, process_fd: int) -> None:
        if process_fd < 0:
            self._backend.signal(self, signal.SIGKILL)
            return
        with contextlib.suppress(PermissionError):
            pidfd.kill(process_fd)
        os.close(process_fd)

    def exited(self, status: int | None, usage: Rusage | None, *, lost: bool, note: str = "") -> None:
        """The process is gone: read what is left, then close and tell."""
        if self._ended:
            return  # it was let go of before, and has ended after all
        try:
            self._read_rest()
            assert self._page is not None
            seen, fault = host_page.evidence(self._page, self._concurrency), self.fault_text()
            tail = self._pipes["stderr"].tail if "stderr" in self._pipes else ""
        except Exception as error:  # of ours, or no memory: then whatever was in flight may have begun
            self._owner.on_fault(error)
            seen, fault, tail = Evidence(0, credible=False), "", ""
        end = End(status=status, usage=usage, lost=lost, evidence=seen, fault=fault, stderr_tail=tail, note=note)
        try:
            self._close()
        except BaseException as error:  # the process has ended all the same
            background.run(self._loop, "piactors-log", self._log_defect, error)
        self._owner.on_end(end)

    def _log_defect(self, error: BaseException) -> None:
        logger.error("piactors has failed to let go of process %s", self.pid, exc_info=error)

    def _read_rest(self) -> None:
        control = self._control
        for channel, read_rest in ((self._data, self._reader.drain), (control.channel, control.read_rest)):
            try:
                read_rest()
            except Exception as error:
                self._fault(channel, error)
        for pipe in self._pipes.values():
            pipe.drain()

    def _close(self) -> None:
        waiting: list[Answer] = []
        try:
            self._reader.close()
            for fd in (self._process_fd, self._data.end.write_fd(), *(pipe.fd for pipe in self._pipes.values())):
                self._loop.unwatch(fd)
            self._data_writer.close()
            waiting = self._control.close()
            for timer in self._timers:
                timer.cancel()
        finally:
            self.ledger.close()
            with self._lock:  # other threads write to the page under it
                self._ended = True
                self.abandon()
        for answer in waiting:
            answer(None)

    def abandon(self) -> None:
        """Close all descriptors, and nothing more: all that a forked copy of the host may do, which takes no lock."""
        with contextlib.ExitStack() as closing:  # each of them, whatever becomes of the others
            for fd in (self._process_fd, *(pipe.fd for pipe in self._pipes.values())):
                if fd >= 0:
                    closing.callback(_close, fd)
            if self._page is not None:
                closing.callback(self._page.close)
            self._page, self._process_fd = None, -1
            self._pipes = {}
            closing.callback(self._control.channel.close)
            closing.callback(self._data.close)
            closing.callback(self._reader.abandon)
            closing.callback(self._ends.close_theirs)


def _close(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.close(fd)

"""The reading of one data channel: by the loop, or by a caller that waits for an answer and reads it itself.

A caller saves the two thread switches to the I/O thread and back.  It takes the turn (`piactors._rules.read_turns`),
has the loop pause, and handles what comes: its own answer, and those of others, whose futures it settles.  The rest is
for the loop, and so is all that came after it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from piactors._io.channel import SocketChannel
from piactors._io.loop import Loop, Share
from piactors._io.spin import Spin
from piactors._platform import reentry, wake
from piactors._platform.reentry import Reentered
from piactors._rules.read_turns import ReadTurn
from piactors.errors import ProtocolError
from piactors.pihost.wire import wire

_DRAIN_READS = 64
"""Reads for what a peer sent before it stopped: a socket holds about 200 KiB, and more comes from one that floods."""
_TURN_SECONDS = 0.002
"""How long the loop handles what one channel has brought: others wait too."""
_UNWATCHED_SECONDS = 0.005
"""How long nobody watches a channel after a caller has read it: what comes unasked is seen after at most twice that."""
ANSWERS = frozenset({wire.REPLY, wire.ERROR, wire.DONE, wire.SKIPPED})
"""What comes for a message that was sent: whichever thread reads may handle it."""


class Waiting(Protocol):
    """A future whose outcome is waited for."""

    _settled: bool
    """Whether it has an outcome."""


class Reader:
    """Reads one channel.  `read_until_settled` comes from the threads of callers, the rest from the loop's."""

    def __init__(
        self,
        loop: Loop | Share,
        channel: SocketChannel,
        may_handle: Callable[[wire.Frame], bool],
        handle: Callable[[wire.Frame, bool], None],
        fault: Callable[[SocketChannel, Exception], None],
        ended: Callable[[SocketChannel], None],
    ) -> None:
        self._loop = loop
        self._channel = channel
        self._fd = channel.fileno()
        self._may_handle = may_handle
        self._handle = handle
        self._fault = fault
        self._ended = ended
        # Callers and the loop take turns; a signal handler must not wait for its own thread.
        self._lock = reentry.lock()
        self._is_mine: Callable[[], bool] = self._lock._is_owned
        self._turns = ReadTurn()
        self._waker: wake.Waker | None = None
        self._interrupted = False
        self._unwatched = False
        self._wanted = False
        self._again_due = False
        self.answers_only = True
        """Whether callers may handle the answers; not once the process has another owner."""

    # Callers

    def read_until_settled(
        self, future: Waiting, waker: wake.Waker, spin: Spin, deadline: float | None, answers_due: Callable[[], int]
    ) -> None:
        """Read for the caller that waits for `future`, until that is done or the time runs out, if nobody else reads.

        It may return before, too: if the channel has ended, or somebody else is to read it.

        Args:
            waker: of this thread.
            answers_due: how many more answers will come when this returns.
        """
        if self._is_mine():
            raise Reentered("an isolate's answers")
        turns = self._turns
        depth = turns.depth if turns.reader == threading.get_ident() else 0
        try:
            fd = self._borrow()
            if fd >= 0:
                self._read_for(future, fd, waker, spin, deadline)
                self._give_back(fd, depth, answers_due)
        except BaseException:  # a KeyboardInterrupt comes anywhere, so what it cut short is done once more
            self._give_back_again(depth, answers_due)
            raise

    def hold(self, *, answers_only: bool) -> None:
        """Say whether a caller that waits may read, as what comes are answers."""
        self.answers_only = answers_only

    def _read_for(self, future: Waiting, fd: int, waker: wake.Waker, spin: Spin, deadline: float | None) -> None:
        turns, left = self._turns, None
        waker.begin()
        try:
            self._waker = waker
            while True:
                waker.looks = False
                if future._settled or turns.closed or turns.handed:
                    return
                if waker.watched != fd:
                    waker.watch(fd)
                if deadline is not None:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return
                found = spin.wait(waker, left)
                waker.looks = True
                if found and not self._read_once():
                    waker.drain()
        finally:
            waker.end()

    def _borrow(self) -> int:
        me = threading.get_ident()
        if not self._loop.can_pause or me == self._loop.ident:
            return -1
        with self._lock:
            watched = self._turns.watched
            if not self.answers_only or not self._turns.take(me):
                return -1
            if watched:
                try:
                    self._loop.pause(self._fd)
                except (OSError, ValueError):  # the loop is gone, or about to fail: it reports the end
                    self._turns.close()
                    return -1
        return self._fd

    def _give_back(self, fd: int, depth: int, answers_due: Callable[[], int]) -> None:
        turns = self._turns
        with self._lock:
            watch = turns.give_back(depth, answers_due=answers_due() > 0)
            if turns.reader is None:
                self._waker = None
            if watch:
                self._loop.resume(fd)
            is_unwatched = not turns.watched and not self._unwatched
            if is_unwatched:
                self._unwatched = True
        if is_unwatched:
            self._loop.call_soon(self._look_later)
        if self._wanted:
            self.watch()

    def _give_back_again(self, depth: int, answers_due: Callable[[], int]) -> None:
        """End a turn that was interrupted, however far its taking or giving back had come."""
        self._loop.call_soon(self._look_later)  # that may not have been said
        with self._lock:
            if self._turns.closed:
                return
            if self._turns.reader == threading.get_ident():
                self._turns.give_back(depth, answers_due=answers_due() > 0)
            if self._turns.reader is not None:
                return
            self._waker = None
            self._turns.watch()
            self._loop.resume(self._channel.fileno())

    @property
    def is_unwatched(self) -> bool:
        """Whether nobody looks at what comes, for a moment."""
        return not self._turns.watched

    def watch(self) -> None:
        """Have the loop read what comes: answers are due that nobody waits for, or not in a way that reads them.

        It never waits, because it may be called while the caller handles an answer.  The current holder of the lock
        does this afterwards.
        """
        self._wanted = True
        while self._wanted and not self._is_mine():
            held: list[bool] = []
            try:
                held.extend(map(self._lock.acquire, (False,)))  # one step for Python: no KeyboardInterrupt in between
                if not held[0]:
                    return
                self._wanted = False
                if self._turns.watch():
                    self._loop.resume(self._channel.fileno())
            except BaseException:
                self._loop.call_soon(self._watch_again)
                raise
            finally:
                if held and held[0]:
                    self._lock.release()

    def _watch_again(self) -> None:
        """On the loop: the thread that wanted that was interrupted, perhaps in the middle of it."""
        with self._lock:
            self._turns.watch()
            if self._turns.watched and not self._turns.closed:
                self._loop.resume(self._channel.fileno())

    def _look_later(self) -> None:
        self._loop.call_later(_UNWATCHED_SECONDS, self._look)

    def _look(self) -> None:
        """Have the loop read again what no caller has read for a while."""
        with self._lock:
            if self._turns.closed:
                return
            if not self._turns.unused():
                self._look_later()
                return
            self._unwatched = False
        self.watch()

    def _read_once(self) -> bool:
        """Read and handle what is there; False if nothing was."""
        with self._lock:
            turns, channel = self._turns, self._channel
            if turns.closed or turns.handed:
                return True
            try:
                channel.receive()
                frames = channel.frames
                found = bool(frames)
                while frames:
                    if not self._may_handle(frames[0]):
                        self._hand_over()
                        return True
                    self._handle(frames[0], self._interrupted)
                    self._interrupted = False
                    frames.popleft()  # after it was handled: what is interrupted is handled again
                if channel.fault is not None or channel.ended:
                    self._hand_over()
            except BaseException as error:
                if isinstance(error, ProtocolError):
                    self._turns.close()
                    self._loop.call_soon(self._fault, channel, error)
                    return True
                self._interrupted = True  # or a defect of ours, which the loop will meet too, or what a handler raised
                self._hand_over()
                raise
        return found or not channel.dry

    def _hand_over(self) -> None:
        self._turns.hand_over()
        self._loop.call_soon(self.read)

    # The loop

    def read(self) -> None:
        """Read once, or handle what a caller has left; a defect of ours must end one isolate, not the I/O thread.

        Of many frames only some are handled, and the rest in the loop's next turn.
        """
        with self._lock:
            if self._turns.closed:
                return
            try:
                if self._turns.handed:
                    self._take_over()
                until = time.monotonic() + _TURN_SECONDS
                if self._handle_until(until):
                    self._channel.receive()  # what a caller has taken out of the socket may still be there as well
                    self._handle_until(until)
            except Exception as error:
                self._turns.close()
                self._fault(self._channel, error)
            if self._channel.frames and not self._turns.closed:
                self._read_again()
            elif self._channel.ended:
                self._turns.close()
                self._ended(self._channel)

    def _read_again(self) -> None:
        if not self._again_due:
            self._again_due = True
            self._loop.call_soon(self._handle_rest)

    def _handle_rest(self) -> None:
        self._again_due = False
        self.read()

    def read_all(self) -> None:
        """Handle all that has come, on the loop: a decision is about to depend on it."""
        if self._is_mine():
            return  # that is being done already
        with self._lock:
            if self._turns.closed:
                return
            try:
                self._drain()
            except Exception as error:
                self._turns.close()
                self._fault(self._channel, error)
            if self._channel.ended:
                self._turns.close()
                self._ended(self._channel)

    def drain(self) -> None:
        """Read until nothing is there, or the end.

        Raises:
            ProtocolError: if what came should not have come.
        """
        with self._lock:
            if self._turns.closed:
                return
            try:
                self._drain()
            except Exception:  # nothing is watched after this, and no caller may ask for it
                self._turns.close()
                self._loop.unwatch(self._channel.fileno())
                raise

    def _take_over(self) -> None:
        """Go on where a caller has left off, perhaps because it was interrupted while it received."""
        self._turns.taken_over()
        if self._interrupted:
            self._channel.receive()  # before any frame is handled: it counts them, and may decode the last ones anew

    def _drain(self) -> None:
        self._take_over()
        self._handle_all()
        for _ in range(_DRAIN_READS):
            if self._channel.ended:
                return
            self._channel.receive()
            if self._channel.dry:
                return
            self._handle_all()

    def _handle_all(self) -> None:
        self._handle_until(math.inf)

    def _handle_until(self, until: float) -> bool:
        """Handle frames until then, but at least one; whether that was all.

        Raises:
            ProtocolError: if after them comes what should not have come.
        """
        frames = self._channel.frames
        while frames:
            again, self._interrupted = self._interrupted, False
            self._handle(frames.popleft(), again)
            if time.monotonic() >= until and frames:
                return False
        if self._channel.fault is not None:
            raise self._channel.fault
        return True

    def want_write(self, wanted: bool) -> None:
        """Have the loop tell when there is room to write, or no longer."""
        with self._lock:
            if not self._turns.closed:
                self._loop.want_write(self._channel.fileno(), wanted)

    def close(self) -> None:
        """Read nothing any more; a caller that reads is told."""
        with self._lock:
            self._turns.close()
            self._loop.unwatch(self._channel.fileno())
            if self._waker is not None:
                self._waker.wake()

    def abandon(self) -> None:
        """In a forked copy of the host: nobody reads."""
        self._turns.close()

"""The turns of callers at one data channel: each reads for its own answer, and settles those of others on the way.

A caller saves the two thread switches to the I/O thread and back.  It takes the turn (`piactors._rules.read_turns`),
has the loop pause, and handles what comes: its own answer, and those of others, whose futures it settles.  The rest is
for the loop, and so is all that came after it.  One that sends many messages reads now and then what has come for
them (`read_ahead`), so that the loop's thread is not woken for each.

Most of what comes are answers about which nothing is special.  All of those that one read has brought go to the owner
at once (`channel.Take`), which settles them in one step; the rest is handled frame by frame.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Protocol

from piactors._io.channel import Channel, Take
from piactors._io.loop import Loop, Share
from piactors._io.loop_watch import LoopWatches
from piactors._io.spin import Spin
from piactors._platform import reentry, wake
from piactors._platform.reentry import Reentered
from piactors._rules.read_turns import ReadTurn
from piactors.errors import ProtocolError
from piactors.pihost.wire import wire

if TYPE_CHECKING:
    import asyncio

_UNWATCHED_SECONDS = 0.005
"""How long nobody watches a channel after a caller has read it: what comes unasked is seen after at most twice that."""
_MANY = 3
"""Reads in which an isolate asks for something.  It talks then: the loop reads, and stays awake for that."""
_TALKS = 0.02
"""Seconds after which an isolate that has asked for nothing does not talk any more."""
_AHEAD_READS = 4
"""Reads of one who sends many messages, at most, before it sends the next ones."""


class Waiting(Protocol):
    """A future whose outcome is waited for."""

    _settled: bool
    """Whether it has an outcome."""

    @property
    def _errands(self) -> Sized | None:
        """What whoever waits for it is to do meanwhile."""


class CallerTurns:
    """One channel, as callers read it; `Reader` is the rest of it."""

    def __init__(
        self,
        loop: Loop | Share,
        channel: Channel,
        may_handle: Callable[[wire.Frame], bool],
        handle: Callable[[wire.Frame, bool], None],
        fault: Callable[[Channel, Exception], None],
        ended: Callable[[Channel], None],
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
        self._take: Take | None = None
        self._interrupted = False
        self._unwatched = self._look_due = False
        self._wanted = self._watch_due = False
        self._again_due = False
        self._was_asked = False
        """Whether what was read last has given others something to do."""
        self._asks = 0
        """In how many of the callers' reads that was so, since it began to talk."""
        self._talks_until = 0.0
        self._watches = LoopWatches(self, self._fd)
        self.answers_only = loop.can_pause
        """Whether callers may handle the answers; not once the process has another owner."""

    # Callers

    def read_until_settled(
        self, future: Waiting, waker: wake.Waker, spin: Spin, deadline: float | None, wanted: Callable[[], bool]
    ) -> None:
        """Read for the caller that waits for `future`, until that is done or the time runs out, if nobody else reads.

        It may return before, too: if the channel has ended, or somebody else is to read it.

        Args:
            waker: of this thread.
            wanted: whether more answers are due when this returns, which somebody wants and does not read.
        """
        if self._is_mine():
            raise Reentered("an isolate's answers")
        if self._asks >= _MANY:
            if time.monotonic() < self._talks_until:
                return
            self._asks = 0
        turns, me = self._turns, threading.get_ident()
        depth = turns.depth if turns.reader == me else 0
        try:
            with self._lock:
                if not self._borrow(me, waker):
                    return
                # At once: the isolate may have answered meanwhile, on this very core.
                is_done = self._read_once(at_once=True) and future._settled
                if is_done:
                    self._give_back(depth, wanted)
            if is_done:
                spin.hit()
            else:
                self._read_for(future, waker, spin, deadline, depth, wanted)
            if self._look_due:
                self._see_to_rest()
        except BaseException:  # a KeyboardInterrupt comes anywhere, so what it cut short is done once more
            self._give_back_again(depth, wanted)
            raise

    def read_ahead(self, wanted: Callable[[], bool]) -> None:
        """Handle what has come, for a caller that sends many messages; nothing is done if somebody else reads."""
        if self._turns.reader is not None or self._is_mine():
            return
        try:
            with self._lock:
                if not self._borrow(threading.get_ident(), None):
                    return
                for _ in range(_AHEAD_READS):
                    if not self._read_once() or self._turns.handed or not self._channel.was_full:
                        break
                self._give_back(0, wanted)
            if self._look_due:
                self._see_to_rest()
        except BaseException:
            self._give_back_again(0, wanted)
            raise

    @property
    def is_closed(self) -> bool:
        """Whether nothing is read any more."""
        return self._turns.closed

    def await_in(self, loop: asyncio.AbstractEventLoop, wanted: Callable[[], bool]) -> bool:
        """Have the event loop of this thread read from now on, while its code awaits answers; False if it cannot."""
        if not self.answers_only or not self._watches.use(loop, wanted):
            return False
        if self._turns.watched:
            self.read_ahead(wanted)  # whoever had a turn is not woken for what comes
        return True

    def hold(self, *, answers_only: bool, take: Take | None = None) -> None:
        """Say whether a caller that waits may read, as what comes are answers, and who takes them."""
        self.answers_only = answers_only and self._loop.can_pause
        self._take = take
        self.wake_reader()

    def note_asked(self) -> None:
        """What was read has given another thread, or process, something to do first."""
        self._was_asked = True
        self._talks_until = time.monotonic() + _TALKS

    def leave_to_caller(self) -> None:
        """What the isolate asks for is done by the caller that waits: that reads itself, so nobody has to wake it."""
        self._asks = 0

    def wake_reader(self) -> None:
        """Have the caller look that reads, if one does: what it waits for may have come in another way."""
        waker = self._waker
        if waker is not None:
            waker.wake()

    def _read_for(
        self,
        future: Waiting,
        waker: wake.Waker,
        spin: Spin,
        deadline: float | None,
        depth: int,
        wanted: Callable[[], bool],
    ) -> None:
        """Read in the turn that was taken, and give it back."""
        turns, fd, left = self._turns, self._fd, None
        waker.begin()
        try:
            while True:
                waker.looks = False
                if future._settled or turns.closed or turns.handed or not self.answers_only or future._errands:
                    break
                if self._asks >= _MANY:
                    break
                if waker.watched != fd:
                    waker.watch(fd)
                if deadline is not None:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        break
                found = spin.wait(waker, left)
                waker.looks = True
                if found:
                    with self._lock:
                        found = self._read_once()
                        if self._was_asked:
                            self._was_asked = False
                            if not future._errands:  # otherwise it is this thread that has something to do
                                self._asks += 1
                                spin.sleep()
                        if future._settled:
                            self._give_back(depth, wanted)
                            return
                    if not found:
                        waker.drain()
        finally:
            waker.end()
        with self._lock:
            self._give_back(depth, wanted)

    # Under the lock

    def _borrow(self, me: int, waker: wake.Waker | None) -> bool:
        turns, loop = self._turns, self._loop
        watched = turns.watched
        if not self.answers_only or me == loop.ident or not turns.take(me):
            return False
        if watched:
            try:
                loop.pause(self._fd)
            except (OSError, ValueError):  # the loop is gone, or about to fail: it reports the end
                turns.close()
                return False
        self._waker = waker  # before it looks whether there is anything to wait for
        return True

    def _give_back(self, depth: int, wanted: Callable[[], bool]) -> None:
        turns = self._turns
        if turns.give_back(depth, answers_due=self._wanted or wanted()):
            self._loop.resume(self._fd)
        if not depth:
            self._waker = None
            self._wanted = False
        if not self._unwatched and not turns.watched:
            self._unwatched = self._look_due = True

    # Without it

    def _see_to_rest(self) -> None:
        """Have somebody look later whether anything has come that nobody reads."""
        self._look_due = False
        self._loop.call_soon(self._look_later)

    def _give_back_again(self, depth: int, wanted: Callable[[], bool]) -> None:
        """End a turn that was interrupted, however far its taking or giving back had come."""
        self._loop.call_soon(self._look_later)  # that may not have been said
        with self._lock:
            if self._turns.closed:
                return
            if self._turns.reader == threading.get_ident():
                self._turns.give_back(depth, answers_due=wanted())
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

        It never waits, because it may be called while the caller handles an answer.  Whoever has the turn lets the
        loop watch when it gives that back.
        """
        try:
            self._wanted = True
            if not self._watch_due:
                self._watch_due = True
                self._loop.call_soon(self._watch)
        except BaseException:
            self._loop.call_soon(self._watch)
            raise

    def _watch(self) -> None:
        """On the loop: watch, unless somebody has the turn."""
        self._watch_due = False
        with self._lock:
            if self._turns.watch():
                self._loop.resume(self._fd)
            self._wanted = not self._turns.watched  # then whoever has the turn is to see to it

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
        self._watch()

    def _read_once(self, at_once: bool = False) -> bool:
        """Read and handle what is there, under the lock; False if nothing was.

        Args:
            at_once: whether nobody has seen that there is anything.
        """
        turns, channel = self._turns, self._channel
        if turns.closed or turns.handed:
            return True
        try:
            if self._take is not None and channel.take_now(self._take):
                return True
            if at_once and channel.dry:
                return False
            channel.receive(self._take)
            frames = channel.frames
            found = not channel.dry
            while frames:
                found = True
                frame = wire.Frame(*frames[0])
                if not self._may_handle(frame):
                    self._hand_over()
                    return True
                self._handle(frame, self._interrupted)
                self._interrupted = False
                frames.popleft()  # after it was handled: what is interrupted is handled again
            if channel.fault is not None or channel.ended:
                self._hand_over()
        except BaseException as error:
            if isinstance(error, ProtocolError):
                turns.close()
                self._loop.call_soon(self._fault, channel, error)
                return True
            self._interrupted = True  # or a defect of ours, which the loop will meet too, or what a handler raised
            self._hand_over()
            raise
        return found

    def _hand_over(self) -> None:
        self._turns.hand_over()
        self._loop.call_soon(self.read)

    def read(self) -> None:
        """Read once, or handle what a caller has left; on the loop."""
        raise NotImplementedError

"""The reading of one data channel by the loop, which goes on where callers have left off (see `caller_turns`)."""

from __future__ import annotations

import math
import time

from piactors._io.caller_turns import CallerTurns
from piactors.pihost.wire import wire

_DRAIN_READS = 64
_DRAIN_BYTES = 4 << 20
"""Reads for what a peer sent before it stopped: a channel holds 2 MiB at most, and more comes from one that floods."""
_TURN_SECONDS = 0.002
"""How long the loop handles what one channel has brought: others wait too."""
ANSWERS = frozenset({wire.REPLY, wire.ERROR, wire.DONE, wire.SKIPPED, wire.CANCELLED, wire.PART})
"""What comes for a message that was sent: whichever thread reads may handle it."""


class Reader(CallerTurns):
    """Reads one channel: `read_until_settled` and `read_ahead` come from callers' threads, the rest from the loop's."""

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
                    self._channel.receive(self._take)  # besides what a caller has received, more may have come
                    self._handle_until(until)
            except Exception as error:
                self._turns.close()
                self._fault(self._channel, error)
            if self._channel.frames and not self._turns.closed:
                self._read_again()
            elif self._channel.ended:
                self._turns.close()
                self._ended(self._channel)
            self.wake_reader()

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
            self.wake_reader()

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
            finally:
                self.wake_reader()

    def _take_over(self) -> None:
        """Go on where a caller has left off, perhaps because it was interrupted while it received."""
        self._turns.taken_over()
        if self._interrupted:
            self._channel.receive()  # before any frame is handled: it counts them, and may decode the last ones anew
            self._interrupted = bool(self._channel.frames)

    def _drain(self) -> None:
        self._take_over()
        self._handle_all()
        for _ in range(_DRAIN_READS + _DRAIN_BYTES // self._channel.most_read):
            if self._channel.ended:
                return
            self._channel.receive(self._take)
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
            self._handle(wire.Frame(*frames.popleft()), again)
            if time.monotonic() >= until and frames:
                return False
        if self._channel.fault is not None:
            raise self._channel.fault
        return True

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

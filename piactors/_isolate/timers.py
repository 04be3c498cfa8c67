"""The timers that an actor has set for itself.  Their ticks are messages, in order with all others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from piactors._codec.definitions import Needs
from piactors._codec.lending import is_number
from piactors._rules.message import Message
from piactors._values.timers import COALESCE, EVERY, LEAST, MOST, PERSISTENT
from piactors.errors import ActorDeadError, MailboxFull, ProtocolError

if TYPE_CHECKING:
    from piactors._codec.lending import Loan
    from piactors._io.loop import LoopTimer
    from piactors._isolate.delivery import Delivery
    from piactors._process.placement import Process

_MOST_TIMERS = 65_536
_MOST_WAITING = 10_000
"""Messages that may wait; while more do, a tick is put off."""
_PUT_OFF = 0.02
_FIRST_CLEARING = 64

Key = tuple[int, int]
"""The number of a process, and that of one of its timers."""


class Ticking:
    """One timer.

    Attributes:
        process: the one that has set it; None once that runs no messages any more.
        has_run: whether that process has run messages: it may set timers before.
        is_due: whether it was due before that.
        period: seconds between its ticks; None if there is one.
        due: when it is due, on the monotonic clock.
        timer: that of the loop.
    """

    def __init__(self, process: Process, seconds: float, how: int, payload: bytes, loans: tuple[Loan, ...]) -> None:
        self.process: Process | None = process
        self.has_run = self.is_due = False
        self.period = seconds if how & EVERY else None
        self.is_persistent = bool(how & PERSISTENT)
        self.coalesces = bool(how & COALESCE)
        self.payload, self.loans = payload, loans
        self.due = time.monotonic() + seconds
        self.timer: LoopTimer | None = None
        self.message: Message | None = None
        """What it has sent last."""

    def run(self, timers: Timers, key: Key) -> None:
        """Tick when it is due."""
        self.timer = timers.loop.call_later(max(0.0, self.due - time.monotonic()), lambda: timers.tick(key))

    def next_due(self) -> None:
        """It has ticked, and is due once more; ticks that have been missed are not made up for."""
        assert self.period is not None
        self.due = max(self.due, time.monotonic() - self.period) + self.period

    def put_off(self) -> None:
        """It could not tick, and does so soon."""
        self.due = time.monotonic() + _PUT_OFF

    def next_message(self) -> Message:
        """Return what it sends."""
        made = self.message = Message("tell", self.payload)
        if self.loans:
            made.ask_for(None, Needs((), (), loans=self.loans))
        return made

    def adopt(self, before: Process | None, now: Process | None) -> None:
        """Another process runs the messages now."""
        if self.process is not None and self.process is now:
            self.has_run = True
        elif self.process is not None and self.process is before:
            self.process = None

    @property
    def has_ended(self) -> bool:
        """Whether it ended with its process."""
        if self.process is None:
            return not self.is_persistent
        return not self.has_run and self.process.is_over


class Timers:
    """The timers of one isolate; on the I/O thread.

    Args:
        delivery: its messages.
    """

    def __init__(self, delivery: Delivery) -> None:
        self.loop = delivery.loop
        self._delivery = delivery
        self._all: dict[Key, Ticking] = {}
        self._process = delivery.process
        self._bytes = 0
        self._clear_at = _FIRST_CLEARING
        delivery.tell_of_processes(self._process_changed)

    def set(
        self, process: Process, number: int, seconds: float, how: int, payload: bytes, loans: tuple[Loan, ...]
    ) -> None:
        """Set one.

        Raises:
            ProtocolError: if that is not allowed, or there are too many.
        """
        key = process.number, number
        if not is_number(number) or not (LEAST if how & EVERY else 0) <= seconds <= MOST or key in self._all:
            raise ProtocolError("it sets a timer that cannot be")
        if len(self._all) >= self._clear_at:
            self._clear()
        if len(self._all) >= _MOST_TIMERS or self._bytes + len(payload) > self._delivery.max_frame:
            raise ProtocolError(
                f"it sets more than {_MOST_TIMERS:,} timers, or such as take more than max_frame allows"
            )
        made = self._all[key] = Ticking(process, seconds, how, payload, loans)
        self._bytes += len(payload)
        made.adopt(None, self._process)
        made.run(self, key)

    def end(self, process: Process, number: int) -> bool:
        """Have one tick no more, nor what it has sent begin; whether it would have."""
        ticking = self._all.get((process.number, number))
        if ticking is None:
            return False
        would = ticking.period is not None or ticking.message is None
        self._forget((process.number, number))
        return (ticking.message is not None and self._delivery.give_up(ticking.message)) or would

    def tick(self, key: Key) -> None:
        """One is due."""
        ticking = self._all.get(key)
        if ticking is None:
            return
        if not ticking.has_run:
            ticking.is_due = True
            return
        if ticking.coalesces and ticking.message is not None and not self._has_begun(ticking.message):
            pass
        elif not self._send(ticking):
            ticking.put_off()
            ticking.run(self, key)
            return
        if ticking.period is not None:
            ticking.next_due()
            ticking.run(self, key)

    def _send(self, ticking: Ticking) -> bool:
        """Put its message into the mailbox; False if there is no room."""
        if len(self._delivery) >= _MOST_WAITING:
            return False
        try:
            self._delivery.put(ticking.next_message(), may_block=False)
        except MailboxFull:
            ticking.message = None
            return False
        except ActorDeadError:  # it takes none now, or has ended
            ticking.message = None
        return True

    def _has_begun(self, message: Message) -> bool:
        """Whether a tick has begun, or is over."""
        delivery = self._delivery
        # In this order: what is sent between the two looks is found by the second one.
        if message in delivery.mailbox:
            return False
        process = delivery.process
        return not delivery.mailbox.is_in_flight(message) or process is None or process.has_begun(message.seq)

    def _process_changed(self, process: Process | None) -> None:
        before, self._process = self._process, process
        for key, ticking in list(self._all.items()):
            ticking.adopt(before, process)
            if self._delivery.is_closed or ticking.has_ended:
                self._forget(key)
            elif ticking.is_due and ticking.has_run:
                ticking.is_due = False
                self.tick(key)

    def _clear(self) -> None:
        """Forget those whose only tick has begun; until then it can be taken back."""
        for key, ticking in list(self._all.items()):
            if ticking.period is None and ticking.message is not None and self._has_begun(ticking.message):
                self._forget(key)
        self._clear_at = max(_FIRST_CLEARING, 2 * len(self._all))

    def _forget(self, key: Key) -> None:
        ticking = self._all.pop(key)
        self._bytes -= len(ticking.payload)
        if ticking.timer is not None:
            ticking.timer.cancel()

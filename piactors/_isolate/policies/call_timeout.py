"""How long calls may run: a clock per isolate, and what is found out about one that runs too long.

A call begins when those before it are answered, so its time is known without a word from the
isolate.  One timer per isolate waits for the earliest deadline; it is set again only when it fires,
so a call that ends in time costs next to nothing.  Before the process is ended, its stacks are taken:
by asking its control thread, and if that does not answer, by a signal that faulthandler handles
without Python's lock.

Once a stop is asked for, no call may run longer than `shutdown_timeout`, counted from the request or from its own
begin; and a process that has nothing left to do but to stop has to say within that time that it does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from piactors._platform import process_stats
from piactors.pihost.plain import decode as plain_decode
from piactors.pihost.wire import page, wire

if TYPE_CHECKING:
    from piactors._io.loop import LoopTimer, Share
    from piactors._isolate.delivery import Delivery
    from piactors._isolate.view import IncarnationView
    from piactors._process.placement import Process
    from piactors._rules.message import Message

_ANSWER_SECONDS = 0.09
"""For the control thread, which needs Python's lock: a running thread gives it up within 5 ms."""
_SIGNAL_SECONDS = 0.05
_ARRIVES_AT_ONCE = 100_000
"""Bytes that a socket takes in one go."""
_TRANSFER_SECONDS = 0.01
"""How often to check whether a message that takes a while to arrive has begun."""
_LONGEST_CLAIM = 2.0
"""For this many times its timeout, plus a second, an isolate may neither read a message nor begin it."""
_LONGEST_ANSWER = 0.1
"""Seconds for which the answer of a call may be in the channel while the next one runs."""
_MOST_TEXT = 1 << 18


class CallClock:
    """The clock of one isolate.  `note` comes under the isolate's lock, the rest on the I/O thread.

    Args:
        body: returns the process that runs the calls, or None.
        stops: whether the end of the isolate is wanted.
        told: is called with a call that has run too long, and where it was.
    """

    def __init__(
        self,
        delivery: Delivery,
        loop: Share,
        shutdown_timeout: Callable[[], float | None],
        body: Callable[[], IncarnationView | None],
        stops: Callable[[], bool],
        told: Callable[[Message, str], None],
    ) -> None:
        self._delivery = delivery
        self._loop = loop
        self._shutdown_timeout = shutdown_timeout
        self._body = body
        self._stops = stops
        self._told = told
        self._unheard: int = 0
        """The number of the process that has to say that it stops."""
        self._timer: LoopTimer | None = None
        self._unsent = 0
        self.runs = False
        """Whether any message of this isolate has had a timeout, or a stop is wanted; until then nothing is noted."""

    def run(self) -> None:
        """Begin to note what runs, since a message has a time limit or a stop is wanted; from any thread."""
        self.runs = True

    def note(self) -> None:
        """Something was sent or answered: what is now in front has begun, as far as the host can know."""
        bound = self._bound()
        for message in self._delivery.mailbox.running(self._delivery.concurrency):
            if not message.deadline:
                limit, by_stop = _limit(message, bound)
                if limit is not None:
                    self._give_time(message, limit, by_stop=by_stop)
            elif bound is not None and not message.by_stop:
                self._shorten(message, bound)
        if bound is not None:
            self._expect_stop(bound)

    def _bound(self) -> float | None:
        """How long calls may run at most because a stop is wanted; None if none is."""
        body = self._body()
        wanted = self._stops() or (body is not None and body.stop_wanted)
        return self._shutdown_timeout() if wanted else None

    def _give_time(self, message: Message, limit: float, *, by_stop: bool) -> None:
        """A call begins: it may run for `limit` seconds."""
        in_transfer = len(message.payload) > _ARRIVES_AT_ONCE
        deadline = time.monotonic() + (_TRANSFER_SECONDS if in_transfer else limit)
        message.begin(limit, deadline, by_stop=by_stop, in_transfer=in_transfer)
        self._arm(deadline)

    def _shorten(self, message: Message, bound: float) -> None:
        """A stop was asked for while a call with a timeout of its own runs: that may be longer."""
        due = time.monotonic() + bound
        if message.in_transfer and bound < message.limit:
            message.shorten(bound, None)
        elif due < message.deadline:
            message.shorten(bound, due)
            self._arm(due)

    def _expect_stop(self, bound: float) -> None:
        """If nothing but the stop is left for the process to do, it has to say in time that it stops."""
        body, mailbox = self._body(), self._delivery.mailbox
        if body is not None and self._unheard != body.number and mailbox.stop_sent and mailbox.in_flight == 1:
            self._unheard = body.number
            body.after(bound, partial(self._on_unheard, body))

    def _on_unheard(self, body: IncarnationView) -> None:
        if not body.is_stopping:
            body.kill("killed", f"did not begin to stop within shutdown_timeout, {self._shutdown_timeout() or 0:g} s")

    def _arm(self, deadline: float) -> None:
        """Have a look at the deadline, or before it."""
        timer = self._timer
        if timer is None or timer.due > deadline:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.deadline(max(0.001, deadline - time.monotonic()), self._look)

    def _look(self) -> None:
        """The earliest deadline that was known when the timer was set has come."""
        delivery, now = self._delivery, time.monotonic()
        reads = delivery.process
        if reads is not None:
            reads.read_now()  # an answer that is here came in time, even if nobody has looked yet
        with delivery.lock:  # whether it is late and that nothing more is sent is one decision
            self._timer = None
            late = self._doomed(now)
            process, body = delivery.process, self._body()
        if late is None or process is None or body is None:
            return
        if late.by_stop:
            process.kill()
            return
        body.let_run()
        Capture(process, partial(self._end, process, body, late)).begin()

    def _doomed(self, now: float) -> Message | None:
        """Return the call that its process is to be ended for, and record that; None if there is none (yet)."""
        delivery = self._delivery
        process, body = delivery.process, self._body()
        waiting = [m for m in delivery.mailbox.running(delivery.concurrency) if m.deadline]
        late = [m for m in waiting if m.deadline <= now and process is not None and self._is_late(m, process)]
        if not late:
            if waiting:
                self._arm(min(message.deadline for message in waiting))
            return None
        if process is None or body is None or body.is_doomed:
            return None
        delivery.take_back()
        if self._next_runs(late[0], process) or not late[0].claim("late"):
            self._arm(now + _TRANSFER_SECONDS)  # its answer is in the channel, or is handled just now
            delivery.pump()
            return None
        self._doom(late[0], body)
        return late[0]

    def _next_runs(self, message: Message, process: Process) -> bool:
        """Whether the isolate has begun what comes after a call; one that says so has to answer soon."""
        sent = self._delivery.mailbox.last_seq > message.seq
        if not sent or self._delivery.concurrency > 1 or not process.has_begun(message.seq + 1):
            return False
        return message.indulge(_TRANSFER_SECONDS) <= _LONGEST_ANSWER

    def _is_late(self, message: Message, process: Process) -> bool:
        """Whether a call whose deadline has come has run for its whole time; if it has not, its deadline moves on.

        One that had not begun at the last look gets its time from now on: a large message takes a while to arrive.
        """
        begun = process.has_begun(message.seq)
        if begun and not message.in_transfer:
            return True
        now = time.monotonic()
        if begun:
            message.look_again(now + message.limit, in_transfer=False)
            return False
        message.look_again(now + _TRANSFER_SECONDS, in_transfer=True)
        before, self._unsent = self._unsent, process.unsent_bytes()
        if self._unsent and self._unsent != before:
            return False  # it is being read
        return message.indulge(_TRANSFER_SECONDS) > _LONGEST_CLAIM * message.limit + 1.0

    def _doom(self, message: Message, body: IncarnationView) -> None:
        """Record why the process will be ended; nothing more is sent to it.

        From here on an answer comes too late: taking the stacks may itself have interrupted the call.
        """
        if message.by_stop:
            said = f"{message.what} ran longer than shutdown_timeout, {self._shutdown_timeout() or 0:g} s"
            body.doom("killed", f"{said}, after a stop was asked for", timed_out=message)
        else:
            said = f"{message.what} ran longer than its call_timeout, {message.limit:g} s"
            body.doom("call_timeout", said, timed_out=message)

    def _end(self, process: Process, body: IncarnationView, message: Message, stack: str) -> None:
        body.note_stack(stack)
        self._told(message, stack)
        process.kill()


def _limit(message: Message, bound: float | None) -> tuple[float | None, bool]:
    """Return how long a call may run, None for no limit; and whether that is because of a stop."""
    own = message.call_timeout
    if bound is None or (own is not None and own <= bound):
        return own, False
    return bound, True


class Capture:
    """Takes the Python stacks of one process, as far as available, within about a tenth of a second."""

    def __init__(self, process: Process, done: Callable[[str], None]) -> None:
        self._process = process
        self._done = done
        self._fault_before: str | None = None
        self._finished = False

    def begin(self) -> None:
        """Ask the control thread."""
        if self._process.pid is None:
            self._finish("There was no process yet: what makes it has not answered.")
            return
        self._process.request("stacks", (), self._answered)
        self._process.after(_ANSWER_SECONDS, self._use_signal)

    def _answered(self, frame: wire.Frame | None) -> None:
        if self._fault_before is not None and frame is not None:
            return  # the signal may have moved it on: what faulthandler wrote is nearer to the truth
        if frame is None:
            by_signal = self._fault_before is not None  # before it has a handler for that, the signal ends it
            self._finish(
                "It did not answer: its interpreter was still starting."
                if by_signal
                else "It ended by itself before its stack could be taken."
            )
        elif frame.kind == wire.RESPONSE and frame.flags == wire.PLAIN:
            self._finish(_readable(frame.payload))

    def _use_signal(self) -> None:
        if not self._finished:
            self._fault_before = self._process.fault_text()
            self._process.signal(page.DUMP_SIGNAL)
            self._process.after(_SIGNAL_SECONDS, self._read_dump)

    def _read_dump(self) -> None:
        dump = self._process.fault_text()[len(self._fault_before or "") :].strip()
        why = (
            "The control thread did not answer: code in C holds Python's lock, or the process is stopped, "
            "or has used up its max_cpu."
        )
        if dump:
            self._finish(f"{why}\nWhat faulthandler wrote:\n{dump}")
        else:
            stat = None if self._process.pid is None else process_stats.stat(self._process.pid)
            state = "unknown" if stat is None else stat.state
            self._finish(f"{why}\nNo stack was available; the process is in state {state} (see proc(5)).")

    def _finish(self, stack: str) -> None:
        if not self._finished:
            self._finished = True
            self._done(stack)


def _readable(payload: wire.Payload) -> str:
    if len(payload) > _MOST_TEXT:
        return f"(stacks of {len(payload):,} bytes, too large to be shown)"
    try:
        text = plain_decode.decode(payload, budget=4 * _MOST_TEXT)
    except plain_decode.BadPlain as error:
        return f"(stacks that cannot be read: {error})"
    return text if isinstance(text, str) else "(malformed stacks)"

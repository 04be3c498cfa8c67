"""What is done about a call that has begun and is not wanted any more: it is told, and so is what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

from piactors._io.loop import LoopTimer
from piactors._isolate.delivery import Delivery
from piactors._process.placement import Process
from piactors._rules.message import Message
from piactors.errors import Timeout


class Cancelling:
    """Cancels calls of one isolate that have begun; from any thread.

    Args:
        delivery: its messages.
        kill: ends the process that runs them, for a reason.
    """

    def __init__(self, delivery: Delivery, kill: Callable[[str], object]) -> None:
        self._delivery = delivery
        self._kill = kill
        self._kills: dict[tuple[int, int], LoopTimer] = {}
        """Those that end a process, by its number and that of the call that still runs then."""

    def cancel(self, message: Message, kill_after: float | None) -> None:
        """Tell a call that has begun that it is not wanted any more.

        Its coroutine is cancelled, and so is what it has asked for and waits for; other code sees `cancelled()`.

        Args:
            kill_after: after how many seconds its process is ended if it still runs; None: never.
        """
        self._delivery.loop.call_soon(self._cancel, message, kill_after)

    def _cancel(self, message: Message, kill_after: float | None) -> None:
        delivery = self._delivery
        process = delivery.process
        if process is None or not delivery.runs(message):
            return
        message.note_cancel()
        process.request("cancel", (message.seq,), _nothing)
        self._cancel_asks(message)
        if kill_after is not None:
            self._kill_later(process, message.seq, kill_after)

    def _kill_later(self, process: Process, seq: int, seconds: float) -> None:
        """See to it that a process is ended then, or before; there is one timer, however often that is asked for."""
        key = process.number, seq
        before = self._kills.get(key)
        if before is not None and before.due <= time.monotonic() + seconds:
            return
        if before is not None:
            before.cancel()
        # What is to be looked at then is named, not held.
        self._kills[key] = self._delivery.loop.call_later(seconds, partial(self._kill_if_running, process, seq))

    def _cancel_asks(self, message: Message) -> None:
        """Give up on what a call has asked for and has no answer to; what of it has begun is told in turn."""
        for ask in list(self._delivery.asks.values()):
            is_its = getattr(ask, "call", 0) == message.seq and ask.goal is not None
            if is_its and not ask.break_off(CancelledError()):
                there, asked = ask.goal
                there.cancel_begun(asked, None)

    def expire(self, message: Message, text: str) -> None:
        """The time of a call is over: it never begins (again); if it runs, `cancelled()` says so there."""
        if self._delivery.give_up(message, also_again=True) and message.reply_to is not None:
            message.reply_to.fail(Timeout(text))

    def _kill_if_running(self, process: Process, seq: int) -> None:
        delivery = self._delivery
        self._kills.pop((process.number, seq), None)
        if delivery.process is process and (delivery.mailbox.runs(seq) or delivery.direct.runs(seq)):
            self._kill("cancelled")


def _nothing(_: Any) -> None:
    """Nobody waits for the answer."""

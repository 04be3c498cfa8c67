"""The numbers of one isolate's messages: which is next, whether there is room for it in flight, what is in flight.

Part of `Mailbox`, whose terms are used here; as pure, and as little thread-safe.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from piactors._rules.message import Message

_SMALL = 1024
"""Bytes up to which a message is small."""


class UnknownSequence(Exception):
    """An answer does not carry the number of a message in flight."""


class Numbers:
    """What is in flight in this generation, and what waits to be."""

    def __init__(self, window: int, window_bytes: int) -> None:
        self._window = window
        self._window_bytes = window_bytes
        self._waiting: OrderedDict[Message, None] = OrderedDict()  # what is given up is taken out of the middle
        self.waiting = self._waiting
        """What waits to be sent, in order; to be looked at."""
        self._in_hand: list[Message] | Message | None = None
        """What was numbered last, or was about to be."""
        self._in_flight: dict[int, Message] = {}
        self.by_number: Any = self._in_flight
        """What is in flight, oldest first; who takes out what is answered says so by `completed`."""
        self.count_in_flight = self._in_flight.__len__
        """How many messages are in flight, without a step of Python."""
        self._in_flight_bytes = 0
        self._last_seq = 0
        self._credit = 0
        """Of how many small messages it is known that nothing goes before them (see `number`)."""
        self._highest_answered = 0
        self._stop_sent = False
        self._highest_racing = 0
        self._recalled: dict[int, None] = {}  # in ascending order
        self._held_by: int = 0
        """The exclusive stream whose messages alone are sent; 0: none."""
        self._may_stop = False
        """Whether a stop has been put behind others, ever."""
        self._nested: dict[Message, None] = {}
        """What is to run in the middle of what runs: until it is answered, nothing else is sent."""

    @property
    def in_flight(self) -> int:
        """How many messages are in flight."""
        return len(self._in_flight)

    @property
    def stop_sent(self) -> bool:
        """Whether a stop is in flight, after which this generation gets nothing more."""
        return self._stop_sent

    @property
    def last_seq(self) -> int:
        """The last number given in this generation."""
        return self._last_seq

    def push_front(self, message: Message) -> None:
        """Add a message in front of all that wait."""
        self._credit = 0
        message.wait_again()
        self._waiting[message] = None
        self._waiting.move_to_end(message, last=False)

    def _has_room(self, message: Message) -> bool:
        in_flight, recalled = self._in_flight, self._recalled
        if self._nested:  # all else that is in flight has begun, and so has no mark to come
            oldest = next(iter(recalled), self._last_seq + 1)
            return message in self._nested and self._last_seq + 1 - oldest < self._window
        if not in_flight and not recalled:
            return True
        # The mark of a recalled number stands in the page until the isolate has skipped it, so it takes room as well.
        oldest = next(iter(in_flight)) if in_flight else self._last_seq + 1
        if oldest <= self._highest_racing and not message.is_self_stop:
            return False  # what is in a race may have to be sent again, before this one
        if recalled:
            oldest = min(oldest, next(iter(recalled)))
        in_window = self._last_seq + 1 - oldest < self._window
        return in_window and (not in_flight or self._in_flight_bytes + len(message.payload) <= self._window_bytes)

    def number(self, message: Message, size: int) -> int:
        """Number a message without a time limit, to be sent at once; 0 if others go before it.

        In as few steps as there can be: one look is enough for many small ones that follow each other.
        """
        credit = self._credit
        if credit <= 0 or size > _SMALL:
            credit = self._credit_for(size)
            if credit <= 0:
                return 0
        self._credit = credit - 1
        seq = self._last_seq + 1
        self._in_hand = message
        message.seq = seq
        message.size = size
        self._in_flight[seq] = message
        self._in_flight_bytes += size
        self._last_seq = seq
        return seq

    def number_many(self, messages: list[Message], size: int) -> int:
        """Number messages as `number` does, which have `size` bytes each; returns the last number.

        0, and none of them is numbered, if there is not room for all, or others go before them.
        """
        count = len(messages)
        if self._credit < count:
            self._credit = self._credit_for(size)
        if self._credit < count or size > _SMALL:
            self._credit = 0  # what it was found for is not numbered
            return 0
        self._credit -= count
        first, last = self._last_seq + 1, self._last_seq + count
        for seq, message in enumerate(messages, first):
            message.seq, message.size = seq, size
        self._in_hand = messages
        self._in_flight.update(zip(range(first, last + 1), messages, strict=True))  # one step for Python
        self._in_flight_bytes += count * size
        self._last_seq = last
        return last

    def _credit_for(self, size: int) -> int:
        """How many messages can be numbered from here on if the first has so many bytes, and the others are small."""
        if self._waiting or self._stop_sent or self._recalled or self._nested or self._held_by:
            return 0
        in_flight, left = self._in_flight, self._window_bytes - self._in_flight_bytes - size
        if not in_flight:
            return min(self._window, 1 + left // _SMALL) if left >= 0 else 1
        oldest = next(iter(in_flight))
        if left < 0 or oldest <= self._highest_racing:
            return 0
        return min(self._window - (self._last_seq + 1 - oldest), 1 + left // _SMALL)

    def _number(self, message: Message) -> None:
        seq, size = self._last_seq + 1, len(message.payload)
        self._credit = 0  # it may be large, or a stop
        self._in_hand = message
        message.seq, message.size = seq, size
        if message.deadline or message.call_timeout is not None:
            message.deadline = message.grace = 0.0
            message.in_transfer = message.by_stop = False
            message.__dict__.pop("fate", None)
        self._in_flight[seq] = message
        self._in_flight_bytes += size
        if message.kind == "stop":
            self._stop_sent = True
        self._last_seq = seq

    @property
    def in_hand(self) -> Message | None:
        """The last message that was numbered, or was about to be."""
        hand = self._in_hand
        return hand[-1] if isinstance(hand, list) else hand

    def mend(self, *, taken: bool) -> None:
        """The numbering or sending of messages was interrupted, by a KeyboardInterrupt at any step.

        Args:
            taken: whether `in_hand` will reach the isolate, and what was numbered with it.  If not, it waits as before,
                or is not here.
        """
        hand = self._in_hand
        for message in reversed([] if hand is None else hand if isinstance(hand, list) else [hand]):
            if self._in_flight.get(message.seq) is not message:
                continue
            if taken:
                self._last_seq = max(self._last_seq, message.seq)
                self._waiting.pop(message, None)
            else:
                self._last_seq = min(self._last_seq, message.seq - 1)
                if message not in self._waiting:
                    self.push_front(message)
                del self._in_flight[message.seq]
        self._in_flight_bytes = sum(other.size for other in self._in_flight.values())
        self._stop_sent = any(other.kind == "stop" for other in self._in_flight.values())

    def expect(self, seq: int) -> Message:
        """Return the message of this number, which is in flight.

        Raises:
            UnknownSequence: if none is in flight under it.
        """
        message = self._in_flight.get(seq)
        if message is None or message.kind == "stop":
            raise UnknownSequence(f"an answer to message {seq}, which is not in flight")
        return message

    def complete(self, message: Message) -> bool:
        """Take a message out of flight: it is answered.  Returns whether others wait."""
        if message.seq > self._highest_answered:
            self._highest_answered = message.seq
        in_flight = self._in_flight
        self._in_hand = None
        del in_flight[message.seq]
        if self._nested:
            self._nested.pop(message, None)
        self._in_flight_bytes = self._in_flight_bytes - message.size if in_flight else 0
        message.payload = b""  # its sender may hold on to it for long
        return bool(self._waiting)

    def completed(self, highest: int, size: int) -> None:
        """Messages were taken out of `by_number`: the highest of their numbers, and how many bytes they had."""
        if highest > self._highest_answered:
            self._highest_answered = highest
        self._in_hand = None
        self._in_flight_bytes = self._in_flight_bytes - size if self._in_flight else 0

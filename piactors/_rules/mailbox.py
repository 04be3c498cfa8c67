"""The accounting of one isolate's messages: which waits, which is in flight, which may be lost.

A message waits here until the isolate has room for it, is then in flight under a number of this
generation, and leaves with its answer.  When the generation ends, each message in flight has
either begun (then it may have been executed, and fails or is retried) or not (then it goes to the
next generation, in order).  What had begun is read from the sequence page, which is input from the
isolate and is checked here against what the host knows.

Pure and not thread-safe: the isolate that owns it holds its lock around every call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from piactors._rules.message import Message
from piactors._rules.numbers import Numbers

MAX_HEAD_RETURNS = 2
"""How often a message may come back as not begun though it was the next to begin.

The page of a lying isolate can claim forever that a call never began.  An honest one says so only
when its process was killed in the instant between two calls."""


_FEW = 8
"""Messages of one stream that may wait at once, and more."""
_COST_OF_A_MESSAGE = 400
"""Bytes that a message takes besides its payload, roughly."""


class Evidence(NamedTuple):
    """What is known at a generation's end: the highest number begun, and whether that can be believed.

    Attributes:
        direct: of each place for a direct channel, the highest number begun; nothing if that is not known.
    """

    begun: int
    credible: bool = True
    direct: tuple[int, ...] = ()


class Aftermath(NamedTuple):
    """What a generation's end means for the messages that were in flight."""

    crashed: list[Message]
    poisoned: list[Message]
    dropped: list[Message]
    retried: Sequence[Message] = ()


class Mailbox(Numbers):
    """The messages of one isolate across its generations."""

    def __init__(self, window: int, window_bytes: int) -> None:
        super().__init__(window, window_bytes)
        self.leaving: list[Message] = []
        """What a generation's end has taken out: what settles all of it clears this, so that none is ever lost."""

    def __len__(self) -> int:
        """How many messages wait or are in flight."""
        return len(self._waiting) + len(self._in_flight)

    def held_bytes(self) -> int:
        """About how much memory the waiting messages take; walks through all of them."""
        return sum(len(message.payload) + _COST_OF_A_MESSAGE for message in self._waiting)

    def put(self, message: Message) -> None:
        """Add a message at the end."""
        self._credit = 0
        self._waiting[message] = None
        if message.kind == "stop":
            self._may_stop = True
        if self._held_by and message.holds == self._held_by:
            first = [other for other in islice(self._waiting, _FEW) if other.holds == message.holds]
            self._bring_forward([*first, message])

    def _bring_forward(self, messages: list[Message]) -> None:
        """Put messages that wait before all others, in this order."""
        for message in reversed(messages):
            self._waiting.move_to_end(message, last=False)

    def release(self, stream: int) -> None:
        """An exclusive stream has ended."""
        if self._held_by == stream:
            self._held_by = 0

    def __contains__(self, message: Message) -> bool:
        """Whether a message waits."""
        return message in self._waiting

    def oldest(self) -> Message | None:
        """Return the longest waiting message that is not a stop and has not begun: it may make room for a new one."""
        return next((message for message in self._waiting if message.kind != "stop" and not message.attempts), None)

    def next_to_send(self) -> Message | None:
        """Take the next message, numbered, if the window has room for it; nothing follows a stop."""
        if not self._waiting or self._stop_sent:
            return None
        first = next(iter(self._waiting))
        if self._held_by and not self._goes_though_held(first):
            return None
        if not self._has_room(first):
            return None
        self._number(first)
        if first.holds:
            self._held_by = first.holds
        del self._waiting[first]  # last, so that it is never nowhere
        return first

    def _goes_though_held(self, message: Message) -> bool:
        """Whether a message is sent while a stream holds the isolate; once a stop waits, what is before it goes too."""
        if message.holds == self._held_by or message in self._nested or message.kind == "stop":
            return True
        return self._may_stop and any(message.kind == "stop" for message in self._waiting)

    def give_up(self, message: Message) -> bool:
        """Take out a message whose caller gave up on it; False if it does not wait here (any more)."""
        if self.is_in_flight(message) or message not in self._waiting:
            return False
        del self._waiting[message]
        return True

    def recall(self, messages: Sequence[Message], highest_racing: int = 0) -> None:
        """Let messages wait again, in front: they were sent, and the isolate has been told to skip them.

        Args:
            messages: in order.
            highest_racing: the highest number that may be skipped as well; nothing is sent until those are answered.
        """
        for message in messages if self._nested else ():
            self._nested.pop(message, None)
        if self._held_by and any(message.holds != self._held_by for message in messages):
            self._held_by = 0  # the stream has not begun, as others were before it
        recalled = {message.seq: None for message in messages}
        size = sum(message.size for message in messages)
        highest_racing = max(self._highest_racing, highest_racing)
        self._credit = 0
        try:
            self._recalled.update(recalled)
            self._push_all_front(messages)
        except BaseException:  # for lack of memory: they are in flight as before, and not here as well
            for message in messages:
                self._waiting.pop(message, None)
                self._recalled.pop(message.seq, None)
            raise
        self._highest_racing = highest_racing
        for message in messages:  # from here on nothing can fail that would leave one of them nowhere
            del self._in_flight[message.seq]
            message.seq = 0
        self._in_flight_bytes = self._in_flight_bytes - size if self._in_flight else 0

    def nest(self, message: Message) -> bool:
        """Let a message that waits be the next one, to run in the middle of what runs; False if it does not wait.

        Nothing is in flight but what has begun.  Until the message is answered nothing else is sent.
        """
        if message not in self._waiting:
            return False
        message.skip("")  # so that its answer comes to `complete`
        self._credit = 0
        self._waiting.move_to_end(message, last=False)
        self._nested[message] = None
        return True

    def unnest(self, message: Message) -> None:
        """It is not sent as the next one after all."""
        self._nested.pop(message, None)

    def nests(self, message: Message) -> bool:
        """Whether a message is to run in the middle of what runs, and has not been answered."""
        return message in self._nested

    def depth(self) -> int:
        """How many there are of these."""
        return len(self._nested)

    def is_recalled(self, seq: int) -> bool:
        """Whether this number was of a message that has been recalled; forgets that."""
        if seq not in self._recalled:
            return False
        del self._recalled[seq]
        return True

    def put_back(self, message: Message) -> None:
        """Let a message in flight that the isolate has skipped wait again: in front, except its own stop."""
        first = next(iter(self._waiting), None)
        size = message.size
        try:
            self.push_front(message)
            if first is not None and first.kind == "stop" and first.is_self_stop:
                self._waiting.move_to_end(first, last=False)
        except BaseException:  # for lack of memory: it is in flight as before
            self._waiting.pop(message, None)
            raise
        if message.seq > self._highest_answered:
            self._highest_answered = message.seq
        del self._in_flight[message.seq]
        self._nested.pop(message, None)
        self._in_flight_bytes = self._in_flight_bytes - size if self._in_flight else 0
        self._in_hand = None
        message.seq = 0
        message.skip_race = ""

    def _push_all_front(self, messages: Sequence[Message]) -> None:
        for message in reversed(messages):
            self.push_front(message)

    def is_in_flight(self, message: Message) -> bool:
        """Whether a message has been sent to this generation and not been answered."""
        return self._in_flight.get(message.seq) is message

    def runs(self, seq: int) -> bool:
        """Whether the message of this number, of this generation, has been sent and not been answered."""
        return seq in self._in_flight

    def take_calls(self, *, tried: bool = True) -> list[Message]:
        """Take out everything that waits except the stops.

        Args:
            tried: whether also what has begun in an earlier generation, and is to be tried again.
        """
        calls = [message for message in self._waiting if message.kind != "stop" and (tried or not message.attempts)]
        self.leaving += calls
        for message in calls:
            del self._waiting[message]
        return calls

    def take_own_stops(self) -> list[Message]:
        """Take out the stops that a generation asked for itself: they end with it."""
        stops = [message for message in self._waiting if message.is_self_stop]
        for message in stops:
            del self._waiting[message]
        return stops

    def _take_pinned(self) -> list[Message]:
        """Take out what waits and is for the process that has ended alone."""
        pinned = [message for message in self._waiting if message.is_pinned]
        for message in pinned:
            del self._waiting[message]
        return pinned

    def generation_ended(self, evidence: Evidence, others: Sequence[Message] = ()) -> Aftermath:
        """Sort what was in flight; what has to be tried in the next generation waits again, in order.

        Args:
            others: what it has taken with it besides.
        """
        begun = self._believed(evidence)
        retried: list[Message] = []
        result = Aftermath([], [], self.take_own_stops(), retried)
        again: list[Message] = []
        for position, message in enumerate(self._in_flight.values()):
            self._sort(message, message.seq <= begun, position == 0, result, again)
        result.crashed.extend([*self._take_pinned(), *others])
        self.leaving += [*result.crashed, *result.poisoned, *result.dropped]
        self._push_all_front(again)
        retried += [message for message in again if message.seq <= begun and message.kind != "stop"]
        self.next_generation()
        return result

    def next_generation(self) -> None:
        """Number what is sent from 1 again: it goes to another process, and nothing is in flight to that."""
        self._in_flight.clear()
        self._in_hand = None
        self._recalled.clear()
        self._nested.clear()
        self._held_by = 0
        self._in_flight_bytes = self._last_seq = self._highest_answered = self._highest_racing = self._credit = 0
        self._stop_sent = False

    def _believed(self, evidence: Evidence) -> int:
        """The highest number that counts as begun: never less than what the answers prove."""
        if not evidence.credible or evidence.begun > self._last_seq:
            return self._last_seq
        return max(evidence.begun, self._highest_answered)

    def _sort(self, message: Message, begun: bool, head: bool, result: Aftermath, again: list[Message]) -> None:
        if message.kind == "stop":
            result.dropped.append(message) if message.is_self_stop else again.append(message)
            return
        if message.given_up:
            result.dropped.append(message)
            return
        if not begun:
            message.head_returns += head
            begun = message.head_returns > MAX_HEAD_RETURNS or message.is_pinned
        if not begun:
            again.append(message)
            return
        message.attempts += 1
        if message.attempts <= message.retries:
            again.append(message)
        elif message.retries:
            result.poisoned.append(message)
        else:
            result.crashed.append(message)

    def all_settled(self) -> None:
        """Those who waited for what has left without an answer have been told."""
        for message in self.leaving:
            message.payload = b""
        self.leaving.clear()

    def close(self) -> list[Message]:
        """Take out everything that waits; nothing will be sent any more."""
        left = list(self._waiting)
        self.leaving += left
        self._waiting.clear()
        return left

    def running(self, threads: int) -> list[Message]:
        """Return what is in flight and may have begun, oldest first, if `threads` calls run at once."""
        return [message for message in islice(self._in_flight.values(), threads) if message.kind != "stop"]

    def unanswered(self) -> Iterable[Message]:
        """Return what is in flight, oldest first."""
        return list(self._in_flight.values())

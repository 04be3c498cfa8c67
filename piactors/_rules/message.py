"""One message to an isolate: what it asks for, how long it may run, and what has become of it so far."""

from __future__ import annotations

import math
from typing import Any, Literal

Kind = Literal["call", "tell", "stop"]
Fate = Literal["answered", "late"]
SkipRace = Literal["", "cancelled", "stopped", "waits"]


class Message:
    """One message: serialised, so a snapshot; `reply_to` takes its outcome."""

    # What stands here is what nearly every message has all its life; an instance holds only what differs.
    retries: int = 0
    is_self_stop: bool = False
    """Of a stop: the actor asked for it itself, so it concerns this generation only."""
    call_timeout: float | None = None
    """Seconds that it may run; None for no limit."""
    needs: Any = None
    """Definitions that have to be sent ahead of it (see `piactors._codec.definitions`)."""
    path: tuple[str, ...] = ()
    """Of a call of a method, or an attribute: which one."""
    of_attribute: bool = False
    """Whether it reads or sets an attribute."""
    until: float = math.inf
    """When it is not wanted any more, on the monotonic clock: if it has not begun by then, it never begins."""
    deadline: float = 0.0
    """When it will have run too long in this generation; 0 if that is not known yet."""
    limit: float = 0.0
    """Seconds that it may run in this generation, if there is a deadline: its own, or those that a stop allows."""
    by_stop: bool = False
    """Whether that is because a stop was asked for."""
    grace: float = 0.0
    """Seconds that were added because it had not begun."""
    waited: float = 0.0
    """Seconds that its sender has waited for room in the mailbox."""
    in_transfer: bool = False
    """Whether it had still to arrive when it was last looked at."""
    seq: int = 0
    size: int = 0
    """How many bytes of it count as in flight."""
    is_plain: bool = False
    """Whether nothing but its number says what is to be done with its answer."""
    attempts: int = 0
    """How many generations have ended after they had begun it."""
    lost_in: Any = None
    """If it is to be tried again: name, pid and number of the last of these, and why that ended."""
    head_returns: int = 0
    is_pinned: bool = False
    """Whether only the process that it is for may run it: it fails if that ends, whether it has begun or not."""
    is_counted: bool = True
    """Whether there has to be room for it in the mailbox."""
    holds: int = 0
    """The stream that it asks for items, or closes, if that is exclusive: then only such messages follow it."""
    is_parted: bool = False
    """Whether what it asks for was sent while it went on, so that nothing but its end is to come."""
    given_up: bool = False
    abandoned: bool = False
    """Whether its caller has given up on it."""
    is_told: bool = False
    """Whether the isolate was told that its caller has cancelled it, so it may end of that."""
    skip_race: SkipRace = ""
    """Why the isolate was told to skip it, if it said at the same time that it begins: either may have come first.

    If it is skipped after all, its caller has cancelled it, the isolate is shut down, or it waits again."""

    def __init__(self, kind: Kind, payload: Any, reply_to: Any = None, retries: int = 0, **more: Any) -> None:
        self.kind = kind
        self.payload = payload
        self.reply_to = reply_to
        if retries:
            self.retries = retries
        if more:
            self.__dict__.update(more)

    def wait_again(self) -> None:
        """It was sent, and waits to be sent once more."""

    def claim(self, fate: Fate) -> bool:
        """Decide whether a call with a deadline is answered or late, in this generation; False if it is the other.

        Without a lock: a thread that settles calls holds none, and this is one step for Python.
        """
        decided: Fate = self.__dict__.setdefault("fate", fate)
        return decided == fate

    @property
    def is_late(self) -> bool:
        """Whether its process is ended because it ran too long."""
        return self.__dict__.get("fate") == "late"

    def ask_for(self, call_timeout: float | None, needs: Any, *, of_attribute: bool = False) -> None:
        """It may run for so long, needs these definitions, and reads or sets an attribute."""
        if call_timeout is not None:
            self.call_timeout, self.is_plain = call_timeout, False
        if needs is not None:
            self.needs, self.is_plain = needs, False
        if of_attribute:
            self.of_attribute = True

    def want_until(self, until: float) -> None:
        """It is not wanted any more after this moment."""
        self.until = until

    def answer_to(self, reply_to: Any) -> None:
        """Give the outcome to somebody else, who passes it on."""
        self.is_plain = False
        self.reply_to = reply_to

    def begin(self, limit: float, deadline: float, *, by_stop: bool, in_transfer: bool) -> None:
        """It may run for `limit` seconds from now on, until `deadline`; or it has still to arrive by then."""
        self.is_plain = False
        self.limit, self.by_stop, self.in_transfer, self.deadline = limit, by_stop, in_transfer, deadline

    def shorten(self, limit: float, deadline: float | None) -> None:
        """A stop was asked for, so it may run for less; until `deadline`, if it runs already."""
        self.is_plain, self.limit, self.by_stop = False, limit, True
        if deadline is not None:
            self.deadline = deadline

    def look_again(self, deadline: float, *, in_transfer: bool) -> None:
        """Whether it is late is decided then; with `in_transfer` it has still to arrive."""
        self.deadline, self.in_transfer = deadline, in_transfer

    def indulge(self, seconds: float) -> float:
        """Wait for it once more; return for how many seconds that has been done by now."""
        self.grace += seconds
        return self.grace

    def limit_to(self, seconds: float | None, endless: float) -> None:
        """It may run for so long; `endless` stands for no limit."""
        self.is_plain, self.call_timeout = False, None if seconds == endless else seconds

    def abandon(self, *, sent: bool = False) -> None:
        """Its caller gave up on it, and it will never begin; with `sent` it is the isolate that skips it."""
        self.is_plain, self.abandoned = False, True
        if sent:
            self.given_up, self.skip_race = True, ""
        else:
            self.payload = b""

    def is_broken_off_with(self, error: BaseException) -> None:
        """If it does not begin, this is why; for who waits for it (see `Call`)."""

    def note_cancel(self) -> None:
        """The isolate is told that its caller has cancelled it."""
        self.is_plain, self.is_told = False, True

    def pin(self) -> None:
        """Only the process that it is for may run it."""
        self.is_plain, self.is_pinned = False, True

    def count_elsewhere(self) -> None:
        """It needs no room in the mailbox: whoever sends it bounds how many there are."""
        self.is_plain, self.is_counted = False, False

    def hold(self, stream: int) -> None:
        """Once it is sent only messages of this stream are, until that has ended; it needs no room in the mailbox."""
        self.is_plain, self.is_counted, self.holds = False, False, stream

    def part(self) -> None:
        """What it asks for was sent, and it goes on."""
        self.is_plain, self.is_parted = False, True

    def skip(self, skip_race: SkipRace, *, given_up: bool = False) -> None:
        """The isolate is told to skip it (`given_up`), or may find it so just as it begins it (`skip_race`)."""
        self.is_plain, self.given_up, self.skip_race = False, given_up, skip_race

    def lose(self, where: Any) -> None:
        """It had begun in a process that has ended, and will be tried again."""
        self.lost_in = where

    def has_waited(self, seconds: float) -> None:
        """Its sender has waited for room."""
        self.waited += seconds

    @property
    def what(self) -> str:
        """What it calls, for people."""
        return f"attribute {'.'.join(self.path)}" if self.of_attribute else ".".join(self.path) or "a message"

    @property
    def asked(self) -> str:
        """What an answer is waited for, after the words "no answer"."""
        if not self.path:
            return "to a message"
        return f"from {self.what}" if self.of_attribute else f"from {self.what}()"

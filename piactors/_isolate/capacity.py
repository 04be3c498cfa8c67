"""Room in a full mailbox: who waits for it, how they are told, and what is too large for any mailbox."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Protocol

from piactors._future import waiting
from piactors._io.loop import Share
from piactors._rules.mailbox import Mailbox
from piactors._rules.message import Message
from piactors.errors import MailboxFull, Timeout
from piactors.options import OverflowPolicy
from piactors.pihost.memory.segments import Parcel


class Bounded(Protocol):
    """Something whose mailbox may be full (see `sending`)."""

    name: str
    lock: threading.RLock
    room: Room
    loop: Share
    mailbox: Mailbox
    capacity: int | None
    overflow: OverflowPolicy
    max_frame: int

    def go_on(self) -> None:
        """Do what an interrupted caller did not get to."""


class Room:
    """Those who wait for room; used under the isolate's lock, except for the waiting itself."""

    def __init__(self) -> None:
        self._places: deque[tuple[int, threading.Lock]] = deque()

    def enter(self) -> threading.Lock:
        """Join the queue; what is returned can be acquired once there may be room."""
        latch, me = threading.Lock(), threading.get_ident()
        latch.acquire()
        if any(thread == me for thread, _ in self._places):  # a signal handler: what it interrupted can only wait
            self._places.appendleft((me, latch))
        else:
            self._places.append((me, latch))
        return latch

    def notify(self) -> None:
        """There is room for one more."""
        if self._places:
            latch = self._places[0][1]
            if latch.locked():
                latch.release()
            self._places.popleft()  # after it was told: what is interrupted is done once more

    def notify_all(self) -> None:
        """Have all of them look."""
        while self._places:
            self.notify()

    def leave(self, latch: threading.Lock) -> None:
        """Wait no longer; the next one is told if this one had been told."""
        place = (threading.get_ident(), latch)
        if place in self._places:
            self._places.remove(place)
        else:
            self.notify()


def check_size(delivery: Bounded, payload: Any) -> None:
    """Refuse what is larger than any frame may be.

    Raises:
        ValueError: if it is.
    """
    check_bytes(delivery, payload.nbytes if type(payload) is Parcel else len(payload))


def check_bytes(delivery: Bounded, size: int) -> None:
    """Refuse so many bytes if no frame may be that large.

    Raises:
        ValueError: if it is.
    """
    if size > delivery.max_frame:
        raise ValueError(f"{delivery.name}: a message of {size:,} bytes, but max_frame is {delivery.max_frame:,}")


def make_room(delivery: Bounded, may_block: bool) -> threading.Lock | None:
    """See to it that there is room for one more message; return where to wait if there is none.

    Raises:
        MailboxFull: if the options say to fail, or waiting is not allowed here.
    """
    mailbox = delivery.mailbox
    if len(mailbox) < (delivery.capacity or 0):
        return None
    if delivery.overflow == "drop_oldest":
        oldest = mailbox.oldest()
        if oldest is not None:
            delivery.loop.call_soon(_tell_of_drop, delivery, oldest)
            mailbox.give_up(oldest)
        return None
    if delivery.overflow == "fail" or not may_block or waiting.running_loop() is not None:
        raise MailboxFull(f"{delivery.name}: the mailbox holds {len(mailbox)} messages, its capacity")
    return delivery.room.enter()


def _tell_of_drop(delivery: Bounded, message: Message) -> None:
    with delivery.lock:  # a thread that was interrupted may have put it back
        if message in delivery.mailbox:  # it was to be dropped, and a thread was interrupted
            return
    text = f"{delivery.name}: dropped for a newer message, as overflow='drop_oldest' says"
    if message.reply_to is not None:
        message.reply_to.fail(MailboxFull(text))


def wait_for_room(delivery: Bounded, message: Message, place: threading.Lock, until: float | None) -> None:
    """Wait until there may be room.

    Raises:
        Timeout: if there is none in time; the message is not sent.
    """
    began = time.monotonic()
    try:
        found = place.acquire(timeout=-1.0 if until is None else max(0.0, min(until - began, threading.TIMEOUT_MAX)))
    except BaseException:
        delivery.loop.call_soon(delivery.go_on)  # another thread may have to look
        raise
    message.has_waited(time.monotonic() - began)
    if found:
        return
    with delivery.lock:  # whoever makes room must not wake a place that is leaving
        delivery.room.leave(place)
    text = f"{delivery.name}: no room for {message.what} in the mailbox, which holds {delivery.capacity} messages"
    raise Timeout(f"{text}, its capacity, within {waiting.told(message.waited)}; it was not sent")

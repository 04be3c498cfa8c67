"""The way to one actor of another process, for those who wait for its answers, and for the control thread."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import List, Optional

from ..memory import handed
from ..wire import direct, wire
from . import asking
from .outlet import Outgoing, Outlet

TOO_LONG = 0.05
"""Seconds after which the host is told who waits for what, as calls may wait for each other in a circle."""
_NEVER = 1e12
_NOTHING = (wire.PLAIN, b"", ())


def _socket(number: int) -> socket.socket:
    """Return the socket whose descriptor comes under a number."""
    try:
        return socket.socket(fileno=handed.HandedDescriptor(number).detach())
    finally:
        handed.drop([number])


class Way(Outlet):
    """The way to one actor, of one holder of its ref; from any thread."""

    def fileno(self) -> int:
        """Return the descriptor of the channel; -1 if there is none."""
        sock = self._sock
        return -1 if sock is None else sock.fileno()

    # The channel

    def ask_for_channel(self) -> None:
        """Ask for a channel, if there is none."""
        with self._lock:  # what was sent before is done by the time when the answer comes; what follows is counted
            if not self._is_asked:
                self._is_asked = True
                asking.send(self.link, self.thing, "channel", "", _NOTHING, 0, -1.0, self._opened)

    def _opened(self, _: int, frame: wire.Frame) -> None:
        """The host has answered: with a channel, whose end comes under a number, or with none for now."""
        try:
            found = self.link.result_of(frame)
            sock = None if found is None else _socket(found[1])
        except Exception:  # the actor takes no messages, or there is no descriptor left here
            found = sock = None
        with self._lock:
            if found is None or sock is None:
                self._ask_later()
                return
            self._window = direct.prepare(sock)
            self.channel, self._last, self._cut = found[0], 0, None
            self._base = direct.call_number(self.channel, 0)
            self._sock, self._send = sock, sock.send
            self._leading.begin(sock, self.link.spins())
            self.link.channels.opened(self)
            if not self.link.border.holds(self.thing) or not self._window:  # meanwhile, or the kernel holds too little
                self.close()

    def _ask_later(self) -> None:
        """There is no channel: ask again after twice as many messages as before; under the lock."""
        self._is_asked = False
        self._pause = self._left = min(2 * self._pause, 1 << 20)

    def cut(self, begun: int, error: bytes) -> None:
        """The host says that the channel has ended, and how far it had begun; on the control thread.

        Args:
            error: what becomes of what had begun and is not answered, encoded; nothing if all of it is.
        """
        with self._lock:
            self._cut = (begun, error)
            self._shut(socket.SHUT_RDWR)  # so that whoever reads comes to the end, behind what is there
        self._leading.look()

    def close(self) -> None:
        """End the channel, once what was sent has been answered; the host will say how far it had begun."""
        with self._lock:
            self._shut(socket.SHUT_WR)

    def _shut(self, how: int) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(how)

    def _ended(self) -> None:
        """All answers have been read that come directly: sort the rest, once it is known what had begun."""
        with self._lock:
            if self._cut is None or self._sock is None:
                return  # the host has not said so yet, or this is done
            begun, error = self._cut
            left, sock, self._sock, self._send = self._open, self._sock, None, None
            last_begun = self._base + begun
            self._is_asked, self._left, self.is_watched = False, self._pause, False
            again = [sent for number, sent in left.items() if number > last_begun]
            failed = [sent for number, sent in left.items() if number <= last_begun and error]
            # What has begun and is answered by way of the host: that comes.
            self._open = {number: sent for number, sent in left.items() if number <= last_begun}
            if failed:
                self._open.clear()
            self._held.extendleft(reversed(again))
            self.link.channels.ended(self.channel, sock)
            self._go_on()
        for sent in failed:
            self._settle(sent, wire.Frame(wire.FAILURE, wire.PLAIN, 0, 0, error))

    # Waiting

    def wait(self, sent: Outgoing, timeout: Optional[float]) -> bool:
        """Wait until a message is answered, or goes by way of the host; False if these seconds are over."""
        begun = time.monotonic()
        end = sent.until if timeout is None else min(sent.until, begun + timeout)
        told_at, noted = begun + TOO_LONG, 0
        try:
            while not (sent.is_done or sent.request):
                now = time.monotonic()
                if now >= end:
                    if now < sent.until:
                        return False
                    self._settle(sent, self._too_late(sent))
                    break
                if now >= told_at and not (noted and noted == sent.told_as):
                    noted = self._waits_here(sent)
                    told_at = now + TOO_LONG
                self._leading.wait(sent, end if noted and noted == sent.told_as else min(end, told_at))
        finally:
            if noted:
                self.link.threads.waits_for(0)
        return True

    def look(self, now: float, is_ready: bool) -> None:
        """Read what nobody reads, and fail what comes too late; on the control thread."""
        if is_ready:
            self._leading.look()
        with self._lock:
            late = [sent for sent in (*list(self._open.values()), *self._held) if sent.until <= now]
            wanted = any(sent.is_heard and not sent.is_done for sent in list(self._open.values()))
            self.is_watched = (wanted or bool(self._held)) and not self._leading.at_end
        for sent in late:
            self._settle(sent, self._too_late(sent))

    def look_now(self) -> None:
        """Do what `look` does, on any thread."""
        self._leading.look()
        now = time.monotonic()
        with self._lock:
            late = [sent for sent in (*list(self._open.values()), *self._held) if sent.until <= now]
        for sent in late:
            self._settle(sent, self._too_late(sent))

    def patience(self) -> float:
        """Return when something comes too late."""
        with self._lock:
            ends = [sent.until for sent in (*list(self._open.values()), *self._held) if not sent.is_done]
        return min(ends, default=_NEVER)

    # What the host is told

    def _waits_here(self, sent: Outgoing) -> int:
        """Tell the host that this thread waits for a message; if that is held, for the last one before it."""
        with self._lock:
            if sent.number not in self._open and self._open and not sent.request:
                sent = next(reversed(list(self._open.values())))
            return self.waits(sent, asking.ELSEWHERE)

    def waits(self, sent: Outgoing, where: int = 0) -> int:
        """Tell the host that somebody waits for a message, or wants it cancelled; return the number of that; 0: no.

        Args:
            where: whether this thread waits, as `asking.send` takes it.
        """
        with self._lock:
            if sent.is_done or sent.request or sent.number not in self._open:
                return 0
            if sent.told_as:
                if where:
                    self.link.threads.waits_for(sent.told_as, False)
                return sent.told_as
            facts = (wire.PLAIN, direct.pair(sent.number, 0), ())
            number = asking.send(
                self.link,
                self.thing,
                "waits",
                sent.name,
                facts,
                sent.call,
                -1.0,
                lambda _, frame: self._settle(sent, frame),
                waits=where,
            )
            sent.known_as(number)
            return number

    def asked_in(self, number: int) -> int:
        """Return the call that a message was asked in; 0: it is answered, or was asked in none."""
        with self._lock:
            sent = self._open.get(number)
            return 0 if sent is None else sent.call

    def sent_in(self, call: int) -> List[Outgoing]:
        """Return what was asked in a call and is not answered."""
        with self._lock:
            found = [*list(self._open.values()), *self._held]
        return [sent for sent in found if sent.call == call and sent.is_wanted and not sent.is_done]

    def abandon(self) -> None:
        """In a fork of the isolate: close the copies of the descriptors, and wait for nobody."""
        self._lock = threading.RLock()  # another thread of the isolate may have held the old one
        if self._sock is not None:
            self._sock.close()
        self._leading.close()

"""The direct channels of one isolate to actors of other processes, and what the control thread does about them."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
import weakref
from typing import Any, Callable, Dict, List, Optional, Set

from ..wire import direct, wire
from .ways import Way

_NEVER = 1e12


class Channels:
    """The ways to other actors by the numbers of their refs, and those that are direct by the number of the channel.

    Args:
        wake: has the control thread call `watch_with` soon.
    """

    def __init__(self, link: Any, wake: Callable[[], None]) -> None:
        self._link, self._wake = link, wake
        # Any thread sends, the control thread opens and ends channels.
        self._lock = threading.Lock()
        self._ways: "weakref.WeakValueDictionary[int, Way]" = weakref.WeakValueDictionary()
        self._open: Dict[int, Way] = {}
        self._watched: Dict[int, Way] = {}
        """By descriptor: what the control thread polls."""
        self._to_close: List[socket.socket] = []

    def way(self, thing: int, after: int) -> Way:
        """Return the way to the actor whose ref has this number."""
        with self._lock:
            found = self._ways.get(thing)
            if found is None:
                found = self._ways[thing] = Way(self._link, thing, after)
            return found

    def opened(self, way: Way) -> None:
        """A channel has been opened: it stays until it has ended, whoever holds the ref."""
        with self._lock:
            self._open[way.channel] = way

    def ended(self, channel: int, sock: socket.socket) -> None:
        """A channel has ended: the control thread may be waiting at its descriptor, and so closes it."""
        with self._lock:
            self._open.pop(channel, None)
            self._to_close.append(sock)
        self._wake()

    def leave(self) -> None:
        """This process ends: what is held here goes by way of the host."""
        with self._lock:
            ways = list(self._ways.values())
        for way in ways:
            way.leave()

    def watch(self) -> None:
        """Somebody wants an answer who does not wait for it."""
        self._wake()

    # On the control thread

    def hear(self, frame: wire.Frame) -> None:
        """The host says something about a channel, or answers what went through one."""
        if frame.kind == wire.CUT:
            self._cut(frame.seq, frame.payload)
        else:
            self._answered(frame)

    def _cut(self, channel: int, payload: bytes) -> None:
        """A channel has ended: how far it had begun, and what becomes of that."""
        with self._lock:
            way = self._open.get(channel)
        if way is not None:
            way.cut(direct.unpaired(payload)[0], direct.tail(payload))

    def _answered(self, frame: wire.Frame) -> None:
        """An answer has come by way of the host to what went directly."""
        with self._lock:
            way = self._open.get(direct.channel_of(frame.seq))
            found = [way] if way is not None else list(self._ways.values())
        for way in found:
            if way.answered_by_host(frame.seq, frame):
                return

    def dropped(self, things: List[int]) -> None:
        """Nothing of this process holds these refs any more."""
        with self._lock:
            found = [way for way in self._open.values() if way.thing in set(things)]
        for way in found:
            way.close()

    def watch_with(self, poller: Any) -> Optional[float]:
        """Have what is to be watched be polled, and return after how many seconds something is to be looked at."""
        with self._lock:
            closing, self._to_close = self._to_close, []
            ways = list(self._open.values())
        for sock in closing:
            self._unwatch(poller, sock.fileno())
            sock.close()
        patience = _NEVER
        for way in ways:
            fd = way.fileno()
            if way.is_watched and fd >= 0:
                patience = min(patience, way.patience())
                if fd not in self._watched:
                    self._watched[fd] = way
                    poller.register(fd, select.POLLIN)
            elif fd in self._watched:
                self._unwatch(poller, fd)
        return None if patience == _NEVER else max(0.0, patience - time.monotonic())

    def _unwatch(self, poller: Any, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            with contextlib.suppress(KeyError, ValueError):
                poller.unregister(fd)

    def look(self, ready: Set[int]) -> None:
        """Read what nobody reads, and fail what comes too late."""
        now = time.monotonic()
        for fd, way in list(self._watched.items()):
            way.look(now, fd in ready)

    def asked_in(self, channel: int, number: int) -> int:
        """Return the call in which something was asked; 0 if that is not known."""
        with self._lock:
            way = self._open.get(channel)
        return 0 if way is None else way.asked_in(direct.call_number(channel, number))

    def cancel_asked_in(self, call: int) -> None:
        """Cancel what was asked directly in a call, and is not answered."""
        with self._lock:
            ways = list(self._ways.values())
        for way in ways:
            for sent in way.sent_in(call):
                number = 0 if way.withdraw(sent) else way.waits(sent)
                if number:
                    self._link.request_plain(("cancel", number, -1.0), _unheard)

    def abandon(self) -> None:
        """In a fork of the isolate: close the copies of the ends."""
        self._lock = threading.Lock()  # another thread of the isolate may have held the old one
        for way in list(self._ways.values()):
            way.abandon()


def _unheard(_: int, __: wire.Frame) -> None:
    """Nobody waits for the answer."""

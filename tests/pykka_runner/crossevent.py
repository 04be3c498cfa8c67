"""`CrossProcessEvent`: a `threading.Event` that other processes on this machine can use.

The event itself lives in the process that made it.  What a pickle of it becomes elsewhere asks that
process, over a Unix socket in the abstract namespace, which leaves no file behind.  Nobody polls: the
process that has the event waits on it, on behalf of whoever asks.
"""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

_lock = threading.Lock()
_server: _Server | None = None


class CrossProcessEvent:
    """An event that can be pickled, and so can its bound methods."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._server = _running_server()
        self._number = self._server.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (self._server.address, self._server.key, self._number)

    def set(self) -> None:
        """Set it, and wake up all who wait."""
        self._event.set()

    def clear(self) -> None:
        """Make it unset again."""
        self._event.clear()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for at most `timeout` seconds; return whether it is."""
        return self._event.wait(timeout)


class RemoteEvent:
    """What a `CrossProcessEvent` is outside of the process that made it."""

    def __init__(self, address: str, key: bytes, number: int) -> None:
        self._place = (address, key, number)

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, self._place

    def set(self) -> None:
        """See `CrossProcessEvent`; it is set when this returns."""
        self._ask("set")

    def clear(self) -> None:
        """See `CrossProcessEvent`."""
        self._ask("clear")

    def is_set(self) -> bool:
        """See `CrossProcessEvent`."""
        return bool(self._ask("is_set"))

    def wait(self, timeout: float | None = None) -> bool:
        """See `CrossProcessEvent`."""
        return bool(self._ask("wait", timeout))

    def _ask(self, operation: str, *args: Any) -> Any:
        address, key, number = self._place
        with Client(address, family="AF_UNIX", authkey=key) as connection:
            connection.send((number, operation, args))
            return connection.recv()


class _Server:
    """Serves the events of this process, each request on a thread of its own."""

    def __init__(self) -> None:
        self.address = f"\0piactors-tests-{os.getpid()}-{secrets.token_hex(8)}"
        self.key = secrets.token_bytes(16)
        self._events: list[CrossProcessEvent] = []
        self._listener = Listener(self.address, family="AF_UNIX", backlog=128, authkey=self.key)
        threading.Thread(target=self._serve, name="cross-process-events", daemon=True).start()

    def add(self, event: CrossProcessEvent) -> int:
        """Keep an event, and return its number."""
        with _lock:
            self._events.append(event)
            return len(self._events) - 1

    def event(self, number: int) -> CrossProcessEvent:
        """Return the event of a number."""
        return self._events[number]

    def _serve(self) -> None:
        while True:
            with suppress(OSError, EOFError, AuthenticationError):  # whoever asked is gone
                connection = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: Connection) -> None:
        with suppress(OSError, EOFError), connection:
            number, operation, args = connection.recv()
            connection.send(getattr(self.event(number), operation)(*args))


def _running_server() -> _Server:
    global _server
    with _lock:
        if _server is None:
            _server = _Server()
        return _server


def _received(address: str, key: bytes, number: int) -> CrossProcessEvent | RemoteEvent:
    """Return the event itself where it was made, and what asks for it elsewhere."""
    if _server is not None and _server.address == address:
        return _server.event(number)
    return RemoteEvent(address, key, number)

"""Libraries for calls to other machines, whose servers call back, call each other and yield: RPyC and Pyro5."""

from __future__ import annotations

import contextlib
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from benchmarks.peers import Cannot
from benchmarks.peers.clock import per_item
from benchmarks.peers.remote import Program

RPYC_SERVER = "from benchmarks.peers import rpyc_service; rpyc_service.serve()"
PYRO5_SERVER = "from benchmarks.peers import pyro5_server; pyro5_server.serve()"


def identity(value: Any) -> Any:
    """Return what is given: what the servers call back."""
    return value


class RpycTalker:
    """A connection to a service, without what is for networks: compression, and TCP.

    While its client waits for a call, it serves what the service calls back, in the same thread.
    """

    @staticmethod
    def check() -> None:
        """Import it."""
        import rpyc  # noqa: F401

    def __init__(self) -> None:
        import rpyc

        rpyc.core.channel.Channel.COMPRESSION_THRESHOLD = sys.maxsize
        self._buffiter: Any = rpyc.buffiter
        ours, theirs = socket.socketpair()
        with theirs:
            self._program = Program(RPYC_SERVER, theirs.fileno())
        stream, config = rpyc.core.stream.SocketStream(ours), {"sync_request_timeout": 60}
        self._connection: Any = rpyc.connect_stream(stream, config=config)

    def callback(self, calls: int) -> float:
        """See `Talker`."""
        found: float = self._connection.root.call_back(identity, calls)
        return found

    def ask(self, calls: int) -> float:
        """See `Talker`."""
        raise Cannot("a connection of two: a server that calls another one is its client")

    def stream(self, items: int) -> float:
        """See `Talker`: one trip for each item."""
        return per_item(lambda: self._connection.root.items(items), items)

    def stream_in_chunks(self, items: int) -> float:
        """See `Talker`: `buffiter` fetches ten items, then twice as many each time, up to 1,000."""
        return per_item(lambda: self._buffiter(self._connection.root.items(items)), items)

    def close(self) -> None:
        """See `Talker`."""
        with contextlib.suppress(Exception):  # it may be closed already
            self._connection.close()
        self._program.close()


class Pyro5Talker:
    """Two servers, and a daemon in a thread of this process for what they call back, all at Unix sockets."""

    @staticmethod
    def check() -> None:
        """Import it, and its serializer."""
        import msgpack  # noqa: F401
        import Pyro5.api  # noqa: F401

    def __init__(self) -> None:
        import Pyro5.api

        from benchmarks.peers import pyro5_server

        self._folder = tempfile.TemporaryDirectory(prefix="pyro5")
        place = Path(self._folder.name)
        self._daemon, self._own = pyro5_server.daemon_of(str(place / "own"))
        self._thread = threading.Thread(target=self._daemon.requestLoop, daemon=True)
        self._thread.start()
        self._programs = [Program(PYRO5_SERVER, arguments=[str(place / name)]) for name in ("first", "second")]
        self._proxy: Any = Pyro5.api.Proxy(self._programs[0].address)

    def callback(self, calls: int) -> float:
        """See `Talker`."""
        found: float = self._proxy.ask(self._own, calls)
        return found

    def ask(self, calls: int) -> float:
        """See `Talker`."""
        found: float = self._proxy.ask(self._programs[1].address, calls)
        return found

    def stream(self, items: int) -> float:
        """See `Talker`: one trip for each item."""
        return per_item(lambda: self._proxy.items(items), items)

    def stream_in_chunks(self, items: int) -> float:
        """See `Talker`."""
        raise Cannot("each item takes a trip")

    def close(self) -> None:
        """See `Talker`."""
        self._proxy._pyroRelease()
        for program in self._programs:
            program.close()
        self._daemon.shutdown()
        self._thread.join(5)
        self._folder.cleanup()

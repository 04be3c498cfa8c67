"""The servers that Pyro5 runs; apart, because their decorators are there only where Pyro5 is."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import Pyro5.api

from benchmarks.peers.clock import p50


@Pyro5.api.expose
class Talker:
    """Is called, calls others, and yields."""

    def echo(self, value: int) -> int:
        """Return the value."""
        return value

    def ask(self, uri: str, calls: int) -> float:
        """Return the p50 of calls of such an object in another process."""
        with Pyro5.api.Proxy(uri) as other:
            return p50(lambda: other.echo(1), calls)

    def items(self, number: int) -> Iterator[int]:
        """Yield numbers."""
        yield from range(number)


def daemon_of(path: str) -> tuple[Pyro5.api.Daemon, str]:
    """Return a daemon that listens at a socket of this machine, and where its talker is."""
    Pyro5.api.config.SERIALIZER = "msgpack"
    daemon = Pyro5.api.Daemon(unixsocket=path)
    return daemon, str(daemon.register(Talker()))


def serve() -> None:
    """Serve at the path that was given."""
    daemon, uri = daemon_of(sys.argv[1])
    print(uri, flush=True)
    daemon.requestLoop()

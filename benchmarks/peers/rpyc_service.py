"""The service that RPyC runs; apart, because its base class is there only where RPyC is."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import rpyc

from benchmarks.peers.clock import p50


class Talker(rpyc.Service):
    """Calls back, and yields."""

    def exposed_call_back(self, function: Callable[[int], Any], calls: int) -> float:
        """Return the p50 of calls of a function of the client."""
        return p50(lambda: function(1), calls)

    def exposed_items(self, number: int) -> Iterator[int]:
        """Yield numbers."""
        yield from range(number)


def serve() -> None:
    """Serve the one who is at the other end of an inherited socket."""
    rpyc.core.channel.Channel.COMPRESSION_THRESHOLD = sys.maxsize
    stream = rpyc.core.stream.SocketStream(socket.socket(fileno=int(sys.argv[1])))
    print("ready", flush=True)
    rpyc.connect_stream(stream, Talker).serve_all()

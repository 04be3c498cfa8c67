"""Sets a default time-out of sockets as it is imported, as programs do for their HTTP calls."""

from __future__ import annotations

import socket
import time

import piactors

socket.setdefaulttimeout(0.05)


class Impatient(piactors.ProcessActor):
    """An actor whose calls and pauses are longer than that time-out."""

    def give(self, value: object, seconds: float = 0.0) -> object:
        """Return a value after some time."""
        time.sleep(seconds)
        return value

    async def give_later(self, value: object) -> object:
        """Return a value from a coroutine."""
        import asyncio

        await asyncio.sleep(0.1)
        return value

    def ask_itself(self) -> object:
        """Return a future of a message to this actor itself."""
        return self.actor_ref.proxy().give("itself", 0.1)

    def default(self) -> float | None:
        """Return what the isolated code has as the default."""
        return socket.getdefaulttimeout()

"""What answers lend: told in a frame ahead of each, and joined with it here."""

from __future__ import annotations

from collections.abc import Callable

from piactors._codec.lending import Carrying, Loan
from piactors.errors import ProtocolError
from piactors.pihost.wire import wire

_MOST = 256
"""Answers of which it may have been told what they lend, before they come: one for each thread that answers."""
Resolve = Callable[[bytes], dict[int, Loan]]


class Announced:
    """What the answers on one channel lend; joined by whichever thread reads it.

    Args:
        resolve: makes of what a frame says what it stands for.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._told: dict[int, dict[int, Loan]] = {}

    def hear(self, frame: wire.Frame) -> None:
        """Take what the answer with the number of this frame lends; on the loop.

        Raises:
            ProtocolError: if that cannot be.
        """
        if frame.seq in self._told:
            raise ProtocolError("it says twice what an answer lends")
        if len(self._told) >= _MOST:
            raise ProtocolError("it says what answers lend, and does not send them")
        self._told[frame.seq] = self._resolve(bytes(frame.payload))

    def joined(self, frame: wire.Frame) -> wire.Frame:
        """Return an answer with what it lends.

        Raises:
            ProtocolError: if that was not told.
        """
        lends = self._told.pop(frame.seq, None)
        if lends is None:
            raise ProtocolError("an answer that lends what was not told")
        return frame._replace(payload=Carrying(frame.payload, lends))

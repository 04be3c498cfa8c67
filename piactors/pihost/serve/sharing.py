"""Large messages of one isolate: those that come in the host's segments, and those that leave in its own."""

from __future__ import annotations

import threading
from typing import Dict, List, Optional

from ..memory import segments
from ..memory.chunks import Chunk, Chunks
from ..wire import wire
from ..wire.streams import FrameStream

_MOST_OF_HOST = 1 << 40
"""The host keeps its own bound."""


class Sharing:
    """What of an isolate's data goes through shared memory."""

    def __init__(self, control: FrameStream, most: int) -> None:
        self._control = control
        self._table = segments.Table(_MOST_OF_HOST, wary=False)
        self._missing: Dict[int, str] = {}
        self._known = threading.Condition()
        self._lock = threading.Lock()  # calls on several threads pack, and the control thread takes segments back
        self._pool = segments.Pool(most if segments.available() else 0, self._dropped)

    def mapped(self, number: int, fd: int) -> None:
        """The host has sent a segment; on the control thread, which must go on if there is no room for it."""
        with self._known:
            try:
                self._table.add(number, fd)
            except segments.BadTable as error:
                self._missing[number] = str(error)  # for good: its message may be read much later
                self._control.send(wire.LOST, 0, number)
            self._known.notify_all()

    def lost(self, number: int) -> None:
        """The host could not take a segment; on the control thread."""
        with self._lock:
            self._pool.forget(number)

    def dropped(self, number: int) -> None:
        """The host has let go of a segment; on the control thread."""
        with self._known:
            self._table.drop(number)

    def receive(self, table: Chunk) -> List[memoryview]:
        """Return the chunks of a message, once its segment is here: it comes on the other channel.

        Raises:
            OSError: if this process could not take it: no descriptor or no memory was left.
        """
        number, _ = segments.parse(table)
        with self._known:
            self._known.wait_for(lambda: number in self._table or number in self._missing)
            if number in self._missing:
                raise OSError("the message did not arrive: {}".format(self._missing[number]))
            return self._table.receive(table, _MOST_OF_HOST).chunks()

    def pack(self, chunks: Chunks) -> Optional[bytes]:
        """Put a large answer into a segment and return the table of it; None if it has to go through the socket."""
        with self._lock:
            parcel = self._pool.pack(chunks)
            if parcel is None or parcel.segment is None:
                return None
            segment = parcel.segment
            if segment.fd >= 0:
                self._control.send_descriptor(wire.MAP, segment.number, segment.fd)
                segment.close_fd()
            return parcel.hand_over()

    def trim(self, keep: int) -> None:
        """Let go of segments for answers that are not used, beyond `keep` bytes."""
        with self._lock:
            self._pool.trim(keep)

    def _dropped(self, number: int) -> None:
        self._control.send(wire.UNMAP, 0, number)

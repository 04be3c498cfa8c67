"""Streams that an isolate is given, or asks another actor for: what they are read through, and their plain stand-in."""

from __future__ import annotations

from typing import Any, Optional, Tuple

from ..pickles import lending, refusals
from . import asking
from .reading import BaseStream, StreamFacts, StreamReach, moved


class PeerReach(StreamReach):
    """A stream of another process, by its number.

    Args:
        link: what requests and answers go through.
    """

    def __init__(self, link: Any, number: int, facts: Tuple[Any, ...]) -> None:
        self.link, self.number, self.facts = link, number, StreamFacts(*facts)

    def new_pull(self) -> Any:
        """Return a future of the answer to `send`."""
        return self.link.border.new_pull()

    def send(self, pull: Any, items: int, size: int, seconds: Optional[float]) -> None:
        """Ask for items; see `StreamReach`."""

        def answered(_: int, frame: Any) -> None:
            pull.take(frame)

        pull.is_of(asking.begin(self.link, self.number, "pull", "", (items, size), None, seconds, answered))

    def close(self) -> None:
        """No more items are wanted."""
        asking.begin(self.link, self.number, "close", "")


class PlainStream(BaseStream):
    """A stream of another process, in an isolate in which piactors is not installed."""


def way(stream: BaseStream) -> lending.Entry:
    """Give a stream back, or pass it on."""
    try:
        reading, _ = moved(stream)
    except ValueError as error:
        raise refusals.Refused(str(error), stream) from None
    if reading is None:
        text = "{!r} cannot be passed on before the call has answered that it comes from: read the answer first"
        raise refusals.Refused(text.format(stream), stream)
    return (reading.reach.number, *lending.HOME)  # type: ignore[attr-defined]


lending.ways[PlainStream] = way

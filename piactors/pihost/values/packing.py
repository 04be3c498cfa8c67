"""Values for other isolates: large ones go ahead in a file (see `memory.passed`), which the host only passes on.

`link` is the isolate's end of the control channel, a `serve.control.HostLink`, throughout.
"""

from __future__ import annotations

from typing import Any, Sequence, Tuple

from ..memory import parts
from ..memory.chunks import Chunks
from ..pickles import lending, refusals
from ..pickles.lending import Entry
from ..wire import wire
from .quick import BY_KEY


def packed(link: Any, value: Any) -> Tuple[int, bytes, Sequence[Entry]]:
    """Return flags and payload of a value that another isolate is to read, and what it lends."""
    if not link.replies.code:
        encoded: Tuple[int, bytes, Sequence[Entry]] = link.replies.value_lending(value)
        return encoded
    lending.begin()
    try:
        flags, found = link.replies.chunks(value)
    except BaseException:
        lending.call_off()
        raise
    entries = lending.end()
    if type(found) is bytes:
        return flags, found, entries
    try:
        return (*passed(link, flags, found), entries)
    except BaseException:
        link.border.not_sent(entries)
        raise


def passed(link: Any, flags: int, chunks: Chunks) -> Tuple[int, bytes]:
    """Return flags and payload of a value that is pickled already, and may be large."""
    if chunks.nbytes > link.replies.most:
        text = "what is sent to another isolate takes {:,} bytes, but max_frame is {:,}"
        raise refusals.Refused(text.format(chunks.nbytes, link.replies.most))
    passing, file = link.passing(), None
    if passing.takes(chunks) and not any(BY_KEY in bytes(piece) for piece in chunks.pieces):
        try:
            file = passing.file(chunks)
        except (OSError, ValueError):  # no descriptor, no memory, or a limit on the size of files
            file = None
    if file is None:
        return flags, b"".join(parts.laid_out(chunks))
    link.send_file(file.number, file.fd)
    return flags | wire.PASSED, file.table

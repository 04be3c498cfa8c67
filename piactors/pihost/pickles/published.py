"""Large values that many isolates get at once: one file in memory, which each maps for itself."""

from __future__ import annotations

import os
from typing import Any

from ..memory import mapped, parts
from ..memory.handed import HandedDescriptor
from . import byvalue


def opened(handle: HandedDescriptor, size: int) -> Any:
    """Return the value in a file; what this process changes in it is its own copy."""
    fd = handle.detach()
    try:
        view = _view(fd, size)
    finally:
        os.close(fd)
    return byvalue.loads_chunks(parts.parts_of(view) or [view])


def _view(fd: int, size: int) -> memoryview:
    """Return the bytes of a file, which may be changed here; copied if there is no room for another mapping."""
    try:
        return memoryview(mapped.private(fd, size)).cast("B")
    except OSError:  # there may be too many mappings, and memory enough
        pass
    found = memoryview(bytearray(size))
    place = 0
    while place < size:
        place += os.preadv(fd, [found[place:]], place)
    return found

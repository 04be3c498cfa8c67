"""What tells the other side when all that lies in a segment of shared memory is gone: the end of one object."""

import ctypes
import mmap
import os
from typing import Any, Dict

FREE, SENT, TAKEN = 0, 1, 2
MOST_SEGMENTS = 64
_leases: Dict[int, Any] = {}


def lease(mapped: mmap.mmap) -> Any:
    """Return an object over the whole of a segment, whose end is the end of all that lies in it.

    A ctypes array is the one exporter of buffers in the standard library whose end can be noticed.
    """
    size = len(mapped)
    cls: Any = _leases.get(size)
    if cls is None:
        if len(_leases) > 4 * MOST_SEGMENTS:
            _leases.clear()
        cls = _leases[size] = type("Lease", (ctypes.c_ubyte * size,), {"__del__": _release, "owner": 0})
    made = cls.from_buffer(mapped)
    made.owner = os.getpid()
    ctypes.c_uint64.from_buffer(made).value = TAKEN
    return made


def _release(found: Any) -> None:
    if found.owner == os.getpid():  # a forked copy of this process has a copy of the object, and no say
        ctypes.c_uint64.from_buffer(found).value = FREE

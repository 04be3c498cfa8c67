"""Files in memory as memory that is this process's own, for as long as somebody has a part of it.

Unlike `mmap.mmap` before CPython 3.13 it keeps no descriptor: somebody may hold a thousand such values.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
from typing import Any, Dict

_FAILED = ctypes.c_void_p(-1).value
_MOST_CLASSES = 256
_classes: Dict[int, Any] = {}
"""By size: what stands for memory, and knows its end."""


def private(fd: int, size: int) -> Any:
    """Return the first `size` bytes of a file, as a ctypes array; what is changed in it changes nothing in the file.

    Raises:
        OSError: if there is no room for it.
    """
    cls: Any = _classes.get(size)
    if cls is None:
        if len(_classes) >= _MOST_CLASSES:
            _classes.clear()
        cls = _classes[size] = type("Mapped", (ctypes.c_ubyte * size,), {"__del__": _unmap})
    address = _libc().mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, fd, 0)
    if address in (None, _FAILED):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return cls.from_address(address)


def _unmap(found: Any) -> None:
    _libc().munmap(ctypes.addressof(found), ctypes.sizeof(found))


@functools.lru_cache(maxsize=None)
def _libc() -> Any:
    found = ctypes.CDLL(None, use_errno=True)
    found.mmap.restype = ctypes.c_void_p
    found.mmap.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int),
        ctypes.c_ssize_t,
    )
    found.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return found

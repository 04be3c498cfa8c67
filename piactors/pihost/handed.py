"""What the host hands over instead of copying: descriptors, and the shared objects of multiprocessing behind them."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any, Dict, List, Sequence

_known = threading.Condition()
_here: Dict[int, int] = {}
_attaching = threading.Lock()


class Handle:
    """Stands in a message for a descriptor, which comes on the control channel."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return Handle, (self.number,)

    def detach(self) -> int:
        """Return the descriptor, once it is here; it belongs to the caller.

        Raises:
            OSError: if this process could not take it: it had no descriptor left.
        """
        with _known:
            _known.wait_for(lambda: self.number in _here)
            fd = _here.pop(self.number)
        if fd < 0:
            raise OSError("a descriptor of the message did not arrive: this process has too many open")
        return fd


def came(number: int, fd: int) -> None:
    """A descriptor has come; on the control thread."""
    with _known:
        before = _here.get(number, -1)
        _here[number] = fd
        _known.notify_all()
    if before >= 0:
        os.close(before)


def drop(numbers: Sequence[int]) -> None:
    """Close what nobody has taken: its message was not run, or has not asked for it."""
    for number in numbers:
        with _known:
            _known.wait_for(lambda number=number: number in _here, 1.0)  # type: ignore[misc]
            fd = _here.pop(number, -1)
        if fd >= 0:
            os.close(fd)


def rebuilt_socket(handle: Handle, family: int, kind: int, protocol: int, timeout: Any) -> socket.socket:
    """Return the socket of the host: the same connection, at another descriptor."""
    made = socket.socket(family, kind, protocol, fileno=handle.detach())
    made.settimeout(timeout)
    return made


def attached(cls: Any, args: List[Any]) -> Any:
    """Return shared memory of the host.  It stays the host's: this process's end does not remove it."""
    from multiprocessing import resource_tracker

    with _attaching:
        register = resource_tracker.register
        resource_tracker.register = lambda *_: None  # else it would be removed with the first process that ends
        try:
            return cls(*args)
        finally:
            resource_tracker.register = register

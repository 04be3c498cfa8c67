"""What the host hands over instead of copying: descriptors, and the shared objects of multiprocessing behind them."""

from __future__ import annotations

import importlib
import os
import socket
import threading
from typing import Any, Dict, List, Sequence, Set

_known = threading.Condition()
_here: Dict[int, int] = {}
_unwanted: Set[int] = set()
"""Numbers of descriptors that have not come yet, and that nobody will take."""
_attaching = threading.Lock()


class HandedDescriptor:
    """Stands in a message for a descriptor, which comes on the control channel."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return HandedDescriptor, (self.number,)

    def detach(self) -> int:
        """Return the descriptor, once it is here; it belongs to the caller.

        Raises:
            OSError: if this process could not take it: it had no descriptor left.
        """
        with _known:
            _known.wait_for(lambda: self.number in _here)
            fd, _here[self.number] = _here[self.number], _TAKEN
        if fd == _TAKEN:
            raise OSError("a descriptor of the message was taken before")
        if fd < 0:
            raise OSError("a descriptor of the message did not arrive: this process has too many open")
        return fd


_TAKEN = -2


def came(number: int, fd: int) -> None:
    """A descriptor has come; on the control thread."""
    with _known:
        before = _here.get(number, -1)
        if number in _unwanted:
            _unwanted.discard(number)
            before = fd
        else:
            _here[number] = fd
        _known.notify_all()
    if before >= 0:
        os.close(before)


def drop(numbers: Sequence[int]) -> None:
    """The message of these is done: close what nobody has taken, now or when it comes."""
    for number in numbers:
        with _known:
            fd = _here.pop(number, None)
            if fd is None:
                _unwanted.add(number)
        if fd is not None and fd >= 0:
            os.close(fd)


def rebuilt_socket(handle: HandedDescriptor, family: int, kind: int, protocol: int, timeout: Any) -> socket.socket:
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


def arena(family: str, size: int, handle: HandedDescriptor) -> Any:
    """Return the block of shared memory that values and arrays lie in; once it is mapped, no descriptor is needed."""
    made = importlib.import_module(family + ".heap").Arena(size, handle.detach())
    fd, made.fd = made.fd, -1
    os.close(fd)
    return made


def of_manager(family: str, key: bytes, rebuild: Any, args: Any) -> Any:
    """Return the proxy of a manager's object, in a process that may talk to that manager."""
    process = importlib.import_module(family + ".process").current_process()
    process.authkey = key
    return rebuild(*args)

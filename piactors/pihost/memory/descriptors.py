"""Descriptors that go along with bytes, over a socket of the kernel's own."""

import array
import socket
from typing import List, Sequence, Tuple


def send_descriptor(sock: socket.socket, data: bytes, fd: int) -> None:
    """Send bytes and a descriptor, whole, waiting while there is no room."""
    sent = sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    if sent < len(data):
        sock.sendall(data[sent:])


def received_descriptors(ancillary: Sequence[Tuple[int, int, bytes]], flags: int) -> List[int]:
    """Return the descriptors that came with a message; -1 last if this process could not have more of them."""
    numbers = array.array("i")
    for level, kind, block in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(block[: len(block) - len(block) % numbers.itemsize])
    return [*numbers, -1] if flags & socket.MSG_CTRUNC else list(numbers)

"""Large values of isolates for other isolates: the host passes their descriptors on, and reads none of them."""

from __future__ import annotations

import fcntl
import os
from typing import Any

from piactors._codec.shared_objects import Lent, lent_descriptor
from piactors.errors import ProtocolError
from piactors.pihost.memory import passed, segments
from piactors.pihost.memory.chunks import Chunks
from piactors.pihost.memory.parts import laid_out
from piactors.pihost.values.quick import BY_KEY
from piactors.pihost.wire import wire

_MOST = 256
"""Files of one process that were announced and not used yet."""
_SEAL_SHRINK = 2


class PassedOn:
    """A value in a file, on its way from one isolate to another.

    Attributes:
        lent: its descriptor.
        table: where its parts are.
    """

    __slots__ = ("lent", "table")

    def __init__(self, lent: Lent, table: bytes) -> None:
        self.lent, self.table = lent, table

    def __len__(self) -> int:
        """How many bytes of it travel through the channel."""
        return len(self.table)

    def travelling(self) -> bytes:
        """Return what stands for it in a message, along which its descriptor goes."""
        return passed.with_number(self.lent.number, self.table)

    def in_line(self) -> bytes:
        """Return it as it goes to who gets no file, on the channel itself.

        Raises:
            OSError, ProtocolError: as `received`.
        """
        chunks = Chunks()
        main, *apart = self.received().chunks()
        chunks.pieces.append(main)
        chunks.apart.extend(apart)
        return b"".join(laid_out(chunks))

    def received(self) -> segments.Received:
        """Return it, as something that has arrived here.

        Raises:
            OSError: if it cannot be mapped.
            ProtocolError: if it is malformed.
        """
        try:
            return passed.opened(os.dup(self.lent.fd), self.table)
        except segments.BadTable as error:
            raise ProtocolError(f"it sent {error}") from None


def names_by_key(payload: Any) -> bool:
    """Whether what an isolate sends names what this program has sent by value, and has to make itself.

    What is passed on in a file never does: its sender looks.
    """
    if type(payload) is PassedOn:
        return False
    if type(payload) is memoryview:  # a large one
        payload = bytes(payload)
    return bool(payload.find(BY_KEY) >= 0)


class PassedFiles:
    """The files that one process has announced; input from an isolate, so everything is checked.

    Args:
        most: how many bytes a value may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._files: dict[int, Lent] = {}

    def add(self, number: int, fds: list[int]) -> None:
        """Keep a descriptor that has come along; it is -1 if this program could not have one more.

        Raises:
            ProtocolError: if there is none, or it could be cut short, or there are too many.
        """
        if not fds:
            raise ProtocolError("it announces a file and sends no descriptor")
        lent = lent_descriptor(fds.pop(0))
        if lent.fd >= 0 and not _is_sealed(lent.fd):
            raise ProtocolError("it passes on a file that could be cut short")
        if number in self._files or len(self._files) >= _MOST:
            raise ProtocolError("it announces files and does not use them")
        self._files[number] = lent

    def has(self, table: wire.Payload) -> bool:
        """Whether the file is here that a table is of; true also if it is of none."""
        try:
            return segments.parse(table)[0] in self._files
        except segments.BadTable:
            return True

    def knows(self, frame: wire.Frame) -> bool:
        """Whether the file that a frame refers to is here."""
        return self.has(frame.payload)

    def take(self, table: wire.Payload) -> PassedOn:
        """Return the value that a table is of, once.

        Raises:
            ProtocolError: if it is of none.
        """
        try:
            number, entries = segments.parse(table)
        except segments.BadTable as error:
            raise ProtocolError(f"it refers to {error}") from None
        lent = self._files.pop(number, None)
        if lent is None:
            raise ProtocolError("it refers to a file that it has not announced")
        if sum(length for _, length in entries) > self._most:
            raise ProtocolError("it passes on a value larger than max_frame")
        return PassedOn(lent, bytes(table))

    def close(self) -> None:
        """The process is gone."""
        self._files.clear()


def _is_sealed(fd: int) -> bool:
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEAL_SHRINK)
    except OSError:
        return False

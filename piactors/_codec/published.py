"""A large value that is serialised once for many isolates: into a file in memory, which each maps for itself."""

from __future__ import annotations

import fcntl
import os
import pickle
from typing import Any

import attrs

from piactors._codec import encode
from piactors._codec import pickler as pickling
from piactors._codec.definitions import Needs
from piactors._codec.shared_objects import Spawning
from piactors._platform import taken_away
from piactors.pihost.memory import segments
from piactors.pihost.memory.chunks import LEAST, Chunks, bytes_of
from piactors.pihost.memory.parts import laid_out
from piactors.pihost.pickles import published

_NONE = Needs((), ())


class _Opening:
    """Stands in a message for the value."""

    def __init__(self, handle: Any, size: int) -> None:
        self._where = handle, size

    def __reduce__(self) -> Any:
        return published.opened, self._where


class SharedValue:
    """A value in a file that nobody can change any more.

    Args:
        needs: what the value needs besides.
    """

    def __init__(self, chunks: Chunks, needs: Needs | None) -> None:
        self._needs = needs or _NONE
        self.size = 0
        """How many bytes it has."""
        self._fd = os.memfd_create("piactors-published", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            for piece in laid_out(chunks):
                self._write(bytes_of(piece))
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, seals)
        except BaseException:
            self._close()
            raise

    def _write(self, piece: memoryview) -> None:
        while piece:
            done = os.write(self._fd, piece)
            self.size += done
            piece = piece[done:]

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self._close()

    def packed(self, method: str) -> encode.Packed:
        """Return a message that has a method called with it, and takes a descriptor of the file along.

        Raises:
            OSError: if this process has none left.
        """
        spawning = Spawning()
        handle = spawning.DupFd(spawning.duplicate_for_child(self._fd))
        payload = pickle.dumps(("call", (method,), (_Opening(handle, self.size),), {}), 5)
        return encode.Packed(payload, attrs.evolve(self._needs, lent=tuple(spawning.lent)))


def shared(value: Any) -> SharedValue | None:
    """Return a value as one that is shared; None if it is not large, or has to be sent in the usual way."""
    if not encode.may_be_large((value,), {}) or not segments.available() or taken_away("memfd"):
        return None
    chunks = Chunks()
    pickler = pickling.Pickler(chunks, foreign=False, buffer_callback=chunks.take)
    try:
        pickler.dump(value)
        needs = encode.needs_of(pickler, foreign=False)
        if chunks.nbytes < LEAST or (needs is not None and (needs.lent or needs.loans)):
            return None
        return SharedValue(chunks, needs)
    except (*encode.REFUSALS, OSError):  # the error, if there is one, is left to the usual way
        return None

"""Shared memory for what is large: segments that one side fills and the other reads in place.

A segment is a sealed file in memory without a name, so nothing is left of it when both sides are gone, however they
went.  Its first word says whose it is: FREE, SENT (filled, not taken yet) or TAKEN (the receiver reads it).  The sender
writes SENT, the receiver TAKEN and, when the last object that lies in it is gone, FREE.  So giving a segment back is
one store in memory, which also a finaliser may do, and no message.

Both sides map it.  The receiver of an untrusted peer checks the seals first: a mapping of a file that the other side
may cut short could kill it.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import pickle
import socket
import struct
from typing import Any, Callable, Dict, List, Optional, Tuple

from .chunks import Chunk, Chunks, bytes_of
from .leases import FREE, MOST_SEGMENTS, SENT, lease

MOST_CHUNKS = 4096
_START = 64
ALIGN = 64
_STEP = 4 << 20
"""Bytes that are copied in one go: Python's lock is held for so long."""
_SEALS = 7
"""F_SEAL_SEAL, F_SEAL_SHRINK and F_SEAL_GROW of linux/fcntl.h: it stays as long as it is."""
_SEAL_SHRINK = 2

_ENTRY = struct.Struct("<QQ")
_HEAD = struct.Struct("<II")


def available() -> bool:
    """Whether this system and this Python have what segments need."""
    has_all = hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS") and hasattr(socket, "SCM_RIGHTS")
    return has_all and not _is_forbidden()


_forbidden: Optional[bool] = None


def _is_forbidden() -> bool:
    """Whether this process cannot make files in memory: filters of system calls, as of containers, have that effect."""
    global _forbidden
    if _forbidden is None:
        try:
            os.close(os.memfd_create("piactors-trial", os.MFD_CLOEXEC))
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EACCES):
                return False  # there is too little of something now, as making a segment will show
            _forbidden = True
        else:
            _forbidden = False
    return _forbidden


class Segment:
    """The sender's side of one segment."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        self._owner = os.getpid()
        self.pinned = False
        """Whether a message is in it that may have to be sent (again)."""
        self.unread = False
        """Whether a message in it was not taken: the receiver may not have it at all."""
        self.fd = os.memfd_create("piactors-segment", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, size)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
            self.view = memoryview(mmap.mmap(self.fd, size))
        except BaseException:
            self.close_fd()
            raise
        self._word = self.view[:8].cast("Q")

    @property
    def is_free(self) -> bool:
        """Whether it may be filled."""
        return not self.pinned and not self.unread and self._word[0] == FREE

    def mark(self, state: int) -> None:
        """Say whose it is."""
        self._word[0] = state

    def forgo(self) -> None:
        """Nobody will take what was sent in it: it is not used again, unless it has been taken."""
        if self._word[0] == SENT and self._owner == os.getpid():  # a forked copy of the sender has no say
            self.unread = True

    def fill(self, chunks: Chunks) -> bytes:
        """Copy a message into it and return the table of where its parts are."""
        place = _START
        for piece in chunks.pieces:
            place = self._copy(bytes_of(piece), place)
        entries = [_HEAD.pack(self.number, 1 + len(chunks.apart)), _ENTRY.pack(_START, place - _START)]
        for buffer in chunks.apart:
            place = _aligned(place)
            entries.append(_ENTRY.pack(place, buffer.nbytes))
            place = self._copy(buffer, place)
        return b"".join(entries)

    def _copy(self, source: memoryview, place: int) -> int:
        for start in range(0, source.nbytes, _STEP):
            piece = source[start : start + _STEP]
            self.view[place + start : place + start + piece.nbytes] = piece
        return place + source.nbytes

    def close_fd(self) -> None:
        """Close its descriptor; the mapping stays."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close_fd()


class Parcel:
    """A message that lies in a segment, from its packing until it is answered or given up.

    Attributes:
        table: what travels through the socket instead: where its chunks are.
        nbytes: how large it is.
    """

    __slots__ = ("__weakref__", "nbytes", "segment", "table")

    def __init__(self, segment: Segment, table: bytes, nbytes: int) -> None:
        self.segment: Optional[Segment] = segment
        self.table = table
        self.nbytes = nbytes

    def __len__(self) -> int:
        """How many bytes of it travel through the socket."""
        return len(self.table)

    def hand_over(self) -> bytes:
        """It is sent, once and for all: the receiver alone gives it back.  Returns the table to send."""
        segment, self.segment = self.segment, None
        assert segment is not None
        segment.mark(SENT)
        segment.pinned = False
        return self.table

    def __del__(self) -> None:
        segment = getattr(self, "segment", None)  # its making may have been interrupted
        if segment is not None:
            segment.forgo()
            segment.pinned = False


class Pool:
    """The segments that one side fills for one other process.  Not thread-safe: callers hold a lock.

    Args:
        most: how many bytes all of them may have; what is beyond goes through the socket.
        drop: called with the number of each segment that is let go.
    """

    def __init__(self, most: int, drop: Callable[[int], object]) -> None:
        self.most = most
        self._drop = drop
        self._next = 1
        self._segments: List[Segment] = []

    def pack(self, chunks: Chunks) -> Optional[Parcel]:
        """Put a message into a segment; None if none is available."""
        size = chunks.nbytes
        need = _START + size + (len(chunks.apart) + 1) * ALIGN
        if need > self.most or len(chunks.apart) >= MOST_CHUNKS:
            return None
        self._let_go_unread()
        segment = self._free(need) or self._new(need)
        if segment is None:
            return None
        segment.pinned = True
        parcel = Parcel(segment, b"", size)
        parcel.table = segment.fill(chunks)
        return parcel

    def _free(self, need: int) -> Optional[Segment]:
        fitting = [s for s in self._segments if need <= s.size <= 4 * need and s.is_free]
        found = min(fitting, key=lambda segment: segment.size, default=None)
        if found is not None:  # to the end: those that have not been used for longest are let go first
            self._segments.remove(found)
            self._segments.append(found)
        return found

    def _new(self, need: int) -> Optional[Segment]:
        size = _rounded(need)
        self._make_room(size)
        if sum(s.size for s in self._segments) + size > self.most or len(self._segments) >= MOST_SEGMENTS:
            return None
        try:
            segment = Segment(self._next, size)
        except (OSError, ValueError):
            return None  # no descriptor, no memory, or a limit on the size of files
        self._next += 1
        self._segments.append(segment)
        return segment

    def _let_go_unread(self) -> None:
        for segment in [segment for segment in self._segments if segment.unread and not segment.pinned]:
            self._segments.remove(segment)
            self._drop(segment.number)

    def _make_room(self, size: int) -> None:
        total = sum(s.size for s in self._segments) + size
        for segment in list(self._segments):
            if total <= self.most and len(self._segments) < MOST_SEGMENTS:
                return
            if segment.is_free:
                self._segments.remove(segment)
                total -= segment.size
                self._drop(segment.number)

    def forget(self, number: int) -> None:
        """The other process could not take a segment: use it no more."""
        if any(segment.number == number for segment in self._segments):
            self._segments = [segment for segment in self._segments if segment.number != number]
            self._drop(number)

    def trim(self, keep: int) -> int:
        """Let go of what is not used, beyond `keep` bytes; return how many bytes there are then."""
        self._let_go_unread()
        total = sum(segment.size for segment in self._segments)
        for segment in list(self._segments):
            if total > keep and segment.is_free:
                self._segments.remove(segment)
                total -= segment.size
                self._drop(segment.number)
        return total

    def keep_pinned(self) -> None:
        """The other process is gone: what it had taken is useless, and what is still to be sent stays."""
        self._segments = [segment for segment in self._segments if segment.pinned]
        for segment in self._segments:
            segment.mark(SENT)  # also what it had taken: only the parcel gives that back

    def close(self) -> None:
        """Nothing will be sent any more."""
        self._segments = []
        self.most = 0


def _aligned(place: int) -> int:
    return -(-place // ALIGN) * ALIGN


def _rounded(need: int) -> int:
    """Round up by at most a quarter, so that messages of about one size use the same segments."""
    step = 1 << max(16, need.bit_length() - 3)
    return -(-need // step) * step


class Received:
    """What has arrived in a segment; the segment is given back when this and all that lies in it are gone."""

    __slots__ = ("_lease", "_table")

    def __init__(self, lease: Any, table: List[Tuple[int, int]]) -> None:
        self._lease = lease
        self._table = table

    def __len__(self) -> int:
        return sum(length for _, length in self._table)

    def chunks(self) -> List[memoryview]:
        """Return the chunks, in place."""
        whole = pickle.PickleBuffer(self._lease).raw()
        return [whole[start : start + length] for start, length in self._table]


class Lost(Received):
    """What has arrived in a segment that this process could not take: it had no descriptor or no memory left."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        super().__init__(None, [(0, 1 << 62)])  # it counts as large
        self.why = why

    def error(self) -> OSError:
        """Return what the code that asks for it gets."""
        return OSError(errno.EMFILE, "it did not arrive: {}".format(self.why))


class BadTable(Exception):
    """What should describe a message in a segment is not valid."""


class NoRoom(BadTable):
    """A segment cannot be taken, because there is too little of something now."""


class Table:
    """The segments that another process fills, mapped here.

    Args:
        most: how many bytes all of them may have.
        wary: whether the other process is not trusted to leave its segments as they are.
    """

    def __init__(self, most: int, wary: bool) -> None:
        self._most = most
        self._wary = wary
        self._maps: Dict[int, mmap.mmap] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._maps

    def add(self, number: int, fd: int) -> None:
        """Map a segment, and close its descriptor.

        Raises:
            BadTable: if it is not a valid segment.
        """
        if fd < 0:
            raise NoRoom("no descriptor was left for its segment (RLIMIT_NOFILE, ulimit -n)")
        try:
            size = os.fstat(fd).st_size
            total = sum(map(len, self._maps.values()))
            if number in self._maps or len(self._maps) >= MOST_SEGMENTS or size <= _START or total + size > self._most:
                raise BadTable("a segment of {:,} bytes, beside {} of {:,}".format(size, len(self._maps), total))
            if self._wary and not fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEAL_SHRINK:
                raise BadTable("a segment that could be cut short")
            self._maps[number] = mmap.mmap(fd, size)
        except OSError as error:
            if error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN):
                raise NoRoom("its segment cannot be mapped: {}".format(error)) from None
            raise BadTable("a segment that cannot be mapped: {}".format(error)) from None
        except ValueError as error:
            raise BadTable("a segment that cannot be mapped: {}".format(error)) from None
        finally:
            os.close(fd)

    def drop(self, number: int) -> None:
        """Let go of a segment."""
        self._maps.pop(number, None)

    @property
    def nbytes(self) -> int:
        """How many bytes they have."""
        return sum(map(len, list(self._maps.values())))

    def close(self) -> None:
        """Let go of all segments."""
        self._maps.clear()

    def receive(self, table: Chunk, most: int) -> Received:
        """Take the message that a table describes.

        Raises:
            BadTable: if it describes none, or one of more than `most` bytes.
        """
        number, entries = parse(table)
        mapped = self._maps.get(number)
        if mapped is None:
            raise BadTable("a message in segment {}, which is not known".format(number))
        if sum(length for _, length in entries) > most:
            raise BadTable("a message larger than max_frame")
        if any(start < _START or start + length > len(mapped) for start, length in entries):
            raise BadTable("a message that is not within its segment")
        return Received(lease(mapped), entries)


def table(number: int, places: List[Tuple[int, int]]) -> bytes:
    """Return the table of what lies at these places."""
    return b"".join([_HEAD.pack(number, len(places)), *(_ENTRY.pack(*place) for place in places)])


def parse(table: Chunk) -> Tuple[int, List[Tuple[int, int]]]:
    """Return the segment and the places that a table describes.

    Raises:
        BadTable: if it is malformed.
    """
    if len(table) < _HEAD.size + _ENTRY.size:
        raise BadTable("a table that is too short")
    number, count = _HEAD.unpack_from(table)
    if not 0 < count <= MOST_CHUNKS or len(table) != _HEAD.size + count * _ENTRY.size:
        raise BadTable("a table of another length than it says")
    return number, [_ENTRY.unpack_from(table, _HEAD.size + index * _ENTRY.size) for index in range(count)]

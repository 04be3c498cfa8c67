"""Locks of files, and waiting for them: who builds has the lock of what it builds alone, who uses it shares that.

The lock is the kernel's, on an open file, so it ends with the last process that has the file, however that ends.  The
tools of a build have it too.  The file also holds what the builder says of its progress, which those who wait read.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from piactors._platform import taken_away
from piactors.environments.cancelling import CancelFlag, Cancelled

_SHORT, _LONG = 0.002, 1.0
"""Seconds: the lock is let go of a moment after the kernel has told of it; and the news may be lost (a network's file
system has none)."""
_POLLED = 0.05
_IN_MODIFY, _IN_CLOSE_WRITE, _IN_CREATE = 0x2, 0x8, 0x100
_IN_CLOEXEC, _IN_NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK


class Claim:
    """A lock on a file, shared or for this one alone; it ends with `release`, or with this object.

    Attributes:
        alone: whether nobody else has it.
        fd: the open file that has the lock; a tool that gets it keeps the lock as long as it runs.
    """

    def __init__(self, path: Path, fd: int, *, alone: bool) -> None:
        self.path, self.fd, self.alone = path, fd, alone
        self._writing = -1

    def try_alone(self) -> bool:
        """Have it for this one alone if nobody else shares it; otherwise it stays as it is."""
        if self.fd < 0 or not _lock(self.fd, alone=True):
            if self.fd >= 0:
                fcntl.flock(self.fd, fcntl.LOCK_SH)  # the kernel lets go of it before it finds that it cannot
            return False
        self.alone = True
        return True

    def say(self, line: bytes) -> None:
        """Write a line for those who wait."""
        try:
            if self._writing < 0:
                # Its end, too, is news for those who wait; that of a file that was only read is not.
                self._writing = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC)
            os.write(self._writing, line + b"\n")
        except OSError:  # a full disk: what is said matters less than what is done
            pass

    def forget(self) -> None:
        """Remove the file: nobody needs it any more; only for who has it alone."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def release(self) -> None:
        """End it."""
        fds, self.fd, self._writing = (self.fd, self._writing), -1, -1
        for fd in fds:  # the lock first
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.release()


def try_claim(path: Path, *, alone: bool, create: bool = False) -> Claim | None:
    """Return a lock on a file if it can be had at once; None if not, or if there is no such file.

    Raises:
        OSError: if the file cannot be opened, or made.
    """
    while True:
        fd = _opened(path, create=create)
        if fd is None:
            return None
        try:
            if not _lock(fd, alone=alone):
                return None
            if _is_at(fd, path):
                found, fd = Claim(path, fd, alone=alone), -1
                return found
        finally:
            if fd >= 0:
                os.close(fd)


def claim(
    path: Path,
    done: Callable[[], bool],
    stop: CancelFlag,
    heard: Callable[[bytes], object] = lambda line: None,
    waits: Callable[[], object] = lambda: None,
) -> Claim:
    """Wait until something is done, or nobody does it: return a lock that is shared, or for this one alone.

    Args:
        path: the file of the lock; made if it is not there.
        done: whether it is done.
        stop: ends the wait.
        heard: called with each line that who does it says meanwhile.
        waits: called once if there is somebody to wait for.

    Raises:
        OSError: if the file cannot be made.
        Cancelled: if `stop` says so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    found = _tried(path, done)
    if found is not None:
        return found
    waits()
    with _Watch(path) as watch:  # which takes the kernel milliseconds to take down
        reader, pause = _ProgressLines(path), _SHORT
        while (found := _tried(path, done)) is None:
            for line in reader.read():
                heard(line)
            if stop.is_set():
                raise Cancelled
            pause = _SHORT if watch.wait(pause, stop) else min(_LONG, pause * 4)
        return found


def _tried(path: Path, done: Callable[[], bool]) -> Claim | None:
    """Return a lock: shared if it is done, for this one alone if not; None if somebody else has it."""
    is_done = done()
    found = try_claim(path, alone=not is_done, create=True)
    if found is not None and done() == is_done:
        return found
    if found is not None:  # it was done, or removed, meanwhile
        found.release()
    return None


def _opened(path: Path, *, create: bool) -> int | None:
    # Only read: the end of a file that could be written would be news for all who wait, for this one as well.
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o644)
    except FileNotFoundError:
        return None


def _lock(fd: int, *, alone: bool) -> bool:
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(fd: int, path: Path) -> bool:
    """Whether a file is still the one at its path: it may have been removed between the opening and the lock."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


class _ProgressLines:
    """Reads what is written to a file, from its beginning on, as it comes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self._rest = b""

    def read(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._place:  # another one has begun anew
                    self._place, self._rest = 0, b""
                file.seek(self._place)
                data = file.read(1 << 20)
        except OSError:
            return []
        self._place += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


class _Watch:
    """Waits for news of a file: that it was written, or that one who could write it has let go of it."""

    def __init__(self, path: Path) -> None:
        self._fd = -1 if taken_away("inotify") else _inotify(path.parent)

    def wait(self, seconds: float, stop: CancelFlag) -> bool:
        """Wait for news, or for `stop`, or until the time is over; return whether there was news."""
        poll = select.poll()
        poll.register(stop.fileno(), select.POLLIN)
        if self._fd >= 0:
            poll.register(self._fd, select.POLLIN)
        else:
            seconds = min(seconds, _POLLED)
        if all(fd != self._fd for fd, _ in poll.poll(seconds * 1000)):
            return False
        os.read(self._fd, 1 << 16)
        return True

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _inotify(folder: Path) -> int:
    """Return a descriptor that tells of changes in a folder; -1 if the system has none."""
    libc = _libc()
    if libc is None:
        return -1
    fd: int = libc.inotify_init1(_IN_CLOEXEC | _IN_NONBLOCK)
    if fd < 0:
        return -1
    if libc.inotify_add_watch(fd, os.fsencode(folder), _IN_MODIFY | _IN_CLOSE_WRITE | _IN_CREATE) < 0:
        os.close(fd)
        return -1
    return fd


@functools.cache
def _libc() -> Any:
    found = ctypes.CDLL(None, use_errno=True)
    return found if hasattr(found, "inotify_init1") else None


def mark_used(path: Path) -> None:
    """Say that what a file is the lock of is used now."""
    with contextlib.suppress(OSError):
        os.utime(path)


def seconds_since_used(path: Path) -> float:
    """Return how long ago what a file is the lock of was used; 0 if that is not known."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return 0.0

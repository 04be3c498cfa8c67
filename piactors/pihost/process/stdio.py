"""The descriptors 0, 1 and 2, which a daemon, a cron job or a program with windows may not have.

What is opened next would get their numbers, and whatever prints would write into it, or read from it.
So they are taken by /dev/null before anything is opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Dict, Tuple

_filled: Dict[int, Tuple[int, int]] = {}
"""The numbers that were free, and which file has been put there."""


def fill() -> None:
    """Open /dev/null wherever there is no stdin, stdout or stderr."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                _fill(number)


def _fill(number: int) -> None:
    fd = os.open(os.devnull, os.O_RDWR)
    if fd == number:
        os.set_inheritable(fd, True)  # as they are in every program
        _filled[number] = _file(number)
    else:
        os.close(fd)  # another thread was quicker


def is_missing(number: int) -> bool:
    """Whether this program has no such descriptor of its own: it is what `fill` has put there."""
    return number in _filled and _filled[number] == _file(number)


def above(fd: int) -> int:
    """Return a descriptor of the same file that is not one of the three, for what is kept open."""
    if fd > 2 or fd < 0:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def _file(number: int) -> Tuple[int, int]:
    try:
        found = os.fstat(number)
    except OSError:
        return -1, -1
    return found.st_dev, found.st_ino

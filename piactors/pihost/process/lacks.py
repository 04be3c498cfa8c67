"""What this machine or this process lacks at the moment: it may be available again in a second."""

from __future__ import annotations

import errno

_NUMBERS = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,  # descriptors
        errno.EAGAIN,  # tasks
        errno.ENOMEM,
        errno.ENOBUFS,  # memory
        errno.ENOSPC,
        errno.EDQUOT,  # disk, shared memory
    }
)
OUT_OF_RESOURCES = 75
"""The exit code of a process of ours that lacks something and can do nothing without it (EX_TEMPFAIL)."""
_NO_THREAD = "can't start new thread"


def is_lack(error: BaseException) -> bool:
    """Whether an error says that there is too little of something, and nothing else."""
    if isinstance(error, OSError):
        return error.errno in _NUMBERS
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and str(error) == _NO_THREAD)


def is_lack_number(number: object) -> bool:
    """Whether an errno says so."""
    return number in _NUMBERS

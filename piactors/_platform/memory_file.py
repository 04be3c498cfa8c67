"""A small file in memory that host and isolate share; a temporary file without a name elsewhere, and without /proc.

The file is sealed against shrinking and growing if the kernel can, so that an isolate cannot
take it from under the mapping of either side; the host maps only one that is sealed.
"""

from __future__ import annotations

import errno
import fcntl
import os

from piactors._platform import taken_away


def create(size: int) -> tuple[int, int]:
    """Return two descriptors of a new file of `size` zero bytes, not inheritable: the host's and the isolate's.

    They are of two open files: flags such as O_APPEND, which the isolate may set, stay its own.
    """
    if not taken_away("memfd"):
        found = _in_memory(size)
        if found is not None:
            return found
    return _on_disk(size)


def _in_memory(size: int) -> tuple[int, int] | None:
    fd = _memfd()
    if fd < 0:
        return None
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return fd, os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
    except BaseException as error:
        os.close(fd)
        if isinstance(error, FileNotFoundError):  # there is no /proc, or it is that of another PID namespace
            return None
        raise


def _on_disk(size: int) -> tuple[int, int]:
    import tempfile  # which loads much, and where there are memory files nobody needs it

    fd, path = tempfile.mkstemp(prefix="piactors-page-")
    try:
        # On a full disk a hole would mean SIGBUS, and the end of the process that writes into it.
        os.posix_fallocate(fd, 0, size) if hasattr(os, "posix_fallocate") else os.ftruncate(fd, size)
        return fd, os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except BaseException:
        os.close(fd)
        raise
    finally:
        os.unlink(path)


def _memfd() -> int:
    """Return a new file in memory, or -1 if there are none, or if a filter of system calls forbids them."""
    try:
        return os.memfd_create("piactors-page", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except AttributeError:
        return -1
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.EACCES):
            return -1
        raise

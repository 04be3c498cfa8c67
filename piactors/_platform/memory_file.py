"""A small file in memory that host and isolate share; a temporary file without a name elsewhere.

The file is sealed against shrinking and growing where the kernel can, so that an isolate can not
take it from under its own mapping; the host never maps it at all.
"""

from __future__ import annotations

import fcntl
import os
import tempfile

from piactors._platform import taken_away


def create(size: int) -> int:
    """Return a descriptor of a new file of `size` zero bytes, not inheritable."""
    if hasattr(os, "memfd_create") and not taken_away("memfd"):
        fd = os.memfd_create("piactors-page", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return fd
    fd, path = tempfile.mkstemp(prefix="piactors-page-")
    os.unlink(path)
    os.ftruncate(fd, size)
    return fd

"""Starting an isolate as a fresh interpreter, in the launcher."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from typing import Any, Dict, List, Tuple

_TARGETS = (3, 4, 5, 1, 2, 6, 7, 0)
"""Its descriptors: requests, replies, control, the two outputs, page, the host's pidfd, stdin."""


def spawn(request: Dict[str, Any], fds: List[int], host_pidfd: int) -> int:
    """Start one with these descriptors and return its pid.

    Raises:
        OSError: if that is not possible.
    """
    given = zip([*fds[:6], host_pidfd, *fds[6:]], _TARGETS)
    high = [(_raised(fd), target) for fd, target in given if fd >= 0]
    try:
        argv = request["argv"] + [str(os.getpid()), "3", "4", "5", "6", "7" if host_pidfd >= 0 else "-1"]
        argv.append(json.dumps(request["orders"]))
        actions: List[Tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, fd, target) for fd, target in high]
        return os.posix_spawn(
            argv[0],
            argv,
            request["env"],
            file_actions=actions,
            setpgroup=0,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD],
        )
    finally:
        for fd, _ in high:
            os.close(fd)


def _raised(fd: int) -> int:
    """Duplicate a descriptor to a number that no target uses."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64)

"""Ending processes that may fork faster than they are killed: none is killed before all are stopped.

A process with a pending signal cannot fork, so once a look finds none that was not stopped before, the set
is complete.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable

from piactors._platform import pidfd
from piactors._platform.identity import Identity

_MOST_LOOKS = 200
"""Looks that find new processes, until those that were found are killed all the same."""


class _Held:
    """One process, held by a descriptor, or by its creation time if there are none."""

    def __init__(self, pid: int) -> None:
        self._fd = pidfd.open_pid(pid)
        self._identity = Identity.of(pid) if self._fd < 0 else None

    def send(self, number: int) -> None:
        with contextlib.suppress(PermissionError):  # it is still there then, and is reported as left
            if self._fd >= 0:
                pidfd.send(self._fd, number)
            elif self._identity is not None:
                self._identity.send(number)

    def wait_ended(self, seconds: float) -> None:
        if self._fd >= 0:
            pidfd.wait_ended(self._fd, seconds)
        elif self._identity is not None:
            self._identity.wait_ended(seconds)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def quell(look: Callable[[], Iterable[int]], is_one: Callable[[int], bool], seconds: float) -> list[int]:
    """Stop all that `look` finds until it finds nothing new, then kill them; return what was found.

    Args:
        look: returns the pids of those that are to end.
        is_one: whether a pid is that of one of them, asked again once the process that has it is held.
        seconds: how long to wait for the end of each.
    """
    held: dict[int, _Held] = {}
    try:
        for _ in range(_MOST_LOOKS):
            new = [pid for pid in look() if pid not in held]
            if not new:
                break
            for pid in new:
                held[pid] = _Held(pid)
                if is_one(pid):  # else it has ended, and the number may be somebody else's by now
                    held[pid].send(signal.SIGSTOP)
                else:
                    held.pop(pid).close()
        for one in held.values():
            one.send(signal.SIGKILL)
        for one in held.values():
            one.wait_ended(seconds)
    finally:
        for one in held.values():
            one.close()
    return [*held]

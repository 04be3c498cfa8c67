"""Processes by pid and creation time, so that a kill never hits a stranger that got the pid later."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from piactors._platform import process_stats
from piactors._platform.late import LateModule
from piactors._text.record import ByAttributes

if TYPE_CHECKING:
    import psutil
else:
    psutil = LateModule("psutil")

_MOST_LOOKS = 200
"""Looks for descendants that find new ones, until those that were found are killed all the same."""
_PAUSES = (0.001, 0.02)
"""Seconds between two looks for an end that no descriptor reports: the first ones, and the longest."""


@attrs.frozen(eq=False, repr=False)
class Identity(ByAttributes):
    """One process, even after its pid has passed to another."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """Return the identity of the process that has `pid` now, or None if none has."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except (psutil.Error, OSError):  # an OSError if this process can open nothing more
            return None

    def process(self) -> psutil.Process | None:
        """Return the process, or None if it is gone."""
        try:
            process = psutil.Process(self.pid)
            return process if process.create_time() == self.created else None
        except (psutil.Error, OSError):
            return None

    def has_ended(self) -> bool:
        """Whether it has, with all its threads; one that its parent has not waited for yet has."""
        found = process_stats.stat(self.pid)
        if found is None or (found.has_ended and found.threads <= 1):
            return True
        return self.process() is None  # the pid has passed to another

    def wait_ended(self, seconds: float) -> bool:
        """Wait until it has ended, for at most `seconds`, and reap nothing; for systems that have no pidfds."""
        deadline, pause = time.monotonic() + seconds, _PAUSES[0]
        while not self.has_ended():
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])
        return True

    def kill(self) -> None:
        """Send SIGKILL if the process is still there."""
        process = self.process()
        if process is not None:
            with contextlib.suppress(psutil.Error):
                process.kill()  # psutil compares the creation time once more

    def send(self, number: int) -> None:
        """Send a signal if the process is still there.

        Raises:
            PermissionError: if sending it is not allowed.
        """
        process = self.process()
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                _send(process, number)

    def kill_tree(self, tell: Callable[[Killed], object] | None = None) -> None:
        """Send SIGKILL to the process and to all its descendants.

        `tell` gets the descendants before the process itself is hit, so before anybody can see it end.

        Raises:
            PermissionError: if the process itself may not be ended; its descendants have been, as far as they may.
        """
        process = self.process()
        if process is None:
            return
        members = _stopped(process)
        if tell is not None:
            found = (Identity.of(member.pid) for member in members)
            tell(Killed([member for member in found if member is not None]))
        for member in members:
            with contextlib.suppress(psutil.Error):
                member.kill()
        with contextlib.suppress(psutil.NoSuchProcess):
            _send(process, signal.SIGKILL)


@attrs.frozen(eq=False, repr=False)
class Killed(ByAttributes):
    """Processes that have been sent SIGKILL."""

    members: list[Identity]

    def wait_ended(self, seconds: float) -> None:
        """Wait until all of them have ended, for at most `seconds`."""
        deadline = time.monotonic() + seconds
        for member in self.members:
            member.wait_ended(max(0.0, deadline - time.monotonic()))


def _send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.AccessDenied:
        raise PermissionError(f"process {process.pid} belongs to another user") from None


def _stopped(process: psutil.Process) -> list[psutil.Process]:
    """Stop a process and its descendants until nothing new is found, and return these: killed one by one, they fork."""
    with contextlib.suppress(psutil.Error):
        process.suspend()
    members: dict[psutil.Process, None] = {}
    for _ in range(_MOST_LOOKS):
        new = [member for member in _descendants(process) if member not in members]
        if not new:
            break
        members.update(dict.fromkeys(new))
        for member in new:
            with contextlib.suppress(psutil.Error):
                member.suspend()
    return [*members]


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    """Return what a process has started, and what those have, as far as the chain of parents reaches."""
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return found

"""What the benchmarks run in other processes.  It imports little, since every new process has to import it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from piactors import ProcessActor


def kill_myself() -> None:
    """Die in the middle of a call."""
    os.kill(os.getpid(), signal.SIGKILL)


class Plain:
    """Answers, and dies."""

    def pid(self) -> int:
        """Return the pid."""
        return os.getpid()

    def crash(self) -> None:
        """Die."""
        kill_myself()


class Victim(Plain, ProcessActor):
    """The same as an actor."""


class Bomb:
    """Kills the process that unpickles it: for those that only exchange values."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return kill_myself, ()

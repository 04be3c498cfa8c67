"""Leaves processes behind, in the ways that programs do, by accident or on purpose.

- ``child``: a child, which stays one;
- ``cleared child``: a child with an empty environment;
- ``forked``: double-forked, in a session of its own, without descriptors, deaf to all signals;
- ``executed``: the same, as another program;
- ``cleared``: the same, as another program with an empty environment;
- ``stopped``: double-forked, and stopped by SIGSTOP;
- ``chain``: a child of a child of a child, each of which is deaf.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any, NoReturn

from deaf import ignore_all

KINDS = ("child", "cleared child", "forked", "executed", "cleared", "stopped", "chain")


class Daemons:
    """Leaves some behind on request and says their pids."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def leave(self, *kinds: str) -> list[int]:
        """Leave one process of each of these kinds (all, where none is given), and return all pids."""
        pids: list[int] = []
        for kind in kinds or KINDS:
            pids += self._leave(kind)
        return pids

    def _leave(self, kind: str) -> list[int]:
        if kind in ("child", "cleared child"):
            child = subprocess.Popen(["sleep", "1000"], env={} if kind == "cleared child" else None)
            self._kept.append(child)
            return [child.pid]
        if kind == "chain":
            return _chain(3)
        return [_double_fork({"forked": _wait, "executed": _sleep, "cleared": _sleep_bare, "stopped": _stop}[kind])]

    def pid(self) -> int:
        """Return the pid of this process."""
        return os.getpid()

    def ruin(self, way: str) -> None:
        """End this process in one of the ways that there are."""
        {"kill": _kill, "exit": _exit, "segfault": _segfault, "error": _raise, "sys.exit": _sys_exit}[way]()


def _double_fork(then: Callable[[], NoReturn]) -> int:
    read, write = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.setsid()
        pid = os.fork()
        if pid:
            os.write(write, str(pid).encode())
            os._exit(0)
        ignore_all()
        os.chdir("/")
        os.closerange(0, 1024)
        then()
    os.waitpid(middle, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        return int(pipe.read(20))


def _chain(length: int) -> list[int]:
    read, write = os.pipe()
    if os.fork() == 0:
        ignore_all()
        for left in range(length, 0, -1):
            os.write(write, f"{os.getpid()}\n".encode())
            if left > 1 and os.fork():
                break
        os.close(write)
        _wait()
    os.close(write)
    with os.fdopen(read) as pipe:
        return [int(line) for line in pipe.read().split()]


def _wait() -> NoReturn:
    while True:
        signal.pause()


def _sleep() -> NoReturn:
    os.execvp("sleep", ["sleep", "1000"])


def _sleep_bare() -> NoReturn:
    os.execve("/bin/sleep", ["sleep", "1000"], {})


def _stop() -> NoReturn:
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exit() -> None:
    os._exit(3)


def _segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _raise() -> None:
    raise ValueError("as asked for")


def _sys_exit() -> None:
    raise SystemExit(4)

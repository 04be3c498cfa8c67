"""Actors whose code forks, in all the ways in which the fork may come back from it."""

from __future__ import annotations

import asyncio
import atexit
import logging
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from typing import Any

from piactors import ProcessActor


class Forker(ProcessActor):
    """Each method forks, and returns how the fork ended; `how` is what the fork does where it is."""

    def pid(self) -> int:
        return os.getpid()

    def in_call(self, how: str) -> int:
        pid = os.fork()
        return _come_back(how) if pid == 0 else _status(pid)

    def in_tell(self, how: str, path: str) -> None:
        pid = os.fork()
        if pid == 0:
            _come_back(how)
            return
        with open(path, "w") as file:
            file.write(str(_status(pid)))

    def in_thread(self, how: str) -> list[int]:
        """Fork in a thread of one's own, as servers do."""
        found: list[int] = []

        def run() -> None:
            pid = os.fork()
            if pid == 0:
                _come_back(how)
            else:
                found.append(_status(pid))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return found

    async def in_coroutine(self, how: str) -> int:
        pid = os.fork()
        if pid == 0:
            if how == "awaits":
                await asyncio.sleep(0.01)
            return _come_back(how)
        await asyncio.sleep(0)
        return _status(pid)

    def beside_a_loop(self, how: str) -> int:
        """Fork in the thread of calls, where the event loop of an earlier coroutine waits."""
        return self.in_call(how)

    def workers(self) -> list[int]:
        """Fork as multiprocessing does."""
        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(abs, [-1, -2, -3])

    def exit_of_worker(self) -> int | None:
        worker = multiprocessing.get_context("fork").Process(target=sys.exit, args=(5,))
        worker.start()
        worker.join()
        return worker.exitcode

    def folder(self) -> bool:
        """Make a temporary folder, which goes with its owner; tell whether it is there after a fork has ended."""
        self.kept = tempfile.TemporaryDirectory()
        self.in_call("returns")
        return os.path.isdir(self.kept.name)

    def at_exit(self, path: str) -> int:
        """Have something run at the end of the isolate, and in the fork something that is its own."""
        atexit.register(_append, path, "isolate\n")
        pid = os.fork()
        if pid == 0:
            atexit.register(_append, path, "fork\n")
            return 0
        return _status(pid)

    def asks_host(self, future: Any) -> str:
        """Return what a fork is told that would set a future of the host."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                future.set("of the fork")
            except BaseException as error:
                os.write(write, f"{type(error).__name__}: {error}".encode())
            os._exit(0)
        os.close(write)
        _status(pid)
        return os.read(read, 4096).decode()

    def logs(self) -> int:
        pid = os.fork()
        if pid == 0:
            logging.getLogger("of.a.fork").warning("the fork says %s", "hello")
            os._exit(0)
        return _status(pid)

    def open_channels(self) -> tuple[int, int]:
        """Return how many descriptors of its channels the isolate has, and a fork of it."""
        found = _channels()
        pid = os.fork()
        if pid == 0:
            os._exit(_channels())
        return found, _status(pid)

    def on_receive(self, message: Any) -> None:
        self.in_tell(*message)


class ForksInStart(ProcessActor):
    """Forks while it starts."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.status = None
        pid = os.fork()
        if pid == 0:
            _come_back(how)
        else:
            self.status = _status(pid)


class ForksInStop(ProcessActor):
    """Forks while it stops."""

    def __init__(self, how: str, path: str) -> None:
        super().__init__()
        self.how, self.path = how, path

    def on_stop(self) -> None:
        pid = os.fork()
        if pid == 0:
            _come_back(self.how)
        else:
            _append(self.path, f"{_status(pid)}\n")


def _come_back(how: str) -> int:
    if how == "raises":
        raise RuntimeError("of the fork")
    if how == "exits":
        sys.exit(7)
    if how == "exits with a text":
        sys.exit("the fork is done")
    if how == "interrupts":
        raise KeyboardInterrupt
    if how == "exits hard":
        os._exit(9)
    if how == "takes its time":
        time.sleep(0.2)
    return -1


def _status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _append(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)


def _channels() -> int:
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    outputs = {os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)}
    return sum(link.startswith(("socket:", "pipe:")) for link in links if link not in outputs)

"""Actors that hang, hold the GIL, start slowly or stop slowly, and write down what they do."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import piactors
from piactors import ProcessActor


def hang_by_name() -> None:
    """Run for ever in Python."""
    while True:
        pass


class Policed(ProcessActor):
    """Writes a line for each start, call and stop into `log`; what else it does is up to `folder`'s files.

    In `folder`: with a file ``fail`` its start raises, with ``hang`` it never ends, with ``slow`` its stop takes as
    many seconds as that says.
    """

    def __init__(self, log: str = os.devnull, folder: str = "/nonexistent") -> None:
        super().__init__()
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._folder = Path(folder)
        self._kept: list[bytes] = []

    def on_start(self) -> None:
        if (self._folder / "fail").exists():
            raise ValueError("its start fails")
        while (self._folder / "hang").exists():
            time.sleep(0.005)
        self._note("start", os.getpid())

    def on_stop(self) -> None:
        self._note("stop", os.getpid())
        slow = self._folder / "slow"
        if slow.exists():
            time.sleep(float(slow.read_text()))
        self._note("stopped", os.getpid())

    def _note(self, *words: object) -> None:
        os.write(self._log, (" ".join(str(word) for word in words) + "\n").encode())

    def work(self, number: Any) -> Any:
        self._note(number)
        return number

    def in_order(self, sender: int, number: int) -> float:
        """Return when it ran, by a clock that all processes share."""
        self._note(sender, number)
        return time.monotonic()

    def on_receive(self, message: Any) -> Any:
        return self.work(message)

    def echo(self, value: Any) -> Any:
        return value

    def pid(self) -> int:
        return os.getpid()

    def data(self, key: str) -> Any:
        import pihost_data  # type: ignore[import-not-found]

        return pihost_data.data.get(key)

    # What hangs, or takes its time

    def spin(self) -> None:
        while True:
            pass

    def nap(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def nap_beside(self, data: bytes, seconds: float) -> int:
        time.sleep(seconds)
        return len(data)

    def nap_for(self, number: int, seconds: float) -> int:
        self._note(number)
        time.sleep(seconds)
        return number

    def nap_in_c(self, seconds: float) -> str:
        """Sleep with the GIL held; a signal ends such a sleep, so it is begun again."""
        usleep = ctypes.PyDLL(None).usleep
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            usleep(int(left * 1e6) + 1)
        return "rested"

    def sleep_in_c(self) -> None:
        libc = ctypes.PyDLL(None)
        while True:
            libc.sleep(3600)

    def pause_in_c(self) -> None:
        libc = ctypes.PyDLL(None)
        while True:
            libc.pause()

    def sum_in_c(self) -> int:
        return sum(range(10**15))

    def power_in_c(self) -> object:
        return 3 ** (10**9)

    def stop_me_here(self) -> None:
        os.kill(os.getpid(), 19)

    def hold(self, begun: str, until: str) -> str:
        Path(begun).touch()
        while not os.path.exists(until):
            time.sleep(0.002)
        return "held"

    def hold_the_gil_soon(self, seconds: float) -> None:
        """Return, and have a thread keep the GIL in C for good after that."""
        threading.Timer(seconds, self.sleep_in_c).start()

    def read_no_more(self) -> None:
        """Answer this call, and begin no other one, while the control thread lives on."""
        stream = sys.modules["_pihost.wire.streams"].FrameStream
        receive = stream._receive
        stream._receive = lambda self: receive(self) if self._takes_fds else time.sleep(600)

    # What ends it, or makes it grow

    def crash(self) -> None:
        os._exit(3)

    def stop_yourself(self) -> str:
        self.stop()
        return "stopping"

    def grow(self, size: int) -> int:
        self._kept.append(b"x" * size)
        return os.getpid()

    # What its author has said of the calls

    @piactors.call_options(call_timeout=0.15)
    def nap_marked(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @piactors.call_options(call_timeout=float("inf"))
    def nap_at_leisure(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @piactors.call_options(call_timeout=0.3, retries=1)
    def hang_once(self, flag: str) -> str:
        if not os.path.exists(flag):
            Path(flag).touch()
            time.sleep(600)
        return "survived"

    @piactors.call_options(call_timeout=0.2, retries=2)
    def hang_always(self, number: int) -> None:
        self._note(number)
        time.sleep(600)

    @piactors.call_options(call_timeout=5)
    @piactors.idempotent(retries=2)
    def marked_twice(self, flag: str) -> str:
        if not os.path.exists(flag):
            Path(flag).touch()
            os._exit(1)
        return "survived"

    def ask_myself(self, number: int) -> Any:
        """Return a future of a call that it makes to itself."""
        return self.actor_ref.proxy().echo(number)


class SelfCaller(Policed):
    """Sends itself a message while it starts."""

    def on_start(self) -> None:
        super().on_start()
        self.actor_ref.proxy().work.defer(-1)


class StopsTwice(Policed):
    """Asks for its own stop once more while it stops."""

    def on_stop(self) -> None:
        self.stop()
        super().on_stop()


class SlowStarter(Policed):
    """Takes as long to start as the file ``start`` in its folder says, and as much memory as ``grow`` says."""

    def on_start(self) -> None:
        for name, act in (("start", lambda text: time.sleep(float(text))), ("grow", lambda text: self.grow(int(text)))):
            if (self._folder / name).exists():
                act((self._folder / name).read_text())
        super().on_start()

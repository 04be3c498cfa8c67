"""Uses up what a machine has, on request: memory, tasks, CPU time, files.  For isolates of any Python from 3.8 on."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import signal
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

MIB = 1 << 20


def _bytearray(size: int) -> Any:
    return bytearray(size)


def _numpy(size: int) -> Any:
    import numpy

    return numpy.ones(size, dtype=numpy.uint8)


def _mmap(size: int, flags: int = mmap.MAP_PRIVATE) -> Any:
    area = mmap.mmap(-1, size, flags | mmap.MAP_ANONYMOUS)
    for start in range(0, size, MIB):
        area[start : start + MIB] = b"x" * min(MIB, size - start)
    return area


def _shared_mmap(size: int) -> Any:
    return _mmap(size, mmap.MAP_SHARED)


MAKERS: dict[str, Callable[[int], Any]] = {
    "bytearray": _bytearray,
    "numpy": _numpy,
    "mmap": _mmap,
    "shared mmap": _shared_mmap,
}


class Hog:
    """Keeps what it takes until it is told to let go of it."""

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._pids: list[int] = []

    def pid(self) -> int:
        """Return the pid of this process."""
        return os.getpid()

    # Memory

    def take(self, kind: str, mib: int, rate: float | None = None) -> int:
        """Take memory, a MiB at a time, at most `rate` MiB per second; return how much."""
        _take(self._kept, kind, mib, rate)
        return mib

    def take_at_once(self, kind: str, mib: int) -> int:
        """Take memory in one piece."""
        self._kept.append(MAKERS[kind](mib * MIB))
        return mib

    def take_and_tell(self, limit: int, rate: float, path: str) -> None:
        """Take memory at `rate` MiB per second, and write down when this process must have crossed `limit` bytes."""
        used = _anonymous()
        began, told = time.monotonic(), False
        while used < 3 * limit:
            self._kept.append(bytearray(MIB))
            used += MIB
            if used > limit and not told:
                _write_time(path)
                told = True
            _wait_for(began + len(self._kept) / rate)

    def take_around(self, size: int, by: int, seconds: float) -> None:
        """Hold a bit more and a bit less than `size` in turn."""
        self._kept.append(bytearray(size - _anonymous() + by))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.burn_cpu_time(0.06)
            self._kept.append(_mmap(2 * by))
            self.burn_cpu_time(0.06)
            self._kept.pop().close()

    def take_in_grandchild(self, mib: int, rate: float, orphaned: bool) -> int:
        """Have a child of a child take memory; return its pid.  With `orphaned`, the child in between ends."""
        read, write = os.pipe()
        middle = os.fork()
        if middle == 0:
            pid = os.fork()
            if pid == 0:
                kept: list[Any] = []
                os.write(write, b"%d" % os.getpid())
                _take(kept, "bytearray", mib, rate)
                sleep_for_ever()
            if not orphaned:
                os.waitpid(pid, 0)
                sleep_for_ever()
            os._exit(0)
        self._pids.append(middle)
        pid = int(os.read(read, 20))
        os.close(read)
        os.close(write)
        return pid

    def release(self) -> None:
        """Let go of all memory that was taken."""
        self._kept.clear()

    # Tasks

    def fork_bomb(self, most: int) -> tuple[int, str | None]:
        """Fork until that is refused, or `most` times; return how often it worked, and the error."""
        error = None
        for _ in range(most):
            try:
                pid = os.fork()
            except OSError as refusal:
                error = errno.errorcode[refusal.errno or 0]
                break
            if pid == 0:
                sleep_for_ever()
            self._pids.append(pid)
        return len(self._pids), error

    def thread_bomb(self, most: int) -> tuple[int, str | None]:
        """Start threads until that is refused, or `most` of them; return how often it worked, and the error."""
        over, error, threads = threading.Event(), None, []
        for _ in range(most):
            thread = threading.Thread(target=over.wait, daemon=True)
            try:
                thread.start()
            except RuntimeError as refusal:
                error = type(refusal).__name__
                break
            threads.append(thread)
        if error is not None:
            over.set()
            for thread in threads:
                thread.join()
        return len(threads), error

    def kill_children(self) -> int:
        """End the children that were forked; return how many."""
        pids, self._pids = self._pids, []
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return len(pids)

    def end_by_signal(self) -> None:
        """End this process by a signal."""
        os.kill(os.getpid(), signal.SIGKILL)

    def sleep(self) -> None:
        """Do nothing, for ever."""
        sleep_for_ever()

    # CPU time

    def burn(self, kind: str, seconds: float, path: str = "") -> list[int]:
        """Use as much CPU time as there is, for some seconds of the clock; say by a file that it has begun."""
        if path:
            _write_time(path)
        return BURNERS[kind](time.monotonic() + seconds)

    def burn_cpu_time(self, seconds: float) -> float:
        """Use `seconds` of CPU time; return how many seconds of the clock that took."""
        began, end = time.monotonic(), time.process_time() + seconds
        while time.process_time() < end:
            pass
        return time.monotonic() - began

    def burn_in_child(self, seconds: float) -> tuple[int, int]:
        """Have a child use CPU time; return its pid and what it ended with."""
        pid = os.fork()
        if pid == 0:
            self.burn_cpu_time(seconds)
            os._exit(0)
        return os.waitpid(pid, 0)

    def stopped_child(self) -> int:
        """Return the pid of a child that has stopped itself, as a user might stop it."""
        pid = os.fork()
        if pid == 0:
            while True:
                os.kill(os.getpid(), signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        self._pids.append(pid)
        return pid

    # What a single process is held to

    def with_a_thread_and_a_child(self) -> tuple[int, int]:
        """Start both; return the thread's id and the child's pid."""
        over, started = threading.Event(), threading.Event()
        ids: list[int] = []

        def run() -> None:
            ids.append(threading.get_native_id())
            started.set()
            over.wait()

        threading.Thread(target=run, daemon=True).start()
        started.wait()
        return ids[0], self.sleeping_child()

    def sleeping_child(self) -> int:
        """Fork a child that does nothing; return its pid."""
        pid = os.fork()
        if pid == 0:
            sleep_for_ever()
        self._pids.append(pid)
        return pid

    def open_files(self, most: int) -> int:
        """Open as many files; return how many, once all of them are closed again."""
        found: list[int] = []
        try:
            for _ in range(most):
                found.append(os.open(os.devnull, os.O_RDONLY))
        finally:
            for fd in found:
                os.close(fd)
        return len(found)

    def write_file(self, path: str, size: int) -> int:
        """Write a file of that size."""
        with open(path, "wb", buffering=0) as file:
            while file.tell() < size:
                file.write(b"x" * min(1 << 16, size - file.tell()))
        return size

    def rlimit(self, name: str) -> tuple[int, int]:
        """Return a limit of this process."""
        import resource

        return resource.getrlimit(getattr(resource, name))


def sleep_for_ever() -> NoReturn:
    """Do nothing."""
    while True:
        time.sleep(1000)


def _take(kept: list[Any], kind: str, mib: int, rate: float | None) -> None:
    began = time.monotonic()
    for count in range(mib):
        kept.append(MAKERS[kind](MIB))
        if rate is not None:
            _wait_for(began + (count + 1) / rate)


def _wait_for(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _anonymous() -> int:
    """Return the bytes of this process that are not of a file; as the monitor counts them, or more."""
    with open("/proc/self/smaps_rollup") as file:
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file if line.endswith("kB\n")}
    return sizes.get("Pss_Anon", sizes.get("Pss", 0))


def _write_time(path: str) -> None:
    """Write down what the clock shows that all processes share, in one piece."""
    with open(path + ".part", "wb") as file:
        file.write(struct.pack("d", time.monotonic()))
    os.rename(path + ".part", path)


def _spin(until: float) -> list[int]:
    while time.monotonic() < until:
        pass
    return []


def _spin_threads(until: float) -> list[int]:
    data = b"x" * (1 << 16)

    def hash_on() -> None:  # hashlib releases the GIL for as much
        while time.monotonic() < until:
            hashlib.sha256(data).digest()

    threads = [threading.Thread(target=hash_on, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return []


def _spin_children(until: float) -> list[int]:
    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                _spin(until)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    return pids


BURNERS: dict[str, Callable[[float], list[int]]] = {
    "one thread": _spin,
    "four threads": _spin_threads,
    "three children": _spin_children,
}

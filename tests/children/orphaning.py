"""Code that starts processes: children that it waits for late, and some that others leave behind."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from piactors import ProcessActor

ORPHANS = "true & (sleep 0.05 & exit 0) & exit 0"


class Parent(ProcessActor):
    """Starts processes."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[Any] = []

    def pid(self) -> int:
        return os.getpid()

    def leave_orphans(self, script: str = ORPHANS) -> None:
        subprocess.run(script, shell=True, check=True, start_new_session=False)

    def keep_shell(self) -> None:
        """Start a shell that leaves orphans as long as it lives, and never ends by itself."""
        self.left.append(subprocess.Popen("while :; do (true & exit 0); sleep 0.02; done", shell=True))

    def end_shell(self) -> int:
        shell = self.left.pop()
        shell.kill()
        return int(shell.wait())

    def begin(self, code: int) -> None:
        """Start children in every way that Python has, each of which ends with `code` at once."""
        command = [sys.executable, "-S", "-c", f"import os; os._exit({code})"]
        self.left += [
            _Popen(subprocess.Popen(command)),
            _Popen(subprocess.Popen(command, close_fds=False)),
            _Popen(subprocess.Popen(command, preexec_fn=int)),
            _Pid(os.posix_spawn(command[0], command, os.environ)),
            _Pid(os.posix_spawnp(command[0], command, os.environ)),
            _Pid(os.spawnv(os.P_NOWAIT, command[0], command)),
            _Pid(_fork(code)),
            _Pid(*_forkpty(code)),
            _Worker("fork", code),
            _Worker("spawn", code),
            _Worker("forkserver", code),
        ]

    def begin_in_thread(self, code: int) -> None:
        thread = threading.Thread(target=self.begin, args=(code,))
        thread.start()
        thread.join()

    def codes(self) -> list[int]:
        """Wait for what was begun, late, and return how it ended."""
        return [begun.code() for begun in self.left]

    def run_in_threads(self, threads: int, times: int) -> list[int]:
        """Run programs from many threads, while the main thread leaves orphans; return codes that are wrong."""
        wrong: list[int] = []

        def run(code: int) -> None:
            for _ in range(times):
                found = subprocess.run(f"exit {code}", shell=True).returncode
                if found != code:
                    wrong.append(found)

        workers = [threading.Thread(target=run, args=(number + 1,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            self.leave_orphans()
        return wrong

    def run_below_python(self, times: int) -> list[int]:
        """Run programs as a C library does, of which Python knows nothing; return the codes that are wrong."""
        system = ctypes.CDLL(None).system
        found = []
        for _ in range(times):
            self.leave_orphans()
            found.append(system(b"(true & exit 0); exit 5"))
        return [status for status in found if status != 5 << 8]

    def wait_below_python(self) -> int:
        """Start a program below Python in a thread that lives on, and wait for it late, beside orphans."""
        found: list[int] = []
        libc = ctypes.CDLL(None)
        begun, go_on = threading.Event(), threading.Event()

        def run() -> None:
            pid, words = ctypes.c_int(), [b"sh", b"-c", b"exit 6", None]
            assert libc.posix_spawnp(ctypes.byref(pid), words[0], None, None, (ctypes.c_char_p * 4)(*words), None) == 0
            begun.set()
            go_on.wait()
            found.append(os.waitstatus_to_exitcode(os.waitpid(pid.value, 0)[1]))

        thread = threading.Thread(target=run)
        thread.start()
        begun.wait()
        for _ in range(20):
            self.leave_orphans()
        time.sleep(0.1)  # several looks long
        go_on.set()
        thread.join()
        return found[0]

    async def run_with_asyncio(self, times: int) -> list[int]:
        async def run() -> int:
            process = await asyncio.create_subprocess_shell("true & exit 4")
            return await process.wait()

        return list(await asyncio.gather(*(run() for _ in range(times))))

    def wait_for_any(self) -> list[int]:
        """Wait for children as an init process does, beside orphans; return the codes of the own ones."""
        pids = [_fork(code) for code in (1, 2, 3)]
        self.leave_orphans()
        found = {}
        while not set(pids) <= set(found):
            pid, status = os.wait()
            found[pid] = os.waitstatus_to_exitcode(status)
        return [found[pid] for pid in pids]

    def ignore_sigchld(self) -> set[int]:
        """Let the kernel reap all, as some programs do."""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            self.leave_orphans("true & sleep 0.01 &")
            deadline = time.monotonic() + 10
            while psutil.Process().children() and time.monotonic() < deadline:
                time.sleep(0.002)
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return zombies(os.getpid())


class _Popen:
    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen

    def code(self) -> int:
        return self._popen.wait()


class _Pid:
    def __init__(self, pid: int, terminal: int = -1) -> None:
        self._pid = pid
        self._terminal = terminal

    def code(self) -> int:
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        if self._terminal >= 0:
            os.close(self._terminal)  # not before: the end of a terminal ends who has it
        return code


class _Worker:
    def __init__(self, method: str, code: int) -> None:
        self._process: Any = multiprocessing.get_context(method).Process(target=os._exit, args=(code,))  # type: ignore[attr-defined]
        self._process.start()

    def code(self) -> int:
        self._process.join()
        return int(self._process.exitcode)


def _fork(code: int) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    return pid


def _forkpty(code: int) -> tuple[int, int]:
    pid, fd = os.forkpty()
    if pid == 0:
        os._exit(code)
    return pid, fd


def zombies(pid: int) -> set[int]:
    """Return the children of a process that have ended and that it has not waited for."""
    return {int(child) for child in _children(pid) if _state(int(child)) == "Z"}


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""

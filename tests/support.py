"""Helpers that tests share: waiting without an event, processes, and host programs of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

T = TypeVar("T")

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1


def wait_until(predicate: Callable[[], T], timeout: float = 10.0) -> T:
    """Return what `predicate` returns once that is true.  Only for what has no event that one could wait for.

    Raises:
        AssertionError: where it is still false after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        found = predicate()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} seconds: {getattr(predicate, '__qualname__', predicate)}")
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of so many bytes, such as "512k", in a folder; skips the test if none can be mounted."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def in_shared_memory() -> set[str]:
    """Return the paths of what has a name in shared memory, whoever has made it."""
    return {entry.path for entry in os.scandir("/dev/shm")} if os.path.isdir("/dev/shm") else set()


def left_in_shared_memory(before: set[str]) -> set[str]:
    """Return what has come into shared memory and was left there: other programs have theirs, and hold it."""
    found = {path for path in in_shared_memory() - before if _is_mine(path)}
    return {path for path in found if not _is_held(path)} if found else set()


def _is_mine(path: str) -> bool:
    try:
        return os.stat(path).st_uid == os.geteuid()
    except FileNotFoundError:
        return False  # it has gone meanwhile


def _is_held(path: str) -> bool:
    """Whether a process that was not started here has it mapped or open."""
    own = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    others = (Path(f"/proc/{pid}") for pid in psutil.pids() if pid not in own)
    return any(path in _maps(other) or path in _open_files(other) for other in others)


def _maps(process: Path) -> str:
    try:
        return (process / "maps").read_text(errors="replace")
    except OSError:
        return ""


def _open_files(process: Path) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for fd in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(os.readlink(fd))
    return found


def pid_gone(pid: int) -> bool:
    """Whether the process `pid` has ended; one that only waits for its parent to notice has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(b")")[2].split()[0] in (b"Z", b"X", b"x")


class HostScripts:
    """Starts Python programs as host processes of their own, and ends those that are left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def __call__(self, code: str, *, args: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
        """Start a program with `args`; its three standard streams are pipes of text.

        Args:
            code: the program; common indentation is taken off.
            args: its command line.
            options: for `subprocess.Popen`, over what is set here.
        """
        path = self._folder / f"host_script_{len(self._started) + 1}.py"
        path.write_text(textwrap.dedent(code), encoding="utf-8")
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        settings: dict[str, Any] = {"cwd": self._folder, "text": True, **pipes, **options}
        process: subprocess.Popen[str] = subprocess.Popen([sys.executable, str(path), *args], **settings)
        self._started.append(process)
        return process

    def close(self) -> None:
        """Kill the programs that still run, and close their streams."""
        for process in self._started:
            process.kill()  # does nothing to one that has been waited for
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):  # what was written last and never read
                        stream.close()

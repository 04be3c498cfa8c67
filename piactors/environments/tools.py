"""Runs what builds environments: uv, pip, an interpreter.  They end with this process, and when nobody wants them."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import attrs

from piactors._platform import own_python, taken_away
from piactors.environments import guard
from piactors.environments.cancelling import CancelFlag

_LAST = 20
"""Lines of a tool that an error has."""
_AT_ONCE = 1 << 16
_LONGEST = 4096


@attrs.frozen
class ToolEnd:
    """A tool has ended: its exit code, and the last lines that it has written."""

    code: int
    lines: tuple[str, ...]


class ToolRunner(Protocol):
    """Runs tools for one build."""

    def run(self, command: Sequence[str], env: Mapping[str, str]) -> ToolEnd:
        """Run a tool to its end; see `Tools.run`."""


@attrs.frozen(kw_only=True)
class Tools:
    """Runs tools for one build, as processes of their own.

    Attributes:
        stop: ends them.
        keeps: descriptors that they get: locks that last as long as they run.
        heard: called with each line that they write.
    """

    stop: CancelFlag
    keeps: Sequence[int] = ()
    heard: Callable[[str], object] = lambda line: None

    def run(self, command: Sequence[str], env: Mapping[str, str]) -> ToolEnd:
        """Run a tool to its end.

        Args:
            command: an absolute path, and arguments.
            env: its environment.

        Raises:
            Cancelled: if `stop` says so; the tool, and what it has started, have ended then.
            OSError: if it cannot be started.
        """
        self.stop.check()
        process = subprocess.Popen(
            [*_guarded(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            pass_fds=tuple(self.keeps),
            start_new_session=True,
        )
        assert process.stdout is not None
        with process.stdout:
            try:
                return ToolEnd(*self._followed(process, process.stdout.fileno()))
            except BaseException:
                _kill(process)
                raise

    def _followed(self, process: subprocess.Popen[bytes], fd: int) -> tuple[int, tuple[str, ...]]:
        """Pass on what it writes, until it ends."""
        last: collections.deque[str] = collections.deque(maxlen=_LAST)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self.stop.fileno(), select.POLLIN)
        rest = b""
        while True:
            ready = poll.poll()
            self.stop.check()
            if all(one != fd for one, _ in ready):
                continue
            data = os.read(fd, _AT_ONCE)
            rest = self._lines(rest + (data or b"\n"), last)
            if not data:
                return process.wait(), tuple(last)

    def _lines(self, data: bytes, last: collections.deque[str]) -> bytes:
        """Pass on the lines that are whole, and return the rest."""
        *lines, rest = data.replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            text = line[:_LONGEST].decode("utf-8", "replace").rstrip()
            if text:
                last.append(text)
                self.heard(text)
        return rest[-_LONGEST:]


def _guarded() -> list[str]:
    """Return what a command begins with so that it ends with this process."""
    setpriv = None if taken_away("setpriv") else _setpriv()
    if setpriv is not None:
        return [setpriv, "--pdeathsig", "KILL", "--"]
    python = own_python.find()
    if python is None or not os.path.isfile(guard.__file__):  # a frozen program has neither
        return []
    return [python, "-I", "-S", "-B", guard.__file__, str(os.getpid())]


@functools.cache
def _setpriv() -> str | None:
    """Return the path of util-linux's setpriv if it can do that: it takes a tenth of the time of an interpreter."""
    found = shutil.which("setpriv")
    if found is None:
        return None
    tried = subprocess.run([found, "--pdeathsig", "KILL", "--", "true"], capture_output=True, check=False)
    return found if tried.returncode == 0 else None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a tool and all of its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(*without: str) -> dict[str, str]:
    """Return the environment for a tool: that of this process, but what would change what it makes.

    Args:
        without: names to leave out besides, which may end in "*".
    """
    left_out = ("PYTHON*", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__", *without)
    return {
        name: value
        for name, value in os.environ.items()
        if not any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in left_out)
    }


def python_command(path: str) -> list[str]:
    """Return how an interpreter is run as a tool: nothing of this program's surroundings gets in."""
    return [path, "-I", "-B"]

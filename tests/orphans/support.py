"""Hosts as programs of their own, and processes watched through pidfds, so that nothing is mistaken or missed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from piactors._platform.limits import launcher_cgroup

CHILDREN = Path(__file__).resolve().parent.parent / "children"
WITHIN = 1.0
"""Seconds within which everything has to be gone."""
PATIENCE = 25.0
"""Seconds that a test waits for what should come soon."""

time_limit = pytest.mark.timeout(60, method="signal")
"""The limit of one test.  By a signal: then what the test has recorded is still cleaned up."""


def together(conditions: dict[str, str]) -> list[Any]:
    """Return what a test is parametrized with for which one host has isolates in all of these conditions at once.

    In a long run there is a host for each of them as well.
    """
    alone = [pytest.param((name,), id=name, marks=pytest.mark.soak) for name in conditions]
    return [pytest.param(tuple(conditions), id="all"), *alone]


def script_of(conditions: dict[str, str], chosen: Iterable[str]) -> str:
    """Return the script of a host that brings an isolate, `ref`, into each of the conditions, one after the other.

    Afterwards `refs` has them by condition; `kept` only keeps alive what the passages have made.
    """
    parts = ["refs, kept = {}, []"]
    for name in chosen:
        parts += ["call = None", conditions[name], f"refs[{name!r}] = ref; kept.append(call)"]
    return "\n".join(parts) + "\n"


def groups_can_be_made() -> bool:
    """Whether a launcher gets a control group on this machine."""
    folder = launcher_cgroup.make()
    if folder is not None:
        os.rmdir(folder)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(folder))
    return folder is not None


_PRELUDE = """
import json, os, signal, sys, threading, time
import piactors
from piactors import IsolationOptions
from piactors._host import runtime

GIVEN = json.loads(sys.argv[1])

# A shell that runs the tests in the background has them ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def say(**fields):
    os.write(1, (json.dumps(fields) + "\\n").encode())

def spawn(target, *args, **fields):
    fields = {"output": "inherit", "start_method": GIVEN.get("start_method"), **fields}
    return piactors.spawn(target, *args, options=IsolationOptions(**fields))

def launchers():
    return runtime.current().launcher_pids()

def gone(pidfds):
    import select
    poller = select.poll()
    for fd in pidfds:
        poller.register(fd, select.POLLIN)
    return len(poller.poll(0)) == len(pidfds)

def outcome(call):
    try:
        return "value", call()
    except BaseException as error:
        return type(error).__name__, str(error)

def wait_for(what, seconds=20):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise SystemExit("waited in vain for " + what.__code__.co_name)
        time.sleep(0.002)

def wait_for_go():
    os.read(0, 1)

def sleep_for_ever():
    while True:  # not pause(): a signal just before it would only be noticed at the next one
        time.sleep(0.05)

"""


class Watch:
    """Knows processes by pidfd; kills at the end all that it was told of, and all that carries its mark."""

    def __init__(self) -> None:
        self.mark = f"PIACTORS_WATCHED_{secrets.token_hex(8)}"
        self._pidfds: dict[int, int] = {}
        self._hosts: list[Host] = []

    # Who

    def add(self, *pids: int) -> None:
        """Watch living processes."""
        for pid in pids:
            if pid not in self._pidfds:
                with contextlib.suppress(ProcessLookupError):
                    self._pidfds[pid] = os.pidfd_open(pid)

    def add_tree(self, pid: int) -> set[int]:
        """Watch a process and all its descendants; return the pids of the descendants."""
        with contextlib.suppress(psutil.NoSuchProcess):
            pids = {child.pid for child in psutil.Process(pid).children(recursive=True)}
            self.add(pid, *pids)
            return pids
        return set()

    def host(self, script: str, /, wrap: Sequence[str] = (), env: dict[str, str] | None = None, **given: Any) -> Host:
        """Start a host that runs `script`, with `given` as its GIVEN."""
        host = Host(self, script, wrap, env or {}, given)
        self._hosts.append(host)
        return host

    # Whether they are there

    def living(self, pids: Iterable[int] | None = None) -> set[int]:
        """Return those watched processes that have not ended."""
        chosen = self._pidfds if pids is None else {pid: self._pidfds[pid] for pid in pids if pid in self._pidfds}
        return {pid for pid, fd in chosen.items() if not _readable(fd, 0.0)}

    def await_end(self, pids: Iterable[int], seconds: float) -> set[int]:
        """Wait until these watched processes have ended; return those that have not, within `seconds`."""
        deadline = time.monotonic() + seconds
        return {
            pid
            for pid in pids
            if pid in self._pidfds and not _readable(self._pidfds[pid], max(0.0, deadline - time.monotonic()))
        }

    def assert_all_gone(self, within: float = WITHIN, since: float | None = None, besides: Iterable[int] = ()) -> None:
        """Fail where a process that is watched, or that carries the mark, is there `within` seconds after `since`."""
        since = time.monotonic() if since is None else since
        others = set(besides)
        late = self.await_end(set(self._pidfds) - others, max(0.0, since + within - time.monotonic()))
        assert not late, self._report("watched processes are still there", late)
        marked = [pid for pid in self.marked() if pid not in others]
        while marked and time.monotonic() < since + (WITHIN if all(map(_is_ending, marked)) else within):
            marked = [pid for pid in self.marked() if pid not in others]
        assert not marked, self._report("processes that nobody watched are there", marked)

    def _report(self, what: str, pids: Iterable[int]) -> str:
        lines = [f"{pid}: {describe(pid)}" for pid in pids]
        logs = [host.log() for host in self._hosts]
        return "\n".join([f"{what}:", *lines, *logs])

    def marked(self) -> list[int]:
        """Return the pids of living processes that were started with this watch's mark."""
        needle = self.mark.encode() + b"="
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and needle in _environ(int(entry))]

    # The end

    def close(self) -> None:
        """Kill everything that is left.

        All of it is recorded before the first is killed: what has emptied its environment is found only in the tree.
        """
        for pid in [*(host.pid for host in self._hosts), *self.marked()]:
            self.add_tree(pid)
        for _ in range(500):
            for fd in self._pidfds.values():
                _kill(fd)
            left = self.marked()
            if not left:
                break
            for pid in left:
                self._kill_marked(pid)
        for host in self._hosts:
            host.close()
        for fd in self._pidfds.values():
            os.close(fd)

    def _kill_marked(self, pid: int) -> None:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        if self.mark.encode() in _environ(pid):
            _kill(fd)
        os.close(fd)


class Host:
    """A host program, which says on its standard output, line by line, what it and its isolates do."""

    def __init__(self, watch: Watch, script: str, wrap: Sequence[str], env: dict[str, str], given: Any) -> None:
        self._watch = watch
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the host is known
        self._buffer = b""
        self.said: list[dict[str, Any]] = []
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PIACTORS_")}
        self.process = subprocess.Popen(
            [*wrap, sys.executable, "-c", _PRELUDE + script, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            cwd="/",  # Python puts the folder of a `-c` program before all that it imports from
            env={**environ, "PYTHONPATH": _import_path(), watch.mark: "1", **env},
        )
        self.pid = self.process.pid
        watch.add(self.pid)

    def hear(self, key: str, timeout: float = PATIENCE) -> Any:
        """Return what the next line with `key` says under it."""
        return self.hear_line(key, timeout)[key]

    def hear_line(self, key: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Return the next line with `key`; lines without it are kept for those that ask for them."""
        deadline = time.monotonic() + timeout
        while True:
            for line in self.said:
                if key in line:
                    self.said.remove(line)
                    return line
            self.said.append(self._line(deadline, key))

    def go_on(self) -> None:
        """Let a host that waits with `wait_for_go` go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def _line(self, deadline: float, key: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        while b"\n" not in self._buffer:
            left = max(0.0, deadline - time.monotonic())
            ready = select.select([self.process.stdout], [], [], left)[0]
            assert ready, f"the host does not say {key!r}; it said {self.said}\n{self.log()}"
            data = os.read(self.process.stdout.fileno(), 65_536)
            assert data, f"the host ended and did not say {key!r}; it said {self.said}\n{self.log()}"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def log(self) -> str:
        """Return what was written to standard error."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-6000:]

    def signal(self, number: int) -> float:
        """Send a signal to the host's process alone, and return when."""
        now = time.monotonic()
        self.process.send_signal(number)
        return now

    def exit_code(self, timeout: float = PATIENCE) -> int:
        """Wait for the end of the host and return its code."""
        return self.process.wait(timeout)

    def close(self) -> None:
        """Reap the host, which has been killed."""
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self._log.close()


@contextlib.contextmanager
def watching() -> Iterator[Watch]:
    """A watch for one test."""
    watch = Watch()
    try:
        yield watch
    finally:
        watch.close()


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Watches processes, and leaves none of them behind, whatever becomes of the test."""
    with watching() as one:
        yield one


def _import_path() -> str:
    return os.pathsep.join([str(CHILDREN), *filter(None, [os.environ.get("PYTHONPATH")])])


def wait_until(holds: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Look again and again until something holds that the kernel gives no notice of."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout} s in vain"
        time.sleep(0.001)


def state_of(pid: int) -> str:
    """Return the letter of a process's state in /proc, or an empty text where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def describe(pid: int) -> str:
    """Return what there is to say of a process, for the text of a failure."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return f"{process.status()}, parent {process.ppid()}, {process.name()}: {process.cmdline()[:4]}"
    return "gone by now"


def only_child(pid: int) -> int:
    """Return the pid of the one child that a process has."""
    (child,) = psutil.Process(pid).children()
    return int(child.pid)


def end_by_pidfd(pid: int, number: int = signal.SIGKILL) -> float:
    """Send a signal through a pidfd and return when."""
    fd = os.pidfd_open(pid)
    now = time.monotonic()
    signal.pidfd_send_signal(fd, number)
    os.close(fd)
    return now


def _readable(fd: int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(int(seconds * 1000)))


def _is_ending(pid: int) -> bool:
    """Whether a process was killed and waits for a disk, or has let go of its memory; or has ended meanwhile.

    Both take the kernel a moment; a launcher that was let go of before its host ends may do so after it.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "D" or not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _kill(fd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(fd, signal.SIGKILL)

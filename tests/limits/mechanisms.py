"""What the tests of limits share: mechanisms forced one by one, isolates that use things up, and recorded events."""

from __future__ import annotations

import contextlib
import functools
import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import piactors
from piactors import IsolateRef, IsolationLimits, IsolationOptions, LimitExceeded, events
from piactors.limits import LIMITS, MECHANISMS
from tests.support import wait_until

HOGS = Path(__file__).resolve().parent.parent / "children" / "hogs.py"
MIB = 1 << 20
PATIENCE = 20.0
"""Seconds that a test waits for what should come soon, on a machine that is busy."""
CGROUPS = ("cgroup v2", "cgroup v1")
TREE = (*CGROUPS, "monitor")
"""The mechanisms that count a whole tree."""

_EXAMPLES: dict[str, Any] = {
    "max_memory": "1 GiB",
    "soft_memory": "1 GiB",
    "max_cpu": 1,
    "affinity": tuple(os.sched_getaffinity(0)),
    "max_cpu_time": 1000,
    "max_processes": 1000,
    "max_open_files": 128,
    "max_file_size": "1 GiB",
    "nice": 5,
    "io_class": "best-effort",
}
E_ = TypeVar("E_", bound=events.Event)


@functools.cache
def why_not(mechanism: str, limit: str) -> str | None:
    """Return why a mechanism cannot hold a limit on this machine, in the words of `enforcement`, or None."""
    given = IsolationLimits(**{limit: _EXAMPLES[limit]}, mechanisms=mechanism)
    ref = piactors.spawn(f"{HOGS}:Hog", options=IsolationOptions(limits=given))
    found = ref.enforcement()[limit]
    ref.stop()
    if found.mechanism is None:
        print(found)
        return found.why
    assert found.mechanism == mechanism
    return None


def forced(limit: str, *names: str) -> Any:
    """Return a fixture that is each of these mechanisms in turn, as far as this machine has it for a limit."""
    assert limit in LIMITS
    assert set(names) <= set(MECHANISMS)

    @pytest.fixture(params=names)
    def mechanism(request: pytest.FixtureRequest) -> str:
        name: str = request.param
        reason = why_not(name, limit)
        if reason is not None:
            pytest.skip(f"no {limit} by {name}: {reason}")
        return name

    return mechanism


# Isolates


def limited(mechanism: str | None = None, /, *, options: dict[str, Any] | None = None, **limits: Any) -> IsolateRef:
    """Start a `Hog` with these limits, held by one mechanism only where that is given."""
    given = IsolationLimits(mechanisms=mechanism, strict=True, **limits)
    return piactors.spawn(f"{HOGS}:Hog", options=IsolationOptions(limits=given, **(options or {})))


def exceeded(future: Any, timeout: float = PATIENCE) -> LimitExceeded:
    """Return the LimitExceeded that a call ends with."""
    error = future.exception(timeout=timeout)
    assert isinstance(error, LimitExceeded), repr(error)
    return error


def pid_of(ref: IsolateRef) -> int:
    """Return the pid of an isolate that runs."""
    assert ref.pid is not None, f"isolate {ref.name} does not run"
    return ref.pid


class Sibling:
    """An isolate that is asked again and again, on a thread, while something happens to another one."""

    def __init__(self, ref: IsolateRef) -> None:
        self._ref = ref
        self._over = threading.Event()
        self.answers = 0
        self.errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._ask, name="test-sibling")
        self._thread.start()

    def _ask(self) -> None:
        proxy = self._ref.proxy()
        try:
            while not self._over.is_set():
                assert proxy.pid().get(timeout=PATIENCE) == self._ref.pid
                self.answers += 1
        except BaseException as error:
            self.errors.append(error)

    def end(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join()


@contextlib.contextmanager
def unharmed_sibling() -> Iterator[None]:
    """Fail where an isolate without limits does not answer throughout, or is not the same at the end."""
    ref = piactors.spawn(f"{HOGS}:Hog")
    pid, sibling = ref.pid, Sibling(ref)
    try:
        yield
        before = sibling.answers
        wait_until(lambda: sibling.answers > before or sibling.errors)
    finally:
        sibling.end()
    assert not sibling.errors, f"isolate {ref.name} does not answer: {sibling.errors!r}"
    assert (ref.pid, ref.generation) == (pid, 1), f"isolate {ref.name} is not the same any more"
    ref.stop()


# Events


class Record:
    """The events of all isolates since the test began, in their order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._all: list[events.Event] = []
        self.close = events.subscribe(self._add)

    def _add(self, event: events.Event) -> None:
        with self._changed:
            self._all.append(event)
            self._changed.notify_all()

    def of(self, cls: type[E_], ref: IsolateRef) -> list[E_]:
        """Return the events of one class and isolate so far."""
        with self._changed:
            return [event for event in self._all if isinstance(event, cls) and event.name == ref.name]

    def wait(self, cls: type[E_], ref: IsolateRef, count: int = 1, timeout: float = PATIENCE) -> list[E_]:
        """Wait until there are `count` such events, and return them all."""
        with self._changed:
            found = self._changed.wait_for(lambda: len(self._of(cls, ref)) >= count, timeout)
            assert found, f"no {count} {cls.__name__} of {ref.name} within {timeout} s: {self._all}"
            return self._of(cls, ref)

    def _of(self, cls: type[E_], ref: IsolateRef) -> list[E_]:
        return [event for event in self._all if isinstance(event, cls) and event.name == ref.name]

    def only_breach(self, ref: IsolateRef) -> events.LimitBreached:
        """Wait for the end of a generation and return the one breach that was told of until then."""
        self.wait(events.IsolateExited, ref)
        (breach,) = self.of(events.LimitBreached, ref)
        return breach


@pytest.fixture
def record() -> Iterator[Record]:
    """Events, from before the test's first isolate starts."""
    found = Record()
    yield found
    found.close()


def written_time(path: Path) -> float:
    """Wait for a file into which an isolate writes the time, and return that."""
    wait_until(path.exists, PATIENCE)
    return float(struct.unpack("d", path.read_bytes())[0])


# Control groups


def group_folders(pid: int) -> dict[str, Path]:
    """Return the folders of the groups of a process, by controller; "" is that of version 2."""
    mounts: dict[str, str] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            names = [""] if kind == "cgroup2" else options.split(",")
            mounts.update({name.removeprefix("name="): left.split()[4] for name in names})
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names_of_line, path = line.split(":", 2)
        for name in names_of_line.split(","):
            name = name.removeprefix("name=")
            if name in mounts:
                found[name] = Path(mounts[name] + path)
    return found


def folder_of(pid: int, mechanism: str, controller: str) -> Path:
    """Return the folder of the group that a process is in for a controller."""
    return group_folders(pid)["" if mechanism == "cgroup v2" else controller]


class PeakReader:
    """Reads the most memory that a group has had, again and again until the group is gone."""

    def __init__(self, pid: int, mechanism: str) -> None:
        name = "memory.peak" if mechanism == "cgroup v2" else "memory.max_usage_in_bytes"
        self._path = folder_of(pid, mechanism, "memory") / name
        self.peak = 0
        self._over = False
        self._read()
        self._thread = threading.Thread(target=self._run, name="test-peak")
        self._thread.start()

    def _read(self) -> None:
        self.peak = max(self.peak, int(self._path.read_text()))

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # the group is gone
            while not self._over:
                self._read()
                time.sleep(0.001)

    def end(self) -> int:
        """Return the most that was seen."""
        self._over = True
        self._thread.join()
        return self.peak

"""Lives of isolates, each a short script that says what happens; what a program sees of it is recorded.

Only public names are used here, so that the same scripts run against any state of the package.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest

import piactors
from piactors import Backoff, ChildSpec, ProcessActor, Recycle, Supervisor, events
from tests.support import wait_until

SECONDS = 30.0
_LAST = "the last one"
"""The name of an isolate whose end is told after everything else."""
_LEFT_OUT = {"name", "pid", "time", "new_pid", "stack", "stderr_tail", "usage", "detail", "within"}
"""What differs from run to run, or is text."""


class Worker(ProcessActor):
    """Does what it is told to, so that a script can make anything happen."""

    def __init__(self, folder: str | None = None) -> None:
        super().__init__()
        self.folder = folder

    def on_start(self) -> None:
        """Fail as often as a file says."""
        if self.folder is not None and (left := len(list(Path(self.folder).iterdir()))) > 0:
            (Path(self.folder) / str(left)).unlink()
            raise RuntimeError("not yet")

    def echo(self, value: object) -> object:
        """Return the value."""
        return value

    def nap(self, seconds: float) -> str:
        """Take a while."""
        time.sleep(seconds)
        return "slept"

    def die(self, code: int = 3) -> None:
        """End without a word."""
        os._exit(code)

    def leave(self) -> str:
        """Stop itself, as pykka's actors do."""
        self.stop()
        return "left"

    def fail(self) -> None:
        """Raise what its caller gets."""
        raise ValueError("as asked")


class Record:
    """What a program sees: the events of all isolates in their order, and what its own steps have come to."""

    def __init__(self) -> None:
        self.events: list[list[Any]] = []
        self.outcomes: list[Any] = []
        self._names: list[str] = []
        self._has_heard_last = False
        self._changed = threading.Condition()

    def hear(self, event: events.Event) -> None:
        """Keep an event, without what differs from run to run."""
        if event.name == _LAST:
            self._has_heard_last = type(event) is events.IsolateExited
            return
        fields = {
            key: _plain(value) for key, value in attrs.asdict(event, recurse=False).items() if key not in _LEFT_OUT
        }
        with self._changed:
            if event.name not in self._names:
                self._names.append(event.name)
            self.events.append([self._names.index(event.name), type(event).__name__, fields])
            self._changed.notify_all()

    def wait(self, name: str, times: int = 1) -> None:
        """Wait until so many events of a kind have come."""
        with self._changed:
            done = self._changed.wait_for(lambda: sum(entry[1] == name for entry in self.events) >= times, SECONDS)
        assert done, f"no {name}: {self.events}"

    def outcome(self, future: Any) -> None:
        """Note what has come of a call."""
        try:
            self.outcomes.append(["value", future.get(timeout=SECONDS)])
        except Exception as error:
            reason = getattr(error, "reason", None)
            self.outcomes.append([type(error).__name__, None if reason is None else reason.kind])

    def note(self, ref: Any) -> None:
        """Note what a ref says of itself."""
        self.outcomes.append(["state", ref.state, ref.generation, ref.is_alive()])

    def end(self, ref: Any) -> None:
        """Note why an isolate has ended for good."""
        reason = ref.wait_for_exit(SECONDS)
        self.outcomes.append(["end", None if reason is None else reason.kind, ref.state, ref.is_alive()])

    def is_complete(self) -> bool:
        """Whether all has been told that has happened, the end of each process that was started included."""
        with self._changed:
            kinds = [kind for _, kind, _ in self.events]
        return self._has_heard_last and kinds.count("IsolateStarted") == kinds.count("IsolateExited")

    def settled(self) -> list[list[Any]]:
        """Return the events of each isolate for itself: how those of two come one after the other is chance."""
        return sorted(self.events, key=lambda entry: entry[0])


def _plain(value: Any) -> Any:
    if isinstance(value, piactors.ExitReason):
        return [value.kind, value.exitcode, value.signal]
    return value


Life = Callable[[Record, pytest.MonkeyPatch, Path], None]


def start_and_stop(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    ref = Worker.start()
    record.outcome(ref.proxy().echo(1))
    record.outcome(ref.proxy().fail())
    record.note(ref)
    record.outcomes.append(ref.stop(timeout=SECONDS))
    record.outcome(ref.proxy().echo(2)) if ref.is_alive() else record.note(ref)
    record.end(ref)


def stops_itself(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    ref = Worker.with_options(restart="transient").start()
    calls = [ref.proxy().nap(0.2), ref.proxy().leave(), ref.proxy().echo(2)]
    for call in calls:
        record.outcome(call)
    record.end(ref)


def stops_itself_and_comes_back(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    ref = Worker.with_options(restart="permanent").start()
    record.outcome(ref.proxy().leave())
    record.wait("IsolateStarted", 2)
    record.outcome(ref.proxy().echo(1))
    ref.stop(timeout=SECONDS)
    record.end(ref)


def crash_without_restart(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    ref = Worker.start()
    first, second = ref.proxy().die(), ref.proxy().echo(1)
    record.outcome(first)
    record.outcome(second)
    record.end(ref)


def crash_and_restart(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    ref = Worker.with_options(restart="permanent").start()
    for call in [ref.proxy().echo(1), ref.proxy().die(), ref.proxy().echo(2), ref.proxy().die(5), ref.proxy().echo(3)]:
        record.outcome(call)
    record.note(ref)
    ref.stop(timeout=SECONDS)
    record.end(ref)


def killed_between_calls(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    ref = Worker.with_options(restart="permanent").start()
    record.outcome(ref.proxy().echo(1))
    assert ref.pid is not None
    os.kill(ref.pid, signal.SIGKILL)
    record.outcome(ref.proxy().echo(2))
    record.wait("IsolateStarted", 2)
    ref.stop(timeout=SECONDS)
    record.end(ref)


def used_up(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    ref = Worker.with_options(restart="permanent", max_restarts=2, within=60.0).start()
    for _ in range(3):
        record.outcome(ref.proxy().die())
    record.end(ref)
    record.wait("RestartsExceeded")


def start_that_fails(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "1").touch()
    try:
        Worker.with_options(restart="permanent").start(str(folder))
    except piactors.StartError as error:
        record.outcomes.append([type(error).__name__, None if error.reason is None else error.reason.kind])
    record.wait("IsolateStartFailed")


def restart_that_fails(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    backoff = Backoff(initial=0.05, factor=1.0, jitter=0.0)
    ref = Worker.with_options(restart="permanent", backoff=backoff, max_restarts=10, within=60.0).start(str(folder))
    for name in ("1", "2"):
        (folder / name).touch()
    record.outcome(ref.proxy().die())
    record.outcome(ref.proxy().echo(1))
    record.note(ref)
    ref.stop(timeout=SECONDS)
    record.end(ref)


def stopped_while_it_waits(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    backoff = Backoff(initial=20.0, factor=1.0, jitter=0.0)
    ref = Worker.with_options(restart="permanent", backoff=backoff).start()
    record.outcome(ref.proxy().die())
    record.wait("IsolateRestarting")
    record.note(ref)
    waiting = ref.proxy().echo(1)
    record.outcomes.append(ref.stop(timeout=SECONDS))
    record.outcome(waiting)
    record.end(ref)


def stopped_behind_what_waits(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    ref = Worker.start()
    calls = [ref.proxy().nap(0.1), *(ref.proxy().echo(number) for number in range(300))]
    ref.stop(timeout=SECONDS)
    record.outcomes.append([call.get(timeout=SECONDS) for call in calls] == ["slept", *range(300)])
    record.end(ref)


def terminated(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    ref = Worker.with_options(restart="permanent").start()
    calls = [ref.proxy().nap(60), ref.proxy().echo(1)]
    wait_until(calls[0].running)
    ref.terminate()
    for call in calls:
        record.outcome(call)
    record.end(ref)


def call_that_takes_too_long(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    ref = Worker.with_options(restart="permanent").start()
    record.outcome(ref.proxy().nap.with_options(call_timeout=0.1)(60))
    record.outcome(ref.proxy().echo(1))
    ref.stop(timeout=SECONDS)
    record.end(ref)


def recycled(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    ref = Worker.with_options(restart="permanent", recycle=Recycle(after_calls=3)).start()
    for number in range(3):
        record.outcome(ref.proxy().echo(number))
    record.wait("IsolateRecycled")
    record.wait("IsolateExited")
    record.outcome(ref.proxy().echo("after"))
    record.note(ref)
    ref.stop(timeout=SECONDS)
    record.end(ref)


def recycled_without_room(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 0})())
    recycled(record, patch, folder)


def standby(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    ref = Worker.with_options(restart="permanent", standby=True).start()
    for _ in range(2):
        record.outcome(ref.proxy().die())
        record.outcome(ref.proxy().echo(1))
    ref.stop(timeout=SECONDS)
    record.end(ref)


class Family(Supervisor):
    """Two children that are restarted together."""

    strategy = "one_for_all"
    max_restarts = 1

    def children(self) -> list[ChildSpec]:
        """See `Supervisor`."""
        return [ChildSpec(name, Worker.with_options(restart="permanent")) for name in ("one", "two")]


class Pair(Family):
    """Two children that do not care for each other."""

    strategy = "one_for_one"


def group_restart(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    tree = Family.start()
    one, two = tree.child("one"), tree.child("two")
    record.outcome(one.proxy().die())
    record.outcome(one.proxy().echo(1))
    record.outcome(two.proxy().echo(2))
    record.note(one)
    record.note(two)
    record.outcomes.append(tree.stop(timeout=SECONDS))
    record.end(one)
    record.end(two)


def group_used_up(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    tree = Pair.start()
    one, two = tree.child("one"), tree.child("two")
    record.outcome(one.proxy().die())
    record.outcome(one.proxy().die())
    record.end(one)
    record.end(two)
    wait_until(lambda: not tree.is_alive())


def child_by_hand(record: Record, patch: pytest.MonkeyPatch, folder: Path) -> None:
    tree = Pair.start()
    one = tree.child("one")
    busy = one.proxy().nap(0.2)
    wait_until(busy.running)
    tree.terminate_child("one")
    record.outcome(busy)
    record.note(one)
    tree.restart_child("one")
    record.outcome(one.proxy().echo(1))
    record.note(one)
    record.outcomes.append(tree.stop(timeout=SECONDS))


LIVES: dict[str, Life] = {
    life.__name__: life
    for life in (
        start_and_stop,
        stops_itself,
        stops_itself_and_comes_back,
        crash_without_restart,
        crash_and_restart,
        killed_between_calls,
        used_up,
        start_that_fails,
        restart_that_fails,
        stopped_while_it_waits,
        stopped_behind_what_waits,
        terminated,
        call_that_takes_too_long,
        recycled,
        recycled_without_room,
        standby,
        group_restart,
        group_used_up,
        child_by_hand,
    )
}


def live(name: str, folder: Path) -> dict[str, Any]:
    """Return what is seen of one life."""
    record = Record()
    unsubscribe = events.subscribe(record.hear)
    try:
        with pytest.MonkeyPatch.context() as patch:
            LIVES[name](record, patch, folder)
        with piactors.ProcessIsolator(name=_LAST):
            """Events come in order: once its end is told, what was told before has been heard."""
        wait_until(record.is_complete)
    finally:
        unsubscribe()
    return {"events": record.settled(), "outcomes": record.outcomes}

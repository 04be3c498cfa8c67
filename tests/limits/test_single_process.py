"""What holds for each process alone: CPU time, affinity, priorities, files; and CPU time of the tree by the monitor."""

from __future__ import annotations

import errno
import math
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from piactors import IsolateRef, events
from tests.limits.mechanisms import MIB, PATIENCE, Record, exceeded, forced, limited, pid_of, record

__all__ = ["record"]

CPUS = tuple(sorted(os.sched_getaffinity(0)))

cpu_time = forced("max_cpu_time", "monitor", "rlimit")
by_monitor = forced("max_cpu_time", "monitor")
by_rlimit = forced("max_cpu_time", "rlimit")
affine = forced("affinity", "scheduler")
nice = forced("nice", "scheduler")
io_class = forced("io_class", "scheduler")
open_files = forced("max_open_files", "rlimit")
file_size = forced("max_file_size", "rlimit")
START_METHODS = ("launcher", "spawn")


# CPU time


@pytest.mark.parametrize("kind", ["one thread", "four threads"])
def test_cpu_time_runs_out(cpu_time: str, kind: str, record: Record) -> None:
    """The kernel counts whole seconds, and the monitor any."""
    allowed = 0.6
    ref = limited(cpu_time, max_cpu_time=allowed)
    pid = pid_of(ref)
    error = exceeded(ref.proxy().burn(kind, 30))
    assert (error.limit, error.allowed) == ("max_cpu_time", allowed)
    assert (error.reason.kind, error.reason.limit) == ("limit", "max_cpu_time")
    assert (error.culprit_pid, error.culprit) == (pid, f"isolate {ref.name}")
    breach = record.only_breach(ref)
    assert (breach.limit, breach.hard, breach.observed) == ("max_cpu_time", True, error.observed)
    print(f"FIGURE max_cpu_time by {cpu_time}, {kind}: {error.observed - allowed:+.3f} s")
    if cpu_time == "monitor":
        assert allowed <= error.observed < allowed + 0.5
    else:
        # The kernel counts by ticks there, and what it reports in the end is more exact.
        assert math.ceil(allowed) / 2 <= error.observed < math.ceil(allowed) + 0.5
    if cpu_time == "rlimit":
        assert error.reason.signal == signal.SIGXCPU


def test_time_that_passes_is_no_cpu_time(cpu_time: str) -> None:
    ref = limited(cpu_time, max_cpu_time=1)
    assert isinstance(ref.proxy().burn_cpu_time(0.5).get(timeout=PATIENCE), float)
    assert ref.proxy().pid().get(timeout=PATIENCE) == ref.pid
    ref.stop()


def test_the_monitor_counts_a_child(by_monitor: str, record: Record) -> None:
    """Also one that has not ended, and that the isolate waits for."""
    ref = limited(by_monitor, max_cpu_time=0.6)
    error = exceeded(ref.proxy().burn_in_child(30.0))
    assert error.limit == "max_cpu_time"
    assert 0.6 * 0.98 <= error.observed < 1.1
    assert error.culprit_pid != error.pid
    assert record.only_breach(ref).culprit_pid == error.culprit_pid


def test_the_monitor_counts_children_that_have_ended(by_monitor: str, record: Record) -> None:
    ref = limited(by_monitor, max_cpu_time=0.6)
    calls = [ref.proxy().burn_in_child(0.15) for _ in range(12)]
    errors = [call.exception(timeout=PATIENCE) for call in calls]
    done = errors.index(next(filter(None, errors)))
    assert 2 <= done <= 6
    assert exceeded(calls[done]).limit == "max_cpu_time"


def test_the_kernel_ends_a_child_alone(by_rlimit: str, record: Record) -> None:
    ref = limited(by_rlimit, max_cpu_time=1)
    _, status = ref.proxy().burn_in_child(30.0).get(timeout=PATIENCE)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGXCPU
    assert ref.proxy().pid().get(timeout=PATIENCE) == ref.pid
    ref.stop()
    assert record.of(events.LimitBreached, ref) == []


# Where it runs, and before whom


def tasks_of(ref: IsolateRef) -> list[int]:
    """Return the isolate, one of its threads and one of its children, by pid and thread id."""
    thread, child = ref.proxy().with_a_thread_and_a_child().get(timeout=PATIENCE)
    pid = pid_of(ref)
    own = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    assert thread in own
    return [pid, *own, child]


@pytest.mark.parametrize("start_method", START_METHODS)
def test_all_of_a_tree_runs_on_the_given_cpus(affine: str, start_method: str) -> None:
    before = os.sched_getaffinity(0)
    ref = limited(affine, options={"start_method": start_method}, affinity=CPUS[-1])
    assert psutil.Process(ref.pid).cpu_affinity() == [CPUS[-1]]
    assert {frozenset(os.sched_getaffinity(task)) for task in tasks_of(ref)} == {frozenset({CPUS[-1]})}
    ref.stop()
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("value", [7, -3])
def test_all_of_a_tree_is_as_nice_as_it_should(nice: str, start_method: str, value: int) -> None:
    if value < os.nice(0) and os.geteuid() != 0:
        pytest.skip("only root may be less nice")
    ref = limited(nice, options={"start_method": start_method}, nice=value)
    assert psutil.Process(ref.pid).nice() == value
    assert {os.getpriority(os.PRIO_PROCESS, task) for task in tasks_of(ref)} == {value}
    ref.stop()


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize(
    ("value", "expected"), [("idle", psutil.IOPRIO_CLASS_IDLE), ("best-effort", psutil.IOPRIO_CLASS_BE)]
)
def test_all_of_a_tree_has_the_io_class(io_class: str, start_method: str, value: str, expected: Any) -> None:
    ref = limited(io_class, options={"start_method": start_method}, io_class=value)
    assert {_io_class(task) for task in tasks_of(ref)} == {expected}
    ref.stop()


def _io_class(task: int) -> Any:
    return psutil.Process(task).ionice().ioclass


def test_the_realtime_class_is_for_those_who_may(io_class: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may")
    ref = limited(io_class, io_class="realtime")
    assert _io_class(pid_of(ref)) == psutil.IOPRIO_CLASS_RT
    ref.stop()


def test_a_restarted_isolate_has_them_again(nice: str, record: Record) -> None:
    ref = limited(nice, options={"restart": "permanent"}, nice=9, affinity=CPUS[0], io_class="idle")
    os.kill(pid_of(ref), signal.SIGKILL)
    record.wait(events.IsolateStarted, ref, 2)
    process = psutil.Process(ref.proxy().pid().get(timeout=PATIENCE))
    assert (process.nice(), process.cpu_affinity(), process.ionice().ioclass) == (9, [CPUS[0]], 3)
    ref.stop()


# Files


@pytest.mark.parametrize("start_method", START_METHODS)
def test_too_many_open_files_are_an_error_of_the_call(open_files: str, start_method: str) -> None:
    ref = limited(open_files, options={"start_method": start_method}, max_open_files=64)
    for _ in range(2):
        error = ref.proxy().open_files(100).exception(timeout=PATIENCE)
        assert isinstance(error, OSError)
        assert error.errno == errno.EMFILE
        assert ref.proxy().open_files(32).get(timeout=PATIENCE) == 32
    assert ref.proxy().rlimit("RLIMIT_NOFILE").get(timeout=PATIENCE) == (64, 64)
    ref.stop()


def test_the_least_number_of_open_files_is_enough(open_files: str) -> None:
    ref = limited(open_files, max_open_files=32)
    assert ref.proxy().open_files(8).get(timeout=PATIENCE) == 8
    assert ref.stop(timeout=PATIENCE)


@pytest.mark.parametrize("start_method", START_METHODS)
def test_too_large_a_file_is_an_error_of_the_call(file_size: str, start_method: str, tmp_path: Path) -> None:
    path = tmp_path / "large"
    ref = limited(file_size, options={"start_method": start_method}, max_file_size="1 MiB")
    assert ref.proxy().write_file(str(path), MIB).get(timeout=PATIENCE) == MIB
    error = ref.proxy().write_file(str(path), MIB + 1).exception(timeout=PATIENCE)
    assert isinstance(error, OSError)
    assert error.errno == errno.EFBIG
    assert path.stat().st_size == MIB
    assert ref.proxy().pid().get(timeout=PATIENCE) == ref.pid
    ref.stop()


def test_an_isolate_that_may_write_nothing_works(file_size: str, tmp_path: Path) -> None:
    ref = limited(file_size, max_file_size=0)
    error = ref.proxy().write_file(str(tmp_path / "any"), 1).exception(timeout=PATIENCE)
    assert isinstance(error, OSError)
    assert error.errno == errno.EFBIG
    assert ref.proxy().pid().get(timeout=PATIENCE) == ref.pid
    assert ref.stop(timeout=PATIENCE)

"""`soft_memory`: told of once per breach, and followed by what `on_soft_memory` says."""

from __future__ import annotations

import logging
import queue
from typing import Any

import pytest

from piactors import events
from tests.limits.mechanisms import MIB, PATIENCE, Record, exceeded, forced, limited, pid_of, record
from tests.support import wait_until

__all__ = ["record"]

ALLOWED = 64 * MIB

monitor = forced("soft_memory", "monitor")
hard = forced("max_memory", "cgroup v2", "cgroup v1", "monitor")


def breaches(record: Record, ref: Any) -> list[events.LimitBreached]:
    return record.of(events.LimitBreached, ref)


def check(breach: events.LimitBreached, ref: Any, *, is_hard: bool = False) -> None:
    assert (breach.limit, breach.hard, breach.allowed) == ("soft_memory", is_hard, ALLOWED)
    assert breach.observed > ALLOWED
    assert (breach.culprit_pid, breach.culprit) == (breach.pid, f"isolate {ref.name}")


def settle(ref: Any) -> None:
    """Use CPU time, so that the monitor looks several times."""
    ref.proxy().burn_cpu_time(0.3).get(timeout=PATIENCE)


def test_each_breach_is_told_of_once(monitor: str, record: Record, caplog: pytest.LogCaptureFixture) -> None:
    """And the next one again, once there was relief."""
    with caplog.at_level(logging.WARNING, "piactors"):
        ref = limited(monitor, soft_memory=ALLOWED)
        pid, proxy = pid_of(ref), ref.proxy()
        for count in (1, 2):
            proxy.take("bytearray", 100).get(timeout=PATIENCE)
            check(record.wait(events.LimitBreached, ref, count)[-1], ref)
            proxy.take("bytearray", 20).get(timeout=PATIENCE)
            settle(ref)
            assert len(breaches(record, ref)) == count
            proxy.release().get(timeout=PATIENCE)
            settle(ref)
        assert (proxy.pid().get(timeout=PATIENCE), ref.generation) == (pid, 1)
        ref.stop()
    assert len(breaches(record, ref)) == 2
    wait_until(lambda: len([one for one in caplog.records if "soft_memory is 64.0 MiB" in one.getMessage()]) == 2)


def test_a_little_less_is_no_relief(monitor: str, record: Record) -> None:
    """What goes up and down around the limit is one breach."""
    ref = limited(monitor, soft_memory=ALLOWED)
    ref.proxy().take_around(ALLOWED, 3 * MIB, 0.4).get(timeout=PATIENCE)
    ref.stop()
    (breach,) = breaches(record, ref)
    check(breach, ref)


def test_kill_ends_it(monitor: str, record: Record) -> None:
    ref = limited(monitor, soft_memory=ALLOWED, on_soft_memory="kill")
    error = exceeded(ref.proxy().take("bytearray", 800, 400.0))
    assert (error.limit, error.allowed, error.reason.kind) == ("soft_memory", ALLOWED, "limit")
    record.wait(events.IsolateExited, ref)
    found = breaches(record, ref)
    check(found[0], ref, is_hard=True)
    assert len(found) == 1


@pytest.mark.parametrize("restart", ["temporary", "permanent"])
def test_recycle_renews_it_between_two_calls(monitor: str, restart: Any, record: Record) -> None:
    ref = limited(monitor, options={"restart": restart}, soft_memory=ALLOWED, on_soft_memory="recycle")
    pid, proxy = pid_of(ref), ref.proxy()
    assert proxy.take("bytearray", 100).get(timeout=PATIENCE) == 100
    (recycled,) = record.wait(events.IsolateRecycled, ref)
    assert (recycled.reason, recycled.pid, recycled.generation) == ("soft_memory", pid, 1)
    assert proxy.pid().get(timeout=PATIENCE) == ref.pid == recycled.new_pid != pid
    check(breaches(record, ref)[0], ref)
    assert ref.generation == 2
    settle(ref)
    assert len(breaches(record, ref)) == 1
    proxy.take("bytearray", 100).get(timeout=PATIENCE)
    assert len(record.wait(events.IsolateRecycled, ref, 2)) == 2
    assert len(breaches(record, ref)) == 2
    ref.stop()


def test_a_function_gets_the_event(monitor: str, record: Record) -> None:
    told: queue.Queue[events.LimitBreached] = queue.Queue()
    ref = limited(monitor, soft_memory=ALLOWED, on_soft_memory=told.put)
    ref.proxy().take("bytearray", 100).get(timeout=PATIENCE)
    breach = told.get(timeout=PATIENCE)
    check(breach, ref)
    settle(ref)
    assert ref.generation == 1
    ref.stop()
    assert told.empty()
    assert breaches(record, ref) == [breach]


def test_a_function_that_fails_is_logged(monitor: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("by hand")

    ref = limited(monitor, soft_memory=ALLOWED, on_soft_memory=fail)
    ref.proxy().take("bytearray", 100).get(timeout=PATIENCE)
    wait_until(lambda: any(one.exc_info and one.exc_info[0] is ZeroDivisionError for one in caplog.records))
    assert ref.proxy().pid().get(timeout=PATIENCE) == ref.pid
    ref.stop()


def test_the_soft_limit_comes_before_the_hard_one(hard: str, record: Record) -> None:
    """Both together: one is told of, the other one ends it."""
    ref = limited(None, soft_memory=ALLOWED, max_memory=3 * ALLOWED)
    if ref.enforcement()["max_memory"].mechanism != hard:
        ref.stop()
        pytest.skip(f"max_memory is held by {ref.enforcement()['max_memory'].mechanism} together with soft_memory")
    error = exceeded(ref.proxy().take("bytearray", 800, 300.0))
    assert error.limit == "max_memory"
    record.wait(events.IsolateExited, ref)
    soft, last = breaches(record, ref)
    check(soft, ref)
    assert (last.limit, last.hard) == ("max_memory", True)


def test_what_is_cached_of_files_does_not_count(record: Record, tmp_path: Any) -> None:
    """The kernel drops that when it needs the memory, and so it breaks no limit."""
    ref = limited(None, soft_memory=ALLOWED, max_memory=2 * ALLOWED)
    ref.proxy().write_file(str(tmp_path / "large"), 3 * ALLOWED).get(timeout=PATIENCE)
    settle(ref)
    assert ref.generation == 1
    ref.stop()
    assert breaches(record, ref) == []

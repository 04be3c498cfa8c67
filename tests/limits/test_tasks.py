"""`max_processes`: a bomb of processes or threads is refused by groups, and ended by the monitor."""

from __future__ import annotations

from typing import Any

import pytest
from pykka import ActorDeadError, messages

from piactors import IsolateCrashed, IsolateRef, LimitExceeded, events
from tests.limits.mechanisms import (
    CGROUPS,
    PATIENCE,
    TREE,
    Record,
    forced,
    limited,
    pid_of,
    record,
    unharmed_sibling,
)

__all__ = ["record"]

ALLOWED = 24
MOST = 80
"""How many tasks a bomb makes where nothing stops it."""

mechanism = forced("max_processes", *TREE)
cgroup = forced("max_processes", *CGROUPS)
monitor = forced("max_processes", "monitor")


def ended_by(ref: IsolateRef, bomb: Any) -> LimitExceeded | None:
    """Return the error of a bomb's call, or of the one after it: the bomb may be over before anyone looks.

    None where the end came between the two.
    """
    after = ref.ask(messages.ProxyCall(("sleep",), (), {}), block=False)
    error = bomb.exception(timeout=PATIENCE) or after.exception(timeout=PATIENCE)
    reason = ref.wait_for_exit(PATIENCE)
    assert reason is not None
    assert (reason.kind, reason.limit) == ("limit", "max_processes")
    if isinstance(error, ActorDeadError):
        return None
    assert isinstance(error, LimitExceeded), repr(error)
    return error


@pytest.mark.parametrize(("bomb", "refusal"), [("fork_bomb", "EAGAIN"), ("thread_bomb", "RuntimeError")])
def test_the_kernel_refuses_more_and_the_isolate_lives_on(cgroup: str, bomb: str, refusal: str, record: Record) -> None:
    ref = limited(cgroup, max_processes=ALLOWED)
    pid = pid_of(ref)
    with unharmed_sibling():
        for _ in range(2):
            worked, error = getattr(ref.proxy(), bomb)(MOST).get(timeout=PATIENCE)
            assert error == refusal
            assert ALLOWED - 8 <= worked < ALLOWED
            ref.proxy().kill_children().get(timeout=PATIENCE)
            assert ref.proxy().pid().get(timeout=PATIENCE) == pid
        found = record.wait(events.LimitBreached, ref)[0]
    assert (found.limit, found.hard, found.allowed) == ("max_processes", False, ALLOWED)
    assert (found.pid, found.generation, found.culprit_pid) == (pid, 1, found.culprit_pid)
    assert found.observed >= ALLOWED
    assert ref.generation == 1
    ref.stop()
    told = record.of(events.LimitBreached, ref)
    assert all(not event.hard for event in told)
    assert len(told) <= 3, "a bomb must not be a bomb of events"


@pytest.mark.parametrize("bomb", ["fork_bomb", "thread_bomb"])
def test_the_monitor_ends_what_has_too_many(monitor: str, bomb: str, record: Record) -> None:
    ref = limited(monitor, max_processes=ALLOWED)
    pid = pid_of(ref)
    with unharmed_sibling():
        error = ended_by(ref, getattr(ref.proxy(), bomb)(MOST))
    breach = record.only_breach(ref)
    assert (breach.limit, breach.hard, breach.allowed) == ("max_processes", True, ALLOWED)
    assert breach.observed > ALLOWED
    assert breach.culprit
    if error is not None:
        assert isinstance(error, IsolateCrashed)
        assert (error.limit, error.allowed, error.reason.kind) == ("max_processes", ALLOWED, "limit")
        assert (error.observed, error.culprit_pid) == (breach.observed, breach.culprit_pid)
    if bomb == "thread_bomb":
        assert (breach.culprit_pid, breach.culprit) == (pid, f"isolate {ref.name}")


def test_threads_of_children_count_too(mechanism: str, record: Record) -> None:
    """The isolate's own tasks and those of its descendants share one account."""
    ref = limited(mechanism, max_processes=ALLOWED)
    assert ref.proxy().fork_bomb(8).get(timeout=PATIENCE) == (8, None)
    worked, error = ref.proxy().thread_bomb(6).get(timeout=PATIENCE)
    assert (worked, error) == (6, None)
    if mechanism == "monitor":
        ended_by(ref, ref.proxy().thread_bomb(12))
    else:
        worked, error = ref.proxy().thread_bomb(12).get(timeout=PATIENCE)
        assert error == "RuntimeError"
        assert worked < 12
        assert ref.stop(timeout=PATIENCE)


def test_as_many_as_allowed_are_no_breach(mechanism: str, record: Record) -> None:
    ref = limited(mechanism, max_processes=ALLOWED)
    for _ in range(3):
        assert ref.proxy().fork_bomb(ALLOWED // 2).get(timeout=PATIENCE) == (ALLOWED // 2, None)
        ref.proxy().burn_cpu_time(0.1).get(timeout=PATIENCE)
        assert ref.proxy().kill_children().get(timeout=PATIENCE) == ALLOWED // 2
    assert ref.generation == 1
    ref.stop()
    assert record.of(events.LimitBreached, ref) == []


def test_the_least_that_can_be_given_is_enough_for_the_isolate_itself(mechanism: str) -> None:
    ref = limited(mechanism, max_processes=4)
    pid = pid_of(ref)
    for _ in range(20):
        assert ref.proxy().pid().get(timeout=PATIENCE) == pid
    assert ref.stop(timeout=PATIENCE)
    reason = ref.wait_for_exit(1)
    assert reason is not None
    assert reason.kind == "shutdown"

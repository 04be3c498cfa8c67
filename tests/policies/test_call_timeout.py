"""A call that runs longer than its `call_timeout` ends its process, and says where it was."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import piactors
from piactors import CallTimeout, ChildSpec, IsolateCrashed, PoisonMessage, ProcessIsolator, Supervisor
from piactors._host import runtime
from piactors.events import CallTimedOut, IsolateExited
from tests.children.policed import Policed
from tests.policies.conftest import Seen
from tests.support import pid_gone, wait_until
from tests.test_interpreters import interpreter

WITHIN = 0.2
"""Seconds after its timeout within which a call has failed."""
PATIENCE = 2.0
"""Seconds that a busy machine may take on top."""
NO_ANSWER = "The control thread did not answer"


def ended_after(call: Any) -> tuple[float, CallTimeout]:
    """Return how many seconds a call took to fail, and its error."""
    began = time.monotonic()
    with pytest.raises(CallTimeout) as caught:
        call().get(timeout=20)
    return time.monotonic() - began, caught.value


@pytest.mark.parametrize(
    ("method", "args", "where", "answers"),
    [
        ("spin", (), "in spin", True),
        ("nap", (3600,), "in nap", True),
        ("sleep_in_c", (), "in sleep_in_c", False),
        ("pause_in_c", (), "in pause_in_c", False),
        ("sum_in_c", (), "in sum_in_c", False),
        ("power_in_c", (), "in power_in_c", False),
        ("stop_me_here", (), "state T", False),
    ],
)
def test_a_hung_call_is_ended_in_time_and_says_where_it_was(
    method: str, args: tuple[Any, ...], where: str, answers: bool, seen: Seen
) -> None:
    """Also where Python cannot be asked: then faulthandler is, and where that cannot write either, the text says so."""
    ref = Policed.with_options(restart="permanent").start()
    pid = ref.pid
    assert pid is not None
    seconds, error = ended_after(lambda: getattr(ref.proxy(), method).with_options(call_timeout=0.3)(*args))
    print(f"{method}: failed {1000 * (seconds - 0.3):.0f} ms after its timeout")
    assert 0.3 <= seconds < 0.3 + WITHIN + PATIENCE
    assert where in error.stack
    if answers:
        assert "policed.py" in error.stack  # a machine under load may leave that to faulthandler
    else:
        assert NO_ANSWER in error.stack
    assert method in str(error)
    assert where in str(error)
    assert (error.reason.kind, error.reason.signal) == ("call_timeout", signal.SIGKILL)
    assert (error.pid, error.generation) == (pid, 1)
    assert ref.proxy().work(1).get(timeout=20) == 1
    assert pid_gone(pid)
    (event,) = seen.wait(CallTimedOut)
    assert (event.call, event.call_timeout, event.pid, event.generation) == (method, 0.3, pid, 1)
    assert event.stack == error.stack
    assert [gone.reason.kind for gone in seen.of(IsolateExited)] == ["call_timeout"]


STACKED = """import time
def outer():
    inner()
def inner():
    while True:
        time.sleep(0.01)
"""


@pytest.mark.alone
@pytest.mark.parametrize(("method", "args"), [("spin", ()), ("nap", (3600,)), ("pause_in_c", ()), ("stop_me_here", ())])
def test_the_end_comes_within_a_fifth_of_a_second(method: str, args: tuple[Any, ...]) -> None:
    """The best of three: what a machine is slow at by chance is not slow three times."""
    ref = Policed.with_options(restart="permanent").start()
    taken = []
    for _ in range(3):
        seconds, _ = ended_after(lambda: getattr(ref.proxy(), method).with_options(call_timeout=0.3)(*args))
        taken.append(seconds - 0.3)
        if taken[-1] <= WITHIN:
            break
    assert min(taken) <= WITHIN, taken


def test_a_stack_names_the_line(tmp_path: Path) -> None:
    source = tmp_path / "plugin.py"
    source.write_text(STACKED)
    with ProcessIsolator(piactors.IsolationOptions(call_timeout=0.3)) as isolator:
        error = isolator.invoke_method(f"{source}:outer").exception(timeout=20)
        assert isinstance(error, CallTimeout)
        assert f'{source}", line 3, in outer' in error.stack
        assert "line 6, in inner\n    time.sleep(0.01)" in error.stack


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_calls_behind_it_go_on_in_order_or_fail(restart: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    ref = Policed.with_options(restart=restart, call_timeout=0.3).start(str(log))
    proxy = ref.proxy()
    hung = proxy.spin()
    behind = [proxy.work(number) for number in range(100)]
    ref.tell(100)
    assert isinstance(hung.exception(timeout=20), CallTimeout)
    if restart == "temporary":
        assert all(isinstance(call.exception(timeout=20), pykka.ActorDeadError) for call in behind)
        reason = ref.wait_for_exit(20)
        assert reason is not None
        assert reason.kind == "call_timeout"
        assert not ref.is_alive()
    else:
        assert pykka.get_all(behind, timeout=20) == list(range(100))
        assert ref.ask(101, timeout=20) == 101
        numbers = [int(line) for line in log.read_text().splitlines() if line.isdigit()]
        assert numbers == list(range(102))
        assert ref.generation == 2


def test_what_a_call_says_wins_over_its_author_who_wins_over_the_options() -> None:
    ref = Policed.with_options(restart="permanent", call_timeout=0.2).start()
    proxy, message = ref.proxy(), pykka.messages.ProxyCall(attr_path=("nap",), args=(30,), kwargs={})
    calls: list[tuple[Any, str]] = [
        (lambda: proxy.nap(30), "0.2 s"),
        (lambda: proxy.nap_marked(30), "0.15 s"),
        (lambda: proxy.nap_marked.with_options(call_timeout=0.1)(30), "0.1 s"),
        (lambda: proxy.nap_at_leisure.with_options(call_timeout=0.1)(30), "0.1 s"),
        (lambda: ref.ask(message, call_timeout=0.05, block=False), "0.05 s"),
        (lambda: ref.ask(message, block=False), "0.2 s"),
    ]
    for call, allowed in calls:
        error = call().exception(timeout=20)
        assert isinstance(error, CallTimeout)
        assert f"ran longer than its call_timeout, {allowed};" in str(error)
    longer = [
        proxy.nap_at_leisure(0.3),
        proxy.nap.with_options(call_timeout=math.inf)(0.3),
        proxy.nap_marked.with_options(call_timeout=math.inf)(0.3),
        proxy.nap.with_options(call_timeout=5)(0.3),
    ]
    assert pykka.get_all(longer, timeout=20) == [0.3] * 4
    with pytest.raises(CallTimeout):
        ref.ask(message, call_timeout=0.1, timeout=20)


def test_tells_are_timed_too(seen: Seen, tmp_path: Path) -> None:
    ref = Policed.with_options(restart="permanent").start(str(tmp_path / "log"))
    ref.proxy().nap.with_options(call_timeout=0.2).defer(30)
    assert ref.ask("next", timeout=20) == "next"
    message = pykka.messages.ProxyCall(attr_path=("nap",), args=(30,), kwargs={})
    ref.tell(message, call_timeout=0.1)
    assert ref.ask("last", timeout=20) == "last"
    assert [event.call_timeout for event in seen.wait(CallTimedOut, 2)] == [0.2, 0.1]
    assert ref.generation == 3


def test_bad_values_raise_at_once() -> None:
    ref = Policed.start()
    message = pykka.messages.ProxyCall(attr_path=("work",), args=(1,), kwargs={})
    bad: list[Any] = [0, -1, 0.0, math.nan, -math.inf, "1", True, [1], 10**400]
    attempts: list[Callable[[Any], object]] = [
        lambda value: ref.ask(message, call_timeout=value),
        lambda value: ref.tell(message, call_timeout=value),
        lambda value: ref.proxy().work.with_options(call_timeout=value),
        lambda value: piactors.call_options(call_timeout=value),
        lambda value: piactors.IsolationOptions(call_timeout=value),
    ]
    for value in bad:
        for attempt in attempts:
            with pytest.raises((TypeError, ValueError), match="call_timeout"):
                attempt(value)
    for retries in (-1, 1.0, True, None):
        with pytest.raises((TypeError, ValueError), match="retries"):
            ref.proxy().work.with_options(retries=retries)
    assert ref.ask(2, timeout=20) == 2


def test_timeouts_of_years_are_as_good_as_none() -> None:
    ref = Policed.with_options(call_timeout=1e8).start()
    assert ref.proxy().work(1).get(timeout=20) == 1
    assert ref.proxy().work.with_options(call_timeout=10**9)(2).get(timeout=20) == 2
    assert ref.proxy().nap(0.1).get(timeout=20) == 0.1


@pytest.mark.parametrize("others", ["nap", "hang"])
def test_of_four_that_run_at_once_one_hangs(others: str) -> None:
    """The other three end in time, or crash with the process; only the one that hangs has timed out."""
    ref = Policed.with_options(restart="permanent", concurrency=4).start()
    proxy = ref.proxy()
    seconds = 0.05 if others == "nap" else 60
    hung = proxy.spin.with_options(call_timeout=0.4)()
    beside = [proxy.nap.with_options(call_timeout=50)(seconds) for _ in range(3)]
    behind = [proxy.work(number) for number in range(20)]
    assert isinstance(hung.exception(timeout=20), CallTimeout)
    for call in beside:
        if others == "nap":
            assert call.get(timeout=20) == seconds
        else:
            assert type(call.exception(timeout=20)) is IsolateCrashed
    assert pykka.get_all(behind, timeout=20) == list(range(20))


def test_retries_hold_for_timeouts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ref = Policed.with_options(restart="permanent").start(str(log))
    assert ref.proxy().hang_once(str(tmp_path / "flag")).get(timeout=20) == "survived"
    poison, after = ref.proxy().hang_always(7), ref.proxy().work(8)
    error = poison.exception(timeout=20)
    assert isinstance(error, PoisonMessage)
    assert (error.attempts, error.reason.kind) == (3, "call_timeout")
    assert after.get(timeout=20) == 8
    assert [line for line in log.read_text().splitlines() if line.isdigit()] == ["7", "7", "7", "8"]


def test_marks_of_a_method_add_up(tmp_path: Path) -> None:
    """`call_options` that says nothing of retries leaves what `idempotent` says, in either order."""
    ref = Policed.with_options(restart="permanent").start()
    assert ref.proxy().marked_twice(str(tmp_path / "flag")).get(timeout=20) == "survived"


def test_a_child_that_times_out_is_restarted_by_its_supervisor() -> None:
    child = ChildSpec("child", Policed.with_options(call_timeout=0.2))
    with Supervisor.start(children=[child]) as tree:
        ref = tree.child("child")
        assert isinstance(ref.proxy().spin().exception(timeout=20), CallTimeout)
        assert ref.proxy().work(1).get(timeout=20) == 1
        (info,) = tree.which_children()
        assert (info.restarts, ref.generation) == (1, 2)
    with Supervisor.start(children=[child], max_restarts=1, within=60) as tree:
        ref = tree.child("child")
        hung = [ref.proxy().spin() for _ in range(3)]
        errors = [call.exception(timeout=20) for call in hung]
        assert [type(error) for error in errors] == [CallTimeout, CallTimeout, piactors.ActorDeadError]
        assert tree.wait_for_exit(20) is not None


@pytest.mark.parametrize("missing", ["launcher", "pidfd"])
def test_it_works_where_mechanisms_are_missing(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.end_current()
    monkeypatch.setenv("PIACTORS_PORTABLE", missing)
    try:
        ref = Policed.with_options(restart="permanent", call_timeout=0.3).start()
        for method, where in (("spin", "in spin"), ("sleep_in_c", "in sleep_in_c")):
            seconds, error = ended_after(getattr(ref.proxy(), method))
            assert 0.3 <= seconds < 0.3 + WITHIN + PATIENCE
            assert where in error.stack
        assert ref.ask(1, timeout=20) == 1
        ref.stop()
    finally:
        runtime.end_current()


PLUGIN = """
def spin():
    while True:
        pass
def power():
    return 3 ** (10 ** 9)
"""


@pytest.mark.parametrize("version", ["3.8", "pypy3"])
def test_it_works_on_other_interpreters(version: str, tmp_path: Path, seen: Seen) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no interpreter {version} on this machine")
    (tmp_path / "plugin.py").write_text(PLUGIN)
    options = piactors.IsolationOptions(python=python, restart="permanent", call_timeout=0.3)
    with ProcessIsolator(options) as isolator:
        for name, stack_known in (("spin", True), ("power", version != "pypy3")):
            pid = isolator.pid
            assert pid is not None
            began = time.monotonic()
            error = isolator.invoke_method(f"{tmp_path}/plugin.py:{name}").exception(timeout=20)
            assert isinstance(error, CallTimeout)
            assert time.monotonic() - began < 0.3 + WITHIN + PATIENCE
            assert error.reason.kind == "call_timeout"
            assert name in str(error.reason.detail)
            assert (f"in {name}" in error.stack) or not stack_known
            assert error.stack
            wait_until(lambda pid=pid: pid_gone(pid))  # type: ignore[misc]
            assert isolator.invoke_method("os:getpid").get(timeout=20) != pid
    assert len(seen.wait(CallTimedOut, 2)) == 2


def test_a_crash_at_the_very_end_is_a_crash(tmp_path: Path) -> None:
    """A call that ends its process before its time is over has not timed out."""
    ref = Policed.with_options(restart="permanent", call_timeout=5).start()
    error = ref.proxy().crash().exception(timeout=20)
    assert type(error) is IsolateCrashed
    assert error.reason.exitcode == 3
    assert ref.ask(1, timeout=20) == 1
    begun = ref.proxy().hold(str(tmp_path / "begun"), "/nonexistent")
    wait_until((tmp_path / "begun").exists)
    assert ref.pid is not None
    os.kill(ref.pid, signal.SIGKILL)
    assert type(begun.exception(timeout=20)) is IsolateCrashed

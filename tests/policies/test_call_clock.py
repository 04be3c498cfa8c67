"""When the clock of a call starts and stops: not before it begins, and with exactly one outcome."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pykka
import pytest

from piactors import Backoff, CallTimeout, IsolateCrashed, IsolationOptions, ProcessIsolator, Recycle
from piactors._isolate.call import Call
from piactors._isolate.delivery import Delivery
from piactors.events import CallTimedOut, IsolateExited
from tests import inside
from tests.children.policed import Policed, SelfCaller
from tests.policies.conftest import Seen
from tests.support import wait_until
from tests.tiers import sizes


@sizes("count", 50, soak=[500])
def test_around_its_deadline_a_call_has_exactly_one_outcome(count: int, seen: Seen, tmp_path: Path) -> None:
    """Many calls that take about as long as they may: each runs once, and answers or has timed out.

    However slow the machine is, the first has all the time it needs, and the last takes too long.
    """
    log, timeout, dice = tmp_path / "log", 0.02, random.Random(7)
    ref = Policed.with_options(restart="permanent", max_restarts=None).start(str(log))
    proxy = ref.proxy()
    calls = [
        proxy.nap_for.with_options(call_timeout=20)(0, 0.0),
        *(
            proxy.nap_for.with_options(call_timeout=timeout)(number, timeout + dice.uniform(-0.008, 0.003))
            for number in range(1, count - 1)
        ),
        proxy.nap_for.with_options(call_timeout=timeout)(count - 1, 60),
    ]
    outcomes: list[list[Any]] = [[] for _ in calls]
    for call, found in zip(calls, outcomes, strict=True):
        call.add_done_callback(lambda future, found=found: found.append(future))
    late = 0
    for number, call in enumerate(calls):
        error = call.exception(timeout=30)
        if error is None:
            assert call.get(timeout=0) == number
        else:
            assert type(error) is CallTimeout
            late += 1
    wait_until(lambda: all(outcomes))
    print(f"{late} of {len(calls)} calls timed out")
    assert {len(found) for found in outcomes} == {1}
    assert [int(line) for line in log.read_text().splitlines() if line.isdigit()] == list(range(count))
    assert 0 < late < count
    wait_until(lambda: ref.generation == 1 + late)  # the outcome comes before the next process
    assert len(seen.wait(IsolateExited, late)) == late
    assert {event.reason.kind for event in seen.of(IsolateExited)} == {"call_timeout"}


def test_an_answer_that_comes_while_the_stack_is_taken_is_too_late() -> None:
    """It holds the GIL, so that it ends before the stacks can be had; the process is ended for it all the same."""
    ref = Policed.with_options(restart="permanent").start()
    call = ref.proxy().nap_in_c.with_options(call_timeout=0.2)(0.25)
    behind = [ref.proxy().work(number) for number in range(20)]
    assert type(call.exception(timeout=20)) is CallTimeout
    assert pykka.get_all(behind, timeout=20) == list(range(20))
    assert ref.generation == 2


def test_a_call_whose_answer_is_handled_when_its_time_is_over_is_in_time(
    monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    """Its caller reads the answer; the clock looks after it has been taken for one, and before it is off its way."""
    ref = Policed.with_options(restart="permanent").start()
    reply, looked = Call.reply, []

    def overtaken(future: Call, *given: Any) -> None:
        reply(future, *given)
        (message,) = inside.delivery(ref).mailbox.running(1)
        message.deadline = time.monotonic() - 1
        inside.clock(ref)._look()
        looked.append(message)

    monkeypatch.setattr(Call, "reply", overtaken)
    assert ref.proxy().nap.with_options(call_timeout=20)(0.1).get(timeout=20) == 0.1
    monkeypatch.undo()
    assert len(looked) == 1
    assert ref.proxy().work(2).get(timeout=20) == 2
    assert (ref.generation, seen.of(CallTimedOut)) == (1, [])


def test_the_clock_does_not_run_while_a_call_waits_behind_others() -> None:
    ref = Policed.with_options(call_timeout=1.0).start()
    calls = [ref.proxy().nap(0.1) for _ in range(12)]
    assert pykka.get_all(calls, timeout=20) == [0.1] * 12
    assert ref.generation == 1


@pytest.mark.parametrize("concurrency", [1, 3])
def test_thousands_of_short_calls_never_time_out(concurrency: int, seen: Seen) -> None:
    ref = Policed.with_options(call_timeout=0.5, concurrency=concurrency).start()
    proxy = ref.proxy()
    calls = [proxy.echo(number) for number in range(8000)]
    assert pykka.get_all(calls, timeout=30) == list(range(8000))
    assert seen.of(CallTimedOut) == []
    assert ref.generation == 1


def test_a_large_argument_is_on_its_way_and_does_not_run() -> None:
    """The time in which 100 MB arrive does not count; that in which the call has them does."""
    ref, data = Policed.start(), b"x" * (100 << 20)
    call = ref.proxy().nap_beside.with_options(call_timeout=1.0)(data, 0.3)
    assert call.get(timeout=30) == len(data)
    hung = ref.proxy().nap_beside.with_options(call_timeout=0.5)(data, 60)
    assert type(hung.exception(timeout=30)) is CallTimeout


@pytest.mark.parametrize("size", [10, 8 << 20])
def test_a_call_that_begins_late_has_all_of_its_time(size: int) -> None:
    """It arrives after its whole time is over, since the isolate is stopped meanwhile, and then runs half of that."""
    ref = Policed.start()
    pid = ref.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    call = ref.proxy().nap_beside.with_options(call_timeout=0.6)(b"x" * size, 0.3)
    time.sleep(0.9)
    os.kill(pid, signal.SIGCONT)
    assert call.get(timeout=20) == size
    assert ref.generation == 1


def test_a_large_argument_does_not_hide_that_an_isolate_is_stopped(seen: Seen) -> None:
    """It will never begin; the clock waits some time for it to arrive, and no longer."""
    ref = Policed.with_options(restart="temporary").start()
    assert ref.pid is not None
    os.kill(ref.pid, signal.SIGSTOP)
    began = time.monotonic()
    call = ref.proxy().echo.with_options(call_timeout=0.2)(b"x" * (8 << 20))
    error = call.exception(timeout=20)
    print(f"ended after {time.monotonic() - began:.2f} s")
    assert isinstance(error, (CallTimeout, pykka.ActorDeadError))
    reason = ref.wait_for_exit(20)
    assert reason is not None
    assert reason.kind == "call_timeout"


def test_the_clock_does_not_run_while_the_isolate_restarts(seen: Seen) -> None:
    backoff = Backoff(initial=0.5, factor=1, jitter=0)
    ref = Policed.with_options(restart="permanent", backoff=backoff, call_timeout=0.3).start()
    crash = ref.proxy().crash()
    waiting = [ref.proxy().work(number) for number in range(5)]
    assert type(crash.exception(timeout=20)) is IsolateCrashed
    assert pykka.get_all(waiting, timeout=20) == list(range(5))
    hung, again = ref.proxy().nap(60), ref.proxy().nap(60)
    assert [type(call.exception(timeout=20)) for call in (hung, again)] == [CallTimeout, CallTimeout]
    assert len(seen.wait(CallTimedOut, 2, ref.name)) == 2


def test_timeouts_of_several_calls_are_kept_apart() -> None:
    """The earliest deadline is not that of the call which was sent first."""
    ref = Policed.with_options(restart="permanent", concurrency=2).start()
    proxy = ref.proxy()
    long = proxy.nap.with_options(call_timeout=60)(30)
    short = proxy.nap.with_options(call_timeout=0.2)(30)
    began = time.monotonic()
    assert type(short.exception(timeout=20)) is CallTimeout
    assert time.monotonic() - began < 15
    assert type(long.exception(timeout=20)) is IsolateCrashed


def test_a_caller_that_gave_up_does_not_stop_the_clock(seen: Seen) -> None:
    ref = Policed.with_options(restart="permanent").start()
    message = pykka.messages.ProxyCall(attr_path=("nap",), args=(60,), kwargs={})
    with pytest.raises(pykka.Timeout):
        ref.ask(message, call_timeout=0.5, timeout=0.1)
    assert ref.ask(1, timeout=20) == 1
    assert len(seen.wait(CallTimedOut)) == 1
    assert ref.generation == 2


def test_what_an_author_says_holds_for_an_actor_that_calls_itself_while_it_starts() -> None:
    ref = SelfCaller.with_options(restart="permanent").start()
    assert type(ref.proxy().nap_marked(60).exception(timeout=20)) is CallTimeout


def test_a_stop_behind_a_hung_call_comes_once_that_has_timed_out(seen: Seen) -> None:
    ref = Policed.with_options(restart="permanent", call_timeout=0.3).start()
    hung, behind = ref.proxy().spin(), ref.proxy().work(2)
    stop = ref.stop(block=False)
    assert type(hung.exception(timeout=20)) is CallTimeout
    assert isinstance(behind.exception(timeout=20), (type(None), pykka.ActorDeadError))
    assert stop.get(timeout=20) is True
    assert not ref.is_alive()


def test_a_terminate_while_the_stack_is_taken_ends_it_at_once() -> None:
    for delay in (0.2, 0.23, 0.27):
        ref = Policed.with_options(restart="permanent").start()
        call = ref.proxy().sleep_in_c.with_options(call_timeout=0.2)()
        time.sleep(delay)  # to meet the capture at several of its steps
        assert ref.terminate(timeout=20) is not None
        assert isinstance(call.exception(timeout=5), IsolateCrashed)


LIAR = """
import gc, time
def lie():
    for found in gc.get_objects():
        if type(found).__name__ == "SequencePage":
            try: found._words[1] = 1 << 40
            except ValueError: continue  # that of a rehearsal, which is closed
    time.sleep(60)
"""


def test_a_page_that_claims_that_later_calls_run_stops_no_clock(tmp_path: Path) -> None:
    """With calls behind it or without."""
    (tmp_path / "liar.py").write_text(LIAR)
    for behind in (0, 5):
        with ProcessIsolator(IsolationOptions(call_timeout=0.2, restart="permanent")) as isolator:
            call = isolator.invoke_method(f"{tmp_path}/liar.py:lie")
            waiting = [isolator.invoke_method("os:getpid") for _ in range(behind)]
            assert isinstance(call.exception(timeout=10), IsolateCrashed)
            assert all(isinstance(other.exception(timeout=10), (type(None), IsolateCrashed)) for other in waiting)


def test_what_is_taken_back_twice_runs_once(tmp_path: Path) -> None:
    """A full window of messages is taken back, sent again, and taken back before the isolate has read the first copies.

    That is what a recycling that is called off and a group restart right after it come to.
    """
    log = tmp_path / "log"
    ref = Policed.with_options(restart="permanent").start(str(log))
    held = ref.proxy().hold(str(tmp_path / "begun"), str(tmp_path / "until"))
    calls = [ref.proxy().work(number) for number in range(2200)]
    wait_until((tmp_path / "begun").exists)
    isolate = inside.delivery(ref)
    with isolate.lock:
        isolate.take_back()
        isolate.pump()
    (tmp_path / "until").touch()
    assert held.get(timeout=20) == "held"
    for _ in range(3):
        with isolate.lock:
            isolate.take_back()
            isolate.pump()
    assert pykka.get_all(calls, timeout=20) == list(range(2200))
    assert [int(line) for line in log.read_text().splitlines() if line.isdigit()] == list(range(2200))
    assert ref.generation == 1


@pytest.mark.parametrize("concurrency", [1, 3])
def test_what_is_taken_back_while_it_begins_runs_once_and_in_its_turn(tmp_path: Path, concurrency: int) -> None:
    """The clock takes back what waits, sees that the late call has ended meanwhile, and goes on.

    A call that begins in that very moment may count as begun, and be skipped all the same.
    """
    log = tmp_path / "log"
    ref = Policed.with_options(concurrency=concurrency).start(str(log))
    isolate, races = inside.delivery(ref), 0
    for start in range(0, 4000, 4):
        calls = [ref.proxy().work(number) for number in range(start, start + 4)]
        while not all(call.done() for call in calls):
            with isolate.lock:
                isolate.take_back()
                races += any(message.skip_race for message in isolate.mailbox.unanswered())
                isolate.pump()
        assert pykka.get_all(calls, timeout=20) == list(range(start, start + 4))
    assert races
    ran = [int(line) for line in log.read_text().splitlines() if line.isdigit()]
    assert (ran if concurrency == 1 else sorted(ran)) == list(range(4000))  # two that run at once may overtake
    assert ref.generation == 1


# Together with a recycling


def test_a_late_answer_while_it_drains_leaves_no_future_unset() -> None:
    """The call times out while the recycling waits for it, and ends before its process is ended."""
    ref = Policed.with_options(recycle=Recycle(after_calls=1), restart="permanent").start()
    first = ref.proxy().work(1)
    call = ref.proxy().nap_in_c.with_options(call_timeout=0.4)(0.45)
    behind = [ref.proxy().work(number) for number in range(20)]
    assert first.get(timeout=20) == 1
    assert type(call.exception(timeout=20)) is CallTimeout
    assert pykka.get_all(behind, timeout=20) == list(range(20))


def test_a_hung_call_that_a_recycling_waits_for_times_out() -> None:
    ref = Policed.with_options(recycle=Recycle(after_calls=1), restart="permanent").start()
    first = ref.proxy().work(1)
    call, behind = ref.proxy().nap.with_options(call_timeout=0.5)(60), ref.proxy().work(2)
    assert first.get(timeout=20) == 1
    assert type(call.exception(timeout=20)) is CallTimeout
    assert behind.get(timeout=20) == 2


def test_a_call_that_begins_in_the_moment_of_the_draining_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The I/O thread is late, as on a machine under load: it drains before it reads the last answer."""
    pause = Delivery.pause

    def pause_late(self: Any, on_drained: Any) -> None:
        time.sleep(0.7)
        pause(self, on_drained)

    monkeypatch.setattr(Delivery, "pause", pause_late)
    ref = Policed.with_options(recycle=Recycle(after_calls=1), restart="permanent").start()
    ref.proxy().work(1)
    before, hung = ref.proxy().nap(0.4), ref.proxy().nap.with_options(call_timeout=0.3)(2.5)
    assert before.get(timeout=20) == 0.4
    assert type(hung.exception(timeout=20)) is CallTimeout


def test_what_has_not_begun_never_times_out_beside_a_slow_retiree(tmp_path: Path, seen: Seen) -> None:
    """The new generation is killed while the old one still stops: that is a crash, and calls wait for the next one."""
    (tmp_path / "slow").write_text("1.6")
    ref = Policed.with_options(recycle=Recycle(after_calls=1), restart="permanent").start(os.devnull, str(tmp_path))
    assert ref.proxy().work(1).get(timeout=20) == 1
    wait_until(lambda: ref.generation == 2)
    assert ref.pid is not None
    killed = ref.pid
    os.kill(killed, signal.SIGKILL)
    waiting = ref.proxy().work.with_options(call_timeout=0.1)(2)
    assert waiting.get(timeout=20) == 2
    assert [gone.reason.kind for gone in seen.wait(IsolateExited) if gone.pid == killed] in ([], ["signaled"])
    assert seen.of(CallTimedOut) == []


def test_timeouts_and_callers_from_many_threads() -> None:
    """Four threads, calls of three kinds of timeouts, some of which hang: everyone gets an answer or a reason."""
    ref = Policed.with_options(restart="permanent", max_restarts=None, concurrency=2).start()
    found: list[tuple[str, Any]] = []

    def run(seed: int) -> None:
        dice, proxy = random.Random(seed), ref.proxy()
        for number in range(60):
            if dice.random() < 0.05:
                found.append(("hang", proxy.nap.with_options(call_timeout=0.05)(60)))
            elif dice.random() < 0.5:
                found.append(("short", proxy.work.with_options(call_timeout=30)(number)))
            else:
                found.append(("free", proxy.work(number)))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for kind, call in found:
        error = call.exception(timeout=30)
        if kind == "hang":
            assert isinstance(error, IsolateCrashed)
        else:
            assert error is None or type(error) is IsolateCrashed

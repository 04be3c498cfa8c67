"""Calls of a chain that comes back to an actor which waits for it: they run in the middle of the call that waits."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

import piactors
from piactors import DeadlockError, IsolateCrashed, by_ref, reentrant
from tests.children.entering import Room
from tests.support import wait_until

SECONDS = 20
pytestmark = pytest.mark.usefixtures("all_stopped")


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


def pair(**options: Any) -> tuple[Any, Any]:
    refs = [Room.with_options(restart="permanent", max_restarts=50, **options).start() for _ in range(2)]
    for ref, other in zip(refs, reversed(refs), strict=True):
        get(ref.proxy().link(other))
    return refs[0], refs[1]


# When it is entered


def test_what_a_call_leads_to_runs_in_its_middle() -> None:
    first, _ = pair(on_cycle="reenter")
    assert get(first.proxy().go(5)) == "end"
    assert get(first.proxy().logged()) == [(way, n) for way, ns in (("in", (5, 3, 1)), ("out", (1, 3, 5))) for n in ns]


def test_it_runs_in_the_thread_that_waits() -> None:
    first, _ = pair(on_cycle="reenter")
    assert get(first.proxy().go_threads(4)) == ["MainThread"] * 5


@pytest.mark.parametrize(("method", "args"), [("note", (1,)), ("price", ("tea",))])
def test_the_method_that_waits_may_be_marked(method: str, args: tuple[Any, ...]) -> None:
    first, _ = pair()
    assert get(first.proxy().waits(method, *args)) in (1, "price of tea")


def test_the_method_that_is_asked_for_may_be_marked() -> None:
    first, _ = pair()
    assert get(first.proxy().waits_unmarked("price", "tea")) == "price of tea"
    with pytest.raises(DeadlockError):
        get(first.proxy().waits_unmarked("note", 1))


def test_marks_count_after_a_restart() -> None:
    first, second = pair()
    os.kill(first.pid, signal.SIGKILL)
    get(first.proxy().link(second))
    assert get(first.proxy().waits("note", 1)) == 1


def test_who_asks_itself_runs_it_at_once() -> None:
    first, _ = pair(on_cycle="reenter")
    assert get(first.proxy().own(5)) == 5


def test_by_way_of_the_host() -> None:
    """A function of the host asks the isolate that called it."""
    first, _ = pair(on_cycle="reenter")
    assert get(first.proxy().use(by_ref(lambda value: get(first.proxy().note(value))), 7)) == 7


def test_depth_is_bounded() -> None:
    first, _ = pair(on_cycle="reenter")
    assert get(first.proxy().own(64)) == 64
    with pytest.raises(DeadlockError):
        get(first.proxy().own(65))
    assert get(first.proxy().own(64)) == 64


# When it is not


def test_calls_of_other_chains_wait(tmp_path: Path) -> None:
    first, second = pair(on_cycle="reenter")
    call = first.proxy().waits("ask_back_later", 0.3, "note", "mine")
    wait_until(call.running)
    others = [first.proxy().note(number) for number in range(5)]
    get(call)
    assert [get(other) for other in others] == list(range(5))
    assert get(first.proxy().logged()) == [0, 1, 2, 3, 4], "the note of the call itself went to the other one"
    assert get(second.proxy().logged()) == ["mine"]


def test_two_chains_that_meet_are_no_chain() -> None:
    first, second = pair(on_cycle="reenter")
    for _ in range(20):
        calls = [first.proxy().go(1), second.proxy().go(1)]
        outcomes = [call.exception(timeout=SECONDS) for call in calls]
        assert all(error is None or isinstance(error, DeadlockError) for error in outcomes)


def test_it_is_not_entered_with_several_threads_or_in_a_coroutine() -> None:
    first, _ = pair(on_cycle="reenter", concurrency=2)
    assert get(first.proxy().go(3)) == "end", "each has two slots"
    with pytest.raises(DeadlockError):
        get(first.proxy().go(8))
    third, _ = pair(on_cycle="reenter")
    with pytest.raises(DeadlockError):
        get(third.proxy().go_async(2))


def test_only_a_method_can_be_marked() -> None:
    with pytest.raises(TypeError, match="reentrant: 3"):
        reentrant(3)  # type: ignore[type-var]


# What goes on meanwhile


def test_what_was_sent_before_keeps_its_order() -> None:
    first, _ = pair(on_cycle="reenter")
    proxy = first.proxy()
    calls = [proxy.note("before"), proxy.go(6), *(proxy.note(number) for number in range(500))]
    assert [get(call) for call in calls][2:] == list(range(500))
    log = [entry for entry in get(proxy.logged()) if type(entry) is not tuple]
    assert log == ["before", *range(500)]


def test_calls_in_one_frame_wait_as_others_do() -> None:
    first, _ = pair(on_cycle="reenter")
    call = first.proxy().go(6)
    assert list(first.proxy().note.map(range(300))) == list(range(300))
    assert get(call) == "end"


def test_large_and_lent_arguments_arrive() -> None:
    first, _ = pair(on_cycle="reenter")
    seen: list[int] = []
    calls = [first.proxy().go(4)]
    for _ in range(5):
        calls.append(first.proxy().use(by_ref(lambda data: seen.append(len(data))), os.urandom(400_000)))
        calls.append(first.proxy().go(2))
    for call in calls:
        get(call)
    assert seen == [400_000] * 5


def test_code_knows_the_call_that_it_runs_for() -> None:
    first, _ = pair(on_cycle="reenter")
    before, between, after = get(first.proxy().ids())
    assert before == after != between


def test_what_it_raises_goes_to_who_asked() -> None:
    first, _ = pair(on_cycle="reenter")
    with pytest.raises(LookupError, match="in the middle"):
        get(first.proxy().waits("fail"))
    assert get(first.proxy().own(2)) == 2


def test_who_waits_too_briefly_goes_on_after_it() -> None:
    """Never two at once in one actor."""
    first, _ = pair(on_cycle="reenter")
    assert get(first.proxy().wait_briefly(0.1)) == "late"
    assert get(first.proxy().sleep(0)) == "0 others"


# Ends


@pytest.mark.parametrize("way", ["die", "exit"])
def test_a_crash_in_the_middle_fails_both_and_nothing_that_waits(way: str, tmp_path: Path) -> None:
    first, _ = pair(on_cycle="reenter")
    call = first.proxy().waits(way)
    others = [first.proxy().note_in(str(tmp_path / "notes"), number) for number in range(50)]
    with pytest.raises((IsolateCrashed, piactors.ActorDeadError)):
        get(call)
    for other in others:
        get(other)
    assert (tmp_path / "notes").read_text().split() == [str(number) for number in range(50)]


def test_an_actor_that_stops_is_not_entered() -> None:
    first, _ = pair(on_cycle="reenter")
    call = first.proxy().go_later(0.2)
    wait_until(call.running)
    assert first.stop(timeout=SECONDS)
    with pytest.raises((DeadlockError, piactors.ActorDeadError)):
        get(call)


def test_a_recycling_waits_for_it() -> None:
    first, second = pair(on_cycle="reenter")
    for _ in range(5):
        call, fresh = first.proxy().go(4), first.recycle()
        assert call.exception(timeout=SECONDS) is None or isinstance(call.exception(), DeadlockError | AttributeError)
        get(fresh)
        get(first.proxy().link(second))


@pytest.mark.parametrize(("method", "value", "found"), [("note", 7, 7), ("go", 5, "end")])
def test_a_recycling_that_was_asked_for_lets_it_end(method: str, value: int, found: Any) -> None:
    """What has begun needs what it leads to; what was sent meanwhile runs in the fresh process."""
    first, second = pair(on_cycle="reenter")
    for _ in range(5):
        call, before = first.proxy().go_later(0.1, method, value), first.pid
        wait_until(call.running)
        fresh = first.recycle()
        late = [first.proxy().pid() for _ in range(10)]
        assert get(call) == found
        get(fresh)
        assert {get(pid) for pid in late} == {first.pid}
        assert first.pid != before
        get(first.proxy().link(second))


def test_each_message_runs_once_whatever_dies(tmp_path: Path) -> None:
    """Chains that come back, messages that wait behind them, and kill -9 of either at random moments."""
    first, second = pair(on_cycle="reenter")
    chosen = random.Random(7)
    notes, sent = tmp_path / "notes", []
    for number in range(400):
        call = chosen.choice((first, second)).proxy().go(chosen.randrange(5))
        note = first.proxy().note_in(str(notes), number)
        sent.append((number, note))
        if not number % 40:
            victim = chosen.choice((first, second))
            generation = victim.generation
            with contextlib.suppress(ProcessLookupError):  # a call in it may have ended it
                os.kill(victim.pid, signal.SIGKILL)
            wait_until(lambda v=victim, g=generation: v.generation > g and v.state == "running")  # type: ignore[misc]
            for ref, other in ((first, second), (second, first)):
                ref.proxy().link(other)
        del call
    outcomes = {number: note.exception(timeout=60) for number, note in sent}
    ran = [int(line) for line in notes.read_text().split()]
    assert len(ran) == len(set(ran)), "none twice"
    assert ran == sorted(ran), "in order"
    for number, error in outcomes.items():
        assert error is None or isinstance(error, IsolateCrashed)
        assert error is not None or number in ran


def test_it_is_entered_thousands_of_times_in_one_call_beside_a_full_window() -> None:
    """Each call in its middle takes a number, and the window of numbers has 1,024."""
    first, _ = pair(on_cycle="reenter")
    often = first.proxy().ask_often(3_000)
    others = [first.proxy().note(number) for number in range(2_000)]
    assert get(often) == 3_000
    assert [get(other) for other in others] == list(range(2_000))
    assert [entry for entry in get(first.proxy().logged()) if entry != "inner"] == list(range(2_000))


def test_its_time_goes_along_through_all_of_them() -> None:
    first, _ = pair(on_cycle="reenter")
    left = get(first.proxy().time_left.with_options(timeout=SECONDS)(1_500))
    assert min(left) > 0
    assert max(left) <= SECONDS

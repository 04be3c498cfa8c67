"""Isolates that reach each other without the host: in order, accounted for, and with all that holds by way of it."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import Any

import pytest

import piactors
from piactors import DeadlockError, IsolateCrashed, Recycle, by_ref
from piactors.pihost.wire import direct, page
from tests.children.directly import Asking, Entered, Other
from tests.kept import Kept
from tests.support import wait_until

SECONDS = 20
pytestmark = pytest.mark.usefixtures("all_stopped")


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


def pair(**options: Any) -> tuple[Any, Any]:
    """Return the proxy of one that asks, and the ref of the other one, with a channel between them."""
    other = Other.with_options(**{"restart": "permanent", "max_restarts": None, **options}).start()
    asking = Asking.with_options(channels="direct").start(other).proxy()
    assert get(asking.connect())
    return asking, other


@pytest.fixture
def two() -> tuple[Any, Any]:
    return pair()


def channels_of(ref: Any) -> dict[int, Any]:
    found: dict[int, Any] = ref._isolate.delivery.direct._channels
    return found


def running(ref: Any) -> int:
    """Return the number of what its process has begun last."""
    return int(ref._isolate.process.threads(1)[0].seq)


# What goes, and what goes by way of the host


def test_what_is_small_goes_directly_and_the_rest_does_not(two: Any) -> None:
    asking, _ = two
    assert get(asking.ask("directly", 1)) is True
    assert get(asking.ask("directly", b"x" * 1500)) is True
    assert get(asking.ask("directly", b"x" * 5000)) is False
    assert get(asking.ask("directly", 1)) is True, "and then again"
    assert get(asking.ask_with({"direct": False}, "directly")) is False
    assert get(asking.ask_with({"direct": True}, "directly")) is True


def test_values_errors_messages_and_attributes(two: Any) -> None:
    asking, _ = two
    for value in (None, 1, "é", [1, {"a": (2,)}], b"x" * 1000, ValueError("as a value")):
        found = get(asking.ask("echo", value))
        assert found == value or repr(found) == repr(value)
    assert get(asking.fail("fail", "so")) == "LookupError: so"
    assert get(asking.fail("fail_long")).startswith("LookupError: xxx")
    assert get(asking.fail("sleep", "x")).startswith("TypeError")
    assert get(asking.message(("a", 1))) == ("received", ("a", 1), True)
    assert get(asking.attribute(7)) == 7


@pytest.mark.parametrize("size", [0, 1000, 2047, 2048, 2049, 100_000, 5_000_000])
def test_answers_of_all_sizes(two: Any, size: int) -> None:
    assert get(two[0].ask("large", size)) == b"x" * size


def test_what_is_lent_goes_by_way_of_the_host_in_both_directions(two: Any) -> None:
    asking, other = two
    assert get(asking.ask_lending("call_back")) == 3
    assert get(asking.ask("lend"))(5) == 5
    assert get(asking.ask("me")) == other
    assert get(asking.read("count", 50)) == list(range(50))
    assert get(asking.ask("directly")) is True


def test_one_that_lets_nothing_else_run_ends_the_channels(two: Any) -> None:
    asking, other = two
    assert get(asking.read("alone", 20)) == list(range(20))
    assert get(asking.ask("echo", 1)) == 1
    wait_until(lambda: not channels_of(other))
    assert get(asking.connect()) is False


@pytest.mark.parametrize(
    "options",
    [
        {"trust": "data"},
        {"concurrency": 2},
        {"call_timeout": 10},
        {"mailbox_capacity": 10},
        {"recycle": Recycle(after_calls=100)},
        {"channels": "routed"},
        {"on_cycle": "reenter"},
    ],
)
def test_who_is_not_reached_directly(options: dict[str, Any]) -> None:
    """There is something that only the host can see to."""
    other = Other.with_options(**options).start()
    asking = Asking.with_options(channels="direct").start(other).proxy()
    assert get(asking.connect()) is False
    assert get(asking.ask("echo", 1)) == 1
    assert not channels_of(other)


@pytest.mark.parametrize("options", [{"trust": "data"}, {"on_cycle": "reenter"}, {"channels": "routed"}])
def test_who_does_not_reach_others_directly(options: dict[str, Any]) -> None:
    other = Other.start()
    asking = Asking.with_options(**{"channels": "direct", **options}).start(other).proxy()
    assert get(asking.connect()) is False


def test_a_ref_that_does_not_allow_everything_is_asked_by_way_of_the_host() -> None:
    other = Other.start()
    asking = Asking.with_options(channels="direct").start(other.restrict(["directly", "echo"])).proxy()
    assert get(asking.connect()) is False


def test_by_itself_from_the_200th_message_on() -> None:
    other = Other.start()
    asking = Asking.with_options(channels="auto").start(other).proxy()
    assert not any(get(asking.ask_many("directly", [()] * 200)))
    assert get(asking.connect())


def test_who_may_be_entered_is_not_reached_directly() -> None:
    asking = Asking.with_options(channels="direct").start(Entered.start()).proxy()
    assert get(asking.connect()) is False


def test_one_method_alone_goes_directly_if_it_says_so() -> None:
    other = Other.start()
    asking = Asking.with_options(channels="routed").start(other).proxy()
    assert get(asking.direct_once()) == [True, False, True]


def test_a_channel_that_ends_as_soon_as_it_is_there() -> None:
    """The first message behind the channel is one that is to run alone."""
    for _ in range(5):
        other = Other.start()
        asking = Asking.with_options(channels="direct").start(other).proxy()
        futures = [asking.read("only", 3), asking.read("only", 3), asking.ask("echo", 1)]
        assert [get(future) for future in futures] == [[0, 1, 2], [0, 1, 2], 1]


# Order


def test_messages_of_one_holder_are_in_order_whichever_way_they_go(two: Any) -> None:
    asking, other = two
    rows = [(number, b"x" * (5000 if number % 17 == 3 or 40 < number < 50 else 1)) for number in range(600)]
    get(asking.tell("note", rows))
    assert get(asking.ask("notes")) == list(range(600))
    get(asking.ask_many("note", [(600 + number,) for number in range(300)]))
    assert get(other.proxy().notes()) == list(range(900))


@pytest.mark.parametrize("after", range(0, 24, 3))
def test_the_change_may_come_at_any_message(after: int) -> None:
    first, other = Other.start(), Other.with_options(restart="permanent", max_restarts=None).start()
    asking = Asking.with_options(channels="auto").start(first).proxy()
    get(asking.change_after(after))
    get(asking.link(other))
    for start in range(0, 30, 10):
        get(asking.tell("note", [(number, b"x" * (5000 * (number % 4 == 3))) for number in range(start, start + 5)]))
        get(asking.ask_many("note", [(number,) for number in range(start + 5, start + 10)]))
    assert get(other.proxy().notes()) == list(range(30))
    found = get(asking.crash(after, 24 - after))
    assert found == [None] * after + ["IsolateCrashed"] + [None] * (24 - after)
    assert get(other.proxy().notes()) == list(range(after, 24))


def test_more_than_fit_on_the_way_wait_their_turn(two: Any) -> None:
    asking, _ = two
    held = threading.Event()
    get(asking.tell("hold", [(by_ref(lambda: held.wait(SECONDS)),)]))
    rows = [(number, b"y" * 1500) for number in range(1000)]
    get(asking.tell("note", rows))
    held.set()
    assert get(asking.ask("notes")) == list(range(1000))


def test_what_the_host_closes_goes_on_by_way_of_it(two: Any) -> None:
    """A renewal between two calls: what is not begun goes to the next process, in order."""
    asking, other = two
    for first in range(0, 2000, 200):
        future = asking.ask_many("note", [(number,) for number in range(first, first + 200)])
        other.recycle()
        get(future)
    assert get(asking.ask("echo", "on")) == "on"
    get(other.recycle())
    assert other.generation > 1
    assert get(asking.connect())
    assert get(asking.ask("directly")) is True


def pairs_in_order(notes: list[Any], count: int) -> None:
    places = {note: place for place, note in enumerate(notes)}
    assert len(notes) == len(places) == 2 * count
    assert [n for n in range(count) if places["direct", n] > places["host", n]] == []


def test_what_follows_from_it_by_way_of_the_host_comes_after_it(two: Any) -> None:
    asking, other = two
    proxy = other.proxy()
    for number in range(300):
        get(asking.tell("note", [(("direct", number),)]))
        proxy.note.defer(("host", number))
        if not number % 7:
            proxy.note(("host too", number), b"x" * 300_000)
    notes = [note for note in get(proxy.notes()) if note[0] != "host too"]
    pairs_in_order(notes, 300)


@pytest.mark.parametrize("count", [60, 200])
def test_so_it_does_if_it_is_much(two: Any, count: int) -> None:
    asking, other = two
    held = threading.Event()
    other.proxy().hold.defer(by_ref(lambda: held.wait(SECONDS)))
    get(asking.tell("note", [(number, b"x" * 1500) for number in range(count)]))
    other.proxy().note.defer("host")
    held.set()
    last = min(count, direct.WINDOW)  # what is beyond waits in the sender
    wait_until(lambda: len(get(other.proxy().notes())) == count + 1)
    assert get(other.proxy().notes()).index("host") >= last


def test_so_it_does_if_both_come_while_an_answer_is_waited_for(two: Any) -> None:
    asking, other = two
    proxy = other.proxy()
    for number in range(30):
        waits = threading.Event()
        proxy.hold.defer(by_ref(lambda waits=waits: waits.wait(SECONDS)))  # type: ignore[misc]
        get(asking.tell("note", [(("direct", number),)]))
        proxy.note.defer(("host", number))
        waits.set()
    pairs_in_order(get(proxy.notes()), 30)
    assert get(asking.ask("directly")) is True


# Ends


def test_what_waits_in_a_sender_that_stops_is_sent(two: Any) -> None:
    asking, other = two
    get(asking.tell("sleep", [(0.3,)]))
    get(asking.tell("note", [(number,) for number in range(300)]))
    assert asking.actor_ref.stop(timeout=SECONDS)
    wait_until(lambda: len(get(other.proxy().notes())) == 300)
    assert get(other.proxy().notes()) == list(range(300))


@pytest.mark.parametrize("before", [0, 1, 5, 70])
@pytest.mark.parametrize("after", [0, 1, 5, 70])
def test_what_had_begun_fails_and_the_rest_goes_on(two: Any, before: int, after: int) -> None:
    asking, other = two
    found = get(asking.crash(before, after))
    assert found == [None] * before + ["IsolateCrashed"] + [None] * after
    assert get(other.proxy().notes()) == list(range(before, before + after))
    assert other.generation == 2


@pytest.mark.parametrize("large", [1, 2, 3, 7])
def test_it_goes_on_in_order_if_some_of_it_went_the_other_way(two: Any, large: int) -> None:
    """What waits in the mailbox then is behind what had been sent directly before it."""
    asking, other = two
    for _ in range(5):
        assert get(asking.crash(3, 20, large)) == [None] * 3 + ["IsolateCrashed"] + [None] * 20
        assert get(other.proxy().notes()) == list(range(3, 23))
        assert get(asking.connect())


def test_it_goes_directly_again_to_the_next_process(two: Any) -> None:
    asking, other = two
    for _ in range(5):
        assert "IsolateCrashed" in get(asking.crash(2, 2))
        assert get(asking.connect())
    assert other.generation == 6


def test_the_end_of_an_actor_is_told_as_by_way_of_the_host() -> None:
    asking, _ = pair(restart="temporary")
    assert get(asking.crash(1, 2)) == [None, "IsolateCrashed", "ActorDeadError", "ActorDeadError"]
    assert get(asking.fail("echo", 1)).startswith("ActorDeadError")


def test_one_that_exits_in_a_call(two: Any) -> None:
    asking, other = two
    assert get(asking.fail("leave")).startswith("IsolateCrashed")
    assert get(asking.ask("echo", 1)) == 1
    assert other.generation == 2


def test_a_stop_runs_what_was_sent_before_it() -> None:
    asking, other = pair(restart="temporary")
    get(asking.keep("sleep", 0.2))
    get(asking.tell("note", [(number,) for number in range(50)]))
    get(asking.keep("notes"))
    assert other.stop(timeout=SECONDS)
    assert get(asking.kept_outcome()) == "slept"
    assert get(asking.kept_outcome()) == list(range(50))
    assert get(asking.fail("echo", 1)).startswith("ActorDeadError")


def test_what_a_sender_had_sent_runs_though_it_dies() -> None:
    other = Other.start()
    asking = Asking.with_options(channels="direct").start(other)
    assert get(asking.proxy().connect())
    get(asking.proxy().tell("sleep", [(0.1,)]))
    get(asking.proxy().tell("note", [(number,) for number in range(30)]))
    with pytest.raises(IsolateCrashed):
        get(asking.proxy().die())
    wait_until(lambda: get(other.proxy().notes()) == list(range(30)))
    wait_until(lambda: not channels_of(other))


def test_places_are_given_back() -> None:
    """Of more senders than have a place at once, one after the other gets one."""
    other = Other.start()
    for _ in range(3):
        senders = [Asking.with_options(channels="direct").start(other) for _ in range(page.DIRECT_PLACES // 2)]
        connected = [get(sender.proxy().connect()) for sender in senders]
        assert all(connected)
        for sender in senders:
            sender.stop(timeout=SECONDS)
        wait_until(lambda: not channels_of(other))


def test_who_gets_no_place_is_served_all_the_same() -> None:
    other = Other.start()
    senders = [Asking.with_options(channels="direct").start(other) for _ in range(page.DIRECT_PLACES + 2)]
    found = [get(sender.proxy().connect()) for sender in senders]
    assert found.count(True) == page.DIRECT_PLACES
    assert [get(sender.proxy().ask("echo", 5)) for sender in senders] == [5] * len(senders)


def test_a_ref_that_nobody_holds_any_more_ends_its_channel(two: Any) -> None:
    asking, other = two
    get(asking.forget())
    wait_until(lambda: not channels_of(other))


@pytest.mark.parametrize("who", ["asking", "other"])
def test_forks_do_no_harm(two: Any, who: str) -> None:
    asking, _ = two
    if who == "asking":
        assert get(asking.fork()) == 0
    else:
        assert get(asking.ask("fork")) == 0
    assert get(asking.ask("directly")) is True
    assert get(asking.ask_many("echo", [(number,) for number in range(100)])) == list(range(100))


# Who waits


def test_threads_of_one_isolate_each_get_their_own(two: Any) -> None:
    found = get(two[0].from_threads(6, 200))
    assert found == [[place * 200 + number for number in range(200)] for place in range(6)]


def test_coroutines_await_what_goes_directly(two: Any) -> None:
    asking, _ = two
    assert get(asking.gather(300)) == list(range(300))
    assert get(asking.await_one("directly")) is True
    assert get(asking.await_one("rest", 0.01)) == "rested"


def test_done_callbacks_run_though_nobody_waits(two: Any) -> None:
    assert get(two[0].called_back(200)) == 200


def test_who_waits_and_who_only_hears_do_not_keep_each_other_waiting(two: Any) -> None:
    for _ in range(3):
        assert get(two[0].all_at_once(3, 200)) < 2


def test_threads_that_only_wait_take_no_processor_time(two: Any) -> None:
    assert get(two[0].use_seconds(5, 0.2)) < 0.3


# Circles


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_circle_is_told(count: int) -> None:
    refs = [Other.with_options(channels="direct").start() for _ in range(count)]
    first = Asking.with_options(channels="direct").start(refs[0])
    for ref, following in zip(refs, [*refs[1:], first], strict=True):
        get(ref.proxy().link(following))
    for _ in range(2):
        assert get(first.proxy().around(count)) in (True, False)
    assert get(first.proxy().connect())
    for _ in range(3):
        assert get(first.proxy().around(count)) is True
        began = time.monotonic()
        with pytest.raises(DeadlockError) as caught:
            get(first.proxy().around(count + 1))
        assert time.monotonic() - began < 5
        assert [name.partition(".")[0] for name in caught.value.cycle] == [first.name, *(ref.name for ref in refs)]
    assert get(first.proxy().around(count)) is True


def test_a_circle_through_what_nobody_waits_for(two: Any) -> None:
    """Which the host has not been told of: it runs, and asks back."""
    asking, other = two
    get(other.proxy().link(asking.actor_ref))
    began = time.monotonic()
    outcome = asking.tell_and_ask("go").exception(timeout=SECONDS)
    assert time.monotonic() - began < 5
    # The younger of the two is told: the ask, or what was told, which ends its process as nobody waits for it.
    assert isinstance(outcome, DeadlockError) or (outcome is None and other.generation == 2)


def test_what_only_takes_long_is_no_circle(two: Any) -> None:
    asking, _ = two
    assert get(asking.ask("sleep", 0.3)) == "slept"
    assert get(asking.ask("echo", 1)) == 1
    assert not asking.actor_ref._isolate.delivery.asks
    assert not two[1]._isolate.delivery.direct._told


# Deadlines and cancelling


def test_a_deadline_goes_along(two: Any) -> None:
    asking, other = two
    assert 0 < get(asking.ask_with({"timeout": 5}, "remaining")) <= 5
    assert get(asking.outcome({"timeout": 0.1}, "sleep", 0.5)) == "Timeout"
    assert get(asking.ask("echo", 1)) == 1
    assert get(asking.outcome({"timeout": 0.1}, "until_cancelled")) == "Timeout"
    assert get(asking.ask("notes")) == [("cancelled", True)]
    get(asking.tell("sleep", [(0.3,)]))
    assert get(asking.outcome({"timeout": 0.1}, "note", "late")) == "Timeout"
    assert get(other.proxy().notes()) == [("cancelled", True)], "what had not begun never begins"


def test_what_has_not_begun_is_cancelled_at_once(two: Any) -> None:
    asking, _ = two
    get(asking.tell("sleep", [(0.5,)]))
    get(asking.keep("note", "never"))
    assert get(asking.cancel_kept()) is True
    assert get(asking.kept_outcome()) == "CancelledError"
    assert get(asking.ask("notes")) == []


def test_what_waits_in_the_sender_is_cancelled_at_once(two: Any) -> None:
    asking, _ = two
    get(asking.tell("sleep", [(0.3,)]))
    assert get(asking.hold_and_cancel(100)) == [True] * 3
    assert get(asking.ask("notes")) == list(range(97))


def test_what_is_told_outlives_the_call_that_told_it(two: Any) -> None:
    asking, other = two
    get(asking.tell("sleep", [(0.3,)]))
    told = threading.Event()
    future = asking.tell_and_rest(5, by_ref(told.set), 20)
    assert told.wait(SECONDS)
    future.cancel()
    wait_until(future.done)
    assert get(other.proxy().notes()) == list(range(5))


def test_cancelling_leaves_nothing_behind(two: Any) -> None:
    asking, other = two
    for _ in range(3):
        get(asking.tell("sleep", [(0.1,)]))
        assert get(asking.cancel_many(50)) > 0
    assert get(asking.ask("echo", 1)) == 1
    wait_until(lambda: not other._isolate.delivery.direct._told)
    assert not asking.actor_ref._isolate.delivery.asks


def test_a_coroutine_is_cancelled_and_other_code_is_told(two: Any) -> None:
    asking, other = two
    for method, args, outcome in (("rest", (20,), "CancelledError"), ("until_cancelled", (), True)):
        last = running(other)
        get(asking.keep(method, *args))
        wait_until(lambda: running(other) != last)  # noqa: B023
        assert get(asking.cancel_kept()) is False
        assert get(asking.kept_outcome()) == outcome


def test_what_a_cancelled_call_waits_for_is_cancelled_with_it(two: Any) -> None:
    asking, _ = two
    last = running(two[1])
    future = asking.busy("until_cancelled")
    wait_until(lambda: running(two[1]) != last)
    assert not future.cancel()
    assert get(asking.ask("notes")) == [("cancelled", True)]


def test_kill_after_ends_the_process_that_runs_it(two: Any) -> None:
    asking, other = two
    last = running(other)
    get(asking.keep("sleep", 20))
    wait_until(lambda: running(other) != last)
    assert get(asking.cancel_kept(0.1)) is False
    assert get(asking.kept_outcome()) == "IsolateCrashed"
    assert get(asking.ask("echo", 1)) == 1
    assert other.generation == 2


# Callbacks


def test_a_callback_runs_in_the_thread_that_waits_at_the_other_end(two: Any) -> None:
    """The call that came directly was made in one that a thread of the host waits for."""
    asking, _ = two
    connection = sqlite3.connect(":memory:")
    connection.execute("create table found (value)")

    def add(value: int) -> int:
        return connection.execute("insert into found values (?)", (value,)).rowcount

    with by_ref(add, run="caller") as handle:
        get(two[1].proxy().take(handle))
        assert get(asking.ask("call_taken", 5)) == (True, 1)
    assert connection.execute("select value from found").fetchall() == [(5,)]


def test_so_does_one_from_further_away(two: Any) -> None:
    """The host asks one, which asks the next one directly, which asks the last one directly."""
    asking, other = two
    first = Asking.with_options(channels="direct").start(asking.actor_ref).proxy()
    for _ in range(5):
        get(first.through("echo", 1))
    connection = sqlite3.connect(":memory:")
    with by_ref(lambda: connection.execute("select 7").fetchone()[0], run="caller") as handle:
        get(other.proxy().take(handle))
        assert get(first.through("call_taken")) == (True, 7)


def test_a_callback_into_the_host_from_a_call_that_came_directly(two: Any) -> None:
    asking, other = two
    seen: list[int] = []
    get(other.proxy().take(by_ref(seen.append)))
    assert get(asking.ask("call_taken", 5)) == (True, None)
    assert seen == [5]


# No growth


def test_10_000_calls_and_100_channels_leave_nothing(two: Any) -> None:
    asking, other = two

    def some(count: int) -> None:
        for _ in range(count):
            future = asking.ask_many("echo", [(1,)] * 100)
            get(other.recycle())
            assert get(future) == [1] * 100
            assert get(asking.connect())

    some(10)
    before = Kept.now(asking.actor_ref.pid)
    some(100)
    before.no_more()
    assert len(channels_of(other)) == 1


def test_refs_that_come_and_go_leave_nothing() -> None:
    other = Other.start()
    asking = Asking.with_options(channels="direct").start(other).proxy()

    def some(count: int) -> None:
        for _ in range(count):
            assert get(asking.connect())
            get(asking.forget())
            wait_until(lambda: not channels_of(other))
            get(asking.link(other))

    some(5)
    before = Kept.now(asking.actor_ref.pid)
    some(50)
    before.no_more()


def test_options_that_are_not_allowed() -> None:
    with pytest.raises(ValueError, match="channels"):
        piactors.IsolationOptions(channels="fast")  # type: ignore[arg-type]

"""Timers that actors set for themselves: their ticks are messages."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from typing import Any

import pytest

import piactors
from piactors import ProcessActor, by_ref
from tests.kept import Kept
from tests.support import wait_until

SECONDS = 20


class Clock(ProcessActor):
    """Sets timers, and says what ticks."""

    def __init__(self, told: Any = None, setting: str = "") -> None:
        super().__init__()
        self.told = told
        self.ticks: list[Any] = []
        self.timers: list[Any] = []
        self.setting = setting
        if setting == "in __init__":
            self.every(0.01, "tick", "early")

    def on_start(self) -> None:
        if self.setting == "in on_start":
            self.every(0.01, "tick", "early")
            time.sleep(0.1)
        elif self.setting == "persistent" and not self.seen_before():
            self.every(0.02, "tick", os.getpid(), persistent=True)
        elif self.setting == "of its process" and not self.seen_before():
            self.every(0.02, "tick", os.getpid())

    def seen_before(self) -> bool:
        return bool(self.told is not None and self.told("seen"))

    def tick(self, *args: Any) -> None:
        self.ticks.append(args)
        if self.told is not None:
            self.told(args)

    def tick_slowly(self, seconds: float) -> None:
        self.ticks.append(time.monotonic())
        time.sleep(seconds)

    async def tick_later(self, value: Any) -> None:
        self.ticks.append(value)

    def fail(self) -> None:
        raise ValueError("of a tick")

    def set_one(self, seconds: Any, method: Any, *args: Any) -> None:
        self.timers.append(self.after(seconds, method, *args))

    def set_many(self, seconds: Any, method: Any, *args: Any, **how: Any) -> None:
        self.timers.append(self.every(seconds, method, *args, **how))

    def set_own(self) -> None:
        self.timers.append(self.after(0, self.tick, "own"))

    def set_and_add(self) -> None:
        """The tick is behind what waits when it is due."""
        self.after(0, "tick", "second")
        self.actor_ref.tell("third")

    def on_receive(self, message: Any) -> Any:
        self.ticks.append(message)
        return message

    def cancel(self, number: int = -1) -> bool:
        return bool(self.timers[number].cancel())

    def set_wait_and_cancel(self, seconds: float) -> tuple[bool, bool]:
        """It is due and waits behind this call, when it is cancelled."""
        timer = self.after(0.001, "tick", "never")
        time.sleep(seconds)
        return timer.cancel(), timer.cancel()

    def set_count(self, count: int, seconds: float) -> None:
        for number in range(count):
            self.after(seconds, "tick", number)

    def set_and_cancel_half(self, count: int) -> int:
        """Half of them tick at once, and half are cancelled; return how many of those would have ticked."""
        to_cancel = []
        for number in range(count // 2):
            self.after(0, "tick", number)
            to_cancel.append(self.after(60, "tick", "never"))
        return sum(timer.cancel() for timer in to_cancel)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def seen(self) -> list[Any]:
        return self.ticks

    def clear(self) -> None:
        self.ticks.clear()

    def show(self) -> str:
        return repr(self.timers[-1])

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def clock() -> Any:
    return Clock.with_options(restart="permanent").start()


def seen(ref: Any) -> list[Any]:
    found: list[Any] = ref.proxy().seen().get(timeout=SECONDS)
    return found


def test_a_method_is_called_once_after_a_time(clock: Any) -> None:
    began = time.monotonic()
    clock.proxy().set_one(0.2, "tick", "one", 2).get(timeout=SECONDS)
    assert seen(clock) == []
    assert wait_until(lambda: seen(clock)) == [("one", 2)]
    assert time.monotonic() - began >= 0.2
    clock.proxy().sleep(0.3).get(timeout=SECONDS)
    assert seen(clock) == [("one", 2)]


def test_a_method_itself_names_it(clock: Any) -> None:
    clock.proxy().set_own().get(timeout=SECONDS)
    assert wait_until(lambda: seen(clock)) == [("own",)]


def test_a_tick_is_a_message_in_order_with_others(clock: Any) -> None:
    busy = clock.proxy().sleep(0.1)
    after = [clock.proxy().set_and_add(), clock.proxy().tick("first")]
    for future in (busy, *after):
        future.get(timeout=SECONDS)
    wait_until(lambda: len(seen(clock)) == 3)
    assert seen(clock)[0] == ("first",)
    assert set(seen(clock)[1:]) == {("second",), "third"}


def test_a_method_is_called_again_and_again(clock: Any) -> None:
    clock.proxy().set_many(0.05, "tick", "again").get(timeout=SECONDS)
    began = time.monotonic()
    wait_until(lambda: len(seen(clock)) >= 10)
    assert time.monotonic() - began >= 0.05 * 9 - 0.05
    assert clock.proxy().cancel().get(timeout=SECONDS) is True
    count = len(seen(clock))
    clock.proxy().sleep(0.2).get(timeout=SECONDS)
    assert len(seen(clock)) == count
    assert clock.proxy().cancel().get(timeout=SECONDS) is False


def test_coroutines_are_called_too(clock: Any) -> None:
    clock.proxy().set_one(0, "tick_later", 1).get(timeout=SECONDS)
    assert wait_until(lambda: seen(clock)) == [1]


def test_a_tick_that_has_not_begun_is_not_doubled(clock: Any) -> None:
    clock.proxy().set_many(0.005, "tick", "coalesced").get(timeout=SECONDS)
    wait_until(lambda: seen(clock))
    clock.proxy().sleep(0.3).get(timeout=SECONDS)  # many are due meanwhile
    clock.proxy().cancel().get(timeout=SECONDS)
    before = len(seen(clock))
    assert clock.mailbox_size <= 1
    assert before < 40


def test_without_coalescing_every_tick_comes(clock: Any) -> None:
    clock.proxy().set_many(0.01, "tick", "each", coalesce=False).get(timeout=SECONDS)
    clock.proxy().sleep(0.5).get(timeout=SECONDS)
    assert len(wait_until(lambda: len(seen(clock)) >= 20 and seen(clock))) >= 20


def test_slow_ticks_do_not_pile_up(clock: Any) -> None:
    clock.proxy().set_many(0.01, "tick_slowly", 0.05).get(timeout=SECONDS)
    wait_until(lambda: len(seen(clock)) >= 5)
    assert clock.mailbox_size <= 2
    clock.proxy().cancel().get(timeout=SECONDS)


def test_a_cancelled_tick_that_waits_never_begins(clock: Any) -> None:
    assert clock.proxy().set_wait_and_cancel(0.1).get(timeout=SECONDS) == (True, False)
    clock.proxy().sleep(0.1).get(timeout=SECONDS)
    assert seen(clock) == []


def test_a_tick_that_raises_ends_the_process_as_a_tell_does(clock: Any) -> None:
    clock.proxy().set_one(0.05, "fail").get(timeout=SECONDS)
    assert wait_until(lambda: clock.generation == 2)
    assert seen(clock) == []


def test_timers_end_with_their_process(clock: Any) -> None:
    clock.proxy().set_many(0.01, "tick", "of the first").get(timeout=SECONDS)
    clock.proxy().set_one(0.3, "tick", "of the first").get(timeout=SECONDS)
    wait_until(lambda: seen(clock))
    clock.proxy().die()
    wait_until(lambda: clock.generation == 2)
    clock.proxy().sleep(0.5).get(timeout=SECONDS)
    assert len(seen(clock)) <= 1  # one may have waited when it died, and goes to the next, as any message


def heard_clock(setting: str) -> tuple[Any, list[Any]]:
    """Return a clock whose first process has set a timer and ticks, and what is heard of it."""
    heard: list[Any] = []

    def told(what: Any) -> bool:
        heard.append(what)
        return heard.count("seen") > 1

    ref = Clock.with_options(restart="permanent").start(by_ref(told), setting)
    wait_until(lambda: heard.count((ref.pid,)) >= 2)
    return ref, heard


@pytest.mark.parametrize("how", ["die", "recycle"])
def test_persistent_ones_go_on_in_the_next_process(how: str) -> None:
    ref, heard = heard_clock("persistent")
    pid = ref.pid
    if how == "die":
        ref.proxy().die()
    else:
        ref.recycle().get(timeout=SECONDS)
    wait_until(lambda: ref.generation == 2)
    before = heard.count((pid,))
    wait_until(lambda: heard.count((pid,)) >= before + 5)
    assert ref.pid != pid


def test_those_of_a_process_that_is_replaced_end_with_it() -> None:
    ref, heard = heard_clock("of its process")
    ref.recycle().get(timeout=SECONDS)
    ref.proxy().sleep(0.1).get(timeout=SECONDS)
    before = len(heard)
    ref.proxy().sleep(0.3).get(timeout=SECONDS)
    assert len(heard) == before


@pytest.mark.parametrize("setting", ["in __init__", "in on_start"])
def test_they_may_be_set_before_the_first_message(setting: str) -> None:
    ref = Clock.start(setting=setting)
    assert len(wait_until(lambda: len(seen(ref)) >= 3 and seen(ref))) >= 3


def test_a_standby_sets_its_own_when_it_takes_over() -> None:
    ref = Clock.with_options(restart="permanent", standby=True).start(None, "in on_start")
    wait_until(lambda: len(seen(ref)) >= 3)
    ref.proxy().die()
    wait_until(lambda: ref.generation == 2)
    ref.proxy().clear().get(timeout=SECONDS)
    began = time.monotonic()
    wait_until(lambda: len(seen(ref)) >= 10)
    assert time.monotonic() - began >= 0.05  # the timers of one process, not of two


def test_what_is_lent_goes_along(clock: Any) -> None:
    events = [threading.Event() for _ in range(3)]
    for event in events:
        clock.proxy().set_one(0.01, "on_receive", 1).get(timeout=SECONDS)
        Giver.start().proxy().give(clock, by_ref(event.set)).get(timeout=SECONDS)
    assert all(event.wait(SECONDS) for event in events)


class Giver(ProcessActor):
    """Calls what it was given, later."""

    def give(self, other: Any, function: Any) -> None:
        self.after(0.02, "call", other, function)
        self.every(0.02, "call", other, function)

    def call(self, other: Any, function: Any) -> None:
        assert other.proxy().seen().get(timeout=SECONDS) is not None
        function()


def test_a_full_mailbox_puts_a_tick_off() -> None:
    ref = Clock.with_options(mailbox_capacity=1).start()
    ref.proxy().set_one(0.05, "tick", "at last").get(timeout=SECONDS)
    waiting = [ref.proxy().sleep(0.1) for _ in range(4)]
    for future in waiting:
        future.get(timeout=SECONDS)
    assert wait_until(lambda: seen(ref)) == [("at last",)]


def test_ten_thousand_timers_cost_no_thread(clock: Any) -> None:
    threads = threading.active_count()
    clock.proxy().set_count(10_000, 0.5).get(timeout=SECONDS)
    assert threading.active_count() <= threads
    assert len(wait_until(lambda: len(seen(clock)) == 10_000 and seen(clock), timeout=SECONDS)) == 10_000
    assert sorted(number for (number,) in seen(clock)) == list(range(10_000))


def test_many_after_another_leave_nothing(clock: Any) -> None:
    for _ in range(30):
        clock.proxy().set_count(1000, 0).get(timeout=SECONDS)
        wait_until(lambda: len(seen(clock)) >= 1000, timeout=SECONDS)
        clock.proxy().clear().get(timeout=SECONDS)


def test_a_stop_ends_all(clock: Any) -> None:
    clock.proxy().set_many(0.005, "tick", persistent=True).get(timeout=SECONDS)
    wait_until(lambda: seen(clock))
    assert clock.stop(timeout=SECONDS)
    assert not clock.is_alive()


@pytest.mark.parametrize(
    ("seconds", "method", "error"),
    [
        (-1, "tick", ValueError),
        (math.nan, "tick", ValueError),
        (math.inf, "tick", ValueError),
        ("1", "tick", TypeError),
        (True, "tick", TypeError),
        (1, "tack", AttributeError),
        (1, "_hidden", AttributeError),
        (1, "ticks", AttributeError),
        (1, 7, AttributeError),
    ],
)
def test_what_is_wrong_is_refused_at_once(clock: Any, seconds: Any, method: Any, error: type[Exception]) -> None:
    for setter in ("set_one", "set_many"):
        with pytest.raises(error, match="use a number of seconds|not a public method of Clock"):
            getattr(clock.proxy(), setter)(seconds, method).get(timeout=SECONDS)
    assert clock.generation == 1


def test_a_period_has_a_least_length(clock: Any) -> None:
    with pytest.raises(ValueError, match="at least 0.001"):
        clock.proxy().set_many(0, "tick").get(timeout=SECONDS)


def test_a_timer_says_what_it_calls(clock: Any) -> None:
    clock.proxy().set_one(60, "tick").get(timeout=SECONDS)
    assert clock.proxy().show().get(timeout=SECONDS) == "<piactors.Timer of tick>"


def test_10_000_timers_that_tick_or_are_cancelled_leave_nothing(clock: Any) -> None:
    def timers(count: int) -> None:
        for _ in range(count // 500):
            assert clock.proxy().set_and_cancel_half(500).get(timeout=SECONDS) == 250
            wait_until(lambda: len(seen(clock)) == 250, timeout=SECONDS)
            clock.proxy().clear().get(timeout=SECONDS)

    timers(2000)
    before = Kept.now(clock.pid)
    timers(10_000)
    before.no_more()


def test_arguments_that_cannot_be_sent_are_refused_at_once() -> None:
    locker = Locker.start().proxy()
    with pytest.raises(TypeError, match="lock"):
        locker.set().get(timeout=SECONDS)


class Locker(ProcessActor):
    """Tries to send a lock to itself."""

    def set(self) -> None:
        self.after(1, "take", threading.Lock())

    def take(self, lock: Any) -> None:
        """Never called."""


def test_an_actor_of_this_process_has_none() -> None:
    class Here(ProcessActor):
        """Made by hand."""

        def tick(self) -> None:
            """Never called."""

    with pytest.raises(RuntimeError, match="in an isolate"):
        Here().after(1, "tick")


def test_the_name_is_public() -> None:
    assert piactors.Timer.__name__ == "Timer"

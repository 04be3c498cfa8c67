"""Rules of `piactors.events`: who is asked to hear what."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import attrs
import pytest

from piactors import events
from piactors.events import Event, EventBus, IsolateExited, IsolateRestarting, IsolateStarted, OutputReceived
from piactors.exit_reason import ExitReason

COMMON: dict[str, Any] = {"name": "a", "pid": 1, "generation": 1, "time": 2.0}
STARTED = IsolateStarted(**COMMON)
EXITED = IsolateExited(**COMMON, reason=ExitReason(kind="normal"))
LINE = OutputReceived(**COMMON, stream="stdout", line="x")
ALL: list[Event] = [
    STARTED,
    EXITED,
    LINE,
    IsolateRestarting(**COMMON, attempt=1, delay=0.5),
    events.IsolateStartFailed(**COMMON, reason=ExitReason(kind="start_failed")),
    events.RestartsExceeded(**COMMON, max_restarts=3, within=5.0),
]


def ignore(event: Event) -> None:
    """Hear nothing."""


def test_without_types_all_events_are_wanted() -> None:
    """Of every class."""
    bus = EventBus()
    bus.subscribe(ignore)
    assert all(bus.wanted_by(event) == [ignore] and bus.is_wanted(type(event)) for event in ALL)


def test_only_events_of_the_given_types_are_wanted() -> None:
    """One or several."""
    bus = EventBus()
    bus.subscribe(ignore, IsolateStarted, OutputReceived)
    assert [event for event in ALL if bus.wanted_by(event)] == [STARTED, LINE]
    assert [event for event in ALL if bus.is_wanted(type(event))] == [STARTED, LINE]


def test_the_base_class_means_all_and_a_subclass_is_of_its_base() -> None:
    """As isinstance has it."""

    class Special(IsolateStarted):
        pass

    bus = EventBus()
    bus.subscribe(ignore, IsolateStarted)
    assert bus.wanted_by(Special(**COMMON)) == [ignore]
    assert bus.is_wanted(Special)
    assert not bus.is_wanted(Event)
    bus.subscribe(ignore, Event)
    assert bus.is_wanted(OutputReceived)


def test_nobody_wants_anything_before_a_subscription() -> None:
    """So nothing needs to be made."""
    bus = EventBus()
    assert bus.wanted_by(STARTED) == []
    assert not bus.is_wanted(IsolateStarted)


def test_callbacks_are_called_in_the_order_they_subscribed() -> None:
    """And as often as they did."""
    bus, made = EventBus(), [lambda event, n=n: n for n in range(5)]
    for callback in (*made, made[0]):
        bus.subscribe(callback)
    assert bus.wanted_by(STARTED) == [*made, made[0]]


def test_a_subscription_ends_once_and_takes_no_other_with_it() -> None:
    """Not even an equal one of the same callback."""
    bus = EventBus()
    first, second = bus.subscribe(ignore), bus.subscribe(ignore)
    first()
    first()
    assert bus.wanted_by(STARTED) == [ignore]
    second()
    assert bus.wanted_by(STARTED) == []


def test_a_callback_may_subscribe_and_unsubscribe_while_events_are_given_out() -> None:
    """The list of those who want an event does not change under its reader."""
    bus = EventBus()
    end = bus.subscribe(ignore)
    wanted = bus.wanted_by(STARTED)
    end()
    bus.subscribe(print)
    assert wanted == [ignore]


@pytest.mark.parametrize("callback", [None, 1, "text"])
def test_what_cannot_be_called_is_refused(callback: Any) -> None:
    """At once, and nothing is subscribed."""
    bus = EventBus()
    with pytest.raises(TypeError, match="cannot be called"):
        bus.subscribe(callback)
    assert bus.wanted_by(STARTED) == []


@pytest.mark.parametrize("cls", [int, None, "IsolateStarted", STARTED, Exception, list[int], IsolateStarted | int])
def test_what_is_no_event_class_is_refused(cls: Any) -> None:
    """Also beside one that is."""
    bus = EventBus()
    with pytest.raises(TypeError, match="not an event class"):
        bus.subscribe(ignore, IsolateStarted, cls)
    assert not bus.is_wanted(IsolateStarted)


def test_subscriptions_of_many_threads_are_all_kept() -> None:
    """And those that end all end."""
    bus, barrier = EventBus(), threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for _ in range(100):
            bus.subscribe(ignore)
            bus.subscribe(print)()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bus.wanted_by(STARTED) == [ignore] * 800


@pytest.mark.parametrize("event", ALL, ids=lambda event: type(event).__name__)
def test_events_are_values(event: Event) -> None:
    """Frozen, hashable, compared by value, and they pickle."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.name = "b"  # type: ignore[misc]
    copy = pickle.loads(pickle.dumps(event))
    assert copy == event
    assert hash(copy) == hash(event)
    assert attrs.evolve(event, name="b") != event


def test_the_module_offers_one_bus() -> None:
    """`subscribe` is its method."""
    end = events.subscribe(ignore, events.RestartsExceeded)
    try:
        assert ignore in events.bus.wanted_by(ALL[-1])
    finally:
        end()
    assert ignore not in events.bus.wanted_by(ALL[-1])

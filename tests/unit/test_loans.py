"""The tables of what is lent, on both sides of a border, without processes: what anybody may use is there."""

from __future__ import annotations

import gc
import weakref
from collections import deque
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from piactors._codec.lending import Ledger, Loan
from piactors.errors import ProtocolError
from piactors.pihost.pickles import lending
from piactors.pihost.values.border import Border

OWNER = 7


class Thing(Loan):
    """A loan of nothing in particular."""

    kind = "thing"

    def home(self) -> Any:
        return self


class StandIn:
    """What stands for it on the other side."""

    def __init__(self, border: Border, number: int, facts: tuple[Any, ...]) -> None:
        self.number = number


@pytest.fixture(autouse=True)
def kept_hooks() -> Any:
    """Each border takes the hooks of its process."""
    before = lending.resolve, lending.on_called_off
    yield
    lending.resolve, lending.on_called_off = before


def a_border(wake: Any = lambda: None) -> Border:
    border = Border(OWNER, wake)
    border.makers["thing"] = StandIn
    return border


class Isolate:
    """One process, as far as it borrows: the four ways of frames to it and from it, and its stand-ins."""

    def __init__(self) -> None:
        self.ledger = Ledger("model", OWNER)
        self.border = a_border()
        self.to: deque[list[tuple[Loan, Any]]] = deque()
        self.answers: deque[list[tuple[Loan, Any]]] = deque()
        self.from_data: deque[int] = deque()
        self.from_control: deque[tuple[int, list[int]]] = deque()
        self.uses = 0
        self.held: list[StandIn] = []


class Loans(RuleBasedStateMachine):
    """A host that lends a few things, and a process that keeps, uses, gives back and drops them.

    Frames wait in their channels for as long as the machine likes, and each channel is in order by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.things = [Thing() for _ in range(3)]
        self.alive = [weakref.ref(thing) for thing in self.things]
        self.isolate = Isolate()

    @rule(numbers=st.lists(st.integers(0, 2), min_size=1, max_size=3), by=st.sampled_from(["to", "answers"]))
    def lend(self, numbers: list[int], by: str) -> None:
        """A message, or an answer on the control channel, names things."""
        loans = [self.things[number] for number in numbers if number < len(self.things)]
        if loans:
            self.isolate.ledger.grant(loans)
            getattr(self.isolate, by).append([(loan, loan.entry()) for loan in loans])

    @rule(keep=st.booleans(), by=st.sampled_from(["to", "answers"]))
    def arrive(self, keep: bool, by: str) -> None:
        """It is read, or skipped: then nothing is made of it but the stand-ins, which go at once."""
        channel = getattr(self.isolate, by)
        if channel:
            taken = self.isolate.border.take(entry for _, entry in channel.popleft())
            self.isolate.held += taken.values() if keep else ()

    @precondition(lambda self: self.isolate.held)
    @rule(which=st.integers(0, 100))
    def use(self, which: int) -> None:
        """A request names a thing."""
        self.isolate.uses += 1
        self.isolate.from_data.append(self.isolate.held[which % len(self.isolate.held)].number)

    @precondition(lambda self: self.isolate.held)
    @rule(which=st.integers(0, 100))
    def let_go(self, which: int) -> None:
        """The isolate holds one stand-in less; it may have held the same one several times."""
        del self.isolate.held[which % len(self.isolate.held)]

    @rule()
    def tell_drops(self) -> None:
        """The control thread looks what is gone."""
        counts = self.isolate.border.drops()
        if counts:
            self.isolate.from_control.append((self.isolate.uses, counts))

    @rule()
    def hear_use(self) -> None:
        """A request arrives: what it names is there, however late it is."""
        if self.isolate.from_data:
            assert self.isolate.ledger.find(self.isolate.from_data.popleft()) is not None
            self.isolate.ledger.used()

    @rule()
    def hear_drops(self) -> None:
        """The news of what is gone arrives, before or after the requests that were made before."""
        if self.isolate.from_control:
            self.isolate.ledger.drop(*self.isolate.from_control.popleft())

    @rule()
    def restart(self) -> None:
        """The process ends, with all that was on its way; a new one borrows nothing yet."""
        self.isolate.ledger.close()
        self.isolate = Isolate()

    @invariant()
    def what_may_be_used_is_there(self) -> None:
        """By what the process holds, what is on its way to it, and what it has asked."""
        ledger = self.isolate.ledger
        frames = [*self.isolate.to, *self.isolate.answers]
        on_its_way = [loan.number for frame in frames for loan, _ in frame]
        for number in [*on_its_way, *self.isolate.from_data, *(stand_in.number for stand_in in self.isolate.held)]:
            assert ledger.find(number) is not None

    def teardown(self) -> None:
        """After a bounded number of turns in which nothing is held, everything is gone."""
        isolate = self.isolate
        isolate.held.clear()
        for channel in (isolate.to, isolate.answers):
            while channel:
                isolate.border.take(entry for _, entry in channel.popleft())
        self.tell_drops()
        while isolate.from_control:
            self.hear_drops()
        while isolate.from_data:
            self.hear_use()
        assert len(isolate.ledger) == 0
        assert not isolate.border.drops()
        self.things.clear()
        assert [reference() for reference in self.alive] == [None, None, None]


Loans.TestCase.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLoans = Loans.TestCase


def test_what_is_lent_again_while_its_drop_is_on_its_way_stays() -> None:
    """What RPyC and comlink lose: the drop of the first time must not end the second."""
    thing, ledger, border = Thing(), Ledger("model", OWNER), a_border()
    ledger.grant([thing])
    border.take([thing.entry()])
    first = border.drops()
    ledger.grant([thing])
    ledger.drop(0, first)
    held = border.take([thing.entry()])
    assert ledger.find(thing.number) is thing
    assert border.thing(thing.number) is held[thing.number]
    held.clear()
    ledger.drop(0, border.drops())
    assert ledger.find(thing.number) is None


def test_a_drop_that_overtakes_the_last_use_waits_for_it() -> None:
    thing, ledger, border = Thing(), Ledger("model", OWNER), a_border()
    ledger.grant([thing])
    border.take([thing.entry()])
    ledger.drop(1, border.drops())
    assert ledger.find(thing.number) is thing
    ledger.used()
    assert ledger.find(thing.number) is None


def test_a_finaliser_takes_no_lock_and_sends_nothing() -> None:
    """It runs anywhere, also where this very lock is held; it only notes, and wakes what tells."""
    woken: list[int] = []
    border = a_border(lambda: woken.append(1))
    thing = Thing()
    held = border.take([thing.entry()])
    with border._lock:
        held.clear()
        gc.collect()
    assert woken == [1]
    assert border.drops() == [thing.number, 1]


@pytest.mark.parametrize(
    "counts", [["it"], ["it", 0], ["it", -1], ["it", 2], [0, 1], ["it", True], [True, 1], ["1", 1]]
)
def test_a_process_that_drops_what_it_does_not_hold_is_told_so(counts: list[Any]) -> None:
    thing, ledger = Thing(), Ledger("model", OWNER)
    ledger.grant([thing])
    with pytest.raises(ProtocolError):
        ledger.drop(0, [thing.number if count == "it" else count for count in counts])


def test_drops_that_wait_for_uses_are_bounded() -> None:
    ledger = Ledger("model", OWNER)
    for _ in range(1024):
        ledger.drop(1 << 40, [1, 1])
    with pytest.raises(ProtocolError, match="yet to use"):
        ledger.drop(1 << 40, [1, 1])


def test_what_a_process_lends_itself_is_kept_until_it_is_dropped_as_often_as_it_was_sent() -> None:
    border, thing = a_border(), object()
    entry = border.lend(thing, "future", ("a thing", None))
    border.sent([entry])
    border.sent([border.lend(thing, "future", ("a thing", None))])
    border.dropped([entry[0], 1])
    assert border.thing(entry[0]) is thing
    border.dropped([entry[0], 1])
    with pytest.raises(Exception, match="released"):
        border.thing(entry[0])


def test_what_was_not_sent_after_all_is_not_kept() -> None:
    border, thing = a_border(), Thing()
    alive = weakref.ref(thing)
    border.not_sent([border.lend(thing, "future", ("a thing", None))])
    del thing
    assert alive() is None


def test_a_process_may_lend_only_so_many_things() -> None:
    border = a_border()
    kept = [object() for _ in range(1024)]
    for thing in kept:
        border.lend(thing, "future", ("a thing", None))
    with pytest.raises(Exception, match="1,024"):
        border.lend(border, "future", ("the border", None))


def test_what_was_released_counts_until_the_host_gives_it_back() -> None:
    """Else the host, which still holds it, would have more of a process than that may lend, and end it for that."""
    border = a_border()
    things = [object() for _ in range(1024)]
    entries = [border.lend(thing, "future", ()) for thing in things]
    border.sent([*entries, entries[0]])
    for thing in things:
        border.release(thing, still_counts=True)
    with pytest.raises(Exception, match="1,024"):
        border.lend(border, "future", ())
    border.dropped([entries[0][0], 1])
    with pytest.raises(Exception, match="1,024"):
        border.lend(border, "future", ())
    border.dropped([entries[0][0], 1])
    border.lend(border, "future", ())


def test_a_thing_goes_without_the_lock() -> None:
    """Its own end may run code, which may lend again."""
    border = a_border()

    class Ends:
        def __del__(self) -> None:
            border.lend(border, "future", ("the border", None))

    entry = border.lend(Ends(), "future", ("ends", None))
    border.sent([entry])
    border.dropped([entry[0], 1])
    assert border.own(border._next) is border
